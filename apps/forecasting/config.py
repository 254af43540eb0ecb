"""The settings of the forecasting task: one field a flag, saved whole in `config.json`."""

import dataclasses
import datetime
from typing import Literal

from common.cli import split_list
from common.errors import UserError
from common.settings import (
    Cell,
    Range,
    TrainingSettings,
    Tuning,
    check_at_least,
    check_shares,
    flag,
)
from data.prices.features import GROUPS

# The losses of `models.forecasting` that each distribution can be trained on.
LOSSES = {"mixture": ("nll", "crps"), "student_t": ("nll",), "quantiles": ("pinball",)}


@dataclasses.dataclass(frozen=True)
class Config(TrainingSettings):
    """Data, model and training."""

    data: str = "yahoo"
    """`yahoo` for the folder `prices` of the downloads, or your own folder of .csv files, or one
    such file."""
    tickers: str = ""
    """Tickers, separated by commas; Yahoo's are downloaded if they have no file. Empty: all files
    of your own data; of yahoo the set large_us, 42 companies and the S&P 500 up to 2018."""
    market: str = "^GSPC"
    """Ticker of the index whose days every ticker sees; none leaves it out."""
    features: str = ",".join(GROUPS)
    """Groups of features that the model sees, separated by commas."""
    train_end: str = "2015-12-31"
    """Last day of the training split; statistics are of these days alone."""
    validation_end: str = "2016-12-31"
    """Last day of the validation split; what follows is the test split."""

    lookback: int = 128
    """Days that the model reads before a forecast."""
    horizon: int = 20
    """Trading days ahead."""
    output: Literal["every", "last"] = "every"
    """Learn from a forecast at every day of a window (many-to-many) or its last (many-to-one)."""
    stride: int = 128
    """Days between the ends of two training windows of a ticker."""
    warmup_days: int = 20
    """First days of a window, or of a whole history, that only warm up the state: no loss."""
    stateful: bool = False
    """Read each ticker's whole history in consecutive pieces of --lookback days and keep the state
    from piece to piece, instead of mixed windows (truncated backpropagation through time)."""

    cell: Cell = "lstm"
    """Kind of recurrence; feedforward has none, so each step sees itself alone."""
    units: int = 48
    """Size of the state."""
    num_layers: int = 1
    """Recurrent layers on top of each other."""
    distribution: Literal["mixture", "student_t", "quantiles"] = "mixture"
    """What a forecast is: a mixture of three Gaussians, a Student-t, or quantiles."""
    location: Literal["premium", "network"] = "premium"
    """Middle of a forecast: one learned multiple of the volatility, or computed by the network."""
    loss: Literal["nll", "crps", "pinball"] = "nll"
    """Proper score to train on: nll (mixture, student_t), crps (mixture) or pinball (quantiles)."""

    dropout: float = 0.2
    """Share of the states and, at all days of a window alike, of the features dropped."""

    batch_size: int = 8
    """Windows in one step; --stateful takes all tickers side by side instead."""
    warmup_steps: int = 60
    epochs: int = 3
    seed: int = 1
    """Of weights, cuts, order and dropout."""

    def __post_init__(self):
        """Checks the settings, alone and together."""
        super().__post_init__()
        check_at_least(1, self, "horizon", "stride", "units", "num_layers", "batch_size")
        check_at_least(2, self, "lookback")
        check_shares(self, "dropout")
        if self.output == "every" and not 0 <= self.warmup_days < self.lookback:
            raise UserError("--warmup-days must lie between 0 and --lookback - 1.")
        if self.loss not in LOSSES[self.distribution]:
            fitting = " or ".join(LOSSES[self.distribution])
            raise UserError(
                f"--distribution {self.distribution} cannot be trained on --loss {self.loss}: give"
                f" --loss {fitting}."
            )
        if self.stateful and self.cell == "feedforward":
            raise UserError("--stateful carries states, and --cell feedforward has none.")
        if self.stateful and self.output == "last":
            raise UserError("--stateful reads on from day to day: leave --output last out.")
        groups = split_list(self.features)
        if not groups or any(group not in GROUPS for group in groups):
            raise UserError(f"--features takes some of {', '.join(GROUPS)}, separated by commas.")
        ends = [as_date(getattr(self, name), name) for name in ("train_end", "validation_end")]
        if ends[0] >= ends[1]:
            raise UserError("--train-end must lie before --validation-end.")

    def ignored(self) -> dict[str, str]:
        """Returns the settings that the others leave without effect, each with the reason."""
        reasons = super().ignored()
        if self.stateful:
            reasons["stride"] = "--stateful reads whole histories, so it has no windows to cut"
            reasons["batch_size"] = "--stateful takes all tickers side by side"
        if self.output == "last":
            reasons["warmup_days"] = "--output last counts the last day of a window alone"
        if "market" not in split_list(self.features):
            reasons["market"] = "--features leaves the group market out"
        return reasons


def as_date(text: str, name: str) -> datetime.date:
    """Returns the date of a flag, written as 2015-12-31.

    Raises:
        UserError: If it is written otherwise.
    """
    try:
        date = datetime.date.fromisoformat(text)
    except ValueError:
        date = None
    # Other forms of ISO 8601, such as 20151231, would be read otherwise by NumPy.
    if date is None or date.isoformat() != text:
        raise UserError(f"{flag(name)} {text} is not a date: write it as 2015-12-31.")
    return date


# What `make tune-forecasting` varies, and the score on the validation split that judges it.
TUNING = Tuning(
    "val_loss",
    "min",
    {
        "learning_rate": Range(5e-4, 8e-3, log=True),
        "units": (16, 32, 48, 64, 96),
        "dropout": Range(0.0, 0.5),
        "batch_size": (4, 8, 16, 32),
        "cell": ("lstm", "gru"),
    },
)
