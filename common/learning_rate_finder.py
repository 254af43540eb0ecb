"""Suggests a learning rate: tries them all, from tiny to far too large, in one short training."""

import math
from typing import Any

import keras
import numpy as np
from keras import ops

from common.errors import UserError
from common.optimizer_hook import add_hook, base_optimizer, remove_hook


def find_learning_rate(
    model: keras.Model,
    dataset: keras.utils.PyDataset,
    *,
    minimum: float = 1e-6,
    maximum: float = 1.0,
    steps: int = 100,
) -> tuple[np.ndarray, np.ndarray, float]:
    """Raises the rate exponentially, a batch a step, and watches the loss (Smith, 2017).

    Stops early when the smoothed loss has risen to twice what it was in the beginning, or is not
    finite. The variables of the model and of its optimizer are afterwards exactly what they were.
    Clipping takes part if it was installed before, with `GradientClipping.install`.

    Args:
        model: Compiled, with a rate that is a number and not a schedule.
        dataset: Training batches; read over again if it has fewer than `steps`.
        minimum: First rate.
        maximum: Rate of the last step.
        steps: Steps of the whole ramp.

    Returns:
        rates: `(time,)`, one a step, without the few at both ends that smoothing needs.
        losses: `(time,)`, the training losses, averaged over a twentieth of the ramp.
        suggestion: The rate at which the smoothed loss falls most steeply, seen over the logarithm
            of the rate.

    Raises:
        UserError: If the ramp is no ramp, the optimizer has a schedule, or the loss explodes
            before anything can be seen.
    """
    if not 0 < minimum < maximum < math.inf or steps < 10:
        raise UserError(
            f"A search from {minimum} to {maximum} in {steps} steps is no ramp: use a minimum above"
            " 0, a larger maximum and at least 10 steps."
        )
    if len(dataset) == 0:
        raise UserError("The training data has no batches to find a learning rate with.")
    optimizer = base_optimizer(model)
    if not isinstance(optimizer.learning_rate, keras.Variable):
        raise UserError(
            "The optimizer has a learning-rate schedule of its own: build it with a number."
        )
    width = 2 * (max(steps // 20, 2) // 2) + 1
    first = int(ops.convert_to_numpy(optimizer.iterations))
    growth = math.log(maximum / minimum) / (steps - 1)

    def raise_rate(gradients: list) -> list:
        step = ops.cast(optimizer.iterations - first, "float32")
        optimizer.learning_rate.assign(minimum * ops.exp(growth * step))
        return gradients

    variables = model.variables + model.optimizer.variables
    before = [ops.convert_to_numpy(variable).copy() for variable in variables]
    add_hook(model, "learning-rate search", raise_rate)
    try:
        losses = _losses(model, dataset, steps=steps, width=width)
    finally:
        remove_hook(model, "learning-rate search")
        for variable, value in zip(variables, before, strict=True):
            variable.assign(value)
        model.reset_metrics()

    if len(losses) < width + 2:
        raise UserError(
            f"The loss explodes within {len(losses)} steps from a learning rate of {minimum}:"
            " search from a smaller one."
        )
    smoothed = np.convolve(losses, np.full(width, 1.0 / width), mode="valid")
    margin = width // 2
    rates = minimum * np.exp(growth * np.arange(margin, margin + len(smoothed)))
    slope = np.gradient(smoothed, np.log(rates))
    return rates, smoothed, float(rates[np.argmin(slope)])


def _losses(model: keras.Model, dataset: Any, *, steps: int, width: int) -> list[float]:
    """Trains until the ramp ends or the mean of the last `width` losses has exploded."""
    losses: list[float] = []
    limit = math.inf
    for step in range(steps):
        inputs, targets, weights = keras.utils.unpack_x_y_sample_weight(
            dataset[step % len(dataset)]
        )
        # The logged loss is a mean since the last reset.
        model.reset_metrics()
        logs = model.train_on_batch(inputs, targets, sample_weight=weights, return_dict=True)
        loss = float(logs["loss"])
        if not math.isfinite(loss):
            break
        losses.append(loss)
        recent = float(np.mean(losses[-width:]))
        if len(losses) == width:
            # In this form also for losses below zero, such as a log-likelihood's.
            limit = recent + abs(recent)
        if recent > limit:
            break
    return losses
