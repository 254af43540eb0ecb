"""The film reviews of IMDB, which TensorFlow Datasets downloads (Maas et al., 2011)."""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd

from common.errors import UserError
from common.files import atomic_folder
from data.download import import_tfds, prepare_tfds, sha256_of
from data.row_files import RowFile, texts_on_disk

NAME = "imdb_reviews/plain_text:1.0.0"
FOLDER = Path("imdb_reviews", "plain_text", "1.0.0")
_HOST = "http://ai.stanford.edu/"
_SPLITS = {"train": "train", "test": "test", "unsupervised": "unlabelled"}


def read_imdb(
    root: Path, cache_dir: Path
) -> tuple[dict[str, tuple[RowFile, np.ndarray]], dict[str, str]]:
    """Reads IMDB; after the first time from Parquet files, without TensorFlow.

    Args:
        root: The `data_dir` of TensorFlow Datasets, where it is downloaded if it is missing.
        cache_dir: Folder of derived files.

    Returns:
        splits: The texts and the labels, `(batch,)` int32, -1 if unlabelled, by split.
        hashes: The SHA-256 of each source file, by its name.

    Raises:
        UserError: If it cannot be downloaded or read.
    """
    folder = root / FOLDER
    if not folder.exists():
        prepare_tfds(NAME, root, host=_HOST)
    hashes = {path.name: sha256_of(path) for path in sorted(folder.glob("*.tfrecord*"))}
    digest = hashlib.sha256("".join(hashes.values()).encode()).hexdigest()
    cached = cache_dir / f"imdb_reviews-{digest[:12]}"
    if not cached.exists():
        frames = _read_prepared(root)
        try:
            with atomic_folder(cached) as draft:
                for split, frame in frames.items():
                    path = draft / f"{split}.parquet"
                    frame.to_parquet(path, index=False, write_page_checksum=True)
        except OSError as error:
            raise UserError(
                f"Cannot write {cached} ({error.strerror or error}): make room there, or point "
                "CACHE_DIR to another folder."
            ) from error
    splits = {}
    for name, split in _SPLITS.items():
        path = cached / f"{name}.parquet"
        try:
            frame = pd.read_parquet(path, page_checksum_verification=True)
        except (OSError, ValueError) as error:
            raise UserError(f"{path} is damaged: delete the folder {cached}, run again.") from error
        labels = frame["label"].to_numpy(dtype=np.int32)
        splits[split] = texts_on_disk(frame["text"], cache_dir), labels
    return splits, hashes


def _read_prepared(root: Path) -> dict[str, pd.DataFrame]:
    """Reads a frame with the columns `text` and `label` for each split."""
    tfds, tensorflow = import_tfds()
    frames = {}
    try:
        builder = tfds.builder(NAME, data_dir=root)
        for split in _SPLITS:
            batches = tfds.as_numpy(builder.as_dataset(split=split, batch_size=1_000))
            frame = pd.concat([pd.DataFrame(batch) for batch in batches], ignore_index=True)
            if len(frame) != builder.info.splits[split].num_examples:
                raise ValueError(f"reviews are missing in {split}")
            frames[split] = frame.assign(text=frame["text"].str.decode("utf-8"))[["text", "label"]]
    except (tensorflow.errors.OpError, OSError, ValueError, KeyError) as error:
        folder = root / FOLDER
        raise UserError(f"{folder} is damaged: delete the folder and run again.") from error
    return frames
