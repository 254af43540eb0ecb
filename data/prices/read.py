"""Daily prices from CSV files: which files, and every history checked, adjusted and ready."""

import dataclasses
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from common.errors import UserError
from data.download import sha256_of
from data.prices import large_us
from data.prices.files import dates_of, prices_of, read_price_table, reject, volume_of
from data.prices.yahoo import download_prices

# Shares of the price: up to the first a difference is rounding, above the second an error.
_ROUNDING = 0.002
_FAR_OUTSIDE = 0.05

_TICKER = re.compile(r"(?=.*[A-Za-z0-9])[A-Za-z0-9.^=-]{1,32}")


@dataclasses.dataclass(frozen=True)
class PriceHistory:
    """Daily prices of one ticker, oldest first, adjusted as asked.

    Attributes:
        ticker: The stem of the file's name.
        path: The file.
        dates: `<datetime64[D]>(time,)`, rising.
        open: `<float64>(time,)`, the first price of the day.
        high: `<float64>(time,)`, never below the other three.
        low: `<float64>(time,)`, never above the other three.
        close: `<float64>(time,)`; the last one is the price as quoted.
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
    adjust: str = "dividends",
    until: np.datetime64 | None = None,
    max_gap_days: int = 10,
    refresh: bool = False,
    download: Callable[..., object] = download_prices,
) -> list[PriceHistory]:
    """Loads the price histories of a folder, of one file or of Yahoo's downloads.

    Args:
        source: `"yahoo"` for the folder `prices` of `data_dir`, else the path of a folder of
            `.csv` files or of one such file.
        data_dir: Folder of downloads.
        tickers: The tickers to load. None means all files of a path, and for `"yahoo"` the set
            `data.prices.large_us`, cut to its days.
        adjust: As in `read_prices`.
        until: As in `read_prices`.
        max_gap_days: As in `read_prices`.
        refresh: Whether to download again the tickers that have a file already.
        download: Downloads tickers into a folder, as `download_prices`.

    Returns:
        The histories, sorted by ticker.

    Raises:
        UserError: If a file cannot be found, downloaded or used, or lacks days of the set.
    """
    first_days = large_us.FIRST_DAYS if large_us.is_meant(source, tickers) else {}
    if first_days:
        until = min(large_us.LAST_DAY, until or large_us.LAST_DAY)
    if source == "yahoo":
        files = _yahoo_files(data_dir / "prices", tickers or tuple(first_days), refresh, download)
    else:
        files = _files_at(source, tickers)
    histories = []
    for path in sorted(set(files), key=lambda path: path.stem):
        first = first_days.get(path.stem)
        history = read_prices(
            path, adjust=adjust, since=first, until=until, max_gap_days=max_gap_days
        )
        days = (history.dates[0], history.dates[-1])
        if first is not None and days != (first, until):
            raise UserError(
                f"{path} has the days {days[0]} to {days[1]}, but {large_us.NAME} needs {first} to"
                f" {until}: remove the file, so that it is downloaded again, or name your own"
                " --tickers."
            )
        histories.append(history)
    return histories


def _yahoo_files(
    folder: Path, tickers: Sequence[str], refresh: bool, download: Callable
) -> list[Path]:
    for ticker in tickers:
        if not _TICKER.fullmatch(ticker):
            raise UserError(
                f"{ticker!r} is no ticker of Yahoo: use letters, digits and . ^ = - only, as in "
                "AAPL, BRK-B or ^GSPC."
            )
    files = [folder / f"{ticker.upper()}.csv" for ticker in tickers]
    missing = sorted({path.stem for path in files if refresh or not path.exists()})
    if missing:
        download(missing, folder, refresh=refresh)
    return files


def _files_at(source: str, tickers: Sequence[str]) -> list[Path]:
    """The visible `.csv` files of a folder, or one such file; only those of `tickers`, if any."""
    path = Path(source).expanduser()
    files = sorted(path.glob("[!.]*")) if path.is_dir() else [path]
    files = [file for file in files if file.suffix.lower() == ".csv" and file.exists()]
    if not files:
        raise UserError(
            f'--data {source} must be "yahoo", a .csv file or a folder of .csv files: check it.'
        )
    if not tickers:
        return files
    by_name = {file.stem.upper(): file for file in files} | {file.stem: file for file in files}
    for ticker in tickers:
        if ticker not in by_name and ticker.upper() not in by_name:
            known = ", ".join(file.stem for file in files[:8]) + (" and more" if files[8:] else "")
            raise UserError(f"--data {source} has no {ticker}.csv; there are {known}.")
    return [by_name.get(ticker) or by_name[ticker.upper()] for ticker in tickers]


def read_prices(
    path: Path,
    *,
    adjust: str = "dividends",
    since: np.datetime64 | None = None,
    until: np.datetime64 | None = None,
    max_gap_days: int = 10,
) -> PriceHistory:
    """Reads, checks and adjusts the prices of one file.

    Args:
        path: A CSV file as `read_price_table` accepts it.
        adjust: `"dividends"` scales each day's prices by its Adj Close / Close, so that returns
            include dividends; the factors are divided by that of the last day kept, whose prices
            stay as quoted. `"splits"` takes the prices as they stand.
        since: Earlier days are dropped.
        until: Later days are dropped before anything is adjusted.
        max_gap_days: The longest step between two days in calendar days.

    Returns:
        The history. The day's range is widened where Open or Close lie outside it.

    Raises:
        UserError: If the file cannot be used; the message names its line.
    """
    table = read_price_table(path)
    dates = dates_of(path, table)
    kept = np.ones(len(dates), dtype=bool)
    if since is not None:
        kept &= dates >= since
    if until is not None:
        kept &= dates <= until
    table, dates = table[kept], dates[kept]
    if len(dates) < 2:
        limit = "" if until is None else f" up to {until}"
        raise UserError(f"{path} has fewer than two days of prices{limit}: add more.")
    steps = np.concatenate([[1], np.diff(dates).astype(int)])
    reject(
        path,
        table,
        steps <= 0,
        lambda row: f"{dates[row]} follows {dates[row - 1]}; sort the lines, each day once.",
    )
    reject(
        path,
        table,
        steps > max_gap_days,
        lambda row: (
            f"no prices between {dates[row - 1]} and {dates[row]}; fill the gap, cut the file "
            f"there, or allow it with --max-gap-days {steps[row]}."
        ),
    )
    open_, high, low, close = (
        prices_of(path, table, name) for name in ("Open", "High", "Low", "Close")
    )
    volume = volume_of(path, table)
    reject(
        path,
        table,
        high < low * (1 - _ROUNDING),
        lambda row: f"High {high[row]:g} is below Low {low[row]:g}; mend or remove the line.",
    )
    warnings = []
    top, bottom = np.maximum(open_, close), np.minimum(open_, close)
    outside = np.maximum(top / np.maximum(high, low), np.minimum(high, low) / bottom) - 1
    for row in np.flatnonzero(outside > _FAR_OUTSIDE):
        warnings.append(
            f"{path}, line {table.index[row]} ({dates[row]}): Open or Close is {outside[row]:.0%} "
            "outside Low to High, which is widened; check the line."
        )
    high, low = np.maximum.reduce([top, high, low]), np.minimum.reduce([bottom, high, low])
    if adjust == "dividends":
        factor = prices_of(path, table, "Adj Close") / close
        factor /= factor[-1]
        open_, high, low, close = (price * factor for price in (open_, high, low, close))
    ratio = close[1:] / close[:-1]
    for row in np.flatnonzero((ratio <= 0.5) | (ratio >= 2)) + 1:
        warnings.append(
            f"{path}, line {table.index[row]} ({dates[row]}): the close is {ratio[row - 1]:.2g} "
            "times that of the day before; if this is a split, adjust the prices before it."
        )
    return PriceHistory(
        ticker=path.stem,
        path=path,
        dates=dates,
        open=open_,
        high=high,
        low=low,
        close=close,
        volume=volume,
        warnings=tuple(warnings),
        sha256=sha256_of(path),
    )
