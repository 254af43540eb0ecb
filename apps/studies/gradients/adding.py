"""One training of the gradient study, on the adding problem, with what it shows."""

import math
import time
from typing import Any

import keras

from apps.studies.gradients.long_memory import adding_batches
from common.clipping import GradientClipping
from common.optimizers import build_optimizer

UNITS, BATCH, SEED = 64, 64, 1
# Steps between two points of a curve.
RECORDED = 25


def train_adder(
    model: keras.Model,
    *,
    optimizer: str,
    learning_rate: float,
    clipping: str = "global_norm",
    clip_threshold: float = 1.0,
    steps: int,
    length: int,
    seed: int = SEED,
) -> dict[str, Any]:
    """Trains on the adding problem with fresh batches.

    Args:
        model: From `build_adder`.
        optimizer: As the flag of every app.
        learning_rate: The same from first to last.
        clipping: As the flag of every app; adaptive takes the 10th percentile.
        clip_threshold: As the flag of every app.
        steps: Updates.
        length: Steps of a sequence.
        seed: Of the batches.

    Returns:
        One value for each 25 updates in `loss` and `gradient_norm_max`; what is no number is None,
        and there the training ended. `seconds` of all.
    """
    model.compile(build_optimizer(optimizer, learning_rate=learning_rate), "mse", jit_compile=False)
    begin = time.perf_counter()
    history = model.fit(
        adding_batches(length, rows=BATCH, seed=seed),
        steps_per_epoch=RECORDED,
        shuffle=False,
        epochs=steps // RECORDED,
        verbose=0,
        callbacks=[
            GradientClipping(clipping, threshold=clip_threshold, percentile=10.0),
            keras.callbacks.TerminateOnNaN(),
        ],
    ).history
    return {
        "loss": [rounded(value) for value in history["loss"]],
        "gradient_norm_max": [rounded(value) for value in history["gradient_norm_max"]],
        "seconds": round(time.perf_counter() - begin, 1),
    }


def rounded(value: float) -> float | None:
    """Returns a number of five digits; JSON knows neither infinity nor NaN."""
    return float(f"{value:.5g}") if math.isfinite(value) else None


def said(trained: dict[str, Any]) -> str:
    """Returns how a training ended, in words."""
    last = trained["loss"][-1]
    ending = "no number any more" if last is None else f"error {last:.4f}"
    return f"{ending} after {RECORDED * len(trained['loss'])} updates, {trained['seconds']:.0f} s"
