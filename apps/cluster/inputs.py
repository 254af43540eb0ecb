"""Reads many inputs one after the other, each with its number; a bad one does not end the rest."""

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from common.errors import UserError

_TABLES = {".csv": ",", ".tsv": "\t"}
_KINDS = (".txt", ".jsonl", *_TABLES, ".parquet")
# Rows of a Parquet file in memory at a time.
_ROWS = 1000
_NO_UTF8 = "not UTF-8: convert it, e.g. with iconv"


class Item(NamedTuple):
    """One input."""

    number: int
    """Line or row from 1 on, as an editor or a spreadsheet counts: a header is row 1."""
    value: str
    """Text, or the path of a picture or of a file of prices."""
    problem: str = ""
    """Why it cannot be read."""


def read_texts(path: Path, column: str) -> Iterator[Item]:
    """Yields the texts of a `.txt`, `.jsonl`, `.csv`, `.tsv` or `.parquet` file.

    Args:
        path: The file.
        column: Where the text stands, in all files but `.txt`.

    Raises:
        UserError: If the file cannot be read at all or has no such column.
    """
    kind = path.suffix.lower()
    if kind not in _KINDS:
        raise UserError(f"--input {path} must be a file that ends in {', '.join(_KINDS)}.")
    if not path.is_file():
        raise UserError(f"--input {path} does not exist or is a folder: name a file.")
    if kind == ".parquet":
        return _parquet_texts(path, column)
    if kind in _TABLES:
        return _table_texts(path, column, _TABLES[kind])
    return _line_texts(path, column if kind == ".jsonl" else "")


def read_files(folder: Path, is_wanted: Callable[[str], bool]) -> Iterator[Item]:
    """Yields the files of a folder, by name, whose names are wanted.

    Raises:
        UserError: If it is no folder or holds none.
    """
    paths = sorted(folder.iterdir()) if folder.is_dir() else []
    paths = [path for path in paths if is_wanted(path.name) and path.is_file()]
    if not paths:
        raise UserError(f"--input {folder} must be a folder that holds files to read: name one.")
    return (Item(number, str(path)) for number, path in enumerate(paths, start=1))


def _line_texts(path: Path, column: str) -> Iterator[Item]:
    with open(path, "rb") as file:
        for number, raw in enumerate(file, start=1):
            try:
                text = raw.decode("utf-8-sig" if number == 1 else "utf-8").strip()
            except UnicodeDecodeError:
                yield Item(number, "", _NO_UTF8)
                continue
            yield _from_json(number, text, column) if column else Item(number, text)


def _from_json(number: int, line: str, column: str) -> Item:
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        return Item(number, "", f"no JSON: {error}")
    return _as_item(number, record.get(column) if isinstance(record, dict) else record, column)


def _table_texts(path: Path, column: str, separator: str) -> Iterator[Item]:
    # Bytes that are no UTF-8 spoil their own row alone.
    with open(path, encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        rows = csv.reader(file, delimiter=separator)
        header = [name.strip() for name in next(rows, [])]
        place = _place(header, column, path)
        number = 1
        while True:
            number += 1
            try:
                row = next(rows, None)
            except csv.Error as error:
                yield Item(number, "", f"no {path.suffix} row: {error}")
                continue
            if row is None:
                return
            if row and len(row) != len(header):
                problem = f"{len(row)} fields where the header has {len(header)}: quote the text"
                yield Item(number, "", problem)
                continue
            yield _as_item(number, row[place] if row else "", column)


def _parquet_texts(path: Path, column: str) -> Iterator[Item]:
    from pyarrow import lib, parquet

    try:
        # Without these options the whole file is read into memory.
        with parquet.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20) as file:
            _place(file.schema_arrow.names, column, path)
            number = 0
            for batch in file.iter_batches(_ROWS, columns=[column]):
                for value in batch.column(0).to_pylist():
                    number += 1
                    yield _as_item(number, value, column)
    except (lib.ArrowException, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read ({error}): write it again.") from error


def _place(names: list[str], column: str, path: Path) -> int:
    if column not in names:
        raise UserError(
            f"{path} has no column {column}, but {', '.join(names)}: name one with --column."
        )
    return names.index(column)


def _as_item(number: int, value: Any, column: str) -> Item:
    if not isinstance(value, str):
        return Item(number, "", f"{column} holds no text")
    try:
        value.encode()
    except UnicodeEncodeError:
        return Item(number, "", _NO_UTF8)
    return Item(number, value.strip())
