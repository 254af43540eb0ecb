import gzip
import hashlib
import re
import zipfile

import pytest

from common.errors import UserError
from data.pairs import sources as translation
from data.pairs.sample import pairs, write_translation_sample
from data.pairs.sources import load_pairs
from data.pairs.splits import folded
from tests.helpers import refuses

ROWS = pairs(300, seed=3)
CHECKSUM = re.compile("sha256:[0-9a-f]{64}|md5:[0-9a-f]{32}")


@pytest.fixture
def load(tmp_path):
    """Loads with a folder of downloads of this test's own."""

    def load_own(data, **options):
        return load_pairs(str(data), data_dir=tmp_path, **options)

    return load_own


@pytest.fixture(autouse=True)
def downloads(monkeypatch):
    """Records downloads instead of making them."""
    asked = []

    def fetch(url, path, *, checksum, log=None):
        asked.append((url, path, checksum))
        raise UserError(f"{url} cannot be downloaded")

    monkeypatch.setattr(translation, "fetch", fetch)
    return asked


def write_lines(path, lines):
    path.parent.mkdir(exist_ok=True)
    text = "".join(f"{line}\n" for line in lines).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return path


def write_tatoeba(tmp_path, lines):
    with zipfile.ZipFile(tmp_path / "fra-eng.zip", "w") as archive:
        archive.writestr("_about.txt", "about")
        archive.writestr("fra.txt", "".join(f"{line}\n" for line in lines))
    return tmp_path / "fra-eng.zip"


def write_parallel(folder, **rows):
    """`write_parallel(folder, train=[...])` writes `train.en` and `train.fr`."""
    for split, chosen in rows.items():
        for side, language in enumerate(("en", "fr")):
            write_lines(folder / f"{split}.{language}", [row[side] for row in chosen])
    return folder


def write_table(tmp_path, lines, name="own.tsv"):
    return write_lines(tmp_path / name, lines)


def rows_of(split):
    return list(zip(split.source, split.target, strict=True))


def everything(loaded):
    return sorted(
        (source, reference)
        for split in loaded.splits.values()
        for source, references in zip(split.source, split.references, strict=True)
        for reference in references
    )


# ---- Multi30k --------------------------------------------------------------------------------


def test_multi30k_keeps_its_order_and_its_splits(load, tmp_path):
    folder = write_translation_sample(tmp_path, train=200, validation=30, test=20)
    loaded = load("multi30k")
    assert list(loaded.splits) == ["train", "validation", "test_2016_flickr", "test_2017_flickr"]
    assert loaded.languages == ("en", "fr")
    assert rows_of(loaded.splits["train"]) == pairs(270, seed=0)[:200]
    assert loaded.split("test") is loaded.splits["test_2016_flickr"]
    for split in loaded.splits.values():
        assert split.references == [[target] for target in split.target]
    assert loaded.hashes == {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("*.gz")
    }
    assert loaded.warnings == ()


def test_files_that_are_missing_are_downloaded_with_their_checksums(load, tmp_path, downloads):
    folder, target_language = tmp_path / "multi30k", "de"
    missing = [
        f"{split}.{language}.gz"
        for split in ("train", "val", "test_2016_flickr", "test_2017_flickr")
        for language in ("en", target_language)
    ]
    for name in missing:
        refuses(load, "multi30k", "cannot be downloaded", name, target_language=target_language)
        url, path, checksum = downloads[-1]
        # The address names a commit.
        assert re.fullmatch(rf"https://.*/[0-9a-f]{{40}}/data/task1/raw/{name}", url)
        assert path == folder / name
        assert CHECKSUM.fullmatch(checksum)
        write_lines(path, ["x"])
    assert len({checksum for _, _, checksum in downloads}) == len(missing)


# ---- Tatoeba ---------------------------------------------------------------------------------

# 25 English sentences with two translations each, among them near-duplicates.
TATOEBA = [
    (english, f"{french}{mark}") for english, french in ROWS[:25] for mark in ("", " Vraiment.")
] + [("Go.", "Va !"), ("Go!", "Va\u202f!"), ("Go on.", "Continue."), ("Move!", "Va\u00a0!")]


def test_tatoeba_loads_without_its_credits_and_each_pair_once(load, tmp_path):
    credit = "CC-BY 2.0 (France) Attribution: tatoeba.org #1 (a) & #2 (b)"
    path = write_tatoeba(tmp_path, ["\t".join((*row, credit)) for row in [*TATOEBA, TATOEBA[0]]])
    loaded = load("tatoeba")
    assert everything(loaded) == sorted((en, " ".join(fr.split())) for en, fr in TATOEBA)
    assert list(loaded.splits) == ["train", "validation", "test"]
    assert loaded.hashes == {"fra-eng.zip": hashlib.sha256(path.read_bytes()).hexdigest()}


def tatoeba_of(count):
    """Sentences with one to three translations; some translations serve two sentences."""
    return [
        (f"Sentence {number}.", f"Phrase {number - shift}.")
        for number in range(count)
        for shift in range(1 + number % 3 // 2)
    ] + [(f"sentence {number}!", f"Encore {number}.") for number in range(0, count, 9)]


@pytest.mark.parametrize("languages", [("en", "fr"), ("fr", "en")])
def test_no_sentence_of_a_part_occurs_in_another_in_either_language(load, tmp_path, languages):
    write_tatoeba(tmp_path, ["\t".join(row) for row in tatoeba_of(600)])
    source, target = languages
    loaded = load("tatoeba", source_language=source, target_language=target)
    parts = [
        (
            {folded(source) for source in split.source},
            {folded(reference) for references in split.references for reference in references},
        )
        for split in loaded.splits.values()
    ]
    for one in range(3):
        for other in range(one):
            assert not parts[one][0] & parts[other][0]
            assert not parts[one][1] & parts[other][1]


def test_the_cut_depends_on_the_sentences_alone(load, tmp_path):
    lines = ["\t".join(row) for row in tatoeba_of(600)]
    write_tatoeba(tmp_path, lines)
    first = load("tatoeba")
    write_tatoeba(tmp_path, [*lines[300:], *lines[:300]])
    moved = load("tatoeba")
    for name, split in first.splits.items():
        assert sorted(rows_of(moved.splits[name])) == sorted(rows_of(split))


# ---- Your own files ---------------------------------------------------------------------------


def test_a_table_may_name_its_splits_and_have_its_columns_in_any_order(load, tmp_path):
    splits = ["train"] * 100 + ["val"] * 10 + ["test"] * 20
    lines = [f"{split}\t{fr}\t{en}" for split, (en, fr) in zip(splits, ROWS, strict=False)]
    path = write_table(tmp_path, ["\ufeffsplit\tfr\ten", *lines, ""])
    loaded = load(path)
    assert rows_of(loaded.splits["train"]) == ROWS[:100]
    assert rows_of(loaded.splits["validation"]) == ROWS[100:110]
    assert rows_of(loaded.splits["test"]) == ROWS[110:130]


def test_test_sentences_that_stand_in_train_are_counted(load, tmp_path):
    folder = write_parallel(tmp_path / "own", train=ROWS[:200], test=[*ROWS[:3], *ROWS[200:217]])
    (warning,) = load(folder).warnings
    assert warning.startswith("3 of the 20 source sentences of test stand in train")
    assert load(write_parallel(folder, test=ROWS[200:])).warnings == ()


@pytest.mark.parametrize(
    ("header", "line", "expected"),
    [
        ("Go.\tVa !", "", ["en<TAB>fr"]),
        ("en\tde", "", ["en, de", '"fr"', "--target-language"]),
        ("en\tfr", "Go.", ["line 12"]),
        ("en\tfr", "Go.\taway\tVa !", ["line 12"]),
        ("en\tfr\tsplit", "Go.\tVa !\ttset", ["Go.", '"tset"', "train, validation or test"]),
    ],
)
def test_a_mistake_in_a_table_is_named_with_its_line(load, tmp_path, header, line, expected):
    rows = [f"{en}\t{fr}" + "\ttrain" * header.endswith("split") for en, fr in ROWS[:10]]
    path = write_table(tmp_path, [header, *rows, *[line] * bool(line)])
    refuses(load, path, path, *expected)


def test_mistakes_in_parallel_files_are_named(load, tmp_path):
    folder = write_parallel(tmp_path / "own", train=ROWS)
    write_lines(folder / "train.fr", [fr for _, fr in ROWS[:-1]])
    refuses(load, folder, "train.en has 300 lines, but train.fr has 299")
    write_parallel(folder, train=[*ROWS[:5], ("Go.", " "), *ROWS[5:]])
    refuses(load, folder, folder / "train.en", "line 6")
    write_parallel(folder, train=ROWS)
    write_lines(folder / "test.en", ["A man."])
    refuses(load, folder, folder / "test.en", "lacks its counterpart")
