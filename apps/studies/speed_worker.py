"""Runs a recurrent network in one library and times its steps: a process of the speed study.

It reads one request a line, as JSON, and answers each with the seconds that the steps took. Its
argument is `native` (PyTorch), `keras` or `keras_xla`, both on the backend of `KERAS_BACKEND`.
"""

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

BATCH, FEATURES, UNITS, LENGTH = 64, 64, 128, 100


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

    from common.clipping import GradientClipping
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

    def answer(sequences):
        return dense(recurrent(torch.from_numpy(sequences).to(device))[0][:, -1])

    def forward(sequences, targets):
        with torch.no_grad():
            return answer(sequences).cpu().numpy()

    def train(sequences, targets):
        loss = nn.functional.mse_loss(answer(sequences), torch.from_numpy(targets).to(device))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        return loss.item()

    return forward if mode == "forward" else train


def main() -> None:
    """Answers until its input ends."""
    library = sys.argv[1]
    # Whatever libraries print must not be taken for an answer.
    answers, sys.stdout = sys.stdout, sys.stderr
    inputs = batches()
    step_functions: dict[tuple[str, str], Callable] = {}
    for line in sys.stdin:
        request = json.loads(line)
        key = request["cell"], request["mode"]
        if key not in step_functions:
            step_functions[key] = (
                native_step(*key)
                if library == "native"
                else keras_step(*key, xla=library == "keras_xla")
            )
        begin = time.perf_counter()
        for number in range(request["steps"]):
            step_functions[key](*inputs[number % len(inputs)])
        print(json.dumps(time.perf_counter() - begin), file=answers, flush=True)


if __name__ == "__main__":
    main()
