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

        def gradient(*of_states):
            factors = slopes(before, states, memory)
            transposed = ops.transpose(kernel)

            def step_back(carried, time):
                of_after = [
                    later + own[time] for later, own in zip(carried[0], of_states, strict=True)
                ]
                here = [factor[time] for factor in factors]
                of_before = backward(of_after, here, transposed)
                return of_before, of_before

            nothing = [ops.zeros_like(start) for start in first]
            begin = backward(nothing, [ops.zeros_like(one[0]) for one in factors], transposed)
            (of_first, _), (_, of_gates) = ops.scan(step_back, begin, times, reverse=True)
            units, width = kernel.shape
            flat = ops.reshape(of_gates[0], (-1, width))
            of_kernel = ops.matmul(ops.transpose(ops.reshape(before[0], (-1, units))), flat)
            return of_gates[-1], of_kernel, ops.sum(flat, axis=0), *of_first

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

    def backward(of_after, factors, transposed):
        of_gates = of_after[0] * factors[0]
        return [ops.matmul(of_gates, transposed)], [of_gates]

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
    of_gates = _side_by_side(
        enter * (1 - enter) * candidate,
        forget * (1 - forget) * before[1],
        enter * (1 - candidate * candidate),
        leave * (1 - leave) * shown,
    )
    return [of_gates, forget, leave * (1 - shown * shown)]


def _lstm_backward(of_after, factors, transposed):
    of_state, of_cell = of_after
    of_gates, forget, leave = factors
    of_cell = of_cell + of_state * leave
    of_gates = _side_by_side(of_cell, of_cell, of_cell, of_state) * of_gates
    return [ops.matmul(of_gates, transposed), of_cell * forget], [of_gates]


def _gru_forward(inputs, inner, before):
    update, reset, candidate = ops.split(inputs, 3, axis=-1)
    inner_update, inner_reset, recalled = ops.split(inner, 3, axis=-1)
    update, reset = ops.sigmoid(update + inner_update), ops.sigmoid(reset + inner_reset)
    candidate = ops.tanh(candidate + reset * recalled)
    after = candidate + update * (before[0] - candidate)
    return [after], [update, reset, candidate, recalled]


def _gru_slopes(before, after, kept):
    update, reset, candidate, recalled = kept
    of_candidate = (1 - update) * (1 - candidate * candidate)
    of_recalled = of_candidate * reset
    of_inner = _side_by_side(
        update * (1 - update) * (before[0] - candidate),
        of_recalled * (1 - reset) * recalled,
        of_recalled,
    )
    return [of_inner, of_candidate, update]


def _gru_backward(of_after, factors, transposed):
    (of_state,) = of_after
    units = of_state.shape[-1]
    of_inner, of_candidate, update = factors
    of_inner = _side_by_side(of_state, of_state, of_state) * of_inner
    # The reset lies between the state's part of the candidate and the inputs' part.
    of_inputs = _side_by_side(of_inner[:, : 2 * units], of_state * of_candidate)
    of_before = ops.matmul(of_inner, transposed) + of_state * update
    return [of_before], [of_inner, of_inputs]


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
