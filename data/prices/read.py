"""Daily prices from CSV files: which files, and every history checked, adjusted and ready."""

import dataclasses
import hashlib
import io
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from common.errors import UserError
from data.prices import large_us
from data.prices.yahoo import download_prices

_TICKER = re.compile(r"(?=.*[A-Za-z0-9])[A-Za-z0-9.^=-]{1,32}")
_PRICES = ("open", "high", "low", "close")
# Calendar days between two days of prices; more is worth a warning.
_MOST_GAP_DAYS = 10


@dataclasses.dataclass(frozen=True)
class PriceHistory:
    """Daily prices of one ticker, oldest first, adjusted for dividends.

    Attributes:
        ticker: The stem of the file's name.
        path: The file.
        dates: `<datetime64[D]>(time,)`, rising.
        open, high, low, close: `<float64>(time,)`; the last close is the price as quoted.
        volume: `<float64>(time,)`, 0 where it is unknown.
        warnings: One line for each day that a user should look at.
        sha256: The hash of the whole file.
    """

    ticker: str
    path: Path
    dates: np.ndarray
    open: np.ndarray
    high: np.ndarray
    low: np.ndarray
    close: np.ndarray
    volume: np.ndarray
    warnings: tuple[str, ...]
    sha256: str


def load_prices(
    source: str,
    *,
    data_dir: Path,
    tickers: Sequence[str] = (),
    until: np.datetime64 | None = None,
    refresh: bool = False,
    log: Callable[[str], None] | None = None,
) -> list[PriceHistory]:
    """Returns the price histories of a folder, of one file or of Yahoo's downloads, by ticker.

    Args:
        source: `"yahoo"` for the folder `prices` of `data_dir`, else the path of a folder of
            `.csv` files or of one such file.
        data_dir: Folder of downloads.
        tickers: The tickers to load. Empty means all files of a path, and for `"yahoo"` the set
            `data.prices.large_us`, cut to its days.
        until: Later days are dropped.
        refresh: Whether to download again the tickers that have a file already.
        log: Takes a line for each download.

    Raises:
        UserError: If a file cannot be found, downloaded or used, or lacks days of the set.
    """
    first_days = large_us.FIRST_DAYS if source == "yahoo" and not tickers else {}
    if first_days:
        until = min(large_us.LAST_DAY, until or large_us.LAST_DAY)
    if source == "yahoo":
        tickers, folder = tickers or tuple(first_days), data_dir / "prices"
        _check_tickers(tickers)
        download_prices(tickers, folder, refresh=refresh, log=log)
        files = [folder / f"{ticker.upper()}.csv" for ticker in tickers]
    else:
        files = _files_at(source, tickers)
    histories = []
    for path in sorted(set(files), key=lambda path: path.stem):
        first = first_days.get(path.stem)
        history = read_prices(path, since=first, until=until)
        days = (history.dates[0], history.dates[-1])
        if first is not None and days != (first, until):
            raise UserError(
                f"{path} has the days {days[0]} to {days[1]}, but {large_us.NAME} needs {first} to"
                f" {until}: remove the file, so that it is downloaded again, or name your own"
                " --tickers."
            )
        histories.append(history)
    return histories


def _check_tickers(tickers: Sequence[str]) -> None:
    """Raises a `UserError` if a ticker could name a file outside the folder of downloads."""
    for ticker in tickers:
        if not _TICKER.fullmatch(ticker):
            raise UserError(
                f"{ticker!r} is not a ticker of Yahoo: use letters, digits and . ^ = - only, as in"
                " AAPL, BRK-B or ^GSPC."
            )


def _files_at(source: str, tickers: Sequence[str]) -> list[Path]:
    """Returns the visible `.csv` files of a folder, or one such file; only those of `tickers`."""
    path = Path(source).expanduser()
    files = sorted(path.glob("[!.]*")) if path.is_dir() else [path]
    files = {file.stem.upper(): file for file in files if file.suffix.lower() == ".csv"}
    if not any(file.exists() for file in files.values()):
        raise UserError(
            f'--data {source} must be "yahoo", a .csv file or a folder of .csv files: check it.'
        )
    for ticker in tickers:
        if ticker.upper() not in files:
            names = ", ".join(list(files)[:8]) + (" and more" if len(files) > 8 else "")
            raise UserError(f"--data {source} has no {ticker}.csv; there are {names}.")
    return [files[ticker.upper()] for ticker in tickers or files]


def read_prices(
    path: Path,
    *,
    since: np.datetime64 | None = None,
    until: np.datetime64 | None = None,
    content: bytes | None = None,
) -> PriceHistory:
    """Returns the prices of one file, adjusted for dividends.

    The file has the columns Date, Open, High, Low, Close and perhaps Adj Close and Volume. Each
    day's prices are scaled by its Adj Close / Close, divided by that of the last day kept, whose
    prices stay as quoted. The day's range is widened where Open or Close lie outside it.

    Args:
        path: A CSV file in UTF-8.
        since: Earlier days are dropped.
        until: Later days are dropped before prices are adjusted.
        content: The bytes of the file, if it is not on disk; `path` is only its name then.

    Raises:
        UserError: If the file cannot be used.
    """
    try:
        content = path.read_bytes() if content is None else content
        table = pd.read_csv(
            io.BytesIO(content), dtype=str, encoding="utf-8-sig", skipinitialspace=True
        )
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise UserError(
            f"{path} cannot be read as CSV in UTF-8 ({reason}): correct the file, or delete it and"
            " download it again."
        ) from error
    table = _with_plain_names(path, table)
    # Stamps change their offset with daylight saving: only their text has the exchange's day.
    days = pd.to_datetime(table["date"].str.slice(0, 10), format="%Y-%m-%d", errors="coerce")
    if days.isna().any():
        text = table["date"][days.isna()].iloc[0]
        raise UserError(f'{path}: the date "{text}" must be written as 2020-01-31.')
    kept = (days >= pd.Timestamp(since or days.min())) & (days <= pd.Timestamp(until or days.max()))
    table, dates = table[kept], days[kept].to_numpy().astype("datetime64[D]")
    if len(dates) < 2:
        limit = f" up to {until}" if until else ""
        raise UserError(f"{path} has fewer than two days of prices{limit}: add more.")
    steps = np.diff(dates).astype(int)
    if steps.min() <= 0:
        row = int(np.argmin(steps > 0))
        raise UserError(
            f"{path}: {dates[row + 1]} follows {dates[row]}; sort the lines, each day once."
        )
    columns = [_prices(path, table, name) for name in _PRICES]
    open_, _, _, close = columns
    high, low = np.maximum.reduce(columns), np.minimum.reduce(columns)
    adjusted = _prices(path, table, "adjclose" if "adjclose" in table else "close")
    factor = adjusted / close
    factor /= factor[-1]
    volume = table.get("volume", pd.Series("0", table.index))
    return PriceHistory(
        ticker=path.stem,
        path=path,
        dates=dates,
        open=open_ * factor,
        high=high * factor,
        low=low * factor,
        close=close * factor,
        volume=pd.to_numeric(volume, errors="coerce").fillna(0).to_numpy(np.float64),
        warnings=_warnings(path, dates, close * factor),
        sha256=hashlib.sha256(content).hexdigest(),
    )


def _with_plain_names(path: Path, table: pd.DataFrame) -> pd.DataFrame:
    """Returns the cells under names of lower-case letters, without yfinance's further headings."""
    names = [re.sub("[^a-z]", "", str(name).lower()) for name in table.columns]
    if "date" not in names and names[0] in ("price", "ticker", "unnamed"):
        names[0] = "date"
    for name in ("date", *_PRICES):
        if names.count(name) != 1:
            raise UserError(
                f"{path}: the column {name.title()} is missing or occurs twice; write one file for"
                " each ticker, with Date,Open,High,Low,Close,Adj Close,Volume."
            )
    table = table.set_axis(names, axis="columns").dropna(how="all")
    # yfinance writes up to three lines of column names.
    headings = table["date"].fillna("").str.lower().isin(["ticker", "date"])
    return table[~headings].assign(date=table["date"].fillna(""))


def _prices(path: Path, table: pd.DataFrame, name: str) -> np.ndarray:
    """Returns a column of prices, `<float64>(time,)`, each above 0."""
    values = pd.to_numeric(table[name], errors="coerce").to_numpy(dtype=np.float64)
    faulty = ~(np.isfinite(values) & (values > 0))
    if faulty.any():
        row = table.iloc[int(np.argmax(faulty))]
        raise UserError(
            f'{path}, {row["date"]}: {name.title()} is "{row[name]}", but a price is a number above'
            " 0; correct or remove the line."
        )
    return values


def _warnings(path: Path, dates: np.ndarray, close: np.ndarray) -> tuple[str, ...]:
    """Returns a line for each long gap and for each day that looks like a split."""
    steps, ratio = np.diff(dates).astype(int), close[1:] / close[:-1]
    gaps = [
        f"{path} has no prices between {dates[row]} and {dates[row + 1]}; fill the gap, or cut the"
        " file there."
        for row in np.flatnonzero(steps > _MOST_GAP_DAYS)
    ]
    splits = [
        f"{path}, {dates[row + 1]}: the close is {ratio[row]:.2g} times that of the day before; if"
        " this is a split, adjust the prices before it."
        for row in np.flatnonzero((ratio <= 0.5) | (ratio >= 2))
    ]
    return (*gaps, *splits)
