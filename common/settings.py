"""The settings that every training has, and the checks of a setting."""

import dataclasses
import math
from typing import Any, Literal

from common.errors import UserError

OptimizerName = Literal["rmsprop", "adam", "sgd"]


Cell = Literal["simple_rnn", "lstm", "gru", "feedforward"]


@dataclasses.dataclass(frozen=True)
class Range:
    """Numbers that a sweep draws from."""

    low: float
    high: float
    log: bool = False
    """Whether all orders of magnitude are as likely, instead of all numbers."""


@dataclasses.dataclass(frozen=True)
class Tuning:
    """What a sweep varies, and what it is judged by."""

    monitor: str
    """Column of `history.csv`, of the validation split."""
    mode: Literal["min", "max"]
    space: dict[str, Range | tuple]
    """Name of a setting to its range or its choices."""


@dataclasses.dataclass(frozen=True)
class TrainingSettings:
    """How to train, whatever the task; a task's `Config` adds the rest and may set other defaults.

    Raises:
        UserError: If a setting is out of range.
    """

    optimizer: OptimizerName = "adam"
    """Kind of update."""
    learning_rate: float = 2e-3
    """Peak rate."""
    schedule: Literal["constant", "cosine", "plateau"] = "cosine"
    """How the rate moves after the warm-up."""
    warmup_steps: int = 200
    """Steps until the rate has risen to its peak, at most a tenth of all."""
    clipping: Literal["none", "norm", "global_norm", "value"] = "global_norm"
    """How gradients are clipped: not at all, each by its norm, all by their common norm, or each
    entry by its value."""
    clip_threshold: float = 1.0
    """Largest norm or value that is left as it is."""
    epochs: int = 10
    """Passes over the training data."""
    patience: int = 0
    """Epochs without a better validation score before stopping; 0 never stops early."""
    jit_compile: Literal["auto", "on", "off"] = "auto"
    """Compile the step with XLA. auto: always on JAX, and elsewhere where it is thought to pay."""
    seed: int = 1
    """Of weights, order and dropout."""

    def __post_init__(self):
        """Checks what the types cannot say."""
        check_at_least(1, self, "epochs")
        check_at_least(0, self, "warmup_steps", "patience")
        for name in ("learning_rate", "clip_threshold"):
            if not 0 < getattr(self, name) < math.inf:
                raise UserError(f"{flag(name)} must be a number greater than 0.")
        check_seeds(self, "seed")

    def ignored(self) -> dict[str, str]:
        """Returns the settings that the chosen mode does not read, each with the reason."""
        reasons = {}
        if self.clipping == "none":
            reasons["clip_threshold"] = "--clipping none has no threshold"
        return reasons


def flag(name: str) -> str:
    """Returns a setting's name as it is typed."""
    return f"--{name.replace('_', '-')}"


def check_at_least(least: int, config: Any, *names: str) -> None:
    """Raises a `UserError` that names the flag if one of the settings is less than `least`."""
    for name in names:
        if not getattr(config, name) >= least:
            raise UserError(f"{flag(name)} must be at least {least}.")


def check_shares(config: Any, *names: str) -> None:
    """Raises a `UserError` that names the flag if one of the settings is not in [0, 1)."""
    for name in names:
        if not 0 <= getattr(config, name) < 1:
            raise UserError(f"{flag(name)} is a share: give a number from 0 up to, not with, 1.")


def check_seeds(config: Any, *names: str) -> None:
    """Raises a `UserError` that names the flag if one of the settings is no seed."""
    for name in names:
        if not 0 <= getattr(config, name) < 2**32:
            raise UserError(f"{flag(name)} must lie between 0 and {2**32 - 1}.")
