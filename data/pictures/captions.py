"""Pictures with their captions: Flickr8k, or your own folder with a `captions.csv`."""

from collections.abc import Callable
from pathlib import Path

from common.errors import UserError
from data.pictures.flickr8k import load_flickr8k
from data.pictures.own_folder import CAPTIONS_FILE, load_caption_folder
from data.pictures.splits import Captions


def load_captions(
    data: str,
    *,
    data_dir: Path,
    validation_share: float = 0.1,
    test_share: float = 0.1,
    split_seed: int = 0,
    log: Callable[[str], None] | None = None,
) -> Captions:
    """Loads captions and finds the pictures that they name; no picture is decoded yet.

    Args:
        data: `"flickr8k"` in its official splits, or a folder, see `load_caption_folder`.
        data_dir: Folder of downloads: `Flickr8k_text.zip` and `Flickr8k_Dataset.zip`.
        validation_share: Share of the pictures to validate on, where the source names none.
        test_share: Share of the pictures to test on, where the source names none.
        split_seed: Another seed makes another cut.
        log: Takes a line for each download.

    Raises:
        UserError: If the data cannot be downloaded, read or used.
    """
    if data == "flickr8k":
        return load_flickr8k(data_dir, log)
    folder = Path(data).expanduser()
    if not folder.is_dir():
        raise UserError(
            f'--data {data} must be "flickr8k" or a folder with pictures and a {CAPTIONS_FILE}: '
            "check the path."
        )
    return load_caption_folder(
        folder, {"validation": validation_share, "test": test_share}, split_seed
    )
