"""Texts and token ids in a file instead of in memory, so that data may be larger than memory."""

import array
import os
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from data.errors import DataError


class RowFile(Sequence):
    """Rows of unequal length in a file without a name, each read when it is asked for.

    The file goes with the last object that reads it, also if the process is killed. It is not
    mapped into memory: what was read of a mapped file counts as the process's own.
    """

    def __init__(
        self,
        file: BinaryIO,
        starts: np.ndarray,
        sizes: np.ndarray,
        decode: Callable[[bytes], Any],
    ):
        """Takes what is there; `texts_on_disk` and `tokens_on_disk` make it.

        Args:
            file: What holds the rows.
            starts: `<int64>(rows,)`, where each begins.
            sizes: `<int64>(rows,)`, the bytes of each.
            decode: Turns bytes into a row.
        """
        self._file, self._starts, self._sizes, self._decode = file, starts, sizes, decode

    def __len__(self) -> int:
        """The number of rows."""
        return len(self._starts)

    def __getitem__(self, index: int | slice) -> Any:
        """Reads a row, or a list of those of a slice."""
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        size, start = int(self._sizes[index]), int(self._starts[index])
        return self._decode(os.pread(self._file.fileno(), size, start))

    def take(self, rows: np.ndarray) -> "RowFile":
        """Picks rows, by number or by a mask, as from an array; nothing is copied but where."""
        return RowFile(self._file, self._starts[rows], self._sizes[rows], self._decode)


def texts_on_disk(texts: Iterable[str], folder: Path) -> RowFile:
    """Puts texts into a file below `folder`.

    Raises:
        DataError: If it cannot be written.
    """
    rows = (text.encode("utf-8", "surrogatepass") for text in texts)
    return _row_file(rows, folder, lambda row: row.decode("utf-8", "surrogatepass"))


def tokens_on_disk(sequences: Iterable[np.ndarray], folder: Path) -> RowFile:
    """Puts token ids, `(time,)` int32 each, into a file below `folder`.

    Raises:
        DataError: If it cannot be written.
    """
    rows = (sequence.astype("int32", copy=False).tobytes() for sequence in sequences)
    return _row_file(rows, folder, lambda row: np.frombuffer(row, dtype="int32"))


def _row_file(rows: Iterable[bytes], folder: Path, decode: Callable[[bytes], Any]) -> RowFile:
    sizes = array.array("q")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = tempfile.TemporaryFile(dir=folder)
    except OSError as error:
        raise _unwritable(folder, error) from error
    for row in rows:
        try:
            file.write(row)
        except OSError as error:
            raise _unwritable(folder, error) from error
        sizes.append(len(row))
    try:
        file.flush()
    except OSError as error:
        raise _unwritable(folder, error) from error
    ends = np.cumsum(sizes, dtype=np.int64)
    return RowFile(file, ends - sizes, np.asarray(sizes), decode)


def _unwritable(folder: Path, error: OSError) -> DataError:
    return DataError(
        f"Cannot write to {folder} ({error.strerror or error}): make room there, or point CACHE_DIR"
        " to another folder."
    )
