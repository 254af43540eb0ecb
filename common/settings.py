"""The settings of every training and search, their checks, and their way to a file and back."""

import dataclasses
import math
import shlex
import typing
from pathlib import Path
from typing import Any, Literal

from common.cli import split_list
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
    """How to train, whatever the task; a task's `Config` adds the rest and other defaults."""

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
        """Raises a `UserError` that names the flag if a setting is out of range."""
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


def command_of(config: Any, *, prog: str) -> str:
    """Returns the command that trains with these settings, the defaults and the seed left out."""
    words = [prog]
    default = dataclasses.asdict(type(config)())
    for name, value in dataclasses.asdict(config).items():
        if value == default[name] or name == "seed":
            continue
        if isinstance(value, bool):
            words.append(flag(name) if value else flag(f"no_{name}"))
        else:
            values = value if isinstance(value, tuple) else [value]
            words += [flag(name), *(shlex.quote(str(item)) for item in values)]
    return " ".join(words)


def config_from_flags(config_class: type, values: dict[str, Any], source: Path) -> Any:
    """Builds a settings dataclass from what a `config.json` holds.

    A setting that a newer version added takes its default.

    Raises:
        UserError: If `source` holds a setting that does not exist, or a value of another type.
    """
    types = typing.get_type_hints(config_class)
    if unknown := sorted(values.keys() - types.keys()):
        raise UserError(f"{source} holds settings that do not exist: {', '.join(unknown)}.")
    typed = {name: _as_type(value, types[name]) for name, value in values.items()}
    for name, value in typed.items():
        if value is None:
            raise UserError(f"{source}: {name} cannot be {values[name]!r}; restore the file.")
    return config_class(**typed)


def _as_type(value: Any, kind: Any) -> Any:
    """Returns a value of JSON as a setting's type has it, None if it is of another type."""
    if typing.get_origin(kind) is tuple:
        (item, _) = typing.get_args(kind)
        # Settings that take several values now once took one.
        values = tuple(value) if isinstance(value, list | tuple) else (value,)
        return values if all(type(element) is item for element in values) else None
    if typing.get_origin(kind) is Literal:
        return value if value in typing.get_args(kind) else None
    is_number = kind is float and type(value) is int
    return value if type(value) is kind or is_number else None


@dataclasses.dataclass(frozen=True)
class Search:
    """How a decoder searches, as the flags of `predict` set it; names as in `build_generator`."""

    method: Literal["beam", "greedy", "sample"] = "beam"
    beam_size: int = 5
    length_penalty: float = 1.0
    n_best: int = 1
    temperature: float = 1.0
    top_k: int = 0
    seed: int = 0

    def __post_init__(self):
        """Checks what the types cannot say.

        Raises:
            UserError: If the settings contradict each other.
        """
        check_at_least(1, self, "beam_size", "n_best")
        check_at_least(0, self, "length_penalty", "top_k")
        check_seeds(self, "seed")
        if not 0 < self.temperature < math.inf:
            raise UserError("--temperature must be above 0; towards 0 it is --method greedy.")
        for name, default in (("temperature", 1.0), ("top_k", 0)):
            if self.method != "sample" and getattr(self, name) != default:
                raise UserError(f"{flag(name)} is for --method sample alone: leave it out.")
        if self.method == "greedy" and self.n_best > 1:
            raise UserError("--method greedy writes one sequence: leave --n-best out.")
        if self.method == "beam" and self.n_best > self.beam_size:
            raise UserError(
                f"--n-best {self.n_best} is more than the beam of {self.beam_size}: raise"
                " --beam-size."
            )

    @classmethod
    def of(cls, config: Any, **given) -> "Search":
        """Returns the search that a run was set up with, but for what is `given` and not None."""
        given = {name: value for name, value in given.items() if value is not None}
        settings = {"beam_size": config.beam_size, "length_penalty": config.length_penalty}
        return cls(**{**settings, **given})


def parse_beam_sizes(text: str) -> tuple[int, ...]:
    """Returns the beams that `--beam-sizes` names, such as `1,2,5`.

    Raises:
        UserError: If it holds anything but numbers from 1, separated by commas.
    """
    try:
        sizes = tuple(map(int, split_list(text)))
    except ValueError:
        sizes = (0,)
    if any(size < 1 for size in sizes):
        raise UserError(f"--beam-sizes {text} must be numbers from 1, separated by commas.")
    return sizes
