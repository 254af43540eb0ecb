import keras
import numpy as np
import pytest
from keras import layers, ops

from common.optimization import GradientClipping, LearningRateControl, rate_at
from tests.helpers import linear_data, linear_model

MODES = ["norm", "global_norm", "value"]


def linear_gradient(model: keras.Model, inputs, targets) -> np.ndarray:
    """The gradient of the mean squared error, kernel and bias in one vector."""
    kernel, bias = model.get_weights()
    error = inputs @ kernel + bias - targets
    return np.append(2 * inputs.T @ error, 2 * error.sum()) / len(inputs)


def flat(arrays) -> np.ndarray:
    return np.concatenate([np.ravel(array) for array in arrays])


def apply(model: keras.Model, *gradients) -> np.ndarray:
    """Updates with given gradients; returns by how much SGD of rate 1 changed the weights."""
    before = flat(model.get_weights())
    model.optimizer.apply(
        [ops.convert_to_tensor(np.asarray(gradient, "float32")) for gradient in gradients],
        model.trainable_variables,
    )
    with np.errstate(invalid="ignore"):
        return before - flat(model.get_weights())


def installed(*arguments, **options) -> tuple[keras.Model, GradientClipping]:
    model, clipping = linear_model(), GradientClipping(*arguments, **options)
    clipping.install(model)
    return model, clipping


def recorded(clipping: GradientClipping) -> dict[str, float]:
    logs = {}
    clipping.on_epoch_end(0, logs)
    return logs


KERNEL, BIAS = [[3.0], [0.0], [-4.0]], [12.0]  # Of norms 5 and 12, together 13.


@pytest.mark.parametrize(
    ("mode", "threshold", "step"),
    [
        ("norm", 10.0, [3, 0, -4, 10]),
        ("global_norm", 6.5, [1.5, 0, -2, 6]),
        ("value", 3.5, [3, 0, -3.5, 3.5]),
    ],
)
def test_a_clipped_step_is_as_long_as_its_mode_allows(mode, threshold, step):
    model, _ = installed(mode, threshold=threshold)
    np.testing.assert_allclose(apply(model, KERNEL, BIAS), step, rtol=1e-6)


@pytest.mark.parametrize("mode", ["none", *MODES])
def test_a_gradient_within_the_limit_is_not_touched(mode):
    gradient = np.array([0.3, -0.1, 0.2, 0.05], "float32")
    unclipped, clipped = linear_model(), linear_model()
    clipped.set_weights(unclipped.get_weights())
    GradientClipping(mode, threshold=1.0).install(clipped)
    for model in (unclipped, clipped):
        apply(model, gradient[:3, None], gradient[3:])
    np.testing.assert_array_equal(flat(unclipped.get_weights()), flat(clipped.get_weights()))


def test_the_record_equals_the_gradient_in_closed_form():
    model, rate = linear_model(0.05), 0.05
    inputs, targets = linear_data(batch=24)
    weights = model.get_weights()
    log = model.fit(
        inputs,
        targets,
        batch_size=8,
        epochs=2,
        shuffle=False,
        verbose=0,
        callbacks=[GradientClipping("none")],
    ).history
    model.set_weights(weights)
    for epoch in range(2):
        norms = []
        for start in range(0, 24, 8):
            gradient = linear_gradient(model, inputs[start : start + 8], targets[start : start + 8])
            norms.append(np.linalg.norm(gradient))
            kernel, bias = model.get_weights()
            model.set_weights([kernel - rate * gradient[:3, None], bias - rate * gradient[3:]])
        assert log["gradient_norm"][epoch] == pytest.approx(np.mean(norms), rel=1e-4)
        assert log["gradient_norm_max"][epoch] == pytest.approx(max(norms), rel=1e-4)
        assert log["clipped_share"][epoch] == 0.0


@pytest.mark.parametrize("mode", ["none", "global_norm"])
def test_the_gradient_of_a_repeated_token_counts_once(mode):
    tokens = np.array([[1, 1, 1, 2], [1, 3, 1, 1]])
    inputs = keras.Input((4,), dtype="int32")
    embedding = layers.Embedding(5, 2, name="embedding")
    model = keras.Model(inputs, layers.GlobalAveragePooling1D()(embedding(inputs)))
    model.compile(keras.optimizers.SGD(1.0), "mse")
    before = embedding.get_weights()[0]
    # The loss is the mean of 4 squares; a token that fills n of 4 places has n/4 of the mean.
    share = np.stack([(tokens == token).mean(axis=1) for token in range(5)], axis=1)
    error = share @ before - 1.0
    gradient = share.T @ (2 * error / 4)
    log = model.fit(
        tokens, np.ones((2, 2), "float32"), verbose=0, callbacks=[GradientClipping(mode, 0.1)]
    ).history
    norm = np.linalg.norm(gradient)
    assert norm > 0.1
    assert log["gradient_norm"] == [pytest.approx(norm, rel=1e-5)]
    expected = gradient if mode == "none" else gradient * 0.1 / norm
    np.testing.assert_allclose(before - embedding.get_weights()[0], expected, rtol=1e-4, atol=1e-6)


def test_clipping_a_part_of_the_steps_is_recorded_as_their_share():
    model, clipping = installed("global_norm", threshold=6.0)
    for _ in range(3):
        apply(model, [[0.0], [0.0], [3.0]], [4.0])
    apply(model, KERNEL, BIAS)
    assert recorded(clipping) == {
        "gradient_norm": pytest.approx((3 * 5 + 13) / 4),
        "gradient_norm_max": pytest.approx(13),
        "clipped_share": 0.25,
    }
    clipping.on_epoch_begin(1)
    apply(model, [[0.0], [0.0], [3.0]], [4.0])
    assert recorded(clipping)["gradient_norm_max"] == pytest.approx(5)


def test_gradients_whose_squares_overflow_are_clipped_all_the_same():
    model, clipping = installed("global_norm", threshold=1.0)
    model.set_weights([np.zeros((3, 1)), np.zeros(1)])
    step = apply(model, np.multiply(KERNEL, 1e30), np.multiply(BIAS, 1e30))
    np.testing.assert_allclose(step, np.array([3, 0, -4, 12]) / 13, rtol=1e-5)
    assert recorded(clipping)["gradient_norm"] == pytest.approx(1.3e31, rel=1e-5)


@pytest.mark.parametrize("mode", ["none", *MODES])
def test_nan_is_left_out_of_the_record_and_not_hidden_from_the_weights(mode):
    model, clipping = installed(mode, threshold=20.0)
    apply(model, KERNEL, BIAS)
    assert np.isnan(apply(model, [[0.0], [np.nan], [3.0]], [4.0])[1])
    assert recorded(clipping)["gradient_norm"] == pytest.approx(13)


def test_a_step_that_was_compiled_before_clips_as_well():
    model = linear_model()
    inputs, targets = linear_data()
    model.fit(inputs, targets, verbose=0)
    before = flat(model.get_weights())
    model.fit(inputs, targets, verbose=0, callbacks=[GradientClipping("global_norm", 0.01)])
    step = np.linalg.norm(before - flat(model.get_weights()))
    assert step == pytest.approx(0.01, rel=1e-3)


def test_a_scaled_loss_is_recorded_in_its_own_unit():
    model = linear_model(optimizer=keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(1.0)))
    inputs, targets = linear_data()
    gradient, before = linear_gradient(model, inputs, targets), flat(model.get_weights())
    log = model.fit(inputs, targets, verbose=0, callbacks=[GradientClipping()]).history
    assert log["gradient_norm"] == [pytest.approx(np.linalg.norm(gradient), rel=1e-4)]
    step = np.linalg.norm(before - flat(model.get_weights()))
    assert step == pytest.approx(min(1.0, np.linalg.norm(gradient)), rel=1e-4)


SCHEDULES = ["constant", "cosine", "plateau"]


def test_the_rise_is_linear_and_ends_at_the_peak():
    rates = rate_at(np.arange(40), peak=2.0, schedule="cosine", total_steps=100, warmup_steps=40)
    np.testing.assert_allclose(rates, 2.0 * np.arange(1, 41) / 40)


def test_the_cosine_is_symmetric_about_its_middle():
    plan = {"peak": 1.0, "schedule": "cosine", "total_steps": 110, "warmup_steps": 10}
    rates = rate_at(np.arange(9, 110), **plan)
    assert rates[0] == 1.0 and rates[-1] == pytest.approx(0.01)
    np.testing.assert_allclose(rates + rates[::-1], 1.01)
    assert np.all(np.diff(rates) < 0)
    assert rate_at(10_000, **plan) == pytest.approx(0.01)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_each_step_uses_the_planned_rate(schedule):
    plan = {"peak": 0.1, "schedule": schedule, "total_steps": 12, "warmup_steps": 3}
    expected = rate_at(np.arange(12), **plan)
    model = linear_model()
    control = LearningRateControl(**plan)
    inputs, targets = linear_data()
    # One step an epoch: its length divided by the gradient's is the rate.
    clipping = GradientClipping("none")
    weights = [np.append(*map(np.ravel, model.get_weights()))]
    watch = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: weights.append(
            np.append(*map(np.ravel, model.get_weights()))
        )
    )
    data = {"validation_data": (inputs, targets)} if schedule == "plateau" else {}
    log = model.fit(
        inputs, targets, epochs=12, verbose=0, callbacks=[clipping, control, watch], **data
    ).history
    steps = np.linalg.norm(np.diff(weights, axis=0), axis=1) / log["gradient_norm"]
    np.testing.assert_allclose(log["learning_rate"], expected, rtol=1e-5)
    np.testing.assert_allclose(steps, expected, rtol=1e-3)
