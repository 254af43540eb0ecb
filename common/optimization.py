"""What happens to gradients on every backend: clipping, learning rate, and the optimizer.

A Keras callback never sees gradients, and no work on the host may happen in each step. So the
callbacks wrap the `apply` method of the optimizer object, which every backend calls with the
gradients, and keep what they must remember in variables of the optimizer: JAX carries those, and
nothing else, from step to step.
"""

import math
from collections.abc import Callable
from typing import Any, Literal

import keras
import numpy as np
from keras import ops

from common.callbacks import Patience
from common.errors import UserError

OPTIMIZERS = {
    "rmsprop": keras.optimizers.RMSprop,
    "adam": keras.optimizers.Adam,
    "sgd": keras.optimizers.SGD,
}
# The share of the peak rate that a cosine ends with, and what a plateau multiplies the rate by.
FINAL_SHARE, PLATEAU_FACTOR = 0.01, 0.5


def build_optimizer(name: str, *, learning_rate: float) -> keras.optimizers.Optimizer:
    """Returns an optimizer without a schedule or clipping of its own: callbacks own those.

    Args:
        name: `rmsprop`, `adam` or `sgd` (with Nesterov momentum .9).
        learning_rate: Peak rate.
    """
    options = {"momentum": 0.9, "nesterov": True} if name == "sgd" else {}
    return OPTIMIZERS[name](learning_rate, **options)


def base_optimizer(model: keras.Model) -> keras.optimizers.Optimizer:
    """Returns the optimizer that changes the weights, built.

    Inside a `LossScaleOptimizer` that is the inner one, which gets the gradients unscaled.
    """
    if not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)
    if isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer):
        return model.optimizer.inner_optimizer
    return model.optimizer


def add_hook(model: keras.Model, kind: str, hook: Callable[[list], list]) -> None:
    """Has every training step pass its gradients through `hook`, right before the update.

    Args:
        model: Compiled and built.
        kind: What the hook does; an optimizer has one hook of a kind, and they run in the order in
            which they were added.
        hook: Takes and returns a list of gradients, a None where a variable has no gradient. On
            TensorFlow the gradient of an embedding is a `tf.IndexedSlices`.

    Raises:
        UserError: If the optimizer has a hook of this kind.
    """
    optimizer = base_optimizer(model)
    hooks = getattr(optimizer.apply, "hooks", None)
    if hooks is None:
        hooks, update = {}, optimizer.apply

        def apply(grads, trainable_variables=None):
            grads = list(grads)
            for change in hooks.values():
                grads = change(grads)
            return update(grads, trainable_variables)

        apply.hooks = hooks
        optimizer.apply = apply
    if kind in hooks:
        raise UserError(
            f"The optimizer already has a {kind}: give `fit` the same callback object again, or"
            " compile the model with a new optimizer."
        )
    hooks[kind] = hook
    # A step that was traced before has the old `apply` built in. JAX shares traces between equal
    # functions, and every bound `train_step` is equal, so the old one has to go first.
    model.train_function = None
    model.make_train_function()


class GradientClipping(keras.callbacks.Callback):
    """Limits each gradient before the optimizer uses it, and records how long gradients are.

    The modes, where the threshold is a norm except in `"value"`:

    - `"none"`: changes nothing, only records.
    - `"norm"`: shortens the gradient of each variable by its own norm.
    - `"global_norm"`: shortens all gradients by their common norm (Pascanu et al., 2013).
    - `"value"`: cuts each element to `[-threshold, threshold]`.

    At the end of an epoch `logs` gains `gradient_norm` and `gradient_norm_max`, mean and largest
    global norm before clipping, and `clipped_share`, the share of steps that were clipped. A step
    whose gradient is not finite counts in none of these; NaN reaches the weights, and `StopOnNaN`
    reports it. One callback serves one optimizer, in as many calls of `fit` as you like.
    """

    def __init__(
        self,
        mode: Literal["none", "norm", "global_norm", "value"] = "global_norm",
        threshold: float = 1.0,
    ):
        """Takes the mode and the largest norm or, in `"value"`, the largest absolute value."""
        super().__init__()
        self.mode = mode
        self.threshold = threshold
        self._optimizer = None

    def install(self, model: keras.Model) -> None:
        """Hooks the clipping into the model's optimizer; `fit` does this by itself."""
        optimizer = base_optimizer(model)
        if optimizer is not self._optimizer:
            add_hook(model, "gradient clipping", self._clip)
            # Steps, clipped steps, mean norm, largest norm.
            self._record = optimizer.add_variable((4,), "zeros", "float32", name="gradient_record")
            self._optimizer = optimizer

    def on_train_begin(self, logs=None):
        """Installs the hook, early enough for JAX to carry its variables."""
        self.install(self.model)

    def on_epoch_begin(self, epoch, logs=None):
        """Starts a new record."""
        self._record.assign(np.zeros(4, "float32"))

    def on_epoch_end(self, epoch, logs=None):
        """Writes the record into `logs`."""
        steps, clipped, mean, largest = ops.convert_to_numpy(self._record).tolist()
        logs["gradient_norm"] = mean if steps else math.nan
        logs["gradient_norm_max"] = largest if steps else math.nan
        logs["clipped_share"] = clipped / steps if steps else math.nan

    def _clip(self, gradients: list) -> list:
        """Runs inside the compiled step: records the gradients and returns them clipped."""
        # An embedding's gradient may list a row twice, and a norm of the list would be wrong.
        dense = [
            None if gradient is None else ops.cast(ops.convert_to_tensor(gradient), "float32")
            for gradient in gradients
        ]
        present = [gradient for gradient in dense if gradient is not None]
        largest, relative_norm = _norm(present)
        if self.mode == "none":
            self._add_to_record(largest * relative_norm, False)
            return gradients
        if self.mode == "value":
            clipped = [ops.clip(gradient, -self.threshold, self.threshold) for gradient in present]
            is_clipped = largest > self.threshold
        else:
            if self.mode == "global_norm":
                factors = [_shrinkage(largest, relative_norm, self.threshold)] * len(present)
            else:
                factors = [_shrinkage(*_norm([gradient]), self.threshold) for gradient in present]
            clipped = [gradient * factor for gradient, factor in zip(present, factors, strict=True)]
            is_clipped = ops.min(ops.stack(factors)) < 1.0
        self._add_to_record(largest * relative_norm, is_clipped)
        remaining = iter(clipped)
        return [
            None if gradient is None else ops.cast(next(remaining), gradient.dtype)
            for gradient in gradients
        ]

    def _add_to_record(self, norm, is_clipped) -> None:
        record = ops.convert_to_tensor(self._record)
        steps, clipped_steps, mean, highest = ops.unstack(record, 4)
        updated = ops.stack(
            [
                steps + 1.0,
                clipped_steps + ops.cast(is_clipped, "float32"),
                mean + (norm - mean) / (steps + 1.0),
                ops.maximum(highest, norm),
            ]
        )
        self._record.assign(ops.where(ops.isfinite(norm), updated, record))


def _norm(gradients: list) -> tuple:
    """Returns the largest absolute element and the norm in multiples of it.

    Squares of float32 overflow beyond 1e19, which exploding gradients do reach.
    """
    largest = ops.max(ops.stack([ops.max(ops.abs(gradient)) for gradient in gradients]))
    unit = ops.where(largest > 0, largest, 1.0)
    squares = [ops.sum(ops.square(gradient / unit)) for gradient in gradients]
    return largest, ops.sqrt(ops.sum(ops.stack(squares)))


def _shrinkage(largest, relative_norm, threshold):
    """Returns the factor that makes a gradient as long as `threshold`, 1 if it is no longer."""
    too_long = largest * relative_norm > threshold
    # NaN compares as False: a gradient that is not finite goes through as it is.
    return ops.where(too_long, threshold / largest / relative_norm, 1.0)


def rate_at(
    step: Any,
    *,
    peak: float,
    schedule: Literal["constant", "cosine", "plateau"],
    total_steps: int,
    warmup_steps: int = 0,
    xp: Any = np,
) -> Any:
    """Returns the learning rate of a step, or of several, as the schedule plans it.

    The rate rises linearly to `peak` in the last warm-up step. `"constant"` and `"plateau"` stay
    there (a plateau's reductions depend on the training); `"cosine"` falls along half a cosine to
    `FINAL_SHARE * peak` in the last step (Loshchilov and Hutter, 2017).

    Args:
        step: Step or steps, counted from 0.
        peak: The highest rate.
        schedule: See above.
        total_steps: Steps of the whole training.
        warmup_steps: Steps of the rise; 0 starts at `peak`.
        xp: The functions to compute with, `numpy` or `keras.ops`.
    """
    share = 1.0
    if schedule == "cosine":
        done = xp.clip((step + 1 - warmup_steps) / max(total_steps - warmup_steps, 1), 0.0, 1.0)
        share = FINAL_SHARE + (1.0 - FINAL_SHARE) * 0.5 * (1.0 + xp.cos(math.pi * done))
    return peak * xp.where(step < warmup_steps, (step + 1) / max(warmup_steps, 1), share)


class LearningRateControl(keras.callbacks.Callback):
    """Sets the learning rate of every step, inside the compiled step.

    `optimizer.learning_rate` always shows the rate of the last update, and `logs` gains
    `learning_rate` at the end of an epoch. `"plateau"` halves the rate after each epoch in which
    `monitor` did not improve. One callback serves one optimizer, in as many calls of `fit` as you
    like. For the other arguments see `rate_at` and `Patience`.
    """

    def __init__(
        self,
        peak: float,
        schedule: Literal["constant", "cosine", "plateau"],
        *,
        total_steps: int,
        warmup_steps: int = 0,
        monitor: str = "val_loss",
        mode: Literal["min", "max"] = "min",
    ):
        """Takes the plan."""
        super().__init__()
        self.plan = {
            "peak": peak,
            "schedule": schedule,
            "total_steps": total_steps,
            "warmup_steps": warmup_steps,
        }
        self._progress = Patience(monitor, mode)
        self._optimizer = None
        self._reduction = None

    def on_train_begin(self, logs=None):
        """Installs the hook, early enough for JAX to carry its variable."""
        optimizer = base_optimizer(self.model)
        if optimizer is not self._optimizer:
            add_hook(self.model, "learning-rate control", self._set_rate)
            if self.plan["schedule"] == "plateau":
                self._reduction = optimizer.add_variable(
                    (), "ones", "float32", name="rate_reduction"
                )
            self._optimizer = optimizer

    def on_epoch_end(self, epoch, logs=None):
        """Logs the rate, and reduces it if a plateau is reached."""
        logs["learning_rate"] = float(ops.convert_to_numpy(self._optimizer.learning_rate))
        if self._reduction is not None and not self._progress.update(logs):
            self._reduction.assign(self._reduction * PLATEAU_FACTOR)

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
