"""Texts and token ids in a file instead of in memory, so that data may be larger than memory."""

import array
import tempfile
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from common.errors import UserError

# Bytes that are written at a time.
_TOGETHER = 1 << 20


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
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """The number of rows."""
        return len(self._starts)

    def __getitem__(self, index: int | slice) -> Any:
        """Reads a row, or a list of those of a slice."""
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        size, start = int(self._sizes[index]), int(self._starts[index])
        with self._lock:
            self._file.seek(start)
            return self._decode(self._file.read(size))

    def take(self, rows: np.ndarray) -> "RowFile":
        """Picks rows, by number or by a mask, as from an array; nothing is copied but where."""
        taken = RowFile(self._file, self._starts[rows], self._sizes[rows], self._decode)
        # One file has one position.
        taken._lock = self._lock
        return taken


def texts_on_disk(texts: Iterable[str], folder: Path) -> RowFile:
    """Puts texts into a file below `folder`.

    Raises:
        UserError: If it cannot be written.
    """
    rows = (text.encode("utf-8", "surrogatepass") for text in texts)
    return _row_file(rows, folder, lambda row: row.decode("utf-8", "surrogatepass"))


def tokens_on_disk(sequences: Iterable[np.ndarray], folder: Path) -> RowFile:
    """Puts token ids, `(time,)` int32 each, into a file below `folder`.

    Raises:
        UserError: If it cannot be written.
    """
    rows = (sequence.astype("int32", copy=False).tobytes() for sequence in sequences)
    return _row_file(rows, folder, lambda row: np.frombuffer(row, dtype="int32"))


def _row_file(rows: Iterable[bytes], folder: Path, decode: Callable[[bytes], Any]) -> RowFile:
    file, folder = _nameless_file(folder)
    sizes, pending = array.array("q"), bytearray()
    for row in rows:
        pending += row
        sizes.append(len(row))
        if len(pending) >= _TOGETHER:
            _write(file, pending, folder)
    _write(file, pending, folder)
    sizes = np.array(sizes, dtype=np.int64)
    return RowFile(file, np.cumsum(sizes) - sizes, sizes, decode)


def _nameless_file(folder: Path) -> tuple[BinaryIO, Path]:
    """Opens a file below `folder`, or, where nothing can be written, below the system's own."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryFile(dir=folder, buffering=0), folder
    except OSError:
        try:
            return tempfile.TemporaryFile(buffering=0), Path(tempfile.gettempdir())
        except OSError as error:
            raise _unwritable(folder, error) from error


def _write(file: BinaryIO, pending: bytearray, folder: Path) -> None:
    """Appends what is pending, and empties it."""
    with memoryview(pending) as left:
        start = 0
        while start < len(left):
            try:
                start += file.write(left[start:])
            except OSError as error:
                raise _unwritable(folder, error) from error
    pending.clear()


def _unwritable(folder: Path, error: OSError) -> UserError:
    return UserError(
        f"Cannot write to {folder} ({error.strerror or error}): make room there, or point CACHE_DIR"
        " to another folder."
    )
