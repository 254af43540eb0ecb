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
    - `"adaptive"`: as `"global_norm"`, but the threshold is a percentile of the last global norms,
      the present one included (Seetharaman et al., 2020); `threshold` is not used. The very first
      step is its own percentile and goes through whole.

    At the end of an epoch `logs` gains, so put this before callbacks that read them:

    - `gradient_norm`, `gradient_norm_max`: mean and largest global norm, before clipping.
    - `clipped_share`: the share of steps in which anything was cut.
    - `clip_threshold`: (adaptive) the threshold of the last step.

    A step whose gradient is not finite counts in none of these and never enters the percentile.
    Its update is not hidden: NaN reaches the weights, and `StopOnNaN` reports it. An epoch without
    any finite gradient records NaN.

    One callback serves one optimizer, in as many calls of `fit` as you like.

    Args:
        mode: See above.
        threshold: The largest norm, or in `"value"` the largest absolute value.
        percentile: (adaptive) between 0 and 100; lower cuts more.
        window: (adaptive) the number of steps that the percentile is taken over.

    Raises:
        UserError: If an argument is out of range; when training begins, if the optimizer itself
            clips, scales its loss or accumulates gradients.
    """

    def __init__(
        self,
        mode: Literal["none", "norm", "global_norm", "value", "adaptive"] = "global_norm",
        threshold: float = 1.0,
        percentile: float = 50.0,
        window: int = 1000,
    ):
        """See the class."""
        super().__init__()
        if mode not in ("none", "norm", "global_norm", "value", "adaptive"):
            raise UserError(
                f"Clipping {mode!r} is unknown: use none, norm, global_norm, value or adaptive."
            )
        if not 0 < threshold < math.inf:
            raise UserError(f"A clipping threshold of {threshold} is no limit: use one above 0.")
        if not 0 <= percentile <= 100:
            raise UserError(f"A clipping percentile of {percentile} does not lie in 0 to 100.")
        if window < 1:
            raise UserError(f"A clipping window of {window} steps holds nothing: use 1 or more.")
        self.mode = mode
        self.threshold = threshold
        self.percentile = percentile
        self.window = window
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
        # Steps, clipped steps, mean norm, largest norm, last threshold.
        self._record = optimizer.add_variable((5,), "zeros", "float32", name="gradient_record")
        if self.mode == "adaptive":
            # Slots that are still empty hold infinity, so that they sort behind all norms.
            infinity = keras.initializers.Constant(math.inf)
            self._norms = optimizer.add_variable(
                (self.window,), infinity, "float32", name="gradient_norms"
            )
            self._slot = optimizer.add_variable((), "zeros", "float32", name="gradient_slot")
        self._optimizer = optimizer

    def on_train_begin(self, logs=None):
        """Installs the hook, early enough for JAX to carry its variables."""
        self.install(self.model)

    def on_epoch_begin(self, epoch, logs=None):
        """Starts a new record."""
        self._record.assign(np.zeros(5, "float32"))

    def on_epoch_end(self, epoch, logs=None):
        """Writes the record into `logs`."""
        steps, clipped, mean, largest, threshold = ops.convert_to_numpy(self._record).tolist()
        seen = steps > 0
        logs["gradient_norm"] = mean if seen else math.nan
        logs["gradient_norm_max"] = largest if seen else math.nan
        logs["clipped_share"] = clipped / steps if seen else math.nan
        if self.mode == "adaptive":
            logs["clip_threshold"] = threshold if seen else math.nan

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
        threshold = self._percentile_with(norm) if self.mode == "adaptive" else self.threshold

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
        steps, cuts, mean, highest, _ = ops.unstack(record, 5)
        updated = ops.stack(
            [
                steps + 1.0,
                cuts + ops.cast(cut, "float32"),
                mean + (norm - mean) / (steps + 1.0),
                ops.maximum(highest, norm),
                ops.cast(threshold, "float32"),
            ]
        )
        self._record.assign(ops.where(ops.isfinite(norm), updated, record))
        return clipped

    def _percentile_with(self, norm):
        """Takes a norm into the window, unless it is not finite; returns the percentile."""
        norms, slot = ops.convert_to_tensor(self._norms), ops.convert_to_tensor(self._slot)
        here = ops.equal(ops.arange(self.window, dtype="float32"), slot)
        finite = ops.isfinite(norm)
        norms = ops.where(ops.logical_and(here, finite), norm, norms)
        self._norms.assign(norms)
        self._slot.assign(ops.where(finite, ops.mod(slot + 1.0, float(self.window)), slot))

        last = ops.maximum(ops.sum(ops.cast(ops.isfinite(norms), "float32")) - 1.0, 0.0)
        position = last * self.percentile / 100.0
        below = ops.floor(position)
        ordered = ops.sort(norms)
        low = ops.take(ordered, ops.cast(below, "int32"))
        high = ops.take(ordered, ops.cast(ops.minimum(below + 1.0, last), "int32"))
        return low + (high - low) * (position - below)


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
