"""Reads a table of the user's own: CSV, TSV or Parquet, every cell as a text."""

from pathlib import Path

import pandas as pd

from data.errors import DataError

SEPARATORS = {".csv": ",", ".tsv": "\t"}


def read_table(path: Path) -> pd.DataFrame:
    """Reads the columns `text`, `label` and, if it is there, `split`.

    Args:
        path: A `.csv`, `.tsv` or `.parquet` file.

    Returns:
        Stripped strings, missing values empty; rows without any are left out.

    Raises:
        DataError: If the file or a cell is not UTF-8, it cannot be parsed, or its columns cannot
            be used.
        OSError: If it cannot be read.
    """
    try:
        if path.suffix.lower() == ".parquet":
            table = pd.read_parquet(path)
        else:
            # Texts like "NA" and "null" are texts. Blank lines stay, so that rows can be counted.
            table = pd.read_csv(
                path,
                sep=SEPARATORS[path.suffix.lower()],
                dtype=str,
                keep_default_na=False,
                encoding="utf-8-sig",
                skip_blank_lines=False,
            )
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}, line {_first_undecodable_line(path)}: not UTF-8; save the file as UTF-8."
        ) from error
    except ValueError as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise DataError(f"{path} cannot be parsed ({reason}): mend the file.") from error
    if not isinstance(table.index, pd.RangeIndex) and path.suffix.lower() != ".parquet":
        raise DataError(f"{path}, row 2 has more fields than the header: quote texts with commas.")
    table = table.reset_index(drop=True).rename(columns=lambda name: str(name).strip())
    if not {"text", "label"} <= set(table.columns):
        found = ", ".join(map(repr, table.columns))
        raise DataError(f"{path} needs the columns text and label, but has {found}.")
    columns = [name for name in ("text", "label", "split") if name in table.columns]
    for name in columns:
        if list(table.columns).count(name) > 1:
            raise DataError(f"{path} has the column {name} twice: rename or remove one.")
    nested = table[columns].map(lambda cell: not pd.api.types.is_scalar(cell)).any()
    if nested.any():
        raise DataError(f"{path}: the column {nested.idxmax()} holds lists, not plain values.")
    for name in columns:
        faulty = table[name].map(lambda cell: isinstance(cell, bytes) and not _is_utf8(cell))
        if faulty.any():
            raise DataError(
                f"{path}, row {faulty.argmax() + 1}: the {name} is not UTF-8; write the column as"
                " text."
            )
    table = table[columns].apply(lambda column: column.map(_as_text))
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
