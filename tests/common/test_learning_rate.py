import json

import keras
import numpy as np
import pytest
from keras import ops

from common.clipping import GradientClipping
from common.errors import UserError
from common.learning_rate import LearningRateControl, rate_at
from tests.helpers import linear_data, linear_model

SCHEDULES = ["constant", "cosine", "plateau"]


def end_epochs(control: LearningRateControl, values: list[float]) -> list[float]:
    """Ends an epoch with each value of `val_loss`; returns the rates of the steps between."""
    rates = []
    for epoch, value in enumerate(values):
        gradients = [ops.zeros(v.shape) for v in control.model.trainable_variables]
        control.model.optimizer.apply(gradients, control.model.trainable_variables)
        logs = {"val_loss": value}
        control.on_epoch_end(epoch, logs)
        rates.append(logs["learning_rate"])
    return rates


def plateau(**options) -> LearningRateControl:
    control = LearningRateControl(1.0, "plateau", total_steps=100, **options)
    control.set_model(linear_model())
    control.on_train_begin()
    return control


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_rise_is_linear_and_ends_at_the_peak(schedule):
    rates = rate_at(np.arange(40), peak=2.0, schedule=schedule, total_steps=100, warmup_steps=40)
    np.testing.assert_allclose(rates, 2.0 * np.arange(1, 41) / 40)


@pytest.mark.parametrize("schedule", ["constant", "plateau"])
def test_a_plan_without_a_fall_stays_at_the_peak(schedule):
    rates = rate_at(np.arange(5, 200), peak=2.0, schedule=schedule, total_steps=9, warmup_steps=5)
    assert set(rates) == {2.0}


def test_the_cosine_is_symmetric_about_its_middle():
    plan = {"peak": 1.0, "schedule": "cosine", "total_steps": 110, "warmup_steps": 10}
    rates = rate_at(np.arange(9, 110), **plan, final_share=0.2)
    assert rates[0] == 1.0 and rates[-1] == pytest.approx(0.2)
    assert rates[50] == pytest.approx(0.6)
    np.testing.assert_allclose(rates + rates[::-1], 1.2)
    assert np.all(np.diff(rates) < 0)
    assert rate_at(10_000, **plan, final_share=0.2) == pytest.approx(0.2)


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


def test_the_rate_of_an_epoch_is_that_of_its_last_step():
    plan = {"peak": 0.1, "schedule": "cosine", "total_steps": 8}
    log = (
        linear_model()
        .fit(
            *linear_data(batch=32),
            batch_size=8,
            epochs=2,
            verbose=0,
            callbacks=[LearningRateControl(**plan)],
        )
        .history
    )
    assert log["learning_rate"] == pytest.approx([rate_at(3, **plan), rate_at(7, **plan)])


def test_a_second_fit_goes_on_with_the_plan():
    plan = {"peak": 0.1, "schedule": "cosine", "total_steps": 4}
    model, control = linear_model(), LearningRateControl(**plan)
    rates = [
        model.fit(*linear_data(), verbose=0, callbacks=[control]).history["learning_rate"][0]
        for _ in range(4)
    ]
    np.testing.assert_allclose(rates, rate_at(np.arange(4), **plan), rtol=1e-5)


def test_a_plateau_is_reduced_exactly_when_due():
    #       best  wait  best  wait  wait (due)  wait  wait (due)
    losses = [1.0, 1.0, 0.9, 0.95, 0.9, 2.0, float("nan"), 0.8]
    rates = end_epochs(plateau(patience=2, factor=0.1), losses)
    np.testing.assert_allclose(rates, [1, 1, 1, 1, 1, 0.1, 0.1, 0.01], rtol=1e-6)


def test_a_plateau_of_a_score_waits_for_a_higher_one():
    rates = end_epochs(plateau(patience=1, factor=0.5, mode="max"), [0.1, 0.2, 0.1, 0.3, 0.4])
    np.testing.assert_allclose(rates, [1, 1, 1, 0.5, 0.5])


def test_the_state_of_a_plateau_survives_json():
    losses = [1.0, 1.1, 1.2, 1.3, 1.4]
    whole = plateau(patience=3)
    expected = end_epochs(whole, losses)
    first, second = plateau(patience=3), plateau(patience=3)
    rates = end_epochs(first, losses[:2])
    second.set_state(json.loads(json.dumps(first.get_state())))
    assert rates + end_epochs(second, losses[2:]) == expected
    assert expected[-1] == 0.5


def test_a_plateau_that_watches_nothing_names_the_metrics():
    with pytest.raises(UserError, match="no metric val_accuracy .* val_loss"):
        end_epochs(plateau(monitor="val_accuracy"), [1.0])


def test_an_optimizer_with_a_schedule_is_refused():
    schedule = keras.optimizers.schedules.CosineDecay(0.1, 10)
    with pytest.raises(UserError, match="build the optimizer with a number"):
        LearningRateControl(0.1, "constant", total_steps=1).install(
            linear_model(optimizer=keras.optimizers.SGD(schedule))
        )


def test_a_rate_has_one_owner():
    model, control = linear_model(), LearningRateControl(0.1, "constant", total_steps=1)
    control.install(model)
    with pytest.raises(UserError, match="already has a learning-rate control"):
        LearningRateControl(0.2, "constant", total_steps=1).install(model)
    with pytest.raises(UserError, match="one optimizer"):
        control.install(linear_model())


@pytest.mark.parametrize(
    "options",
    [
        {"schedule": "cosinus"},
        {"peak": 0.0},
        {"total_steps": 0},
        {"warmup_steps": 10},
        {"warmup_steps": -1},
        {"final_share": 1.5},
        {"patience": 0},
        {"factor": 1.0},
        {"mode": "auto"},
    ],
)
def test_settings_out_of_range_are_refused(options):
    with pytest.raises(UserError):
        LearningRateControl(**{"peak": 0.1, "schedule": "cosine", "total_steps": 10, **options})
