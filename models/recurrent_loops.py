"""Keras's recurrent layers with a leaner loop on TensorFlow, where no fused kernel runs.

Keras multiplies the inputs by their kernel inside the loop over time, and on the way back it sums
up the gradients of both kernels step by step. None of that waits for a state: here the loops hold
only what does, and the rest is done for all steps at once. Weights, names, settings and results
are those of Keras. Its fused GPU kernels still go first, and on JAX and PyTorch its own loops run.
"""

from collections.abc import Callable

import keras
from keras import activations, layers, ops


def _loop(forward: Callable, slopes: Callable, backward: Callable, *, kept: int) -> Callable:
    """Returns a loop over time that knows its own gradient.

    All tensors named in the three functions are `(batch, units)`, or `(batch, gates * units)` of
    the gates; those of `slopes` have `time` in front.

    Args:
        forward: What a step does, with the inputs' and the state's part of the gates and the
            list of states before. Returns the list of states after and a list of `kept` tensors.
        slopes: Takes the states before, the states after and what `forward` kept, of all steps.
            Returns a list of the factors that `backward` needs.
        backward: A step of the way back, with the list of gradients of the states after, its
            factors, and the transposed recurrent kernel. Returns the list of gradients of the
            states before, and a list of the gradient of the state's part of the gates and of the
            inputs' part, if that is another one.
        kept: See `forward`.

    Returns:
        A function of the inputs' part of the gates `(time, batch, gates * units)`, the recurrent
        kernel `(units, gates * units)`, its bias `(gates * units,)` and the first states to all
        states after each step, `(time, batch, units)`.
    """

    @ops.custom_gradient
    def run(inputs, kernel, bias, *first):
        # The loops scan a range, because a scan takes only one sequence of unknown length.
        times = ops.arange(ops.shape(inputs)[0], dtype="int32")

        def step(carried, time):
            before = carried[0]
            after = forward(inputs[time], ops.matmul(before[0], kernel) + bias, before)
            return after, after

        begin = list(first), [first[0]] * kept
        _, (states, memory) = ops.scan(step, begin, times)
        before = [
            ops.concatenate([start[None], after[:-1]], axis=0)
            for start, after in zip(first, states, strict=True)
        ]

        def gradient(*state_gradients):
            factors = slopes(before, states, memory)
            transposed = ops.transpose(kernel)

            def step_back(carried, time):
                after_gradients = [
                    later + upstream[time]
                    for later, upstream in zip(carried[0], state_gradients, strict=True)
                ]
                here = [factor[time] for factor in factors]
                before_gradients = backward(after_gradients, here, transposed)
                return before_gradients, before_gradients

            nothing = [ops.zeros_like(start) for start in first]
            begin = backward(nothing, [ops.zeros_like(factor[0]) for factor in factors], transposed)
            (first_gradients, _), (_, gate_gradients) = ops.scan(
                step_back, begin, times, reverse=True
            )
            units, width = kernel.shape
            flat = ops.reshape(gate_gradients[0], (-1, width))
            kernel_gradient = ops.matmul(ops.transpose(ops.reshape(before[0], (-1, units))), flat)
            return gate_gradients[-1], kernel_gradient, ops.sum(flat, axis=0), *first_gradients

        return tuple(states), gradient

    return run


def _side_by_side(*tensors):
    return ops.concatenate(tensors, axis=-1)


def _simple_rnn_loop(activation: Callable, slope: Callable) -> Callable:
    """Returns the loop of an activation whose slope is a function of what comes out."""

    def forward(inputs, inner, before):
        return [activation(inputs + inner)], []

    def slopes(before, after, kept):
        return [slope(after[0])]

    def backward(after_gradients, factors, transposed):
        gate_gradients = after_gradients[0] * factors[0]
        return [ops.matmul(gate_gradients, transposed)], [gate_gradients]

    return _loop(forward, slopes, backward, kept=0)


def _lstm_forward(inputs, inner, before):
    enter, forget, candidate, leave = ops.split(inputs + inner, 4, axis=-1)
    enter, forget, leave = ops.sigmoid(enter), ops.sigmoid(forget), ops.sigmoid(leave)
    candidate = ops.tanh(candidate)
    cell = forget * before[1] + enter * candidate
    return [leave * ops.tanh(cell), cell], [enter, forget, candidate, leave]


def _lstm_slopes(before, after, kept):
    enter, forget, candidate, leave = kept
    shown = ops.tanh(after[1])
    gate_slopes = _side_by_side(
        enter * (1 - enter) * candidate,
        forget * (1 - forget) * before[1],
        enter * (1 - candidate * candidate),
        leave * (1 - leave) * shown,
    )
    return [gate_slopes, forget, leave * (1 - shown * shown)]


def _lstm_backward(after_gradients, factors, transposed):
    state_gradient, cell_gradient = after_gradients
    gate_slopes, forget, leave = factors
    cell_gradient = cell_gradient + state_gradient * leave
    gate_gradients = (
        _side_by_side(cell_gradient, cell_gradient, cell_gradient, state_gradient) * gate_slopes
    )
    return [ops.matmul(gate_gradients, transposed), cell_gradient * forget], [gate_gradients]


def _gru_forward(inputs, inner, before):
    update, reset, candidate = ops.split(inputs, 3, axis=-1)
    inner_update, inner_reset, recalled = ops.split(inner, 3, axis=-1)
    update, reset = ops.sigmoid(update + inner_update), ops.sigmoid(reset + inner_reset)
    candidate = ops.tanh(candidate + reset * recalled)
    after = candidate + update * (before[0] - candidate)
    return [after], [update, reset, candidate, recalled]


def _gru_slopes(before, after, kept):
    update, reset, candidate, recalled = kept
    candidate_slope = (1 - update) * (1 - candidate * candidate)
    recalled_slope = candidate_slope * reset
    inner_slopes = _side_by_side(
        update * (1 - update) * (before[0] - candidate),
        recalled_slope * (1 - reset) * recalled,
        recalled_slope,
    )
    return [inner_slopes, candidate_slope, update]


def _gru_backward(after_gradients, factors, transposed):
    (state_gradient,) = after_gradients
    units = state_gradient.shape[-1]
    inner_slopes, candidate_slope, update = factors
    inner_gradients = _side_by_side(state_gradient, state_gradient, state_gradient) * inner_slopes
    # The reset lies between the state's part of the candidate and the inputs' part.
    input_gradients = _side_by_side(
        inner_gradients[:, : 2 * units], state_gradient * candidate_slope
    )
    before_gradients = ops.matmul(inner_gradients, transposed) + state_gradient * update
    return [before_gradients], [inner_gradients, input_gradients]


_SIMPLE_RNN = {
    activations.tanh: _simple_rnn_loop(ops.tanh, lambda state: 1 - state * state),
    activations.relu: _simple_rnn_loop(ops.relu, lambda state: ops.cast(state > 0, state.dtype)),
}
_LSTM = _loop(_lstm_forward, _lstm_slopes, _lstm_backward, kept=4)
_GRU = _loop(_gru_forward, _gru_slopes, _gru_backward, kept=4)


class _LeanLayer(layers.RNN):
    """Stands behind a layer of Keras: its loop runs where that would fall back on the plain one."""

    def lean_loop(self) -> Callable | None:
        """Returns what `_loop` made, or None if the settings are none that it was made for."""
        return None

    def inner_loop(self, sequences, initial_state, mask, training=False):
        """Returns the last output, all outputs and the last states, as Keras's own does."""
        cell, loop = self.cell, self.lean_loop()
        special = self.unroll or self.go_backwards or cell.dropout or cell.recurrent_dropout
        # JAX compiles Keras's own loop to one that keeps less, and is slower with this one.
        elsewhere = keras.backend.backend() != "tensorflow"
        if elsewhere or loop is None or special or mask is not None or not cell.use_bias:
            return super().inner_loop(sequences, initial_state, mask, training=training)
        first = initial_state if isinstance(initial_state, (list, tuple)) else [initial_state]
        inputs = ops.matmul(ops.swapaxes(sequences, 0, 1), cell.kernel)
        # Tensors, since a gradient of one's own finds no way to variables.
        kernel, bias = (
            ops.cast(weight, inputs.dtype) for weight in (cell.recurrent_kernel, cell.bias)
        )
        if len(bias.shape) == 2:
            inputs, bias = inputs + bias[0], bias[1]
        states = keras.tree.flatten(loop(inputs, kernel, bias, *first))
        last = [state[-1] for state in states]
        return last[0], ops.swapaxes(states[0], 0, 1), last


@keras.saving.register_keras_serializable(package="models")
class SimpleRNN(layers.SimpleRNN, _LeanLayer):
    """`keras.layers.SimpleRNN`, leaner with the activations tanh and ReLU."""

    def lean_loop(self):
        """Returns the loop of the activation."""
        return _SIMPLE_RNN.get(self.activation)


@keras.saving.register_keras_serializable(package="models")
class LSTM(layers.LSTM, _LeanLayer):
    """`keras.layers.LSTM`, leaner with the usual activations."""

    def lean_loop(self):
        """Returns the loop of the usual activations."""
        return _LSTM if _usual(self) else None


@keras.saving.register_keras_serializable(package="models")
class GRU(layers.GRU, _LeanLayer):
    """`keras.layers.GRU`, leaner with the usual settings."""

    def lean_loop(self):
        """Returns the loop of the usual activations, with the reset after the product."""
        return _GRU if _usual(self) and self.reset_after else None


def _usual(layer: layers.LSTM | layers.GRU) -> bool:
    return layer.activation is activations.tanh and (
        layer.recurrent_activation is activations.sigmoid
    )
