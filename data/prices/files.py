"""Reads one CSV file of daily prices in the layouts that Yahoo, yfinance and pandas write."""

import csv
import dataclasses
import io
import itertools
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from common.errors import UserError

# The columns of Yahoo's export, by their letters alone: "adj_close" is "Adj Close".
_COLUMNS = {
    re.sub("[^a-z]", "", name.lower()): name
    for name in ("Date", "Open", "High", "Low", "Close", "Adj Close", "Volume")
}
_REQUIRED = ("Date", "Open", "High", "Low", "Close")
# What yfinance calls its rows of column names when pandas writes them.
_HEADER_LABELS = ("price", "ticker", "date")
_DATE = r"\d{4}-\d\d-\d\d(?:[ T]\d\d:\d\d(?::\d\d(?:\.\d+)?)? ?(?:Z|[+-]\d\d:?\d\d)?)?"


@dataclasses.dataclass(frozen=True)
class PriceTable:
    """The cells of a price file as texts.

    Attributes:
        path: The file.
        cells: The known columns under the names of Yahoo's export.
        lines: `<int>(time,)`, the number of each row's line in the file, from 1.
    """

    path: Path
    cells: pd.DataFrame
    lines: np.ndarray

    def select(self, chosen: np.ndarray) -> "PriceTable":
        """The rows where `chosen`, `<bool>(time,)`, is True."""
        return PriceTable(self.path, self.cells[chosen], self.lines[chosen])

    def reject(self, faulty: np.ndarray, describe: Callable[[int], str]) -> None:
        """Raises a `UserError` about the first row where `faulty`, `<bool>(time,)`, is True."""
        if faulty.any():
            row = int(np.argmax(faulty))
            raise UserError(f"{self.path}, line {self.lines[row]}: {describe(row)}")

    def dates(self) -> np.ndarray:
        """The dates, `<datetime64[D]>(time,)`; of a time stamp its own calendar day."""
        texts = self.cells["Date"]
        # Stamps change their offset with daylight saving: only their text has the exchange's day.
        days = texts.str.slice(0, 10)
        dates = pd.to_datetime(days, format="%Y-%m-%d", errors="coerce")
        faulty = dates.isna() | ~texts.str.fullmatch(_DATE)
        self.reject(
            faulty.to_numpy(),
            lambda row: f'"{texts.iloc[row]}" is no date that can be read; write it as 2020-01-31.',
        )
        return dates.to_numpy().astype("datetime64[D]")

    def prices(self, name: str) -> np.ndarray:
        """A column of positive numbers, `<float64>(time,)`."""
        if name not in self.cells:
            raise UserError(
                f"{self.path} has no column {name}, which adjusting for dividends needs: add it,"
                " as a copy of Close if there are no dividends."
            )
        values = self._numbers(name, self.cells[name])
        self.reject(
            values <= 0,
            lambda row: (
                f"{name} is {self.cells[name].iloc[row]}, but a price is above zero; mend or "
                "remove the line."
            ),
        )
        return values

    def volume(self) -> np.ndarray:
        """The traded volume, `<float64>(time,)`, 0 where the file does not know it."""
        if "Volume" not in self.cells:
            return np.zeros(len(self.cells))
        texts = self.cells["Volume"]
        values = self._numbers("Volume", texts.mask(texts.isin(["", "null", "nan", "NaN"]), "0"))
        self.reject(
            values < 0,
            lambda row: f"Volume is {texts.iloc[row]}, below zero; mend the line.",
        )
        return values

    def _numbers(self, name: str, texts: pd.Series) -> np.ndarray:
        values = pd.to_numeric(texts, errors="coerce").to_numpy(dtype=np.float64)
        self.reject(
            ~np.isfinite(values),
            lambda row: (
                f'{name} is "{texts.iloc[row]}", not a finite number; mend or remove the line.'
            ),
        )
        return values


def read_price_table(path: Path) -> PriceTable:
    """Reads the cells of a price file.

    The file has the columns Date, Open, High, Low, Close and perhaps Adj Close and Volume, in any
    order and letter case, below one to three lines of column names; other columns are ignored.

    Args:
        path: A CSV file in UTF-8.

    Raises:
        UserError: If the file cannot be read as such.
    """
    try:
        content = path.read_bytes()
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise UserError(f"Cannot read {path} ({error.strerror}): check the file.") from error
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{path}, line {line}: not UTF-8; save the file as CSV in UTF-8."
        ) from error
    if not text.strip():
        raise UserError(f"{path} is empty: delete it and download it again, or fill it.")
    try:
        names, first = _header(path, text)
        cells = pd.read_csv(
            io.BytesIO(content),
            encoding="utf-8-sig",
            header=None,
            names=range(len(names)),
            skiprows=first,
            dtype=str,
            keep_default_na=False,
            skipinitialspace=True,
            # So that a row's position tells its line.
            skip_blank_lines=False,
        )
    except (csv.Error, ValueError) as error:
        if isinstance(error, UserError):
            raise
        reason = " ".join(str(error).split()).rstrip(".")
        raise UserError(f"{path} is no CSV file of prices ({reason}): mend it.") from error
    if not isinstance(cells.index, pd.RangeIndex):
        raise UserError(
            f"{path}, line {first + 1} has more cells than the column names: write numbers "
            "without separators of thousands."
        )
    cells = cells.fillna("")
    lines = np.arange(len(cells)) + first + 1
    filled = (cells != "").any(axis=1).to_numpy()
    known = {position: name for position, name in enumerate(names) if name in _COLUMNS.values()}
    cells = cells[list(known)].rename(columns=known)
    return PriceTable(path, cells[filled], lines[filled])


def _header(path: Path, text: str) -> tuple[list[str], int]:
    """The names of the columns, as Yahoo writes them, and the number of lines before the prices."""
    rows = list(itertools.islice(csv.reader(io.StringIO(text, newline=None)), 5))
    letters = [[re.sub("[^a-z]", "", cell.lower()) for cell in row] for row in rows]
    found = next((number for number, row in enumerate(letters) if "close" in row), 0)
    names = [_COLUMNS.get(cell, cell) for cell in letters[found]]
    if "Date" not in names and names and names[0] in ("", *_HEADER_LABELS):
        names[0] = "Date"
    for name in _COLUMNS.values():
        if names.count(name) > 1:
            raise UserError(
                f"{path}, line {found + 1} names the column {name} {names.count(name)} times: "
                "write one file for each ticker."
            )
    missing = [name for name in _REQUIRED if name not in names]
    if missing:
        raise UserError(
            f"{path}, line {found + 1}: the column {missing[0]} is missing; the first line must "
            "name Date, Open, High, Low, Close, Adj Close and Volume, separated by commas."
        )
    first = found + 1
    while first < len(rows) and rows[first] and rows[first][0].lower() in _HEADER_LABELS:
        first += 1
    return names, first
