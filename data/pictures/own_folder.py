"""A folder of one's own: pictures, and a `captions.csv` of what they show."""

import csv
import hashlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from common.errors import UserError
from data.download import sha256_of
from data.pairs.files import clean, read_lines, split_name
from data.pictures.read import PictureFolder, folded_name, is_picture_name
from data.pictures.splits import Captions, CaptionSplit, joint_sha256, listed, missing_pictures

CAPTIONS_FILE = "captions.csv"


def load_caption_folder(
    folder: Path, shares: dict[str, float], seed: int, strict: bool
) -> Captions:
    """The captions of `captions.csv`, split as it says or else by the pictures' bytes."""
    path = folder / CAPTIONS_FILE
    if not path.is_file():
        raise UserError(
            f"{folder} has no {CAPTIONS_FILE}: add one with the first line image,caption and then "
            "a line for each caption."
        )
    pictures = PictureFolder(folder)
    captions, split_of, missing = _read_captions(path, pictures)
    if not captions:
        raise UserError(
            f"{path} names no picture that lies in {folder}: add the pictures, and a line for each "
            "caption."
        )
    remarks = missing_pictures(path, folder, missing, strict)
    bare = [name for name in pictures.names if is_picture_name(name) and name not in captions]
    if bare:
        remarks += (f"{path} has no caption for {listed(bare)} in {folder}; left out.",)
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
                raise UserError(
                    f"{path} leaves no picture for the {part} split, since it names "
                    f"{listed(list(captions))}: add more, or a column split."
                )
    splits = {}
    for part in sorted(set(split_of.values()), key=lambda part: (part.startswith("test"), part)):
        names = [name for name in captions if split_of[name] == part]
        splits[part] = CaptionSplit(names, [captions[name] for name in names])
    return Captions(
        splits=splits,
        pictures=pictures,
        hashes={path.name: sha256_of(path), "pictures": joint_sha256(digests)},
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
            raise UserError(
                f"{place}: {image} may be {found[0]} or {found[1]}; write the whole path from "
                f"{path.parent}."
            )
        name = found[0]
        captions.setdefault(name, []).append(caption)
        if split_of.setdefault(name, split) != split:
            raise UserError(
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
                    raise UserError(
                        f"{place}: the first line names the columns, image,caption or "
                        "image,caption,split; mend it."
                    )
                continue
            if not any(map(clean, cells)):
                continue
            if len(cells) != len(header):
                raise UserError(
                    f"{place}: {len(cells)} cells instead of {len(header)}; put a caption that has "
                    "commas between double quotes."
                )
            row = {name: cell.strip() for name, cell in zip(header, cells, strict=True)}
            for name in needed:
                if not row[name]:
                    raise UserError(f"{place}: no {name}; fill it in or remove the line.")
            split = row.get("split", "train").lower()
            if not split_name(split):
                raise UserError(
                    f'{place}: the split is "{split}"; it must be train, validation or test.'
                )
            yield place, row["image"], clean(row["caption"]), split_name(split)
    except csv.Error as error:
        raise UserError(
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
                f"{part} holds {listed(again)} also in train, under another name: its score will "
                "flatter."
            )
    return tuple(lines)
