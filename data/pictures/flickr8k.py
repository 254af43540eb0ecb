"""Flickr8k: its two archives, or the folder of its pictures, in the official splits."""

import zipfile
from collections.abc import Callable
from pathlib import Path

from common.errors import UserError
from data.download import sha256_of, unknown_files
from data.fetch import fetch
from data.pairs.files import GENERATED_NOTE, clean, read_lines
from data.pictures.read import PictureZip
from data.pictures.splits import Captions, CaptionSplit, missing_pictures

PICTURES_ZIP, TEXT_ZIP = "Flickr8k_Dataset.zip", "Flickr8k_text.zip"
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


def load_flickr8k(data_dir: Path, log: Callable[[str], None] | None) -> Captions:
    """Returns the official splits, see `data.pictures.captions.load_captions`."""
    text, place = fetch_captions(data_dir, log), data_dir / PICTURES_ZIP
    _fetch_missing(place, log)
    captions = token_captions(text)
    pictures = PictureZip(place)
    available = set(pictures.names)
    splits, missing = {}, []
    for split, file in SPLIT_FILES.items():
        # Each once, and only those with captions.
        names = dict.fromkeys(clean(line) for line in read_lines(text, member=file))
        names = [name for name in names if name in captions]
        missing += [name for name in names if name not in available]
        names = [name for name in names if name in available]
        if not names:
            raise UserError(
                f"{place} holds none of the {split} pictures that {text} names: replace both; a "
                "download is fetched again when it is deleted."
            )
        splits[split] = CaptionSplit(names, [captions[name] for name in names])
    sha256s = {path: sha256_of(path) for path in (text, place)}
    public = {path: sha256 for path, sha256 in sha256s.items() if not is_generated(path)}
    return Captions(
        splits=splits,
        pictures=pictures,
        hashes={path.name: sha256 for path, sha256 in sha256s.items()},
        warnings=(*missing_pictures(text, place, missing), *unknown_files(public, _CHECKSUMS)),
    )


def is_generated(path: Path) -> bool:
    """Returns whether a zip is one that `data.pictures.sample` has generated."""
    try:
        with zipfile.ZipFile(path) as archive:
            return GENERATED_NOTE in archive.namelist()
    except (zipfile.BadZipFile, OSError):
        return False


def fetch_captions(data_dir: Path, log: Callable[[str], None] | None = None) -> Path:
    """Returns the archive of the captions, downloaded if it is not there; pictures are not needed.

    Raises:
        UserError: If it cannot be downloaded.
    """
    _fetch_missing(data_dir / TEXT_ZIP, log)
    return data_dir / TEXT_ZIP


def _fetch_missing(path: Path, log: Callable[[str], None] | None) -> None:
    if not path.exists():
        fetch(_URL + path.name, path, checksum=_CHECKSUMS[path.name][0], log=log)


def token_captions(text: Path) -> dict[str, list[str]]:
    """Returns the captions of each picture, from lines `<picture>#<number><TAB><caption>`.

    Args:
        text: The archive of the captions.

    Raises:
        UserError: If it is damaged.
    """
    captions = {}
    for line in read_lines(text, member=TOKENS_FILE):
        key, _, caption = line.partition("\t")
        name, caption = clean(key.rpartition("#")[0]), clean(caption)
        if name and caption:
            captions.setdefault(name, []).append(caption)
    return captions
