"""Gradient clipping, and a record of the gradient's norm, on every backend."""

import math
from typing import Literal

import keras
import numpy as np
from keras import ops

from common.errors import UserError
from common.optimizer_hook import add_hook, base_optimizer


class GradientClipping(keras.callbacks.Callback):
    """Limits each gradient before the optimizer uses it, and records how long gradients are.

    The modes, where the threshold is a length except in `"value"`:

    - `"none"`: changes nothing, only records.
    - `"norm"`: shortens the gradient of each variable by its own norm.
    - `"global_norm"`: shortens all gradients by their common norm (Pascanu et al., 2013).
    - `"value"`: cuts each element to `[-threshold, threshold]`.

    At the end of an epoch `logs` gains, so put this before callbacks that read them:

    - `gradient_norm`, `gradient_norm_max`: mean and largest global norm, before clipping.
    - `clipped_share`: the share of steps in which anything was cut.

    A step whose gradient is not finite counts in none of these.
    Its update is not hidden: NaN reaches the weights, and `StopOnNaN` reports it. An epoch without
    any finite gradient records NaN.

    One callback serves one optimizer, in as many calls of `fit` as you like.

    Args:
        mode: See above.
        threshold: The largest norm, or in `"value"` the largest absolute value.

    Raises:
        UserError: If an argument is out of range; when training begins, if the optimizer itself
            clips, scales its loss or accumulates gradients.
    """

    def __init__(
        self,
        mode: Literal["none", "norm", "global_norm", "value"] = "global_norm",
        threshold: float = 1.0,
    ):
        """See the class."""
        super().__init__()
        if mode not in ("none", "norm", "global_norm", "value"):
            raise UserError(f"Clipping {mode!r} is unknown: use none, norm, global_norm or value.")
        if not 0 < threshold < math.inf:
            raise UserError(f"The clipping threshold {threshold} must be greater than 0.")
        self.mode = mode
        self.threshold = threshold
        self._optimizer = None

    def install(self, model: keras.Model) -> None:
        """Hooks the clipping into the model's optimizer; `fit` does this by itself."""
        optimizer = base_optimizer(model)
        if optimizer is self._optimizer:
            return
        if self._optimizer is not None:
            raise UserError("A GradientClipping serves one optimizer: make another for this one.")
        for setting in ("clipnorm", "global_clipnorm", "clipvalue"):
            if getattr(optimizer, setting) is not None:
                raise UserError(
                    f"The optimizer has {setting} set and GradientClipping would clip again: leave"
                    f" {setting} out."
                )
        for setting in ("loss_scale_factor", "gradient_accumulation_steps"):
            if getattr(optimizer, setting) is not None:
                raise UserError(
                    f"GradientClipping would see other gradients than the update with {setting}:"
                    " leave it out."
                )
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
        seen = steps > 0
        logs["gradient_norm"] = mean if seen else math.nan
        logs["gradient_norm_max"] = largest if seen else math.nan
        logs["clipped_share"] = clipped / steps if seen else math.nan

    def _clip(self, gradients: list) -> list:
        """Runs inside the compiled step: records the gradients and returns them clipped."""
        # An embedding's gradient may list a row twice, and a norm of the list would be wrong.
        dense = [
            None if gradient is None else ops.cast(ops.convert_to_tensor(gradient), "float32")
            for gradient in gradients
        ]
        present = [gradient for gradient in dense if gradient is not None]
        largest, relative_norm = _norm(present)
        norm = largest * relative_norm
        threshold = self.threshold

        if self.mode == "none":
            clipped, cut = gradients, False
        elif self.mode == "value":
            clipped = [g if g is None else ops.clip(g, -threshold, threshold) for g in dense]
            cut = largest > threshold
        else:
            common = None if self.mode == "norm" else _shrinkage(largest, relative_norm, threshold)
            shrinkages = [
                common if common is not None else _shrinkage(*_norm([gradient]), threshold)
                for gradient in present
            ]
            remaining = iter(shrinkages)
            clipped = [g if g is None else g * next(remaining) for g in dense]
            cut = ops.min(ops.stack(shrinkages)) < 1.0
        if self.mode != "none":
            clipped = [
                after if after is None else ops.cast(after, before.dtype)
                for before, after in zip(gradients, clipped, strict=True)
            ]

        record = ops.convert_to_tensor(self._record)
        steps, cuts, mean, highest = ops.unstack(record, 4)
        updated = ops.stack(
            [
                steps + 1.0,
                cuts + ops.cast(cut, "float32"),
                mean + (norm - mean) / (steps + 1.0),
                ops.maximum(highest, norm),
            ]
        )
        self._record.assign(ops.where(ops.isfinite(norm), updated, record))
        return clipped


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
