"""The one owner of the learning rate: warm-up, then constant, cosine or plateau."""

import math
from typing import Any, Literal

import keras
import numpy as np
from keras import ops

from common.callbacks import Patience
from common.errors import UserError
from common.optimizer_hook import add_hook, base_optimizer


def rate_at(
    step: Any,
    *,
    peak: float,
    schedule: Literal["constant", "cosine", "plateau"],
    total_steps: int,
    warmup_steps: int = 0,
    final_share: float = 0.01,
    xp: Any = np,
) -> Any:
    """Returns the rate of a step, as the schedule plans it.

    The rate rises linearly to `peak` in the last warm-up step. `"constant"` and `"plateau"` stay
    there (a plateau's reductions depend on the training); `"cosine"` falls along half a cosine to
    `final_share * peak` in the last step (Loshchilov and Hutter, 2017).

    Args:
        step: Step or steps, counted from 0.
        peak: The highest rate.
        schedule: See above.
        total_steps: Steps of the whole training.
        warmup_steps: Steps of the rise; 0 starts at `peak`.
        final_share: What is left of `peak` in the last step and after it.
        xp: The functions to compute with, `numpy` or `keras.ops`.

    Returns:
        The rate or rates, in the shape of `step`.
    """
    share = 1.0
    if schedule == "cosine":
        done = xp.clip((step + 1 - warmup_steps) / max(total_steps - warmup_steps, 1), 0.0, 1.0)
        share = final_share + (1.0 - final_share) * 0.5 * (1.0 + xp.cos(math.pi * done))
    return peak * xp.where(step < warmup_steps, (step + 1) / max(warmup_steps, 1), share)


class LearningRateControl(keras.callbacks.Callback):
    """Sets the learning rate of every step, inside the compiled step.

    `optimizer.learning_rate` always shows the rate of the last update, and `logs` gains
    `learning_rate` at the end of an epoch, so put this before callbacks that read them. One
    callback serves one optimizer, in as many calls of `fit` as you like.

    Args:
        peak: The highest rate.
        schedule: See `rate_at`. `"plateau"` multiplies the rate by `factor` whenever `monitor` has
            not improved for `patience` epochs.
        total_steps: Steps of the whole training, over all epochs.
        warmup_steps: Steps of the linear rise to `peak`.
        final_share: (cosine) what is left of `peak` in the last step.
        monitor: (plateau) the logged metric to watch.
        mode: (plateau) whether a lower (`"min"`) or a higher (`"max"`) metric is better.
        patience: (plateau) epochs without improvement before a reduction.
        factor: (plateau) what a reduction multiplies the rate by.

    Raises:
        UserError: If an argument is out of range; when training begins, if the optimizer has a
            schedule of its own; at the end of an epoch, if `monitor` is not logged.
    """

    def __init__(
        self,
        peak: float,
        schedule: Literal["constant", "cosine", "plateau"],
        *,
        total_steps: int,
        warmup_steps: int = 0,
        final_share: float = 0.01,
        monitor: str = "val_loss",
        mode: Literal["min", "max"] = "min",
        patience: int = 1,
        factor: float = 0.5,
    ):
        """See the class."""
        super().__init__()
        if schedule not in ("constant", "cosine", "plateau"):
            raise UserError(f"Schedule {schedule!r} is unknown: use constant, cosine or plateau.")
        if not 0 < peak < math.inf:
            raise UserError(f"A learning rate of {peak} does not train: use one above 0.")
        if total_steps < 1 or not 0 <= warmup_steps < max(total_steps, 1):
            raise UserError(
                f"{warmup_steps} warm-up steps do not fit into {total_steps} training steps: warm"
                " up for fewer, or train longer."
            )
        if not 0 <= final_share <= 1:
            raise UserError(f"A final share of {final_share} of the rate is not in 0 to 1.")
        if patience < 1 or not 0 < factor < 1:
            raise UserError(
                f"A plateau needs a patience of 1 or more and a factor between 0 and 1, not"
                f" {patience} and {factor}."
            )
        self.plan = {
            "peak": peak,
            "schedule": schedule,
            "total_steps": total_steps,
            "warmup_steps": warmup_steps,
            "final_share": final_share,
        }
        self.patience = patience
        self.factor = factor
        self._progress = Patience(monitor, mode)
        self._optimizer = None
        self._reduction = None

    def install(self, model: keras.Model) -> None:
        """Hooks the control into the model's optimizer; `fit` does this by itself."""
        optimizer = base_optimizer(model)
        if optimizer is self._optimizer:
            return
        if self._optimizer is not None:
            raise UserError("A LearningRateControl serves one optimizer: make another for this.")
        if not isinstance(optimizer.learning_rate, keras.Variable):
            raise UserError(
                "The optimizer has a learning-rate schedule of its own and LearningRateControl"
                " would overrule it: build the optimizer with a number."
            )
        add_hook(model, "learning-rate control", self._set_rate)
        if self.plan["schedule"] == "plateau":
            self._reduction = optimizer.add_variable((), "ones", "float32", name="rate_reduction")
        self._optimizer = optimizer

    def on_train_begin(self, logs=None):
        """Installs the hook, early enough for JAX to carry its variable."""
        self.install(self.model)

    def on_epoch_end(self, epoch, logs=None):
        """Logs the rate, and reduces it if a plateau is reached."""
        logs["learning_rate"] = float(ops.convert_to_numpy(self._optimizer.learning_rate))
        if self._reduction is None:
            return
        self._progress.update(logs)
        if self._progress.waited >= self.patience:
            self._progress.waited = 0
            self._reduction.assign(self._reduction * self.factor)

    def get_state(self) -> dict[str, Any]:
        """Returns what the host remembers, ready for JSON; the rest is in the optimizer."""
        return self._progress.get_state()

    def set_state(self, state: dict[str, Any]) -> None:
        """Takes back what `get_state` gave."""
        self._progress.set_state(state)

    def _set_rate(self, gradients: list) -> list:
        """Runs inside the compiled step, right before the update."""
        step = ops.cast(self._optimizer.iterations, "float32")
        rate = rate_at(step, **self.plan, xp=ops)
        if self._reduction is not None:
            rate = rate * self._reduction
        self._optimizer.learning_rate.assign(rate)
        return gradients
