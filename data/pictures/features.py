"""Keeps what is computed of pictures on disk and across interruptions: features, or pixels."""

import os
from pathlib import Path
from typing import Literal

import numpy as np

from common.errors import UserError
from common.files import atomic_folder

_FEATURES, _DONE = "features.npy", "done.npy"


class FeatureStore:
    """An array with a row for each picture, mapped from a file and filled by any number of runs.

    Write what is `missing`, then read `features`. A row counts as done only after its bytes have
    reached the disk, so a run that is killed loses no more than the rows it was writing.
    """

    def __init__(
        self,
        path: Path,
        *,
        shape: tuple[int, ...],
        dtype: Literal["float16", "uint8"] = "float16",
    ):
        """Opens the store, or makes an empty one.

        Args:
            path: Its folder, of a name that tells all that the features depend on.
            shape: `(pictures, ...)`, the shape of the array.
            dtype: float16 for features, uint8 for pixels.

        Raises:
            UserError: If the files are damaged, of another shape, or cannot be made.
        """
        self._path = path
        if not path.exists():
            try:
                with atomic_folder(path) as draft:
                    # What is not written yet takes no space on most file systems.
                    _create(draft / _FEATURES, shape, dtype)
                    _create(draft / _DONE, shape[:1], "bool")
            except OSError as error:
                raise self._unwritable(error) from error
        try:
            self._features = np.load(path / _FEATURES, mmap_mode="r")
            self._done = np.load(path / _DONE, mmap_mode="r")
        except (OSError, EOFError, ValueError) as error:
            raise self._unusable(str(error)) from error
        if self._features.shape != shape or self._done.shape != shape[:1]:
            raise self._unusable(f"its shape is {self._features.shape}, not {shape}")

    def missing(self) -> np.ndarray:
        """Returns `<int64>(rows,)`, the rows that are not done, rising."""
        return np.flatnonzero(~self._done)

    def write(self, rows: np.ndarray, features: np.ndarray) -> None:
        """Writes rows and, when they are on the disk, counts them as done.

        Args:
            rows: `<int>(batch,)`.
            features: `(batch, ...)`, the rows' features.

        Raises:
            UserError: If the disk is full.
            ValueError: If a feature is not a number that float16 holds.
        """
        with np.errstate(over="ignore"):
            features = np.asarray(features).astype(self._features.dtype)
        if not np.isfinite(features).all():
            raise ValueError("Features are not finite, or too large for float16.")
        try:
            _write_rows(self._path / _FEATURES, self._features, rows, features)
            _write_rows(self._path / _DONE, self._done, rows, np.ones(len(rows), bool))
        except OSError as error:
            raise self._unwritable(error) from error

    @property
    def features(self) -> np.ndarray:
        """All features, `(pictures, ...)`, which cannot be written to and are read when used.

        Raises:
            ValueError: If rows are missing.
        """
        if count := len(self.missing()):
            raise ValueError(f"{count:,} of {len(self._done):,} rows have no features yet.")
        return self._features

    def _unwritable(self, error: OSError) -> UserError:
        return UserError(
            f"Cannot write {self._path} ({error.strerror or error}): make room there, or point "
            "CACHE_DIR to another folder."
        )

    def _unusable(self, reason: str) -> UserError:
        return UserError(
            f"{self._path} cannot be used as a store of features ({reason}): delete this folder, "
            "then they are computed again."
        )


def _create(path: Path, shape: tuple[int, ...], dtype: str) -> None:
    np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape).flush()


def _write_rows(path: Path, mapped: np.memmap, rows: np.ndarray, content: np.ndarray) -> None:
    """Writes rows of an array to its file, not to its map: a full disk would kill the process."""
    with path.open("r+b") as file:
        for row, values in zip(rows, content, strict=True):
            file.seek(mapped.offset + int(row) * values.nbytes)
            file.write(values.tobytes())
        file.flush()
        os.fsync(file.fileno())
