"""Recurrent encoders that all apps share: cells, stacks, both directions, regions.

No mask enters a recurrence, so the fused GPU kernels stay usable and every backend does the same:
sequences are padded on the right, the backward direction reads each sequence reversed by its own
length, and pooling (`models.pooling`) looks at real steps only. Padding therefore changes nothing.
"""

import keras
from keras import layers, ops

from models.recurrent_loops import GRU, LSTM, SimpleRNN


@keras.saving.register_keras_serializable(package="models")
class Feedforward(layers.Dense):
    """What a recurrent layer is without its recurrence: each step sees itself alone.

    Args:
        units: Size of what comes out.
        return_state: Whether the states after the last step come out besides: there are none.
    """

    def __init__(self, units: int, *, return_state: bool = False, **options):
        """See the class."""
        super().__init__(units, **{"activation": "tanh", **options})
        self.return_state = return_state

    def call(self, sequence, initial_state=None, training=None):
        """Takes `(batch, time, features)` and no states; returns `(batch, time, units)`."""
        steps = super().call(sequence, training=training)
        return [steps] if self.return_state else steps

    def compute_output_spec(self, sequence, initial_state=None, training=None):
        """Returns the same without values."""
        steps = keras.KerasTensor((*sequence.shape[:-1], self.units), dtype=self.compute_dtype)
        return [steps] if self.return_state else steps

    def get_config(self):
        """Returns what a reload needs."""
        return {**super().get_config(), "return_state": self.return_state}


CELLS = {"simple_rnn": SimpleRNN, "lstm": LSTM, "gru": GRU}


def recurrent_layer(
    cell: str,
    units: int,
    *,
    activation: str = "tanh",
    return_state: bool = False,
    name: str,
) -> keras.Layer:
    """Returns one recurrent layer that gives its state at every step.

    Args:
        cell: `simple_rnn`, `lstm`, `gru`, or `feedforward`, which has no recurrence and no states.
        units: Size of the state.
        activation: `tanh` or `relu`, for `simple_rnn` only; ReLU starts from the identity matrix,
            which keeps gradients alive over many steps (Le et al., 2015).
        return_state: Whether the states after the last step come out besides: `[h]` or `[h, c]`.
        name: Name of the layer.
    """
    if cell == "feedforward":
        return Feedforward(units, return_state=return_state, name=name)
    options = {}
    if cell == "simple_rnn":
        options["activation"] = activation
        if activation == "relu":
            options["recurrent_initializer"] = "identity"
    return CELLS[cell](
        units,
        return_sequences=True,
        return_state=return_state,
        name=name,
        **options,
    )


@keras.saving.register_keras_serializable(package="models")
class CarriedStates(layers.Layer):
    """Begins each batch of a recurrent layer with the states that the batch before ended with.

    Keras's own `stateful=True` is for TensorFlow: the states are no variables of the model, so a
    compiled step drops them on JAX without a word, and PyTorch fails to find the gradient.
    """

    def __init__(self, layer: layers.RNN, rows: int, **options):
        """Takes a layer that returns its states too, and the rows of every batch."""
        super().__init__(**options)
        self.layer, self.rows = layer, rows

    def build(self, sequences_shape):
        """Makes a variable for each state."""
        self.layer.build(sequences_shape)
        self.carried = [
            self.add_weight(
                shape=(self.rows, size), initializer="zeros", trainable=False, name="carried"
            )
            for size in self.layer.state_size
        ]

    def call(self, sequences, training=False):
        """Returns the states at all steps, `(batch, time, units)`, and keeps the last ones."""
        # Copies, since PyTorch changes a variable in place while its gradient is still to come.
        before = [ops.copy(variable) for variable in self.carried]
        steps, *after = self.layer(sequences, initial_state=before, training=training)
        for variable, state in zip(self.carried, after, strict=True):
            variable.assign(ops.stop_gradient(state))
        return steps

    def reset_state(self):
        """Forgets what was carried."""
        for variable in self.carried:
            variable.assign(ops.zeros(variable.shape))

    def get_config(self):
        """Returns what a reload needs."""
        layer = keras.saving.serialize_keras_object(self.layer)
        return {**super().get_config(), "layer": layer, "rows": self.rows}

    @classmethod
    def from_config(cls, config):
        """Makes the layer anew."""
        layer = keras.saving.deserialize_keras_object(config["layer"])
        return cls(**{**config, "layer": layer})


class ResetStates(keras.callbacks.Callback):
    """Clears the states that are carried, before each pass over training or validation."""

    def on_epoch_begin(self, epoch, logs=None):
        """Begins the training data anew."""
        for layer in self.model.layers:
            if isinstance(layer, CarriedStates):
                layer.reset_state()

    def on_test_begin(self, logs=None):
        """Begins the validation data anew."""
        self.on_epoch_begin(epoch=0)


def sequence_mask(tokens: keras.KerasTensor) -> keras.KerasTensor:
    """Returns `<bool>(batch, time)`, True where `tokens` `<int32>(batch, time)` is not padding."""
    return ops.not_equal(tokens, 0)


def reversal(mask: keras.KerasTensor) -> keras.KerasTensor:
    """Returns the order that reverses each sequence in place and leaves its padding behind it.

    Args:
        mask: `<bool>(batch, time)`, True at real steps, all of them on the left.

    Returns:
        `<int32>(batch, time)`: which step stands at each step of the reversed sequence. Applying
        it twice gives the sequence back.
    """
    real = ops.cast(mask, "int32")
    length = ops.sum(real, axis=1, keepdims=True)
    # A running count, since the number of steps may be unknown while the model is built.
    step = ops.cumsum(ops.ones_like(real), axis=1) - 1
    return ops.where(ops.less(step, length), length - 1 - step, step)


def take_steps(sequence: keras.KerasTensor, order: keras.KerasTensor) -> keras.KerasTensor:
    """Reorders `(batch, time, features)` by `order` `<int32>(batch, time)`."""
    return ops.take_along_axis(sequence, ops.expand_dims(order, -1), axis=1)


def recurrent_stack(
    inputs: keras.KerasTensor,
    mask: keras.KerasTensor,
    *,
    cell: str,
    units: int,
    num_layers: int,
    bidirectional: bool,
    activation: str = "tanh",
    dropout: float = 0.0,
) -> keras.KerasTensor:
    """Runs a stack of recurrent layers over a right-padded sequence.

    Args:
        inputs: `(batch, time, features)`.
        mask: `<bool>(batch, time)`, True at real steps.
        cell: `simple_rnn`, `lstm`, `gru` or `feedforward`.
        units: Size of the state, of each direction.
        num_layers: Layers on top of each other.
        bidirectional: Whether a second layer reads each sequence from its end.
        activation: Of `simple_rnn`.
        dropout: Between the layers of the stack.

    Returns:
        `(batch, time, units)`, or `(batch, time, 2 * units)` forward then backward. Steps that are
        padding hold values without meaning.
    """
    order = reversal(mask) if bidirectional else None

    def layer(direction: str, index: int) -> keras.Layer:
        return recurrent_layer(
            cell,
            units,
            activation=activation,
            name=f"{direction}_{index}",
        )

    states = inputs
    for index in range(1, num_layers + 1):
        if index > 1:
            states = layers.Dropout(dropout, name=f"between_{index}")(states)
        forward = layer("forward", index)(states)
        if bidirectional:
            backward = layer("backward", index)(take_steps(states, order))
            forward = ops.concatenate([forward, take_steps(backward, order)], axis=-1)
        states = forward
    return states


@keras.saving.register_keras_serializable(package="models")
class Chop(layers.Layer):
    """Cuts `(batch, time)` into regions: `(batch * regions, region_length)`.

    The regions of a text then run side by side instead of one after the other, and gradients flow
    back through one region only (Johnson and Zhang, 2016). `time` must be a multiple of
    `region_length`.
    """

    def __init__(self, region_length: int, **options):
        """Takes the number of steps in a region."""
        super().__init__(**options)
        self.region_length = region_length

    def call(self, tokens):
        """Returns `(batch * regions, region_length)`."""
        return ops.reshape(tokens, (-1, self.region_length))

    def compute_output_shape(self, tokens_shape):
        """Returns the shape with an unknown number of regions."""
        return (None, self.region_length)

    def get_config(self):
        """Returns what a reload needs."""
        return {**super().get_config(), "region_length": self.region_length}


@keras.saving.register_keras_serializable(package="models")
class Join(layers.Layer):
    """Puts the regions of `Chop` together again: `(batch, time, features)`."""

    def call(self, regions, tokens):
        """Takes `(batch * regions, region_length, features)` and the tokens that were chopped."""
        # The two unknown sizes, batch and time, are both known here, not while the model is built.
        return ops.reshape(regions, (-1, ops.shape(tokens)[1], regions.shape[-1]))

    def compute_output_shape(self, regions_shape, tokens_shape):
        """Returns `(batch, time, features)`."""
        return (tokens_shape[0], tokens_shape[1], regions_shape[-1])
