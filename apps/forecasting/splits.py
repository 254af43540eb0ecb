"""Which days belong to which split, and which of them are forecast from."""

import numpy as np

from apps.forecasting.config import Config, as_date
from common.errors import UserError
from data.prices.features import Features, days_needed

SPLITS = ("train", "validation", "test")
_DAY = np.timedelta64(1, "D")


def split_span(config: Config, split: str, last: np.datetime64) -> tuple[np.datetime64, ...]:
    """Returns first and last date of a split, and the day until which baselines may be fitted.

    Args:
        config: Whose dates part the splits.
        split: `train`, `validation`, `test` or `YYYY-MM-DD:YYYY-MM-DD`.
        last: Last date of the data.

    Raises:
        UserError: If `split` is something else.
    """
    train_end = np.datetime64(config.train_end)
    validation_end = np.datetime64(config.validation_end)
    if split == "train":
        return np.datetime64("1900-01-01"), train_end, train_end
    if split == "validation":
        return train_end + _DAY, validation_end, train_end
    if split == "test":
        return validation_end + _DAY, last, validation_end
    first, colon, end = split.partition(":")
    if not colon:
        raise UserError(
            f"--split {split} is unknown: choose train, validation or test, or give dates as"
            " 2019-01-01:2020-12-31."
        )
    start, end = (np.datetime64(as_date(date, "split")) for date in (first, end))
    if start >= end:
        raise UserError(f"--split {split} ends before it begins.")
    return start, end, start - _DAY


def training_days(
    config: Config, features: list[Features]
) -> tuple[list[Features], list[np.ndarray], list[np.ndarray]]:
    """Returns the tickers with days to train and to validate on, and these days.

    Raises:
        UserError: If no ticker has such days.
    """
    usable = []
    for ticker in features:
        spans = [
            ticker.origins(*split_span(config, split, ticker.dates[-1])[:2],
                        horizon=config.horizon, lookback=config.lookback)
            for split in ("train", "validation")
        ]  # fmt: skip
        if len(spans[0]) and len(spans[1]):
            usable.append((ticker, *spans))
    if not usable:
        longest = max(features, key=lambda one: len(one.dates))
        needed = days_needed(config.lookback) + config.horizon
        raise UserError(
            f"--lookback {config.lookback} and --horizon {config.horizon} need {needed} days up to"
            f" --train-end {config.train_end} and more than {config.horizon} up to --validation-end"
            f" {config.validation_end}, but {longest.ticker}, the longest, has"
            f" {len(longest.dates)} days, {longest.dates[0]} to {longest.dates[-1]}."
        )
    chosen, train_spans, validation_spans = zip(*usable, strict=True)
    return list(chosen), list(train_spans), list(validation_spans)
