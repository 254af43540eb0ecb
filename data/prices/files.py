"""Reads one CSV file of daily prices in the layouts that Yahoo, yfinance and pandas write."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from common.errors import UserError

# By their letters alone: "adj_close" is "Adj Close".
_COLUMNS = {
    "date": "Date",
    "open": "Open",
    "high": "High",
    "low": "Low",
    "close": "Close",
    "adjclose": "Adj Close",
    "volume": "Volume",
}
_OPTIONAL = ("Adj Close", "Volume")
# The first cells of the rows of column names that pandas writes for a yfinance frame.
_HEADER_LABELS = ("price", "ticker", "date")


def read_price_table(path: Path) -> pd.DataFrame:
    """Reads the cells of a price file.

    The file has the columns Date, Open, High, Low, Close and perhaps Adj Close and Volume, in any
    order and letter case, below one to three lines of column names; other columns are ignored.

    Args:
        path: A CSV file in UTF-8.

    Returns:
        The cells as texts, indexed by their line in the file, from 1.

    Raises:
        UserError: If the file cannot be read or lacks a column.
    """
    try:
        cells = pd.read_csv(
            path,
            header=None,
            dtype=str,
            keep_default_na=False,
            skipinitialspace=True,
            # A row's position gives its line.
            skip_blank_lines=False,
            encoding="utf-8-sig",
        ).fillna("")
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise UserError(
            f"{path} cannot be read as CSV in UTF-8 ({reason}): mend the file, or delete it and "
            "download it again."
        ) from error
    head = cells.head(5)
    letters = head.apply(lambda column: column.str.lower().str.replace("[^a-z]", "", regex=True))
    header = int((letters == "close").any(axis=1).to_numpy().argmax())
    names = [_COLUMNS.get(cell, "") for cell in letters.iloc[header]]
    if "Date" not in names and letters.iloc[header, 0] in ("", *_HEADER_LABELS):
        names[0] = "Date"
    for name in _COLUMNS.values():
        if names.count(name) > 1 or (name not in names and name not in _OPTIONAL):
            raise UserError(
                f"{path}, line {header + 1}: the column {name} is missing or occurs twice; write "
                "one file for each ticker, with Date,Open,High,Low,Close,Adj Close,Volume."
            )
    cells = cells.set_axis(names, axis="columns").set_axis(range(1, len(cells) + 1))
    rows = cells.iloc[header + 1 :]
    filled = (rows != "").any(axis=1) & ~rows.iloc[:, 0].str.lower().isin(_HEADER_LABELS)
    return rows.loc[filled, [name for name in _COLUMNS.values() if name in names]]


def reject(
    path: Path, table: pd.DataFrame, faulty: np.ndarray, describe: Callable[[int], str]
) -> None:
    """Raises a `UserError` about the first row where `faulty`, `<bool>(time,)`, is True."""
    if np.any(faulty):
        row = int(np.argmax(faulty))
        raise UserError(f"{path}, line {table.index[row]}: {describe(row)}")


def dates_of(path: Path, table: pd.DataFrame) -> np.ndarray:
    """The dates, `<datetime64[D]>(time,)`; a time stamp counts as its own calendar day."""
    texts = table["Date"]
    # Stamps change their offset with daylight saving: only their text has the exchange's day.
    dates = pd.to_datetime(texts.str.slice(0, 10), format="%Y-%m-%d", errors="coerce")
    reject(
        path,
        table,
        dates.isna().to_numpy(),
        lambda row: f'the date "{texts.iloc[row]}" must be written as 2020-01-31.',
    )
    return dates.to_numpy().astype("datetime64[D]")


def prices_of(path: Path, table: pd.DataFrame, name: str) -> np.ndarray:
    """A column of prices, `<float64>(time,)`, each above 0."""
    if name not in table:
        raise UserError(
            f"{path} has no column {name}, which adjusting for dividends needs: add it,"
            " as a copy of Close if there are no dividends."
        )
    values = pd.to_numeric(table[name], errors="coerce").to_numpy(dtype=np.float64)
    reject(
        path,
        table,
        ~(np.isfinite(values) & (values > 0)),
        lambda row: (
            f'{name} is "{table[name].iloc[row]}", but a price is a number above 0; mend or remove'
            " the line."
        ),
    )
    return values


def volume_of(path: Path, table: pd.DataFrame) -> np.ndarray:
    """The traded volume, `<float64>(time,)`, 0 where it is unknown."""
    if "Volume" not in table:
        return np.zeros(len(table))
    texts = table["Volume"].replace(["", "null", "nan", "NaN"], "0")
    values = pd.to_numeric(texts, errors="coerce").to_numpy(dtype=np.float64)
    reject(
        path,
        table,
        ~(np.isfinite(values) & (values >= 0)),
        lambda row: f'Volume is "{texts.iloc[row]}", but must be a number of 0 or more.',
    )
    return values
