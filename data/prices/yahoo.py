"""Downloads daily prices from Yahoo with yfinance, one CSV file a ticker in Yahoo's own format."""

import datetime
import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

from common.errors import UserError
from common.files import atomic_path

COLUMNS = ["Open", "High", "Low", "Close", "Adj Close", "Volume"]

_START = "1990-01-01"
# Pauses before further attempts.
_PAUSES_S = (0, 2, 4, 8)
_NOT_FOUND = 404


def download_prices(
    tickers: Sequence[str],
    folder: Path,
    *,
    refresh: bool = False,
    log: Callable[[str], None] | None = None,
) -> None:
    """Downloads the tickers that have no file yet, up to yesterday (UTC).

    Args:
        tickers: Yahoo's names, such as `AAPL` or `^GSPC`.
        folder: Where `<TICKER>.csv` is written, whole or not at all.
        refresh: Whether to replace existing files by newer ones.
        log: Takes a line for each download and each pause.

    Raises:
        UserError: If a ticker is unknown or Yahoo cannot be reached.
    """
    log = log or (lambda line: None)
    for path in dict.fromkeys(folder / f"{ticker.upper()}.csv" for ticker in tickers):
        if refresh or not path.exists():
            log(f"Downloading the prices of {path.stem} to {path}")
            table = _download(path.stem, log)
            with atomic_path(path) as draft:
                table.to_csv(draft, date_format="%Y-%m-%d")


def _download(ticker: str, log: Callable[[str], None]) -> pd.DataFrame:
    """Returns Yahoo's columns by date; days without any price are left out."""
    from yfinance import exceptions

    unknown = UserError(f"Yahoo has no prices of {ticker}: check the ticker.")
    # The last four are raised where yfinance cannot read the answer.
    failures = (exceptions.YFException, OSError, LookupError, TypeError, ValueError, AttributeError)
    for pause in _PAUSES_S:
        if pause:
            log(f"Yahoo does not answer for {ticker}; next attempt in {pause} s")
        time.sleep(pause)
        try:
            # Yahoo gives a day without trades as a row without prices.
            table = _fetch(ticker)[COLUMNS].dropna(how="all", subset=COLUMNS[:-1])
        except failures as error:
            status = getattr(getattr(error, "response", None), "status_code", None)
            if isinstance(error, exceptions.YFTickerMissingError) or status == _NOT_FOUND:
                raise unknown from error
            failure = error
            if not isinstance(error, (OSError, exceptions.YFRateLimitError)):
                break
        else:
            if table.empty:
                raise unknown
            volume = table["Volume"].fillna(0).astype("int64")
            return table.rename_axis("Date").assign(Volume=volume)
    # The HTTP library adds the address of its manual.
    reason = " ".join(f"{type(failure).__name__}: {failure}".split()).split(" See http")[0]
    raise UserError(
        f"The prices of {ticker} cannot be downloaded ({reason}): check the ticker and the "
        "connection, try again in an hour, or point --data to your own CSV files."
    ) from failure


def _fetch(ticker: str) -> pd.DataFrame:
    """Asks once, for prices adjusted for splits only, beside the adjusted close."""
    import yfinance

    # The day is over at every exchange where this date has begun in UTC and is excluded.
    today = datetime.datetime.now(datetime.UTC).date()
    # Otherwise yfinance writes its errors to its log and returns nothing.
    yfinance.config.debug.hide_exceptions = False
    logging.getLogger("yfinance").setLevel(logging.CRITICAL + 1)
    return yfinance.Ticker(ticker).history(
        start=_START,
        end=today.isoformat(),
        interval="1d",
        auto_adjust=False,
        actions=False,
    )
