"""Reads a table of the user's own: CSV, TSV or Parquet, every cell as a text."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
from pyarrow import parquet

from common.errors import UserError

SEPARATORS = {".csv": ",", ".tsv": "\t"}


_COLUMNS = ("text", "label", "split")
# Rows that are in memory at a time.
_ROWS = 10_000


def read_table(path: Path) -> Iterator[pd.DataFrame]:
    """Reads the columns `text`, `label` and, if it is there, `split`, part by part.

    Args:
        path: A `.csv`, `.tsv` or `.parquet` file.

    Yields:
        Stripped strings, missing values empty, numbered from 0 over all parts; rows without any
        are left out.

    Raises:
        UserError: If the file or a cell is not UTF-8, it cannot be parsed, or its columns cannot
            be used.
        OSError: If it cannot be read.
    """
    try:
        for part in _parts(path):
            yield _checked(part, path)
    except UserError:
        raise
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}, line {_first_undecodable_line(path)}: not UTF-8; save the file as UTF-8."
        ) from error
    except ValueError as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise UserError(f"{path} cannot be parsed ({reason}): mend the file.") from error


def _parts(path: Path) -> Iterator[pd.DataFrame]:
    """Reads some rows at a time, numbered on; an empty table is one part."""
    if path.suffix.lower() == ".parquet":
        yield from _parquet_parts(path)
        return
    # Texts like "NA" and "null" are texts. Blank lines stay, so that rows can be counted.
    with pd.read_csv(
        path,
        sep=SEPARATORS[path.suffix.lower()],
        dtype=str,
        keep_default_na=False,
        encoding="utf-8-sig",
        skip_blank_lines=False,
        chunksize=_ROWS,
    ) as parts:
        for part in parts:
            if not isinstance(part.index, pd.RangeIndex):
                raise UserError(
                    f"{path}, row 2 has more fields than the header: quote texts with commas."
                )
            yield part


def _parquet_parts(path: Path) -> Iterator[pd.DataFrame]:
    # Otherwise the whole file is in memory before the first row is there.
    with parquet.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20) as file:
        names = [name for name in file.schema_arrow.names if name.strip() in _COLUMNS]
        if not {"text", "label"} <= {name.strip() for name in names}:
            # To be named as they are.
            names = file.schema_arrow.names
        empty = file.schema_arrow.empty_table()
        batches = file.iter_batches(_ROWS, columns=names) if file.metadata.num_rows else [empty]
        start = 0
        for batch in batches:
            # Whole numbers stay whole beside gaps, also those that a float cannot hold.
            part = batch.to_pandas(integer_object_nulls=True)
            part.index = pd.RangeIndex(start, start + len(part))
            yield part
            start += len(part)


def _checked(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Returns a part with the columns that count, every cell a stripped string."""
    table = table.rename(columns=lambda name: str(name).strip())
    if not {"text", "label"} <= set(table.columns):
        found = ", ".join(map(repr, table.columns))
        raise UserError(f"{path} needs the columns text and label, but has {found}.")
    columns = [name for name in _COLUMNS if name in table.columns]
    for name in columns:
        if list(table.columns).count(name) > 1:
            raise UserError(f"{path} has the column {name} twice: rename or remove one.")
    nested = table[columns].map(lambda cell: not pd.api.types.is_scalar(cell)).any()
    if nested.any():
        raise UserError(f"{path}: the column {nested.idxmax()} holds lists, not plain values.")
    for name in columns:
        faulty = table[name].map(lambda cell: isinstance(cell, bytes) and not _is_utf8(cell))
        if faulty.any():
            raise UserError(
                f"{path}, row {faulty.idxmax() + 1}: the {name} is not UTF-8; write the column as"
                " text."
            )
    table = table[columns].apply(lambda column: column.astype(object).map(_as_text))
    return table[(table != "").any(axis=1)]


def _as_text(value: object) -> str:
    """A cell as a stripped string; integers that a gap has turned into floats are whole again."""
    if pd.isna(value):
        return ""
    if isinstance(value, bytes):
        value = value.decode("utf-8")
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip()


def _is_utf8(content: bytes) -> bool:
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _first_undecodable_line(path: Path) -> int:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not _is_utf8(line):
                return number
    return 1
