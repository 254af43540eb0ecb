import keras
import numpy as np
import pytest
from keras import ops

from apps.studies.gradients.adding import (
    ERROR_WITHOUT_MEMORY,
    KINDS,
    adding_batches,
    adding_problem,
    build_adder,
    state_gradients,
)

LENGTH, UNITS = 9, 4


def test_the_answer_is_the_sum_of_one_marked_number_of_each_half():
    sequences, answers = adding_problem(4000, 20, seed=1)
    numbers, marks = sequences[..., 0], sequences[..., 1]
    assert (marks[:, :10].sum(axis=1) == 1).all()
    assert (marks[:, 10:].sum(axis=1) == 1).all()
    np.testing.assert_allclose(answers[:, 0], (numbers * marks).sum(axis=1), rtol=1e-6)
    # Whoever always says 1 errs by the variance.
    assert np.mean((answers - 1) ** 2) == pytest.approx(ERROR_WITHOUT_MEMORY, rel=0.05)
    batches = adding_batches(20, rows=3, seed=1)
    assert not np.array_equal(next(batches)[0], next(batches)[0])


def adder(kind, **options):
    """A network with weights as large as those of a trained one."""
    model = build_adder(kind, UNITS, length=LENGTH, **options)
    generator = np.random.default_rng(5)
    for weight in model.trainable_weights:
        weight.assign(generator.normal(0.0, 0.6, weight.shape))
    return model


@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_of_a_state_is_what_a_small_push_of_it_changes(kind):
    """Checked by finite differences: the cell by hand, in double precision, one state pushed."""
    model = adder(kind)
    recurrent, dense = model.get_layer("recurrent"), model.get_layer("answer")
    sequences, targets = adding_problem(3, LENGTH, seed=2)
    measured = state_gradients(
        sequences,
        targets,
        kind=kind,
        recurrent=recurrent,
        answer=dense,
        loss="mse",
    )
    weights = [array.astype("float64") for array in recurrent.get_weights()]
    kernel, bias = (array.astype("float64") for array in dense.get_weights())
    sizes = 2 if kind == "lstm" else 1

    def loss_of(row, place=None, push=None):
        states = [np.zeros(UNITS) for _ in range(sizes)]
        for step in range(LENGTH):
            states = one_step(kind, sequences[row, step].astype("float64"), states, weights)
            if step == place:
                states = [state + part for state, part in zip(states, push, strict=True)]
        return float(((states[0] @ kernel + bias - targets[row]) ** 2).item())

    tiny = 1e-6
    for row in range(3):
        # Without a push it is the loss of the model.
        said = ops.convert_to_numpy(model(sequences[row : row + 1]))[0, 0]
        assert loss_of(row) == pytest.approx((said - targets[row, 0]) ** 2, rel=1e-4, abs=1e-7)
        for place in range(LENGTH):
            gradient = []
            for index in range(sizes * UNITS):
                push = np.zeros(sizes * UNITS)
                push[index] = tiny
                ahead, behind = (
                    loss_of(row, place, np.split(sign * push, sizes)) for sign in (1, -1)
                )
                gradient.append((ahead - behind) / (2 * tiny))
            assert measured[row, place] == pytest.approx(
                np.linalg.norm(gradient), rel=2e-3, abs=1e-6
            )


def sigmoid(values):
    return 1 / (1 + np.exp(-values))


def one_step(kind, inputs, states, weights):
    """One step of each cell, written from its equations."""
    kernel, recurrent, bias = weights
    (h, *rest), units = states, UNITS
    if kind == "lstm":
        gates = inputs @ kernel + h @ recurrent + bias
        i, f, g, o = (gates[part * units : (part + 1) * units] for part in range(4))
        c = sigmoid(f) * rest[0] + sigmoid(i) * np.tanh(g)
        return [sigmoid(o) * np.tanh(c), c]
    if kind == "gru":
        x, r = inputs @ kernel + bias[0], h @ recurrent + bias[1]
        z = sigmoid(x[:units] + r[:units])
        reset = sigmoid(x[units : 2 * units] + r[units : 2 * units])
        return [z * h + (1 - z) * np.tanh(x[2 * units :] + reset * r[2 * units :])]
    total = inputs @ kernel + h @ recurrent + bias
    return [np.maximum(total, 0) if "ReLU" in kind else np.tanh(total)]


def test_truncation_changes_what_flows_back_and_not_what_is_said():
    sequences, targets = adding_problem(8, LENGTH, seed=3)
    said, gradients = {}, {}
    for truncation in (None, 3):
        model = adder("lstm", truncation=truncation)
        said[truncation] = ops.convert_to_numpy(model(sequences))
        before = model.get_weights()
        model.compile(keras.optimizers.SGD(1.0), "mse", jit_compile=False)
        model.train_on_batch(sequences, targets)
        moved = zip(before, model.get_weights(), strict=True)
        gradients[truncation] = [old - new for old, new in moved]
    np.testing.assert_allclose(said[3], said[None], atol=1e-5)
    # What only the last steps read, the dense layer, sees the same gradient.
    np.testing.assert_allclose(gradients[3][-1], gradients[None][-1], atol=1e-5)
    assert np.abs(gradients[3][1] - gradients[None][1]).max() > 1e-3
