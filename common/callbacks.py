"""The callbacks of every training: stop on NaN, keep the best epoch, write history and state."""

import csv
import io
import json
import math
import time
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np
from keras import ops

from common.device import random_states, set_random_states
from common.errors import UserError
from common.files import atomic_path, write_text
from common.results import history_rows


class StopOnNaN(keras.callbacks.Callback):
    """Ends `fit` with a `UserError` as soon as a loss is not finite.

    Put it first, so that no other callback saves anything of such an epoch.
    """

    # JAX may run ahead of the check; without this it would wait for every loss.
    async_safe = True

    def on_epoch_begin(self, epoch, logs=None):
        """Remembers the epoch for the message."""
        self._epoch = epoch + 1

    def on_train_batch_end(self, batch, logs=None):
        """Checks the running mean of the training loss."""
        self._check("loss", logs, f"step {batch + 1} of epoch {self._epoch}")

    def on_epoch_end(self, epoch, logs=None):
        """Checks both losses: the last update is seen by the validation only."""
        for name in ("loss", "val_loss"):
            self._check(name, logs, f"epoch {epoch + 1}")

    def _check(self, name: str, logs: dict[str, float] | None, when: str) -> None:
        value = (logs or {}).get(name, 0.0)
        if not math.isfinite(value):
            raise UserError(
                f"Training diverged: {name} is {value} in {when}. Lower --learning-rate or clip"
                " gradients (--clipping global_norm); what earlier epochs saved is untouched."
            )


class Patience:
    """Counts in `waited` the epochs since a logged metric was last better than ever before."""

    def __init__(self, monitor: str, mode: Literal["min", "max"]):
        """Takes the metric's name in `logs`, and whether a lower or a higher value is better."""
        self.monitor = monitor
        self.mode = mode
        self.best: float | None = None
        self.waited = 0

    def update(self, logs: dict[str, float]) -> bool:
        """Takes in an epoch's metrics and returns whether it is the best; NaN never is."""
        value = float(logs[self.monitor])
        if self.best is None:
            better = not math.isnan(value)
        else:
            better = value < self.best if self.mode == "min" else value > self.best
        self.best = value if better else self.best
        self.waited = 0 if better else self.waited + 1
        return better

    def get_state(self) -> dict[str, Any]:
        """Returns what to remember, ready for JSON."""
        return {"best": self.best, "waited": self.waited}

    def set_state(self, state: dict[str, Any]) -> None:
        """Takes back what `get_state` gave."""
        self.best, self.waited = state["best"], state["waited"]


class BestEpoch(keras.callbacks.Callback):
    """Saves the model whenever a validation metric improves, and stops when it no longer does.

    Args:
        monitor: The logged metric that chooses, for instance `val_loss`.
        mode: Whether a lower (`"min"`) or a higher (`"max"`) value is better.
        patience: Epochs without improvement after which training stops; 0 never stops it.
        save: Called with the model after each improvement.

    Attributes:
        best_epoch: The epoch last saved, counted from 1; 0 before the first.
        progress: Its metric, and the epochs since.
    """

    def __init__(
        self,
        monitor: str,
        mode: Literal["min", "max"],
        patience: int,
        save: Callable[[keras.Model], None],
    ):
        """See the class."""
        super().__init__()
        self.patience = patience
        self.save = save
        self.best_epoch = 0
        self.progress = Patience(monitor, mode)

    def on_epoch_end(self, epoch, logs=None):
        """Saves or waits."""
        if self.progress.update(logs):
            self.save(self.model)
            self.best_epoch = epoch + 1
        elif 0 < self.patience <= self.progress.waited:
            self.model.stop_training = True

    def get_state(self) -> dict[str, Any]:
        """Returns what to remember, ready for JSON."""
        return {**self.progress.get_state(), "best_epoch": self.best_epoch}

    def set_state(self, state: dict[str, Any]) -> None:
        """Takes back what `get_state` gave."""
        self.progress.set_state(state)
        self.best_epoch = state["best_epoch"]


class History(keras.callbacks.Callback):
    """Writes `history.csv`: one row an epoch, with its number, its seconds and all of `logs`.

    Put it behind the callbacks that add to `logs`. The file is always whole: each epoch replaces
    it. A training that goes on at a later epoch keeps the rows up to there and drops the others.
    """

    def __init__(self, path: Path):
        """Takes the file to write."""
        super().__init__()
        self.path = Path(path)
        self._rows: list[dict[str, Any]] | None = None

    def on_train_begin(self, logs=None):
        """Forgets the rows of an earlier `fit`, which are in the file."""
        self._rows = None

    def on_epoch_begin(self, epoch, logs=None):
        """Reads the rows to keep, now that the first epoch is known."""
        if self._rows is None:
            rows = history_rows(self.path) if epoch > 0 and self.path.exists() else []
            self._rows = [row for row in rows if int(row["epoch"]) <= epoch]
        self._started = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        """Adds the row and writes the file anew."""
        seconds = round(time.perf_counter() - self._started, 3)
        self._rows.append({"epoch": epoch + 1, "seconds": seconds, **logs})
        text = io.StringIO()
        # Later rows may have more columns, for instance when not every epoch is validated.
        columns = list(dict.fromkeys(name for row in self._rows for name in row))
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self._rows)
        write_text(self.path, text.getvalue())


class TrainingState(keras.callbacks.Callback):
    """Writes all that a stopped training needs to go on exactly as if it had not been stopped.

    The file holds all variables of the model (those of random layers too, so that dropout goes on
    with the same masks) and of the optimizer (with those of clipping and rate), and what `parts`
    remember. Put this callback last: what it restores must be installed, and an epoch is done when
    all others have done their part. The order of the data is not in it: start them at the epoch
    `saved_epoch(path)`, and pass `shuffle=False` to `fit`, which otherwise shuffles the batches of
    a `PyDataset` with Python's global random numbers.

    Args:
        path: The file; if it is missing, training starts from the beginning.
        parts: Callbacks with `get_state` and `set_state`, always in the same order.

    Raises:
        UserError: When training begins, if the file is damaged or belongs to other settings; if
            `fit` starts at another epoch, or would go on after training was stopped early.
    """

    def __init__(self, path: Path, parts: Sequence[Any] = ()):
        """See the class."""
        super().__init__()
        self.path = Path(path)
        self.parts = list(parts)
        self._expected_epoch: int | None = None

    def on_train_begin(self, logs=None):
        """Restores the state, now that all hooks are installed."""
        self._expected_epoch = None
        if self.path.exists():
            self.restore(self.model)

    def on_epoch_begin(self, epoch, logs=None):
        """Makes sure that the first epoch is the one after the restored one."""
        expected, self._expected_epoch = self._expected_epoch, None
        if expected is None:
            return
        if is_finished(self.path):
            raise UserError(
                f"{self.path} is of a training that stopped early after epoch {expected}: evaluate"
                " it, or train anew with --overwrite."
            )
        if epoch != expected:
            raise UserError(
                f"{self.path} was written after epoch {expected}, but training starts after epoch"
                f" {epoch}: resume it with --resume, or train anew with --overwrite."
            )

    def restore(self, model: keras.Model) -> None:
        """Puts everything back as it was.

        Raises:
            UserError: If the file is damaged or belongs to other settings.
        """
        host, arrays = _read(self.path)
        variables = _variables(model)
        names = [type(part).__name__ for part in self.parts]
        if host["variables"] != _signature(variables) or host["names"] != names:
            raise UserError(
                f"{self.path} does not fit this training: model, optimizer, clipping, schedule or"
                " backend changed since; resume with the old settings, or train anew with"
                " --overwrite."
            )
        for variable, array in zip(variables, arrays, strict=False):
            # NumPy stores a type that it does not know, such as bfloat16, as mere bytes.
            known = ops.convert_to_numpy(variable).dtype
            variable.assign(array.view(known) if array.dtype.kind == "V" else array)
        set_random_states(arrays[len(variables) :])
        for part, state in zip(self.parts, host["parts"], strict=True):
            part.set_state(state)
        self._expected_epoch = host["epoch"]

    def on_epoch_end(self, epoch, logs=None):
        """Writes the state."""
        variables = _variables(self.model)
        generators = random_states()
        host = {
            "epoch": epoch + 1,
            "finished": bool(self.model.stop_training),
            "generators": len(generators),
            "variables": _signature(variables),
            "names": [type(part).__name__ for part in self.parts],
            "parts": [part.get_state() for part in self.parts],
        }
        arrays = [ops.convert_to_numpy(variable) for variable in variables]
        text = np.frombuffer(json.dumps(host).encode(), dtype=np.uint8)
        with atomic_path(self.path) as temporary, open(temporary, "wb") as file:
            np.savez(file, *arrays, *generators, host=text)


def saved_epoch(path: Path) -> int:
    """Returns the number of epochs that are done, 0 if there is no state.

    Raises:
        UserError: If the file is damaged.
    """
    return _read(path, host_alone=True)[0]["epoch"] if Path(path).exists() else 0


def is_finished(path: Path) -> bool:
    """Returns whether training stopped early, so that no further epoch may follow.

    Raises:
        UserError: If the file is damaged.
    """
    return Path(path).exists() and _read(path, host_alone=True)[0]["finished"]


def _variables(model: keras.Model) -> list[keras.Variable]:
    if not model.optimizer.built:
        # An unbuilt optimizer lacks most variables.
        model.optimizer.build(model.trainable_variables)
    return model.variables + model.optimizer.variables


def _signature(variables: list[keras.Variable]) -> list[list]:
    # Without names, which Keras numbers anew for every model in a process.
    return [[list(variable.shape), str(variable.dtype)] for variable in variables]


def _read(path: Path, *, host_alone: bool = False) -> tuple[dict[str, Any], list[np.ndarray]]:
    """Returns what the host remembers, and the variables with the states of random generators."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            host = json.loads(stored["host"].tobytes())
            count = 0 if host_alone else len(host["variables"]) + host["generators"]
            return host, [stored[f"arr_{index}"] for index in range(count)]
    except (ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(
            f"{path} is damaged ({error}): delete it and train anew with --overwrite."
        ) from error
