"""Texts and token ids in a file instead of in memory, so that data may be larger than memory."""

import array
import contextlib
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from common.errors import UserError

# Bytes that are collected before a write.
_BUFFER = 1 << 20


class RowFile(Sequence):
    """Rows of unequal length in an unnamed temporary file, each read when it is asked for.

    The file goes with the last object that reads it, also if the process is killed. It is not
    memory-mapped: pages read from a mapping count as the memory of the process.

    Args:
        file: The file that holds the rows.
        starts: `<int64>(rows,)`, where each begins.
        sizes: `<int64>(rows,)`, the bytes of each.
        decode: Turns bytes into a row.
    """

    def __init__(  # noqa: D107
        self,
        file: BinaryIO,
        starts: np.ndarray,
        sizes: np.ndarray,
        decode: Callable[[bytes], Any],
    ):
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
        """Picks rows by number or mask, without copying the file."""
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
    with _naming(folder):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            file = tempfile.TemporaryFile(dir=folder, buffering=_BUFFER)
        except OSError:
            # The folder may be read-only; the system's folder of temporary files will do.
            file = tempfile.TemporaryFile(buffering=_BUFFER)
    sizes = array.array("q")
    for row in rows:
        with _naming(folder):
            file.write(row)
        sizes.append(len(row))
    with _naming(folder):
        # Without the buffer, which would read a whole block for each row.
        file = file.detach()
    sizes = np.array(sizes, dtype=np.int64)
    return RowFile(file, np.cumsum(sizes) - sizes, sizes, decode)


@contextlib.contextmanager
def _naming(folder: Path) -> Iterator[None]:
    """Turns a failure of the disk into a line that names the folder."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"Cannot write to {folder} ({error.strerror or error}): make room there, or point "
            "CACHE_DIR to another folder."
        ) from error
