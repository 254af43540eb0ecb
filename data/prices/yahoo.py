"""Downloads daily prices from Yahoo with yfinance, one CSV file a ticker in Yahoo's own format."""

import contextlib
import datetime
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType

import pandas as pd

from common.errors import UserError
from data.download import atomic_file

COLUMNS = ("Open", "High", "Low", "Close", "Adj Close", "Volume")

_NOT_FOUND = 404
# What yfinance raises, beside its own exceptions, when it cannot make sense of Yahoo's answer.
_SENSELESS = (LookupError, TypeError, ValueError, AttributeError)


def download_prices(
    tickers: Sequence[str],
    folder: Path,
    *,
    refresh: bool = False,
    start: str = "1990-01-01",
    attempts: int = 4,
    pause_s: float = 2.0,
    sleep: Callable[[float], None] = time.sleep,
    log: Callable[[str], None] | None = None,
) -> list[Path]:
    """Downloads the tickers that have no file yet, up to yesterday (UTC).

    Today's prices are left out: while the exchange is open, they are not the day's.

    Args:
        tickers: Yahoo's names, such as `AAPL` or `^GSPC`.
        folder: Where `<TICKER>.csv` is written, wholly or not at all.
        refresh: Whether to replace the files that are there by newer ones.
        start: The first day to ask for.
        attempts: How often to try each ticker when Yahoo or the network refuses.
        pause_s: Seconds before the second attempt; each further pause is twice as long.
        sleep: What waits so many seconds.
        log: What takes a line for each download and each pause.

    Returns:
        The file of each ticker, in order.

    Raises:
        UserError: If yfinance is missing, a ticker is unknown or Yahoo cannot be reached.
    """
    paths = [folder / f"{ticker.upper()}.csv" for ticker in tickers]
    missing = [path for path in dict.fromkeys(paths) if refresh or not path.exists()]
    yfinance = _import_yfinance() if missing else None
    for path in missing:
        if log:
            log(f"Downloading the prices of {path.stem} to {path}")
        for attempt in range(1, attempts + 1):
            try:
                frame = _fetch(yfinance, path.stem, start)
                break
            except (OSError, yfinance.exceptions.YFRateLimitError) as error:
                if _is_unknown(error):
                    raise _no_prices(path.stem, path, "no such ticker") from error
                if attempt == attempts:
                    raise _unreachable(yfinance, path.stem, error) from error
            except yfinance.exceptions.YFTickerMissingError as error:
                raise _no_prices(path.stem, path, error.rationale) from error
            except (yfinance.exceptions.YFException, *_SENSELESS) as error:
                raise _unreachable(yfinance, path.stem, error) from error
            wait = pause_s * 2 ** (attempt - 1)
            if log:
                log(f"Yahoo does not answer for {path.stem}; next attempt in {wait:g} s")
            sleep(wait)
        _write(frame, path)
    return paths


def _import_yfinance() -> ModuleType:
    try:
        import yfinance
    except ImportError as error:
        raise UserError(
            f"Prices are downloaded with yfinance ({error}): run `pip install yfinance`, or point "
            "--data to your own CSV files."
        ) from error
    return yfinance


def _fetch(yfinance: ModuleType, ticker: str, start: str) -> pd.DataFrame:
    """Asks once, for prices that are adjusted for splits alone beside the adjusted close."""
    # The day is over at every exchange where this date has begun in UTC and is excluded.
    today = datetime.datetime.now(datetime.UTC).date()
    with _raising(yfinance):
        return yfinance.Ticker(ticker).history(
            start=start,
            end=today.isoformat(),
            interval="1d",
            auto_adjust=False,
            actions=False,
        )


@contextlib.contextmanager
def _raising(yfinance: ModuleType) -> Iterator[None]:
    """Lets yfinance raise its errors, which it would write to its log and forget."""
    debug, logger = yfinance.config.debug, logging.getLogger("yfinance")
    hidden, level = debug.hide_exceptions, logger.level
    debug.hide_exceptions = False
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        debug.hide_exceptions = hidden
        logger.setLevel(level)


def _is_unknown(error: Exception) -> bool:
    response = getattr(error, "response", None)
    return getattr(response, "status_code", None) == _NOT_FOUND


def _no_prices(ticker: str, path: Path, reason: str) -> UserError:
    return UserError(
        f"Yahoo has no prices of {ticker} ({_one_line(reason)}): check the ticker; nothing was "
        f"written to {path}."
    )


def _unreachable(yfinance: ModuleType, ticker: str, error: Exception) -> UserError:
    if isinstance(error, yfinance.exceptions.YFRateLimitError):
        problem, remedy = "Yahoo takes no more requests for now", "try again in an hour"
    elif isinstance(error, OSError):
        problem = f"Yahoo cannot be reached ({_one_line(error)})"
        remedy = "check the connection"
    else:
        problem = f"Yahoo's answer cannot be read ({type(error).__name__}: {_one_line(error)})"
        remedy = "check the ticker, try again later or update yfinance"
    return UserError(
        f"The prices of {ticker} cannot be downloaded: {problem}; {remedy}, point DATA_DIR / "
        "--data-dir to a filled cache, or --data to your own CSV files."
    )


def _one_line(message: object) -> str:
    # The HTTP library adds the address of its manual.
    return " ".join(str(message).split()).split(" See http")[0].rstrip(".")


def _write(frame: pd.DataFrame, path: Path) -> None:
    """Writes Yahoo's export format; days without any price are left out."""
    ticker = path.stem
    if isinstance(frame.columns, pd.MultiIndex):
        # One level names the columns, the other the ticker, in either order.
        level = 0 if "Close" in frame.columns.get_level_values(0) else 1
        frame = frame.set_axis(frame.columns.get_level_values(level), axis="columns")
    lacking = [name for name in COLUMNS if name not in frame.columns]
    if lacking and len(frame):
        raise UserError(
            f"Yahoo's answer for {ticker} has no column {lacking[0]}: update yfinance; nothing was "
            f"written to {path}."
        )
    frame = frame.dropna(how="all", subset=[name for name in COLUMNS[:-1] if name in frame])
    if frame.empty:
        raise _no_prices(ticker, path, "its answer is empty")
    table = frame[list(COLUMNS)].assign(Volume=frame["Volume"].fillna(0).astype("int64"))
    table.index = pd.Index([stamp.strftime("%Y-%m-%d") for stamp in frame.index], name="Date")
    try:
        with atomic_file(path) as draft:
            table.to_csv(draft)
    except OSError as error:
        raise UserError(
            f"Cannot write {path} ({error.strerror}): make room there, or point DATA_DIR / "
            "--data-dir to another folder."
        ) from error
