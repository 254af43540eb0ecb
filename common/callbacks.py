"""What every training shares: stop on NaN, keep the best epoch, write the history."""

import csv
import importlib.util
import io
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import keras

from common.errors import UserError
from common.files import write_text


class Patience:
    """Counts the epochs since a logged metric was last better than ever before.

    Args:
        monitor: The metric's name in `logs`.
        mode: Whether a lower (`"min"`) or a higher (`"max"`) value is better.

    Attributes:
        best: The best value so far, None before the first.
        waited: Epochs since then.
    """

    def __init__(self, monitor: str, mode: Literal["min", "max"]):
        """See the class."""
        if mode not in ("min", "max"):
            raise UserError(f"Mode {mode!r} of {monitor} is unknown: use min or max.")
        self.monitor = monitor
        self.mode = mode
        self.best: float | None = None
        self.waited = 0

    def update(self, logs: dict[str, float]) -> bool:
        """Takes in an epoch's metrics and returns whether it is the best; NaN never is.

        Raises:
            UserError: If the metric is not among them.
        """
        if self.monitor not in logs:
            raise UserError(
                f"There is no metric {self.monitor} to watch: choose one of"
                f" {', '.join(sorted(logs))}."
            )
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


class StopOnNaN(keras.callbacks.Callback):
    """Ends `fit` with an error as soon as a loss is not finite.

    Put it first, so that no other callback saves anything of such an epoch.

    Raises:
        UserError: Out of `fit`, with what to try next.
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


class ResetStates(keras.callbacks.Callback):
    """Clears what stateful recurrent layers carry, before each pass over training or validation."""

    def on_epoch_begin(self, epoch, logs=None):
        """Begins the training data anew."""
        self._reset()

    def on_test_begin(self, logs=None):
        """Begins the validation data anew."""
        self._reset()

    def _reset(self) -> None:
        for layer in self.model.layers:
            if getattr(layer, "stateful", False):
                layer.reset_state()


class BestEpoch(keras.callbacks.Callback):
    """Saves the model whenever a validation metric improves, and stops when it no longer does.

    Args:
        monitor: The logged metric that chooses, for instance `val_loss`.
        mode: Whether a lower (`"min"`) or a higher (`"max"`) value is better.
        patience: Epochs without improvement after which training stops; 0 never stops it.
        save: Called with the model after each improvement.

    Attributes:
        best_epoch: The epoch last saved, counted from 1; 0 before the first.
        best: Its metric.

    Raises:
        UserError: At the end of an epoch, if `monitor` is not logged.
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
        if patience < 0:
            raise UserError(f"A patience of {patience} epochs is none: use 0 to never stop early.")
        self.patience = patience
        self.save = save
        self.best_epoch = 0
        self._progress = Patience(monitor, mode)

    @property
    def best(self) -> float | None:
        """The best value so far."""
        return self._progress.best

    def on_epoch_end(self, epoch, logs=None):
        """Saves or waits."""
        if self._progress.update(logs):
            self.save(self.model)
            self.best_epoch = epoch + 1
        elif 0 < self.patience <= self._progress.waited:
            self.model.stop_training = True

    def get_state(self) -> dict[str, Any]:
        """Returns what to remember, ready for JSON."""
        return {**self._progress.get_state(), "best_epoch": self.best_epoch}

    def set_state(self, state: dict[str, Any]) -> None:
        """Takes back what `get_state` gave."""
        self._progress.set_state(state)
        self.best_epoch = state["best_epoch"]


class History(keras.callbacks.Callback):
    """Writes `history.csv`: one row an epoch, with its number, its seconds and all of `logs`.

    Put it behind the callbacks that add to `logs`. The file is always whole: each epoch replaces
    it. A training that goes on at a later epoch keeps the rows up to there and drops the others.

    Args:
        path: The file.

    Raises:
        OSError: If it cannot be written, for instance because the disk is full; the old file stays.
    """

    def __init__(self, path: Path):
        """See the class."""
        super().__init__()
        self.path = Path(path)
        self._rows: list[dict[str, Any]] | None = None

    def on_train_begin(self, logs=None):
        """Forgets the rows of an earlier `fit`, which are in the file."""
        self._rows = None

    def on_epoch_begin(self, epoch, logs=None):
        """Reads the rows to keep, now that the first epoch is known."""
        if self._rows is None:
            rows = _read_rows(self.path) if epoch > 0 and self.path.exists() else []
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


def read_history(path: Path) -> dict[str, list[float]]:
    """Reads the columns of `history.csv`.

    Returns:
        The values of each column, one an epoch, NaN where the epoch has none; `epoch` are integers
        that count from 1.

    Raises:
        UserError: If the file is missing or not such a history.
    """
    rows = _read_rows(Path(path))
    names = list(rows[0]) if rows else []
    columns = {name: [float(row[name] or "nan") for row in rows] for name in names}
    return {**columns, "epoch": [int(row["epoch"]) for row in rows]}


def _read_rows(path: Path) -> list[dict[str, str]]:
    """Reads the rows as they are written, so that rows that are kept stay the same."""
    try:
        with open(path, encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        for row in rows:
            int(row["epoch"])
            for value in row.values():
                float(value or "nan")
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: train first, or name another run.") from None
    except (ValueError, TypeError, KeyError, csv.Error) as error:
        raise UserError(
            f"{path} is not a training history ({error}): restore it, or train anew."
        ) from error
    return rows


def tensorboard_callback(log_dir: Path) -> keras.callbacks.TensorBoard:
    """Returns a callback that writes all of `logs` for TensorBoard; put it behind the others.

    Raises:
        UserError: If TensorFlow or TensorBoard, which write the files, are not installed.
    """
    for package in ("tensorflow", "tensorboard"):
        if importlib.util.find_spec(package) is None:
            raise UserError(
                f"Logs for TensorBoard need {package}, which is not installed: `pip install"
                f" {package}`, or leave the flag out and read history.csv."
            )
    return keras.callbacks.TensorBoard(log_dir=str(log_dir), write_graph=False)
