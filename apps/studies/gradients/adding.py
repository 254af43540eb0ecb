"""The adding problem, small networks for it, their training, and a probe of their gradients."""

import itertools
import math
import time
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from common.optimization import GradientClipping, build_optimizer
from models.recurrent import recurrent_layer

UNITS, BATCH, SEED = 64, 64, 1
# Steps between two points of a curve.
RECORDED = 25
# Name to cell and activation: the four networks that the study compares.
KINDS = {
    "simple_rnn": ("simple_rnn", "tanh"),
    "simple_rnn, ReLU": ("simple_rnn", "relu"),
    "lstm": ("lstm", "tanh"),
    "gru": ("gru", "tanh"),
}
_CELLS = {"simple_rnn": layers.SimpleRNNCell, "lstm": layers.LSTMCell, "gru": layers.GRUCell}
# Squared error of a model that always answers 1, the mean: the variance of two uniform numbers.
ERROR_WITHOUT_MEMORY = 1 / 6


def adding_problem(rows: int, length: int, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns sequences `(rows, length, 2)` and answers `(rows, 1)` of the adding problem.

    Each step has a number and a mark. One step of each half is marked; the answer is the sum of
    their numbers, so a network must remember the first one (Hochreiter and Schmidhuber, 1997).
    """
    generator = np.random.default_rng(seed)
    numbers, marks = generator.random((rows, length)), np.zeros((rows, length))
    half = length // 2
    for places in (generator.integers(0, half, rows), generator.integers(half, length, rows)):
        marks[np.arange(rows), places] = 1
    sequences = np.stack([numbers, marks], axis=-1).astype("float32")
    return sequences, (numbers * marks).sum(axis=1, keepdims=True).astype("float32")


def adding_batches(length: int, *, rows: int, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields batches without end; no batch comes twice."""
    for number in itertools.count(1):
        yield adding_problem(rows, length, seed=seed + 1_000_003 * number)


def build_adder(
    kind: str, units: int, *, length: int, truncation: int | None = None
) -> keras.Model:
    """Builds a network that reads a sequence and answers with one number.

    Args:
        kind: One of `KINDS`.
        units: Size of the state.
        length: Steps of a sequence.
        truncation: Steps that a gradient flows back through (Williams and Peng, 1990): between
            pieces of this many steps the state is carried over and the gradient is not.
    """
    cell, activation = KINDS[kind]
    sequence = keras.Input((length, 2), name="sequence")
    layer = recurrent_layer(cell, units, activation=activation, return_state=True, name="recurrent")
    piece = truncation or length
    carried = None
    for first in range(0, length, piece):
        steps, *states = layer(sequence[:, first : first + piece], initial_state=carried)
        carried = [ops.stop_gradient(state) for state in states]
    if activation == "relu":
        # The identity forgets nothing (Le et al., 2015): inputs of the usual size would add up to
        # states that no learning rate fits.
        layer.cell.kernel.assign(ops.multiply(layer.cell.kernel, 0.01))
    answer = layers.Dense(1, name="answer")(steps[:, -1])
    return keras.Model(sequence, answer, name="adder")


def rounded(value: float) -> float | None:
    """Returns five digits of a number; None for infinity and NaN, which JSON does not have."""
    return float(f"{value:.5g}") if math.isfinite(value) else None


def fit(
    model: keras.Model,
    inputs,
    targets: np.ndarray | None = None,
    *,
    loss: str | keras.losses.Loss = "mse",
    optimizer: str = "rmsprop",
    learning_rate: float = 1e-3,
    clipping: GradientClipping,
    epochs: int,
    validation: tuple[np.ndarray, np.ndarray] | None = None,
) -> tuple[dict[str, list[float | None]], float]:
    """Trains at a constant rate until the last epoch or the first loss that is not finite.

    Without targets, the inputs are an endless iterator of batches, and an epoch takes 25 of these.
    Returns the history, with None for infinity and NaN, and the seconds.
    """
    metrics = [keras.metrics.BinaryAccuracy("accuracy", threshold=0.0)] if validation else []
    optimizer = build_optimizer(optimizer, learning_rate=learning_rate)
    model.compile(optimizer, loss, metrics=metrics, jit_compile=False)
    begin = time.perf_counter()
    history = model.fit(
        inputs,
        targets,
        batch_size=None if targets is None else BATCH,
        steps_per_epoch=RECORDED if targets is None else None,
        shuffle=targets is not None,
        epochs=epochs,
        validation_data=validation,
        verbose=0,
        callbacks=[clipping, keras.callbacks.TerminateOnNaN()],
    ).history
    curves = {name: [rounded(value) for value in values] for name, values in history.items()}
    return curves, round(time.perf_counter() - begin, 1)


def train_adder(
    label: str,
    model: keras.Model,
    *,
    steps: int,
    length: int,
    seed: int = SEED,
    optimizer: str = "rmsprop",
    learning_rate: float = 1e-3,
    clipping: str = "global_norm",
    threshold: float = 1.0,
) -> dict[str, Any]:
    """Trains on the adding problem, prints how it ended, and returns its curves and seconds."""
    history, seconds = fit(
        model,
        adding_batches(length, rows=BATCH, seed=seed),
        optimizer=optimizer,
        learning_rate=learning_rate,
        clipping=GradientClipping(clipping, threshold=threshold),
        epochs=steps // RECORDED,
    )
    curves = {name: history[name] for name in ("loss", "gradient_norm_max")}
    updates = RECORDED * len(curves["loss"])
    print(f"{label}: error {curves['loss'][-1]}, {updates} updates, {seconds:.0f} s", flush=True)
    return {**curves, "seconds": seconds}


class ProbedCell(layers.Layer):
    """A recurrent cell that adds the last features of its input, the probe, to its new states.

    The probe is zero; its gradient is that of the states.
    """

    def __init__(self, cell: layers.Layer, **options):
        """Takes a cell of `keras.layers`."""
        super().__init__(**options)
        self.cell = cell
        self.state_size, self.output_size = cell.state_size, cell.output_size
        self._sizes = keras.tree.flatten(cell.state_size)

    def build(self, input_shape):
        """Builds the cell for the features before the probe."""
        self.cell.build((input_shape[0], input_shape[-1] - sum(self._sizes)))

    def call(self, inputs, states, training=False):
        """Returns the output and the states, both with the probe added."""
        features = inputs.shape[-1] - sum(self._sizes)
        _, states = self.cell(inputs[:, :features], states, training=training)
        probed = []
        for state, size in zip(keras.tree.flatten(states), self._sizes, strict=True):
            probed.append(state + inputs[:, features : features + size])
            features += size
        return probed[0], probed

    def get_initial_state(self, batch_size=None):
        """Returns that of the cell."""
        return self.cell.get_initial_state(batch_size=batch_size)


def state_gradients(
    sequences: np.ndarray,
    targets: np.ndarray,
    *,
    kind: str,
    recurrent: layers.Layer,
    answer: layers.Dense,
    loss: str | keras.losses.Loss,
) -> np.ndarray:
    """Returns the norm of the gradient of the loss with respect to the state at each step.

    The probe is an embedding of zeros with one row for each state. One step of gradient descent at
    a rate of 1 turns it into the negative gradient, with the same lines on every backend.

    Args:
        sequences: `(rows, time, features)`, the inputs of the recurrent layer.
        targets: `(rows, 1)`, the targets of the dense layer behind its last output.
        kind: One of `KINDS`.
        recurrent: The recurrent layer, whose weights are copied.
        answer: The dense layer, whose weights are copied.
        loss: A mean over rows.

    Returns:
        `(rows, time)`, for the LSTM of both its states together.
    """
    cell_name, activation = KINDS[kind]
    options = {"activation": activation} if cell_name == "simple_rnn" else {}
    weights = recurrent.get_weights()
    cell = ProbedCell(_CELLS[cell_name](weights[1].shape[0], **options))
    places = np.arange(sequences[..., 0].size, dtype="int32").reshape(sequences.shape[:2])
    inputs, ids = keras.Input(sequences.shape[1:]), keras.Input(places.shape[1:], dtype="int32")
    size = sum(keras.tree.flatten(cell.state_size))
    probe = layers.Embedding(places.size, size, embeddings_initializer="zeros")
    dense = layers.Dense(1)
    probed = ops.concatenate([inputs, probe(ids)], axis=-1)
    model = keras.Model([inputs, ids], dense(layers.RNN(cell, name="recurrent")(probed)))
    cell.cell.set_weights(weights)
    dense.set_weights(answer.get_weights())
    cell.trainable = dense.trainable = False
    model.compile(keras.optimizers.SGD(1.0), loss, jit_compile=False)
    model.train_on_batch([sequences, places], targets)
    gradient = len(sequences) * ops.convert_to_numpy(probe.embeddings)
    return np.linalg.norm(gradient, axis=-1).reshape(places.shape)
