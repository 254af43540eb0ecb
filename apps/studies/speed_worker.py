"""Steps of a recurrent network in Keras or in native PyTorch, timed in a process of its own."""

import functools
import time
from collections.abc import Callable
from typing import Any

import numpy as np

BATCH, FEATURES, UNITS, LENGTH = 64, 64, 128, 100


@functools.cache
def batches() -> list[tuple[np.ndarray, np.ndarray]]:
    """Returns four batches of `(BATCH, LENGTH, FEATURES)` with targets `(BATCH, 1)`."""
    generator = np.random.default_rng(1)
    shapes = (BATCH, LENGTH, FEATURES), (BATCH, 1)
    return [
        tuple(generator.normal(size=shape).astype("float32") for shape in shapes) for _ in range(4)
    ]


def keras_step(cell: str, mode: str, *, xla: bool) -> Callable[[np.ndarray, np.ndarray], Any]:
    """Returns a function that runs one batch as `fit` or `predict` does."""
    import keras
    from keras import layers

    from common.optimization import GradientClipping
    from models.recurrent import recurrent_layer

    keras.utils.set_random_seed(1)
    sequence = keras.Input((None, FEATURES))
    last = recurrent_layer(cell, UNITS, name="recurrent")(sequence)[:, -1]
    model = keras.Model(sequence, layers.Dense(1)(last))
    model.compile(keras.optimizers.Adam(1e-4), "mse", jit_compile=xla)
    if mode == "forward":
        return lambda sequences, targets: model.predict_on_batch(sequences)
    GradientClipping("global_norm").install(model)
    return lambda sequences, targets: model.train_on_batch(sequences, targets)


def native_step(cell: str, mode: str) -> Callable[[np.ndarray, np.ndarray], Any]:
    """Returns the same in plain PyTorch, on the GPU if there is one."""
    import torch
    from torch import nn

    torch.manual_seed(1)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind = {"simple_rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}[cell]
    recurrent = kind(FEATURES, UNITS, batch_first=True).to(device)
    dense = nn.Linear(UNITS, 1).to(device)
    weights = [*recurrent.parameters(), *dense.parameters()]
    optimizer = torch.optim.Adam(weights, 1e-4)

    def outputs(sequences):
        return dense(recurrent(torch.from_numpy(sequences).to(device))[0][:, -1])

    def forward(sequences, targets):
        with torch.no_grad():
            return outputs(sequences).cpu().numpy()

    def train(sequences, targets):
        loss = nn.functional.mse_loss(outputs(sequences), torch.from_numpy(targets).to(device))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        return loss.item()

    return forward if mode == "forward" else train


@functools.cache
def build_step(library: str, cell: str, mode: str) -> Callable[[np.ndarray, np.ndarray], Any]:
    """Returns the step of a library: `native` (PyTorch), `keras` or `keras_xla`."""
    if library == "native":
        return native_step(cell, mode)
    return keras_step(cell, mode, xla=library == "keras_xla")


def time_steps(library: str, cell: str, mode: str, steps: int) -> float:
    """Returns the seconds of some steps; the first call of a network also compiles it."""
    step = build_step(library, cell, mode)
    begin = time.perf_counter()
    for number in range(steps):
        step(*batches()[number % 4])
    return time.perf_counter() - begin
