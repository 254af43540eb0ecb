"""Everything a stopped training needs to go on exactly as if it had not been stopped."""

import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from common.device import random_states, set_random_states
from common.errors import UserError
from common.files import atomic_path
from common.optimizer_hook import base_optimizer


class TrainingState(keras.callbacks.Callback):
    """Writes the state after each epoch into one file, and restores it when training begins.

    The file holds all variables of the model (those of random layers too, so that dropout goes on
    with the same masks) and of the optimizer (with those of clipping and rate), and what `parts`
    remember. Put this callback last: what it restores must be installed, and an epoch is done when
    all others have done their part. The order of the data is the data's own business: pass it the
    epoch to start with, and `shuffle=False` to `fit`, which otherwise shuffles the batches of a
    `PyDataset` with Python's global random numbers.

        state = TrainingState(path, [rate, best])
        model.fit(batches(epoch=saved_epoch(path)), initial_epoch=saved_epoch(path), shuffle=False,
                  epochs=epochs, callbacks=[StopOnNaN(), clipping, rate, best, history, state])

    Args:
        path: The file; if it is missing, training starts from the beginning.
        parts: Callbacks with `get_state` and `set_state`, always in the same order.

    Raises:
        UserError: When training begins, if the file is damaged or belongs to other settings; if
            `fit` starts at another epoch, or would go on after training was stopped early.
        OSError: If the file cannot be written; the old one stays.
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

    def on_epoch_end(self, epoch, logs=None):
        """Writes the state."""
        self._write(self.model, epoch + 1)

    def restore(self, model: keras.Model) -> None:
        """Puts everything back as it was.

        Raises:
            UserError: If the file is damaged or belongs to other settings.
        """
        arrays, generators, host = _read(self.path)
        variables = _variables(model)
        names = [type(part).__name__ for part in self.parts]
        if host["variables"] != _signature(variables) or host["names"] != names:
            raise UserError(
                f"{self.path} does not fit this training: model, optimizer, clipping, schedule or"
                " backend changed since; resume with the old settings, or train anew with"
                " --overwrite."
            )
        for variable, array in zip(variables, arrays, strict=True):
            # NumPy stores a type that it does not know, such as bfloat16, as mere bytes.
            known = ops.convert_to_numpy(variable).dtype
            variable.assign(array.view(known) if array.dtype.kind == "V" else array)
        for part, state in zip(self.parts, host["parts"], strict=True):
            part.set_state(state)
        set_random_states(generators)
        self._expected_epoch = host["epoch"]

    def _write(self, model: keras.Model, epoch: int) -> None:
        variables = _variables(model)
        generators = random_states()
        host = {
            "epoch": epoch,
            "finished": bool(model.stop_training),
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
    return _read(path, host_alone=True)[2]["epoch"] if Path(path).exists() else 0


def is_finished(path: Path) -> bool:
    """Returns whether training stopped early, so that no further epoch may follow.

    Raises:
        UserError: If the file is damaged.
    """
    return Path(path).exists() and _read(path, host_alone=True)[2]["finished"]


def _variables(model: keras.Model) -> list[keras.Variable]:
    base_optimizer(model)  # Builds it, if nobody has: an unbuilt one lacks most variables.
    return model.variables + model.optimizer.variables


def _signature(variables: list[keras.Variable]) -> list[list]:
    # Without names, which Keras numbers anew for every model in a process.
    return [[list(variable.shape), str(variable.dtype)] for variable in variables]


def _read(
    path: Path, *, host_alone: bool = False
) -> tuple[list[np.ndarray], list[np.ndarray], dict[str, Any]]:
    """Returns the variables, the states of random generators, and what the host remembers."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            host = json.loads(stored["host"].tobytes())
            if host_alone:
                return [], [], host
            count = len(host["variables"])
            arrays = [stored[f"arr_{index}"] for index in range(count + host.get("generators", 0))]
            return arrays[:count], arrays[count:], host
    except (ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(
            f"{path} is damaged ({error}): delete it and train anew with --overwrite."
        ) from error
