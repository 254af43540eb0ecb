"""What is computed of pictures, kept on disk and across interruptions: features, or pixels."""

import math
import os
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np

from common.errors import UserError
from common.files import atomic_folder

_FEATURES, _DONE = "features.npy", "done.bin"
_LARGEST = float(np.finfo(np.float16).max)


class FeatureStore:
    """An array with a row for each picture, filled in any order by any number of runs.

    Write what is `missing`, then read `features`. A row counts as done only after its bytes have
    reached the disk, so that a killed run or a power cut costs no more than the rows in work.

    Attributes:
        path: The folder of this store.
        shape: `(pictures, views, regions, channels)`, or whatever follows `pictures`.
        dtype: Of the array.
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
            shape: The shape of the array.
            dtype: float16 for features, uint8 for pixels.

        Raises:
            UserError: If the files are damaged, of another shape, or cannot be made.
            ValueError: If the shape has no room for anything.
        """
        if not shape or min(shape) < 1:
            raise ValueError(f"A store of shape {shape} holds nothing.")
        self.path, self.shape, self.dtype = path, tuple(shape), np.dtype(dtype)
        if not self.path.exists():
            self._make()
        try:
            self._done = np.frombuffer((self.path / _DONE).read_bytes(), dtype=np.uint8).copy()
            stored = np.load(self.path / _FEATURES, mmap_mode="r")
        except (OSError, EOFError, ValueError) as error:
            raise self._refusal(str(error)) from error
        if (found := (stored.shape, stored.dtype)) != (self.shape, self.dtype):
            expected = f"{self.shape} {self.dtype}"
            raise self._refusal(f"its shape is {found[0]} {found[1]}, not {expected}")
        if self._done.shape != self.shape[:1] or self._done.max(initial=0) > 1:
            raise self._refusal(f"{_DONE} does not fit")
        self._start = stored.offset

    def _make(self) -> None:
        """Makes both files; what is not written yet takes no space on most file systems."""
        try:
            with atomic_folder(self.path) as draft:
                np.lib.format.open_memmap(
                    draft / _FEATURES, mode="w+", dtype=self.dtype, shape=self.shape
                ).flush()
                (draft / _DONE).write_bytes(bytes(self.shape[0]))
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> UserError:
        return UserError(
            f"Cannot write {self.path} ({error.strerror or error}): make room there, or point "
            "CACHE_DIR to another folder."
        )

    def _refusal(self, reason: str) -> UserError:
        reason = " ".join(reason.split()).rstrip(".")
        return UserError(
            f"{self.path} cannot be used as a store of features ({reason}): delete this folder, "
            "then they are computed anew."
        )

    def missing(self) -> np.ndarray:
        """`<int64>(rows,)`, the rows that are not done, rising."""
        return np.flatnonzero(self._done == 0)

    def write(self, rows: np.ndarray, features: np.ndarray) -> None:
        """Writes rows and, when they are on the disk, counts them as done.

        Args:
            rows: `<int>(batch,)`.
            features: `(batch, ...)`, the rows' features, of any type if they are to be float16.

        Raises:
            UserError: If the disk is full or the store has gone.
            ValueError: If rows or shapes do not fit, pixels are not uint8, or a feature is no
                number that float16 holds.
        """
        rows, features = np.asarray(rows), np.asarray(features)
        if len(rows) and not 0 <= rows.min() <= rows.max() < self.shape[0]:
            raise ValueError(f"Rows {rows.min()} to {rows.max()} of {self.shape[0]:,}.")
        if features.shape != (len(rows), *self.shape[1:]):
            raise ValueError(f"{len(rows)} rows of {self.shape}, but features {features.shape}.")
        if self.dtype == np.uint8 and features.dtype != np.uint8:
            raise ValueError(f"Pixels are uint8, not {features.dtype}.")
        # Also false for NaN.
        if not (np.abs(features) <= _LARGEST).all():
            raise ValueError("Features are not finite, or too large for float16.")
        content = np.ascontiguousarray(features, dtype=self.dtype)
        size = content.nbytes // max(len(rows), 1)
        try:
            with (self.path / _FEATURES).open("r+b") as file:
                for row, one in zip(rows, content, strict=True):
                    file.seek(self._start + int(row) * size)
                    file.write(one.tobytes())
                _to_disk(file)
            with (self.path / _DONE).open("r+b") as file:
                for row in rows:
                    file.seek(int(row))
                    file.write(b"\x01")
                _to_disk(file)
        except OSError as error:
            raise self._unwritable(error) from error
        self._done[rows] = 1

    @property
    def features(self) -> "StoredFeatures":
        """All of them, `(pictures, views, regions, channels)`.

        Raises:
            ValueError: If rows are missing.
        """
        if missing := len(self.missing()):
            raise ValueError(f"{missing:,} of {self.shape[0]:,} rows have no features yet.")
        numbers = np.arange(math.prod(self.shape[:2])).reshape(self.shape[:2])
        return StoredFeatures(
            self.path / _FEATURES, self._start, numbers, self.shape[2:], self.dtype
        )


class StoredFeatures:
    """Features in a file, picked as from an array; they are read when they are asked for.

    Not mapped into memory: what was read of a mapped file counts as the process's own, so that
    training would seem to need as much memory as the file has bytes.

    `features[...]` picks pictures and views, and nothing is read before `np.asarray`, except for a
    single view.

    Attributes:
        shape: `(..., regions, channels)`.
        dtype: Of the features.
    """

    def __init__(
        self, path: Path, start: int, numbers: np.ndarray, view: tuple[int, ...], dtype: np.dtype
    ):
        """Takes what is picked.

        Args:
            path: The file.
            start: Byte where the first view begins.
            numbers: `<int>(...)`, the picked views, numbered as they stand in the file.
            view: Shape of each.
            dtype: Of the features.
        """
        self._path, self._start, self._numbers, self._view = path, start, numbers, view
        self.shape, self.dtype = (*numbers.shape, *view), dtype

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    def __len__(self) -> int:
        """Size of the first axis."""
        return self.shape[0]

    def __getitem__(self, key) -> "StoredFeatures | np.ndarray":
        """Picks as NumPy does, but no part of a view."""
        picked = StoredFeatures(self._path, self._start, self._numbers[key], self._view, self.dtype)
        return picked if picked._numbers.ndim else np.asarray(picked)

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        """Reads what is picked."""
        size = math.prod(self._view) * self.dtype.itemsize
        found = np.empty((self._numbers.size, size), np.uint8)
        with self._path.open("rb", buffering=0) as file:
            for number, view in zip(self._numbers.flat, found, strict=True):
                file.seek(self._start + int(number) * size)
                if file.readinto(view) != size:
                    raise UserError(f"{self._path} is too short: delete its folder.")
        return found.view(self.dtype).reshape(self.shape).astype(dtype or self.dtype, copy=False)


def _to_disk(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
