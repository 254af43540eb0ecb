"""Pictures with their captions: Flickr8k, or a folder of one's own with a `captions.csv`."""

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
        UserError: If the data cannot be had, read or used.
    """
    if data == "flickr8k":
        return load_flickr8k(data_dir, strict, log)
    folder = Path(data).expanduser()
    if not folder.is_dir():
        raise UserError(
            f'--data {data} is neither "flickr8k" nor a folder with pictures and a '
            f"{CAPTIONS_FILE}: check the path."
        )
    shares = {"validation": validation_share, "test": test_share}
    return load_caption_folder(folder, shares, split_seed, strict)
