"""Writes pictures of coloured shapes in Flickr8k's format, to try captioning offline.

`python -m data.pictures.sample --data-dir DIR` takes about a second. A picture shows one to
three shapes of two sizes, each in one of nine places; its five captions name shapes, colours, sizes
and the background, and say where a shape lies or how two lie to each other. All of them are true,
and hardly any caption is true of another picture, so that a model that does not look fails.
"""

import csv
import zipfile
from pathlib import Path

from common.errors import UserError
from common.files import atomic_path
from data.download import data_directory
from data.pairs.files import GENERATED_NOTE
from data.pictures.flickr8k import (
    PICTURES_FOLDER,
    PICTURES_ZIP,
    SPLIT_FILES,
    TEXT_ZIP,
    TOKENS_FILE,
    is_generated,
)
from data.pictures.own_folder import CAPTIONS_FILE
from data.pictures.scenes import scenes
from data.sample_command import sample_command

_NOTE_TEXT = "Pictures that `python -m data.pictures.sample` has made up, not Flickr8k.\n"


def write_captioning_sample(
    data_dir: Path, *, train: int = 1_200, validation: int = 150, test: int = 150, seed: int = 0
) -> Path:
    """Writes the two archives of a generated Flickr8k, which `load_captions("flickr8k")` opens.

    No scene stands in two splits.

    Args:
        data_dir: Folder of downloads to write into.
        train: Number of training pictures.
        validation: Number of validation pictures.
        test: Number of test pictures.
        seed: The same seed writes the same bytes.

    Returns:
        The folder of downloads.

    Raises:
        UserError: If it holds other pictures, which generated ones must not replace.
    """
    for path in (data_dir / PICTURES_ZIP, data_dir / TEXT_ZIP, data_dir / PICTURES_FOLDER):
        if path.exists() and not is_generated(path):
            raise UserError(f"{path} is there already: name another --data-dir.")
    rows = scenes(train + validation + test, seed=seed)
    tokens = [
        f"{name}#{number}\t{caption}"
        for name, _, _, lines in rows
        for number, caption in enumerate(lines)
    ]
    texts = {GENERATED_NOTE: _NOTE_TEXT, TOKENS_FILE: _joined(tokens)}
    names = [name for name, *_ in rows]
    for split, size in (("train", train), ("validation", validation), ("test", test)):
        texts[SPLIT_FILES[split]], names = _joined(names[:size]), names[size:]
    pictures = {f"{PICTURES_FOLDER}/{name}": picture for name, _, picture, _ in rows}
    _write_zip(data_dir / TEXT_ZIP, {name: text.encode() for name, text in texts.items()})
    _write_zip(data_dir / PICTURES_ZIP, {GENERATED_NOTE: _NOTE_TEXT.encode()} | pictures)
    return data_dir


def write_captions_folder(folder: Path, *, pictures: int = 60, seed: int = 0) -> Path:
    """Writes generated pictures as a folder of one's own, with a `captions.csv`."""
    rows = scenes(pictures, seed=seed)
    for name, _, picture, _ in rows:
        with atomic_path(folder / name) as draft:
            draft.write_bytes(picture)
    with (
        atomic_path(folder / CAPTIONS_FILE) as draft,
        draft.open("w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(("image", "caption"))
        writer.writerows((name, caption) for name, _, _, lines in rows for caption in lines)
    return folder


def _joined(lines: list[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _write_zip(path: Path, members: dict[str, bytes]) -> None:
    with atomic_path(path) as draft, zipfile.ZipFile(draft, "w") as archive:
        for name, content in members.items():
            # A time of its own would make the same seed write other bytes.
            archive.writestr(zipfile.ZipInfo(name, (2000, 1, 1, 0, 0, 0)), content)


def main() -> None:
    """Writes the sample."""
    with sample_command("Writes generated pictures with captions in Flickr8k's format.") as parser:
        parser.add_argument(
            "--folder", help="also write twelve other pictures as a folder of your own"
        )
        arguments = parser.parse_args()
        print(write_captioning_sample(data_directory(arguments.data_dir)))
        if arguments.folder:
            print(write_captions_folder(Path(arguments.folder), pictures=12, seed=1))


if __name__ == "__main__":
    main()
