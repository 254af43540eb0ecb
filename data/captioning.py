"""Pictures with their captions: Flickr8k, or a folder of one's own with a `captions.csv`."""

import csv
import hashlib
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from data.download import sha256_of
from data.errors import DataError
from data.fetch import fetch
from data.pair_files import GENERATED_NOTE, clean, read_lines, split_name
from data.pictures import PictureFolder, PictureZip, folded_name, is_picture_name

PICTURES_ZIP, TEXT_ZIP = "Flickr8k_Dataset.zip", "Flickr8k_text.zip"
# The archive spells its folder like this.
PICTURES_FOLDER = "Flicker8k_Dataset"
TOKENS_FILE = "Flickr8k.token.txt"
SPLIT_FILES = {
    "train": "Flickr_8k.trainImages.txt",
    "validation": "Flickr_8k.devImages.txt",
    "test": "Flickr_8k.testImages.txt",
}
CAPTIONS_FILE = "captions.csv"
_URL = "https://github.com/jbrownlee/Datasets/releases/download/Flickr8k/"
_NEW = "replace it; a download comes anew when it is deleted."


@dataclass(frozen=True)
class CaptionSplit:
    """Pictures, each with its captions.

    Attributes:
        names: The name of each picture.
        captions: At least one caption of each, a line of text.
    """

    names: list[str]
    captions: list[list[str]]


@dataclass(frozen=True)
class Captions:
    """All splits of a data set, and the way to its pictures.

    Attributes:
        splits: `train`, `validation` and `test`. A folder of one's own whose `captions.csv` names
            splits may have several that start with `test`, and only those that it names if `train`
            is not among them.
        pictures: Where the pictures lie.
        hashes: The SHA-256 of the captions' file and, last, of the pictures.
        warnings: What a user should know of this data set, a line each.
    """

    splits: dict[str, CaptionSplit]
    pictures: PictureZip | PictureFolder
    hashes: dict[str, str]
    warnings: tuple[str, ...]

    def read(self, name: str) -> bytes:
        """The bytes of a picture's file, as `read_picture` takes them; threads may call this.

        Raises:
            DataError: If it cannot be read.
        """
        return self.pictures.read(name)

    def split(self, name: str) -> CaptionSplit:
        """The split of that name.

        Raises:
            DataError: If there is none.
        """
        if name not in self.splits:
            found = ", ".join(self.splits)
            raise DataError(f"The {name} split is needed, but these data have {found} alone.")
        return self.splits[name]


def load_captions(
    data: str,
    *,
    data_dir: Path,
    validation_share: float = 0.1,
    test_share: float = 0.1,
    split_seed: int = 0,
    strict: bool = False,
    log: Callable[[str], None] | None = None,
) -> Captions:
    """Loads captions and finds the pictures that they name; no picture is decoded yet.

    Flickr8k keeps its own splits, and the pictures that are in none of them are left out. In a
    folder of one's own, `captions.csv` has the columns `image` and `caption`, a line for each
    caption, and perhaps `split`; `image` is a path from that folder, and a picture in a folder
    below is found by its name alone too. What is not split there is split by the bytes of the
    pictures: all captions of a picture, and equal pictures under whatever names, land in the same
    part, and neither the order nor the number of the others matters.

    White space within a caption becomes single plain spaces.

    Args:
        data: `"flickr8k"` or a folder.
        data_dir: Folder of downloads: `Flickr8k_text.zip`, and `Flickr8k_Dataset.zip` or the folder
            `Flicker8k_Dataset`.
        validation_share: Share of the pictures to validate on, where the source names none.
        test_share: Share of the pictures to test on, where the source names none.
        split_seed: Another seed makes another cut.
        strict: Whether missing pictures are an error, not a warning.
        log: What takes a line for each download.

    Raises:
        DataError: If the data cannot be had, read or used.
    """
    if data == "flickr8k":
        return _load_flickr8k(data_dir, strict, log)
    folder = Path(data).expanduser()
    if not folder.is_dir():
        raise DataError(
            f'--data {data} is neither "flickr8k" nor a folder with pictures and a '
            f"{CAPTIONS_FILE}: check the path."
        )
    shares = {"validation": validation_share, "test": test_share}
    return _load_folder(folder, shares, split_seed, strict)


# ---- Flickr8k --------------------------------------------------------------------------------


def _load_flickr8k(data_dir: Path, strict: bool, log: Callable[[str], None] | None) -> Captions:
    """The official splits, with the pictures in the zip or, if there is none, in the folder."""
    text, place = data_dir / TEXT_ZIP, data_dir / PICTURES_ZIP
    if not place.exists() and (data_dir / PICTURES_FOLDER).is_dir():
        place = data_dir / PICTURES_FOLDER
    for path, other in ((text, place), (place, text)):
        if not path.exists():
            if is_generated(other):
                raise DataError(
                    f"{path} is missing beside {other.name}, which is generated: delete that too, "
                    "or run `python -m data.captioning_sample`."
                )
            fetch(_URL + path.name, path, log=log)
    captions = _token_captions(text)
    pictures = PictureFolder(place) if place.is_dir() else PictureZip(place)
    there = set(pictures.names)
    splits, missing = {}, []
    for split, file in SPLIT_FILES.items():
        named = [clean(line) for line in read_lines(text, member=file)]
        # Each once, and only those with captions.
        named = [name for name in dict.fromkeys(named) if name in captions]
        names = [name for name in named if name in there]
        if not names:
            raise DataError(
                f"{text}, {file}: {place.name} holds none of the {len(named):,} captioned pictures "
                f"that it lists: {_NEW}"
            )
        missing += [name for name in named if name not in there]
        splits[split] = CaptionSplit(names, [captions[name] for name in names])
    if place.is_dir():
        pictures_hash = _joint_sha256(pictures.sha256s(pictures.names))
    else:
        pictures_hash = sha256_of(place)
    return Captions(
        splits=splits,
        pictures=pictures,
        hashes={text.name: sha256_of(text), place.name: pictures_hash},
        warnings=_missing_pictures(text, place, missing, strict),
    )


def is_generated(path: Path) -> bool:
    """Whether a zip is one that `data.captioning_sample` has made up."""
    try:
        with zipfile.ZipFile(path) as archive:
            return GENERATED_NOTE in archive.namelist()
    except (zipfile.BadZipFile, OSError):
        return False


def _token_captions(text: Path) -> dict[str, list[str]]:
    """The captions of each picture, from lines `<picture>#<number><TAB><caption>`."""
    captions = {}
    for number, line in enumerate(read_lines(text, member=TOKENS_FILE), start=1):
        key, _, caption = line.partition("\t")
        name, caption = clean(key.rpartition("#")[0]), clean(caption)
        if name and caption:
            captions.setdefault(name, []).append(caption)
        elif line.strip():
            raise DataError(
                f"{text}, {TOKENS_FILE}, line {number}: not <picture>#<number>, a tab and a "
                f"caption: {_NEW}"
            )
    return captions


def _missing_pictures(path: Path, place: Path, missing: list[str], strict: bool) -> tuple[str, ...]:
    """A warning of the captioned pictures that are missing, or the error."""
    if not missing:
        return ()
    fact = f"{path} names {_listed(missing)} not in {place}"
    if strict:
        raise DataError(
            f"{fact}: add what is missing, or go on without it by not setting --strict."
        )
    return (f"{fact}; left out.",)


def _listed(names: list[str]) -> str:
    """`3 pictures (a.jpg, b.jpg, c.jpg)`; a long list ends in dots."""
    some = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
    return f"{len(names):,} picture{'s' if len(names) > 1 else ''} ({some})"


def _joint_sha256(digests: dict[str, str]) -> str:
    """One hash of the names and hashes of many files."""
    lines = "".join(f"{digest}  {name}\n" for name, digest in sorted(digests.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


# ---- A folder of one's own -------------------------------------------------------------------


def _load_folder(folder: Path, shares: dict[str, float], seed: int, strict: bool) -> Captions:
    """The captions of `captions.csv`, split as it says or else by the pictures' bytes."""
    path = folder / CAPTIONS_FILE
    if not path.is_file():
        raise DataError(
            f"{folder} has no {CAPTIONS_FILE}: add one with the first line image,caption and then "
            "a line for each caption."
        )
    pictures = PictureFolder(folder)
    captions, split_of, missing = _read_captions(path, pictures)
    if not captions:
        raise DataError(
            f"{path} names no picture that lies in {folder}: add the pictures, and a line for each "
            "caption."
        )
    remarks = _missing_pictures(path, folder, missing, strict)
    bare = [name for name in pictures.names if is_picture_name(name) and name not in captions]
    if bare:
        remarks += (f"{path} has no caption for {_listed(bare)} in {folder}; left out.",)
    digests = pictures.sha256s(captions)
    named = set(split_of.values())
    if "train" in named:
        cut = {
            part: share
            for part, share in shares.items()
            if not any(name.startswith(part) for name in named)
        }
        for name, split in split_of.items():
            split_of[name] = _part(digests[name], cut, seed) if split == "train" else split
        for part in ("train", *cut):
            if part not in split_of.values():
                raise DataError(
                    f"{path} leaves no picture for the {part} split, since it names "
                    f"{_listed(list(captions))}: add more, or a column split."
                )
    splits = {}
    for part in sorted(set(split_of.values()), key=lambda part: (part.startswith("test"), part)):
        names = [name for name in captions if split_of[name] == part]
        splits[part] = CaptionSplit(names, [captions[name] for name in names])
    return Captions(
        splits=splits,
        pictures=pictures,
        hashes={path.name: sha256_of(path), "pictures": _joint_sha256(digests)},
        warnings=(*remarks, *_overlaps(splits, digests)),
    )


def _read_captions(
    path: Path, pictures: PictureFolder
) -> tuple[dict[str, list[str]], dict[str, str], list[str]]:
    """The captions and the split of each picture that is there, and the pictures that are not."""
    exact, alike = set(pictures.names), {}
    for name in pictures.names:
        # A set, since both are the same for a picture that is in no folder below.
        for key in {folded_name(name), folded_name(PurePosixPath(name).name)}:
            alike.setdefault(key, []).append(name)
    captions, split_of, missing = {}, {}, {}
    for place, image, caption, split in _rows(path):
        found = [image] if image in exact else alike.get(folded_name(image), [])
        if not found:
            missing[image] = None
            continue
        if len(found) > 1:
            raise DataError(
                f"{place}: {image} may be {found[0]} or {found[1]}; write the whole path from "
                f"{path.parent}."
            )
        name = found[0]
        captions.setdefault(name, []).append(caption)
        if split_of.setdefault(name, split) != split:
            raise DataError(
                f"{place}: {image} is in {split}, but a line before says {split_of[name]}; put all "
                "captions of a picture into one split."
            )
    return captions, split_of, list(missing)


def _rows(path: Path) -> Iterator[tuple[str, str, str, str]]:
    """The place of each line, as messages name it, its picture, its caption and its split."""
    # The reader wants the line ends, because a quoted caption may have several lines.
    reader = csv.reader((f"{line}\n" for line in read_lines(path)), strict=True)
    header, needed = [], ("image", "caption")
    try:
        for cells in reader:
            place = f"{path}, line {reader.line_num}"
            if not header:
                header = [clean(cell).casefold() for cell in cells]
                if any(header.count(name) != 1 for name in needed) or header.count("split") > 1:
                    raise DataError(
                        f"{place}: the first line names the columns, image,caption or "
                        "image,caption,split; mend it."
                    )
                continue
            if not any(map(clean, cells)):
                continue
            if len(cells) != len(header):
                raise DataError(
                    f"{place}: {len(cells)} cells instead of {len(header)}; put a caption that has "
                    "commas between double quotes."
                )
            row = {name: cell.strip() for name, cell in zip(header, cells, strict=True)}
            for name in needed:
                if not row[name]:
                    raise DataError(f"{place}: no {name}; fill it in or remove the line.")
            split = row.get("split", "train").lower()
            if not split_name(split):
                raise DataError(
                    f'{place}: the split is "{split}"; it must be train, validation or test.'
                )
            yield place, row["image"], clean(row["caption"]), split_name(split)
    except csv.Error as error:
        raise DataError(
            f"{path}, line {reader.line_num}: {error}; put the caption between double quotes, and "
            'write "" for each quote in it.'
        ) from error


def _part(digest: str, cut: dict[str, float], seed: int) -> str:
    """The part that a picture with this SHA-256 falls into."""
    position = hashlib.blake2b(f"{seed}:{digest}".encode(), digest_size=8).digest()
    rest = int.from_bytes(position, "big") / 2**64
    for part, share in cut.items():
        if rest < share:
            return part
        rest -= share
    return "train"


def _overlaps(splits: dict[str, CaptionSplit], digests: dict[str, str]) -> tuple[str, ...]:
    """A line for each split with pictures that are in train too, under another name."""
    train = splits.get("train", CaptionSplit([], [])).names
    seen = {digests[name] for name in train}
    lines = []
    for part, split in splits.items():
        again = [name for name in split.names if part != "train" and digests[name] in seen]
        if again:
            lines.append(
                f"{part} holds {_listed(again)} also in train, under another name: its score will "
                "flatter."
            )
    return tuple(lines)
