import keras
import numpy as np
import pytest
from scipy import stats

from models.forecasting import (
    LOSSES,
    build_forecaster,
    mixture_nll,
    quantile_levels,
)
from models.recurrent import ResetStates

FEATURES, HORIZON = 4, 3
MEAN, VARIANCE = np.array([0.0, 5.0, -1.0, 0.1]), np.array([1.0, 4.0, 0.25, 9.0])
DISTRIBUTIONS = ("mixture", "student_t", "quantiles")


def build(cell="simple_rnn", *, weight_scale=0.0, **options):
    """A small model; `weight_scale` replaces all its weights by random ones of that size."""
    keras.utils.set_random_seed(3)
    model = build_forecaster(
        horizon=HORIZON, cell=cell, units=5, mean=MEAN, variance=VARIANCE, **options
    )
    if weight_scale:
        generator = np.random.default_rng(4)
        model.set_weights(
            [weight_scale * generator.standard_normal(weight.shape) for weight in model.weights]
        )
    return model


def make_inputs(batch=2, time=6, seed=0):
    generator = np.random.default_rng(seed)
    features = MEAN + np.sqrt(VARIANCE) * generator.standard_normal((batch, time, FEATURES))
    log_scale = np.log(0.02) + 0.5 * generator.standard_normal((batch, time))
    return {"features": features.astype("float32"), "log_scale": log_scale.astype("float32")}


def outputs_of(model, inputs):
    return keras.ops.convert_to_numpy(model(inputs))


def changed(inputs, name, index, values):
    array = inputs[name].copy()
    array[index] = values
    return inputs | {name: array}


def spread_of(inputs):
    """The plain estimate in per cent, `(batch, time, horizon)`."""
    return 100 * np.exp(inputs["log_scale"])[..., None] * np.sqrt(np.arange(1, HORIZON + 1))


def parts_of(parameters):
    """Weights, location and scales of a mixture."""
    components = parameters.shape[-1] // 2
    weights, location, scales = np.split(parameters, [components, components + 1], axis=-1)
    return weights, location[..., 0], scales


# ---- What goes in ----------------------------------------------------------------------------


def test_an_unknown_feature_counts_as_its_mean():
    model = build(weight_scale=0.5)
    inputs = make_inputs()
    index = np.random.default_rng(1).random(inputs["features"].shape) < 0.4
    unknown = changed(inputs, "features", index, np.nan)
    at_mean = inputs | {"features": np.where(index, MEAN, inputs["features"]).astype("float32")}
    expected = outputs_of(model, at_mean)
    np.testing.assert_allclose(outputs_of(model, unknown), expected, rtol=1e-5)
    assert not np.allclose(outputs_of(model, inputs), expected, rtol=1e-3)


def test_a_forecast_depends_on_no_later_day():
    model = build("lstm", weight_scale=0.5, location="network")
    one = {name: values[:1] for name, values in make_inputs().items()}
    later = changed(one, "features", (0, slice(4, None)), -3.0)
    later = changed(later, "log_scale", (0, slice(4, None)), -1.0)
    earlier = changed(one, "features", (0, 0), -3.0)

    def both(other):
        """Where the forecasts from the same days are the same, `(time,)`."""
        inputs = {name: np.concatenate([one[name], other[name]]) for name in one}
        first, second = outputs_of(model, inputs)
        # Even equal rows of a batch may differ in their last digits.
        return np.isclose(first, second, rtol=1e-5, atol=1e-5).all(axis=(1, 2))

    assert both(later).tolist() == [True] * 4 + [False] * 2
    assert both(earlier).tolist() == [False] * 6


# ---- What comes out --------------------------------------------------------------------------


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_a_model_without_weights_gives_the_plain_estimate(distribution):
    model = build(distribution=distribution)
    model.set_weights([np.zeros(weight.shape) for weight in model.weights])
    inputs = make_inputs()
    parameters, spread = outputs_of(model, inputs), spread_of(inputs)
    if distribution == "quantiles":
        expected = spread[..., None] * stats.norm.ppf(quantile_levels())
        np.testing.assert_allclose(parameters, expected, rtol=1e-4, atol=1e-4)
        return
    if distribution == "mixture":
        weights, location, scales = parts_of(parameters)
        deviation = np.sqrt(np.sum(weights * scales**2, axis=-1))
    else:
        location, scale, df = np.moveaxis(parameters, -1, 0)
        deviation = scale * np.sqrt(df / (df - 2))
    assert not location.any()
    ratio = deviation / spread
    assert 0.8 < ratio.min() and ratio.max() < 1.25
    np.testing.assert_allclose(ratio, ratio.mean(), rtol=1e-5)


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_whatever_the_weights_the_output_is_a_distribution(distribution):
    model = build(weight_scale=30.0, distribution=distribution, location="network")
    parameters = outputs_of(model, make_inputs())
    assert np.isfinite(parameters).all()
    if distribution == "mixture":
        assert parameters.shape == (2, 6, HORIZON, 2 * 3 + 1)
        weights, _, scales = parts_of(parameters)
        np.testing.assert_allclose(weights.sum(axis=-1), 1, rtol=1e-5)
        assert weights.min() >= 0 and scales.min() > 0
    elif distribution == "student_t":
        assert parameters.shape == (2, 6, HORIZON, 3)
        assert parameters[..., 1].min() > 0 and parameters[..., 2].min() > 2
    else:
        assert parameters.shape == (2, 6, HORIZON, 39)
        assert np.diff(parameters, axis=-1).min() >= 0


# ---- Learning --------------------------------------------------------------------------------


@pytest.mark.parametrize(("distribution", "loss"), list(LOSSES))
def test_every_loss_is_learnt_from_and_the_model_reloads(tmp_path, distribution, loss):
    model = build(distribution=distribution)
    model.compile(keras.optimizers.Adam(0.02), LOSSES[distribution, loss])
    inputs = changed(make_inputs(), "features", (0, slice(None), 1), np.nan)
    # Narrower than the plain estimate, and above 0.
    draws = np.random.default_rng(7).standard_normal((2, 6, HORIZON))
    targets = (spread_of(inputs) * (0.3 + 0.3 * draws)).astype("float32")
    targets[:, :2] = np.nan

    losses = [float(model.train_on_batch(inputs, targets)) for _ in range(40)]
    assert losses[-1] < losses[0]
    (premium,) = model.get_layer("location").get_weights()
    assert premium.min() > 0

    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", compile=False)
    np.testing.assert_array_equal(outputs_of(loaded, inputs), outputs_of(model, inputs))


# ---- Carried states --------------------------------------------------------------------------


class Pieces(keras.utils.PyDataset):
    """Consecutive pieces of a history, with their targets."""

    def __init__(self, inputs, targets, length):
        super().__init__()
        self.inputs, self.targets, self.length = inputs, targets, length

    def __len__(self):
        return self.targets.shape[1] // self.length

    def __getitem__(self, index):
        piece = slice(index * self.length, (index + 1) * self.length)
        inputs = {name: values[:, piece] for name, values in self.inputs.items()}
        return inputs, self.targets[:, piece]


def carrying_copy(model, cell, **options):
    """A model of two rows with the same weights that keeps its states."""
    carrying = build(cell, stateful_rows=2, **options)
    for one, other in zip(carrying.trainable_variables, model.trainable_variables, strict=True):
        one.assign(keras.ops.convert_to_numpy(other))
    return carrying


def test_pieces_with_carried_states_give_what_the_whole_history_gives():
    model = build("lstm", weight_scale=0.5, num_layers=2)
    carrying = carrying_copy(model, "lstm", num_layers=2)
    inputs = make_inputs(time=12)
    pieces = Pieces(inputs, np.zeros((2, 12, HORIZON)), 6)
    outputs = [np.asarray(carrying.predict_on_batch(pieces[index][0])) for index in range(2)]
    expected = outputs_of(model, inputs)
    np.testing.assert_allclose(np.concatenate(outputs, axis=1), expected, rtol=1e-4, atol=1e-5)
    # A batch that begins without a state gives something else.
    assert not np.allclose(outputs_of(model, pieces[1][0]), outputs[1], rtol=1e-3)


def test_training_and_validation_carry_states_through_one_pass_and_not_into_the_next():
    model = build("gru", weight_scale=0.5)
    inputs = make_inputs(time=12)
    targets = spread_of(inputs).astype("float32")
    whole = float(mixture_nll(targets, outputs_of(model, inputs)))
    carrying = carrying_copy(model, "gru")
    carrying.get_layer("without_states").rate = 0.0
    # At a rate of 0 the weights stay, so passes differ by their states alone.
    carrying.compile(keras.optimizers.SGD(0.0), mixture_nll)
    pieces = Pieces(inputs, targets, 6)

    def losses(callbacks):
        options = {"epochs": 2, "shuffle": False, "verbose": 0, "callbacks": callbacks}
        history = carrying.fit(pieces, validation_data=pieces, **options).history
        return [*history["loss"], *history["val_loss"]]

    first, *later = losses([])
    assert first == pytest.approx(whole, rel=1e-5)
    assert all(loss != pytest.approx(whole, rel=1e-5) for loss in later)
    assert losses([ResetStates()]) == pytest.approx([whole] * 4, rel=1e-5)
