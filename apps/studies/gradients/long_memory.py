"""The adding problem, and small networks for it whose gradient can be watched step by step."""

from collections.abc import Iterator

import keras
import numpy as np
from keras import layers, ops

from models.recurrent import recurrent_layer

# Name to cell and activation: the four kinds that the studies set side by side.
KINDS = {
    "simple_rnn": ("simple_rnn", "tanh"),
    "simple_rnn, ReLU": ("simple_rnn", "relu"),
    "lstm": ("lstm", "tanh"),
    "gru": ("gru", "tanh"),
}
# Error of whoever always answers 1, the mean: the variance of a sum of two uniform numbers.
ERROR_WITHOUT_MEMORY = 1 / 6


def adding_problem(rows: int, length: int, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns rows of the adding problem (Hochreiter and Schmidhuber, 1997).

    Each step has a number and a mark. Two steps are marked, one in each half; the answer is the sum
    of their numbers, so whatever lies between must be carried through.

    Args:
        rows: How many sequences.
        length: Steps of each.
        seed: Another seed makes other rows.

    Returns:
        Sequences `(rows, length, 2)` and answers `(rows, 1)`, both float32.
    """
    generator = np.random.default_rng(seed)
    numbers, marks = generator.random((rows, length)), np.zeros((rows, length))
    half = length // 2
    for places in (generator.integers(0, half, rows), generator.integers(half, length, rows)):
        marks[np.arange(rows), places] = 1
    sequences = np.stack([numbers, marks], axis=-1).astype("float32")
    return sequences, (numbers * marks).sum(axis=1, keepdims=True).astype("float32")


def adding_batches(length: int, *, rows: int, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields batches without end, none twice."""
    for number in range(2**31):
        yield adding_problem(rows, length, seed=seed + 1_000_003 * (number + 1))


def build_adder(
    kind: str, units: int, *, length: int, truncation: int | None = None
) -> keras.Model:
    """Builds a network that reads a sequence and answers with one number.

    Args:
        kind: One of `KINDS`.
        units: Size of the state.
        length: Steps of a sequence.
        truncation: Steps that a gradient flows back through (Williams and Peng, 1990): between
            pieces of this many steps the state goes on and the gradient does not. It must divide
            the length.

    Raises:
        ValueError: If it does not.
    """
    piece = truncation or length
    if length % piece:
        raise ValueError(f"truncation={truncation} does not divide the length of {length}.")
    cell, activation = KINDS[kind]
    sequence = keras.Input((length, 2), name="sequence")
    layer = recurrent_layer(cell, units, activation=activation, return_state=True, name="recurrent")
    before = None
    for first in range(0, length, piece):
        steps, *after = layer(sequence[:, first : first + piece], initial_state=before)
        before = [ops.stop_gradient(state) for state in after]
    if activation == "relu":
        # As Le et al. (2015) begin, with next to no input: what comes in is never forgotten, so
        # inputs of the usual size add up to states that no step size fits.
        layer.cell.kernel.assign(ops.multiply(layer.cell.kernel, 0.01))
    answer = layers.Dense(1, name="answer")(steps[:, -1])
    return keras.Model(sequence, answer, name="adder")


class ProbedCell(layers.Layer):
    """A recurrent cell to whose states a part of its input is added, after each step.

    The gradient with respect to that part, which is zero, is the gradient with respect to the
    state.

    Args:
        cell: A cell of `keras.layers`.
    """

    def __init__(self, cell: layers.Layer, **options):
        """See the class."""
        super().__init__(**options)
        self.cell = cell
        self.state_size, self.output_size = cell.state_size, cell.output_size
        self._sizes = keras.tree.flatten(cell.state_size)

    def build(self, input_shape):
        """Builds the cell for its own part of the input."""
        self.cell.build((input_shape[0], input_shape[-1] - sum(self._sizes)))

    def call(self, inputs, states, training=False):
        """Returns the output and the states, both with what the input adds to them."""
        features = inputs.shape[-1] - sum(self._sizes)
        _, after = self.cell(inputs[:, :features], states, training=training)
        moved = []
        for state, size in zip(keras.tree.flatten(after), self._sizes, strict=True):
            moved.append(state + inputs[:, features : features + size])
            features += size
        return moved[0], moved

    def get_initial_state(self, batch_size=None):
        """Returns the cell's own."""
        return self.cell.get_initial_state(batch_size=batch_size)


class Probe(layers.Layer):
    """Puts a weight of zeros beside the features of each step; training moves it, nothing else."""

    def __init__(self, size: int, **options):
        """Takes the size of the states."""
        super().__init__(**options)
        self.size = size

    def build(self, input_shape):
        """Makes the weight: one for every row and step."""
        shape = (*input_shape[:2], self.size)
        self.zeros = self.add_weight(shape=shape, initializer="zeros", name="probe")

    def call(self, sequence):
        """Returns `(batch, time, features + size)`."""
        return ops.concatenate([sequence, self.zeros], axis=-1)


_CELLS = {
    "simple_rnn": layers.SimpleRNNCell,
    "lstm": layers.LSTMCell,
    "gru": layers.GRUCell,
}


def state_gradients(
    sequences: np.ndarray,
    targets: np.ndarray,
    *,
    kind: str,
    recurrent: list[np.ndarray],
    answer: list[np.ndarray],
    loss: str | keras.losses.Loss,
) -> np.ndarray:
    """Returns how long the gradient of the loss is with respect to the state at each step.

    It is read off a weight of zeros that is added to the states: one step of plain gradient descent
    at a rate of 1 makes it the negative gradient. So the same lines run on every backend.

    Args:
        sequences: `(rows, time, features)`, what the recurrent layer reads.
        targets: `(rows, 1)`, what the dense layer behind its last output is to say.
        kind: One of `KINDS`.
        recurrent: Weights of the recurrent layer.
        answer: Weights of the dense layer.
        loss: As Keras takes it; of a row by itself.

    Returns:
        `(rows, time)`, for the LSTM of both its states together.
    """
    cell_name, activation = KINDS[kind]
    units = recurrent[1].shape[0]
    options = {"activation": activation} if cell_name == "simple_rnn" else {}
    cell = ProbedCell(_CELLS[cell_name](units, **options))
    inputs = keras.Input(batch_shape=sequences.shape)
    probe = Probe(sum(keras.tree.flatten(cell.state_size)))
    last = layers.RNN(cell, name="recurrent")(probe(inputs))
    dense = layers.Dense(1)
    model = keras.Model(inputs, dense(last))
    cell.cell.set_weights(recurrent)
    dense.set_weights(answer)
    cell.trainable = dense.trainable = False
    model.compile(keras.optimizers.SGD(1.0), loss, jit_compile=False)
    model.train_on_batch(sequences, targets)
    # The loss is a mean over rows.
    gradient = -len(sequences) * ops.convert_to_numpy(probe.zeros)
    return np.linalg.norm(gradient, axis=-1)
