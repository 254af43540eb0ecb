"""Sentences with their translations: Multi30k, Tatoeba, or your own files in two languages."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from common.errors import UserError
from data.download import sha256_of, unknown_files
from data.fetch import fetch
from data.pairs.files import (
    GENERATED_NOTE,
    check_languages,
    find_parallel,
    read_columns,
    read_lines,
    read_parallel,
    read_tsv,
    split_name,
)
from data.pairs.splits import (
    PairSplit,
    Rows,
    by_source,
    cut_pairs,
    one_by_one,
    overlap_warnings,
)

_MULTI30K_URL = (
    "https://raw.githubusercontent.com/multi30k/dataset/a3d2e0d26b56f3846f66a952536ffed4e401d05a"
    "/data/task1/raw/"
)
_MULTI30K_LANGUAGES = ["en", "fr", "de"]
_MULTI30K_SPLITS = ("train", "val", "test_2016_flickr", "test_2017_flickr")
_MULTI30K_CHECKSUMS = dict(
    line.split()
    for line in """\
train.en.gz sha256:d79cfa999dd4c51d2cb42499b6796d5a882c3a8a961923c25a898c90f8bbd56f
train.fr.gz sha256:622e75069e9f4c577425c4f277116ce66e63a2401c0a2312d90073cb12379a3c
train.de.gz sha256:726e39b2fa9eb9ffb6dc763fb35a179f80fae06ffc5d28b6ace5faa883de28a6
val.en.gz sha256:14f7d25ddd868909a9213e361768460edcacdd6ab9d1e77b92560dc10c10dc28
val.fr.gz sha256:ca3106f1a72390591d25f6c45cb4cd39dec4cd3f123e099748a3ce5256c160e9
val.de.gz sha256:f0cba2f995189cf5770f29a8a9a537a3ad3f51657ad873405082ff6863a5e75a
test_2016_flickr.en.gz sha256:611d361c6334bc7246101d48097c13cf5c4413c5befc793cc629934359d532d9
test_2016_flickr.fr.gz sha256:6d326e188d259fb1d04ac19eae3af956559b3a0b93d7635e56c90987c40c8b90
test_2016_flickr.de.gz sha256:9204244e408ccb38d2a55cfcd344df15005fc42a07a6e55ca6c52b6ababb8cc8
test_2017_flickr.en.gz sha256:76a444ee25172e72695cddb13ae4a3bda59430617be88e0bb46b60504f054074
test_2017_flickr.fr.gz sha256:3ba671ceb2299f3304ffafefea7a833d08632fbaf0ba18546f8a2ec2391af496
test_2017_flickr.de.gz md5:6a8d5c87f6ae19e3d35681aa6fd16571
""".splitlines()
)
# Sets that --data calls by name.
NAMED_SETS = ("multi30k", "tatoeba")
_TATOEBA_URL = "https://www.manythings.org/anki/fra-eng.zip"
_TATOEBA_LANGUAGES = ["en", "fr"]
# The host replaces its archive by newer ones, so a download may have another checksum. This one is
# of the text, since archives of one release differ.
_TATOEBA_RELEASE = "2019-04-07"
_TATOEBA_SHA256 = "0bb85dbaa1c896844649094d7eaf2e34bee34e84fe362b26ce7e8f2e12aae104"

# Distinct source sentences of each split that is cut off.
_HELD_OUT = {"test": 5_000, "validation": 3_000}
# Fewest distinct source sentences to train on.
_FEWEST = 20


@dataclass(frozen=True)
class Pairs:
    """All splits of a corpus.

    Attributes:
        splits: `train`, `validation` and one or several whose names start with `test`.
        languages: The codes of the source and the target language.
        hashes: The SHA-256 of each source file, by its name.
        warnings: Lines for the user about this corpus.
    """

    splits: dict[str, PairSplit]
    languages: tuple[str, str]
    hashes: dict[str, str]
    warnings: tuple[str, ...]

    def split(self, name: str) -> PairSplit:
        """The split of that name; `test` is also Multi30k's `test_2016_flickr`.

        Raises:
            UserError: If there is no such split.
        """
        key = "test_2016_flickr" if name == "test" and name not in self.splits else name
        if key not in self.splits:
            names = ", ".join(self.splits)
            raise UserError(f'--split "{name}": these data have {names}; name one of them.')
        return self.splits[key]


def load_pairs(
    data: str,
    *,
    data_dir: Path,
    source_language: str = "en",
    target_language: str = "fr",
    cut: bool = True,
    log: Callable[[str], None] | None = None,
) -> Pairs:
    """Loads sentence pairs and cuts off the splits that the source does not have.

    Args:
        data: `"multi30k"`, `"tatoeba"`, a `.tsv` file whose first line names its columns
            (`en<TAB>fr` or `en<TAB>fr<TAB>split`), or a folder of parallel files
            `<split>.<language>` or `<split>.<language>.gz`.
        data_dir: Folder of downloads: `multi30k/*.gz` and `fra-eng.zip`.
        source_language: Code of the language to translate from, as the data name it.
        target_language: Code of the language to translate into.
        cut: Whether to cut off the splits that the source does not have, see `cut_pairs`.
        log: Takes a line for each download.

    Returns:
        The splits. Unless they come from parallel files, a sentence stands once in validation and
        test, with all its translations as references.

    Raises:
        UserError: If the data cannot be downloaded, read or used.
    """
    languages = (source_language, target_language)
    if source_language == target_language:
        raise UserError(
            f'--source-language and --target-language are both "{source_language}": set two.'
        )
    known, warnings = {}, ()
    if data == "multi30k":
        place = data_dir / "multi30k"
        _download_multi30k(place, languages, log)
        train, held_out, paths = _load_parallel(place, languages)
        if not (place / GENERATED_NOTE).exists():
            known = {name: (checksum,) for name, checksum in _MULTI30K_CHECKSUMS.items()}
    elif data == "tatoeba":
        place = data_dir / "fra-eng.zip"
        train, warnings = _load_tatoeba(place, languages, log)
        held_out, paths = {}, [place]
    else:
        place = Path(data).expanduser()
        load = _load_parallel if place.is_dir() else _load_tsv
        train, held_out, paths = load(place, languages)
    if (distinct := len({source for source, _ in train})) < _FEWEST:
        raise UserError(
            f"{place} has {distinct} distinct source sentences to train on, but needs at least "
            f"{_FEWEST}: add pairs."
        )
    sha256s = {path: sha256_of(path) for path in paths}
    warnings = (*unknown_files(sha256s, known), *warnings, *overlap_warnings(train, held_out))
    missing = {
        part: size
        for part, size in _HELD_OUT.items()
        if cut and not any(name.startswith(part) for name in held_out)
    }
    parts = cut_pairs(train, missing) if missing else {"train": train}
    held_out |= {name: by_source(parts[name]) for name in missing}
    splits = {"train": one_by_one(parts["train"])}
    for name in sorted(held_out, key=lambda name: (name.startswith("test"), name)):
        splits[name] = held_out[name]
    for name, split in splits.items():
        if not split.source:
            raise UserError(
                f"{place} has no pair for the {name} split: add some. Pairs that share a sentence "
                "are never split; if nearly all do, name the splits yourself."
            )
    hashes = {path.name: sha256 for path, sha256 in sha256s.items()}
    return Pairs(splits, languages, hashes, warnings)


_Loaded = tuple[Rows, dict[str, PairSplit], list[Path]]


def _download_multi30k(
    folder: Path, languages: tuple[str, str], log: Callable[[str], None] | None
) -> None:
    """Downloads the files of the usual splits that are missing, but not among generated ones."""
    check_languages(folder, languages, _MULTI30K_LANGUAGES)
    if (folder / GENERATED_NOTE).exists():
        return
    for split in _MULTI30K_SPLITS:
        for language in languages:
            path = folder / f"{split}.{language}.gz"
            if not (path.exists() or path.with_suffix("").exists()):
                checksum = _MULTI30K_CHECKSUMS[path.name]
                fetch(_MULTI30K_URL + path.name, path, checksum=checksum, log=log)


def _load_tatoeba(
    path: Path, languages: tuple[str, str], log: Callable[[str], None] | None
) -> tuple[Rows, tuple[str, ...]]:
    """Returns the distinct pairs of the archive, whose third column names authors, and warnings."""
    check_languages(path, languages, _TATOEBA_LANGUAGES)
    if not path.exists():
        fetch(_TATOEBA_URL, path, checksum=None, log=log)
    columns = tuple(map(_TATOEBA_LANGUAGES.index, languages))
    lines = read_lines(path, member="fra.txt")
    rows = dict.fromkeys(read_columns(lines, columns, most=3, name=f"{path}, fra.txt"))
    text = "".join(f"{line}\n" for line in lines).encode()
    warnings = ()
    if hashlib.sha256(text).hexdigest() != _TATOEBA_SHA256:
        warnings = (
            f"{path} is not Tatoeba's release of {_TATOEBA_RELEASE}: scores do not compare with "
            "the published ones.",
        )
    return list(rows), warnings


def _load_parallel(folder: Path, languages: tuple[str, str]) -> _Loaded:
    """Loads all splits of a folder of parallel files."""
    files = find_parallel(folder, languages)
    rows = {}
    for name, paths in files.items():
        if (split := split_name(name)) in ("", *rows):
            raise UserError(
                f"{paths[0]}: name each split once: train, validation or test (or test_...)."
            )
        rows[split] = read_parallel(*paths)
    held_out = {name: one_by_one(pairs) for name, pairs in rows.items() if name != "train"}
    return rows["train"], held_out, [path for paths in files.values() for path in paths]


def _load_tsv(path: Path, languages: tuple[str, str]) -> _Loaded:
    """Loads the splits of a table; all of it is `train` where it has no column `split`."""
    if path.suffix.lower() != ".tsv":
        raise UserError(
            f'--data {path} is neither "multi30k", "tatoeba", a .tsv file nor a folder of parallel '
            "files: check the path."
        )
    rows = {}
    for source, target, split in read_tsv(path, languages):
        rows.setdefault(split, []).append((source, target))
    held_out = {name: by_source(pairs) for name, pairs in rows.items() if name != "train"}
    return rows.get("train", []), held_out, [path]
