"""Your own folder: pictures, and a `captions.csv` of what they show."""

import hashlib
from pathlib import Path, PurePosixPath

import pandas as pd

from common.errors import UserError
from data.download import sha256_of
from data.pairs.files import clean, split_name
from data.pictures.read import PictureFolder, folded_name, is_picture_name
from data.pictures.splits import Captions, CaptionSplit, joint_sha256, listed, missing_pictures

CAPTIONS_FILE = "captions.csv"


def load_caption_folder(folder: Path, shares: dict[str, float], seed: int) -> Captions:
    """Loads a folder whose `captions.csv` has the columns `image`, `caption` and perhaps `split`.

    Each line has a caption; `image` is a path from the folder, or a name alone. Pictures that have
    no split are split by their bytes: all captions of a picture, and equal pictures under other
    names, land in the same part, whatever the other pictures are.

    Args:
        folder: Where `captions.csv` and the pictures lie, the latter perhaps in folders below.
        shares: The share of the pictures that validation and test take, where no line names them.
        seed: Another seed makes another cut.

    Raises:
        UserError: If a file cannot be read, or a split is left without pictures.
    """
    path = folder / CAPTIONS_FILE
    pictures = PictureFolder(folder)
    captions, splits, missing = _read_captions(path, pictures)
    warnings = missing_pictures(path, folder, missing)
    bare = [name for name in pictures.names if is_picture_name(name) and name not in captions]
    if bare:
        warnings += (f"{path} has no caption for {listed(bare)} in {folder}; left out.",)
    digests = pictures.sha256s(captions)
    parts = sorted(set(splits.values()), key=lambda part: (part.startswith("test"), part))
    if not parts or "train" in parts:
        cut = {
            part: share
            for part, share in shares.items()
            if not any(name.startswith(part) for name in parts)
        }
        for name, split in splits.items():
            splits[name] = _part(digests[name], cut, seed) if split == "train" else split
        parts = list(dict.fromkeys(["train", *cut, *parts]))
    for part in parts:
        if part not in splits.values():
            raise UserError(
                f"{path} leaves no picture for the {part} split ({len(splits):,} pictures of it lie"
                f" in {folder}): add more, or a column split."
            )
    train = {digests[name] for name in splits if splits[name] == "train"}
    for part in parts:
        again = [name for name in splits if splits[name] == part and digests[name] in train]
        if part != "train" and again:
            warnings += (
                f"{part} has {listed(again)} also in train, under another name: its score is too"
                " good.",
            )
    names = {part: [name for name in captions if splits[name] == part] for part in parts}
    return Captions(
        splits={
            part: CaptionSplit(names[part], [captions[name] for name in names[part]])
            for part in parts
        },
        pictures=pictures,
        hashes={path.name: sha256_of(path), "pictures": joint_sha256(digests)},
        warnings=warnings,
    )


def _read_captions(
    path: Path, pictures: PictureFolder
) -> tuple[dict[str, list[str]], dict[str, str], list[str]]:
    """Returns captions and split of each picture in the folder, and names that are not there."""
    by_name: dict[str, list[str]] = {}
    for name in pictures.names:
        # A set, since both are the same for a picture that is in no folder below.
        for key in {folded_name(name), folded_name(PurePosixPath(name).name)}:
            by_name.setdefault(key, []).append(name)
    captions, splits, missing = {}, {}, {}
    for line, (image, caption, split) in _read_table(path):
        names = [image] if image in pictures.names else by_name.get(folded_name(image), [])
        if len(names) > 1:
            raise UserError(
                f"{path}, caption {line}: {image} may be {names[0]} or {names[1]}; write its path"
                f" from {path.parent}."
            )
        if not names:
            missing[image] = None
            continue
        captions.setdefault(names[0], []).append(caption)
        if splits.setdefault(names[0], split) != split:
            raise UserError(
                f"{path}, caption {line}: {image} is in {split} here and in {splits[names[0]]}"
                " before; put all captions of a picture into one split."
            )
    return captions, splits, list(missing)


def _read_table(path: Path) -> list[tuple[int, tuple[str, str, str]]]:
    """Returns the number of each caption in the file, from 1, with its image, text and split."""
    try:
        # Without a header the first line decides how many cells a line has.
        table = pd.read_csv(
            path, header=None, dtype=str, keep_default_na=False, encoding="utf-8-sig"
        )
    except FileNotFoundError as error:
        raise UserError(
            f"{path.parent} has no {CAPTIONS_FILE}: add one with the first line image,caption and "
            "then a line for each caption."
        ) from error
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path} cannot be read as CSV in UTF-8 ({clean(str(error))}): put a caption that has "
            "commas between double quotes."
        ) from error
    header = [clean(str(cell)).casefold() for cell in table.iloc[0]]
    table = table.iloc[1:].set_axis(header, axis="columns")
    if not {"image", "caption"} <= set(table.columns):
        raise UserError(
            f"{path}: the first line must name the columns, image,caption or image,caption,split."
        )
    if "split" not in table:
        table["split"] = "train"
    rows = []
    for number, cells in enumerate(zip(table.image, table.caption, table.split, strict=True), 1):
        image, caption, split = (clean(cell or "") for cell in cells)
        if not image or not caption or not split_name(split.lower()):
            raise UserError(
                f"{path}, caption {number}: the image {image!r}, the caption {caption!r} or the "
                f"split {split!r} is missing or wrong; a split is train, validation or test."
            )
        rows.append((number, (image, caption, split_name(split.lower()))))
    return rows


def _part(digest: str, cut: dict[str, float], seed: int) -> str:
    """Returns the part that a picture with this SHA-256 falls into."""
    position = hashlib.blake2b(f"{seed}:{digest}".encode(), digest_size=8).digest()
    rest = int.from_bytes(position, "big") / 2**64
    for part, share in cut.items():
        if rest < share:
            return part
        rest -= share
    return "train"
