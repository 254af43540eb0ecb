"""Flickr8k: its two archives, or the folder of its pictures, in the official splits."""

import zipfile
from collections.abc import Callable
from pathlib import Path

from common.errors import UserError
from data.download import sha256_of, unknown_files
from data.fetch import fetch
from data.pairs.files import GENERATED_NOTE, clean, read_lines
from data.pictures.read import PictureFolder, PictureZip
from data.pictures.splits import Captions, CaptionSplit, joint_sha256, missing_pictures

PICTURES_ZIP, TEXT_ZIP = "Flickr8k_Dataset.zip", "Flickr8k_text.zip"
# The archive spells its folder like this.
PICTURES_FOLDER = "Flicker8k_Dataset"
TOKENS_FILE = "Flickr8k.token.txt"
SPLIT_FILES = {
    "train": "Flickr_8k.trainImages.txt",
    "validation": "Flickr_8k.devImages.txt",
    "test": "Flickr_8k.testImages.txt",
}
# The second is that of the files behind the published figures: the same captions, and the pictures
# squashed to 224 x 224 pixels.
_CHECKSUMS = {
    TEXT_ZIP: (
        "md5:bf6c1abcb8e4a833b7f922104de18627",
        "sha256:e2f4a00a2dd4fff19ea786b8346e3bc319f69c62cab93207b8c2f0776e2b0754",
    ),
    PICTURES_ZIP: (
        "md5:f18a1e2920de5bd84dae7cf08ec78978",
        "sha256:50ee16492060a214b3ab19219fdd44e04d64a41219c627eb4c8888bea3a09ad2",
    ),
}
_URL = "https://github.com/jbrownlee/Datasets/releases/download/Flickr8k/"
_NEW = "replace it; a download comes anew when it is deleted."


def load_flickr8k(data_dir: Path, strict: bool, log: Callable[[str], None] | None) -> Captions:
    """Returns the official splits, with the pictures in the zip or, without one, in the folder.

    See `data.pictures.captions.load_captions`.
    """
    text, place = data_dir / TEXT_ZIP, data_dir / PICTURES_ZIP
    if not place.exists() and (data_dir / PICTURES_FOLDER).is_dir():
        place = data_dir / PICTURES_FOLDER
    for path, other in ((text, place), (place, text)):
        if not path.exists():
            if is_generated(other):
                raise UserError(
                    f"{path} is missing beside {other.name}, which is generated: delete that too, "
                    "or run `python -m data.pictures.sample`."
                )
            _fetch(path, log)
    captions = token_captions(text)
    pictures = PictureFolder(place) if place.is_dir() else PictureZip(place)
    there = set(pictures.names)
    splits, missing = {}, []
    for split, file in SPLIT_FILES.items():
        named = [clean(line) for line in read_lines(text, member=file)]
        # Each once, and only those with captions.
        named = [name for name in dict.fromkeys(named) if name in captions]
        names = [name for name in named if name in there]
        if not names:
            raise UserError(
                f"{text}, {file}: {place.name} holds none of the {len(named):,} captioned pictures "
                f"that it lists: {_NEW}"
            )
        missing += [name for name in named if name not in there]
        splits[split] = CaptionSplit(names, [captions[name] for name in names])
    if place.is_dir():
        pictures_hash = joint_sha256(pictures.sha256s(pictures.names))
    else:
        pictures_hash = sha256_of(place)
    sha256s = {text: sha256_of(text), place: pictures_hash}
    judged = {path: sha256 for path, sha256 in sha256s.items() if not is_generated(path)}
    return Captions(
        splits=splits,
        pictures=pictures,
        hashes={path.name: sha256 for path, sha256 in sha256s.items()},
        warnings=(
            *missing_pictures(text, place, missing, strict),
            *unknown_files(judged, _CHECKSUMS),
        ),
    )


def is_generated(path: Path) -> bool:
    """Whether a zip is one that `data.pictures.sample` has made up."""
    try:
        with zipfile.ZipFile(path) as archive:
            return GENERATED_NOTE in archive.namelist()
    except (zipfile.BadZipFile, OSError):
        return False


def fetch_captions(data_dir: Path, log: Callable[[str], None] | None = None) -> Path:
    """Returns the archive of the captions, downloaded if it is not there; pictures are not needed.

    Raises:
        UserError: If it cannot be had.
    """
    text = data_dir / TEXT_ZIP
    if not text.exists():
        _fetch(text, log)
    return text


def _fetch(path: Path, log: Callable[[str], None] | None) -> None:
    fetch(_URL + path.name, path, checksum=_CHECKSUMS[path.name][0], log=log)


def token_captions(text: Path) -> dict[str, list[str]]:
    """Returns the captions of each picture, from lines `<picture>#<number><TAB><caption>`.

    Args:
        text: The archive of the captions.

    Raises:
        UserError: If it is damaged.
    """
    captions = {}
    for number, line in enumerate(read_lines(text, member=TOKENS_FILE), start=1):
        key, _, caption = line.partition("\t")
        name, caption = clean(key.rpartition("#")[0]), clean(caption)
        if name and caption:
            captions.setdefault(name, []).append(caption)
        elif line.strip():
            raise UserError(
                f"{text}, {TOKENS_FILE}, line {number}: not <picture>#<number>, a tab and a "
                f"caption: {_NEW}"
            )
    return captions
