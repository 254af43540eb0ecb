"""The prices, the index and the features that training, evaluation and prediction share."""

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from apps.forecasting.config import Config
from common.cli import split_list
from common.errors import UserError
from data.download import data_directory
from data.prices import large_us
from data.prices.features import Features, build_features
from data.prices.read import PriceHistory, load_prices
from data.prices.yahoo import download_prices

NO_MARKET = "none"


@dataclasses.dataclass(frozen=True)
class Inputs:
    """Histories with their features, in the same order."""

    histories: list[PriceHistory]
    features: list[Features]
    market: PriceHistory | None
    """The index, if the model sees one and it could be read."""
    warnings: list[str]
    """One line each."""
    name: str
    """Of the data, for `metrics.json`."""

    def hashes(self) -> dict[str, str]:
        """Returns one hash of all files, under the name."""
        files = {history.ticker: history for history in self.histories}
        if self.market is not None:
            files[self.market.ticker] = self.market
        lines = [f"{ticker} {files[ticker].sha256}\n" for ticker in sorted(files)]
        digest = hashlib.sha256("".join(lines).encode()).hexdigest()
        return {self.name: digest}


def load_inputs(
    config: Config,
    *,
    data: str,
    tickers: Sequence[str],
    data_dir: str,
    until: np.datetime64 | None = None,
    refresh: bool = False,
    log: Callable[[str], None] | None = None,
) -> Inputs:
    """Loads prices and builds their features.

    Args:
        config: Settings of the model.
        data: As the flag.
        tickers: Which ones, as in `load_prices`.
        data_dir: As the flag.
        until: Later days are left out, as if they had not happened yet.
        refresh: Download prices anew that are there already.
        log: What takes a line for each download.

    Raises:
        UserError: If prices cannot be read or downloaded.
    """
    options = {
        "until": until,
        "refresh": refresh,
        "download": functools.partial(download_prices, log=log),
    }
    root = data_directory(data_dir)
    histories = load_prices(data, data_dir=root, tickers=tickers, **options)
    warnings = [line for history in histories for line in history.warnings]
    market = None
    groups = split_list(config.features)
    if config.market != NO_MARKET and "market" in groups:
        try:
            market = _market(config.market, data, histories, root, options)
        except UserError as error:
            warnings.append(
                f"the index {config.market} cannot be had, so the model does not see the market and"
                f" its forecasts are less sharp ({error})"
            )
    for history in histories if market is not None else ():
        if history.dates[-1] not in market.dates:
            warnings.append(
                f"the index {market.ticker} ends on {market.dates[-1]} and does not know"
                f" {history.dates[-1]}, the last day of {history.ticker}: bring both up to date"
            )
    features = build_features(histories, groups=groups, market=market)
    name = f"prices of {len(histories)} tickers"
    if large_us.is_meant(data, tickers):
        name = f"{large_us.NAME}, {name} to {large_us.LAST_DAY}"
    return Inputs(histories, features, market, warnings, name)


def _market(
    ticker: str, data: str, histories: list[PriceHistory], root: Path, options: dict
) -> PriceHistory:
    """Returns the index: among the histories, beside them, or from Yahoo's folder."""
    for history in histories:
        if history.ticker == ticker:
            return history
    folder = Path(data).expanduser()
    if data != "yahoo":
        beside = (folder if folder.is_dir() else folder.parent) / f"{ticker}.csv"
        downloaded = root / "prices" / beside.name
        if beside.is_file() or not downloaded.is_file():
            return load_prices(str(beside), data_dir=root, **options)[0]
    return load_prices("yahoo", data_dir=root, tickers=[ticker], **options)[0]


def check_market(config: Config, inputs: Inputs) -> None:
    """Makes sure that a training sees the index that its settings name.

    Raises:
        UserError: If it does not.
    """
    if inputs.market is None and config.market != NO_MARKET and "market" in config.features:
        reason = next(line for line in inputs.warnings if line.startswith("the index"))
        raise UserError(
            f"There is no {config.market}.csv for the index that can be read: put one beside the"
            f" prices, name another ticker with --market, or give --market none ({reason})."
        )
