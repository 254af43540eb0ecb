"""The prices, the index, the features and the days of each split."""

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from apps.forecasting.config import Config, as_date
from common.cli import split_list
from common.errors import UserError
from data.download import data_directory
from data.prices import large_us
from data.prices.features import Features, build_features, days_needed
from data.prices.read import PriceHistory, load_prices

NO_MARKET = "none"
SPLITS = ("validation", "test")


@dataclasses.dataclass(frozen=True)
class Inputs:
    """Histories with their features, in the same order."""

    histories: list[PriceHistory]
    features: list[Features]
    market: PriceHistory | None
    """The index, if the model sees one and it could be read."""
    warnings: list[str]
    hashes: dict[str, str]
    """One hash of all files under the name of the data, for `metrics.json`."""


def load_inputs(
    config: Config,
    *,
    data: str,
    tickers: Sequence[str],
    data_dir: str,
    until: np.datetime64 | None = None,
    refresh: bool = False,
    market_needed: bool = False,
    log: Callable[[str], None] | None = None,
) -> Inputs:
    """Loads prices and builds their features.

    Args:
        config: Settings of the model.
        data: As the flag.
        tickers: Which ones, as in `load_prices`.
        data_dir: As the flag.
        until: Later days are left out, as if they had not happened yet.
        refresh: Download prices again that are there already.
        market_needed: Refuse to go on without the index, instead of warning.
        log: Takes a line for each download.

    Raises:
        UserError: If prices cannot be read or downloaded.
    """
    root = data_directory(data_dir)
    load = functools.partial(load_prices, data_dir=root, until=until, refresh=refresh, log=log)
    histories = load(data, tickers=tickers)
    warnings = [line for history in histories for line in history.warnings]
    groups, market = split_list(config.features), None
    if config.market != NO_MARKET and "market" in groups:
        try:
            market = _load_market(config.market, data, histories, root / "prices", load)
        except UserError as error:
            if market_needed:
                raise UserError(
                    f"There is no {config.market}.csv for the index that can be read: put one"
                    " beside the prices, name another ticker with --market, or give --market none"
                    f" ({error})."
                ) from error
            warnings.append(
                f"the index {config.market} cannot be read, so the model does not see the market"
                f" and its forecasts are less sharp ({error})"
            )
    for history in histories if market is not None else ():
        if history.dates[-1] not in market.dates:
            warnings.append(
                f"the index {market.ticker} ends on {market.dates[-1]} and does not know"
                f" {history.dates[-1]}, the last day of {history.ticker}: bring both up to date"
            )
    features = build_features(histories, groups=groups, market=market)
    name = f"prices of {len(histories)} tickers"
    if data == "yahoo" and not tickers:
        name = f"{large_us.NAME}, {name} to {large_us.LAST_DAY}"
    read = {history.ticker: history for history in [*histories, market] if history is not None}
    lines = [f"{ticker} {read[ticker].sha256}\n" for ticker in sorted(read)]
    digest = hashlib.sha256("".join(lines).encode()).hexdigest()
    return Inputs(histories, features, market, warnings, {name: digest})


def _load_market(
    ticker: str, data: str, histories: list[PriceHistory], downloads: Path, load: Callable
) -> PriceHistory:
    """Returns the index: among the histories, beside them, or from Yahoo's folder."""
    for history in histories:
        if history.ticker == ticker:
            return history
    folder = Path(data).expanduser()
    beside = (folder if folder.is_dir() else folder.parent) / f"{ticker}.csv"
    # Prices of one's own are not mixed with downloads unless these are there already.
    if data != "yahoo" and (beside.is_file() or not (downloads / beside.name).is_file()):
        return load(str(beside))[0]
    return load("yahoo", tickers=[ticker])[0]


def split_span(config: Config, split: str, last: np.datetime64) -> tuple[np.datetime64, ...]:
    """Returns the first and the last date of a split.

    Args:
        config: Whose dates part the splits.
        split: `validation`, `test` or `YYYY-MM-DD:YYYY-MM-DD`.
        last: Last date of the data.

    Raises:
        UserError: If `split` is something else.
    """
    validation_end = np.datetime64(config.validation_end)
    if split == "validation":
        return np.datetime64(config.train_end) + 1, validation_end
    if split == "test":
        return validation_end + 1, last
    first, colon, end = split.partition(":")
    if not colon:
        raise UserError(
            f"--split {split} is unknown: choose validation or test, or give dates as"
            " 2019-01-01:2020-12-31."
        )
    start, end = (np.datetime64(as_date(date, "split")) for date in (first, end))
    if start >= end:
        raise UserError(f"--split {split} ends before it begins.")
    return start, end


def training_days(
    config: Config, features: list[Features]
) -> tuple[list[Features], list[np.ndarray], list[np.ndarray]]:
    """Returns the tickers with days to train and to validate on, and these days.

    Raises:
        UserError: If no ticker has such days.
    """
    train = np.datetime64("1900-01-01"), np.datetime64(config.train_end)
    usable = []
    for ticker in features:
        spans = train, split_span(config, "validation", ticker.dates[-1])
        sizes = {"horizon": config.horizon, "lookback": config.lookback}
        days = [ticker.origins(*span, **sizes) for span in spans]
        if all(map(len, days)):
            usable.append((ticker, *days))
    if not usable:
        longest = max(features, key=lambda ticker: len(ticker.dates))
        needed = days_needed(config.lookback) + config.horizon
        raise UserError(
            f"--lookback {config.lookback} and --horizon {config.horizon} need {needed} days up to"
            f" --train-end {config.train_end} and more than {config.horizon} up to --validation-end"
            f" {config.validation_end}, but {longest.ticker}, the longest, has"
            f" {len(longest.dates)} days, {longest.dates[0]} to {longest.dates[-1]}."
        )
    return tuple(map(list, zip(*usable, strict=True)))
