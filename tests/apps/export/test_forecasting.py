import numpy as np
import pytest
from keras import ops

from apps.export.export import greatest_difference
from apps.export.forecasting import forecasting_graph
from apps.export.runtime import Network
from models.forecasting import build_forecaster

HORIZON, FEATURES = 4, 3


def windows(batch, time):
    """Days of which some features are unknown and some lie far out."""
    generator = np.random.default_rng(batch)
    features = generator.normal(size=(batch, time, FEATURES)).astype("float32") * 5
    features[generator.random(features.shape) < 0.2] = np.nan
    return {
        "features": features,
        "log_scale": generator.normal(-4, 0.3, (batch, time)).astype("float32"),
    }


@pytest.mark.parametrize(
    ("cell", "distribution"),
    [
        *((cell, "mixture") for cell in ("simple_rnn", "lstm", "gru", "feedforward")),
        ("lstm", "student_t"),
        ("gru", "quantiles"),
    ],
)
def test_a_graph_equals_its_forecaster(cell, distribution, tmp_path):
    generator = np.random.default_rng(0)
    for location, layers in (("premium", 1), ("network", 2)):
        model = build_forecaster(
            horizon=HORIZON,
            cell=cell,
            units=5,
            num_layers=layers,
            mean=generator.normal(size=FEATURES),
            variance=generator.random(FEATURES) + 0.1,
            distribution=distribution,
            location=location,
        )
        for weight in model.trainable_weights:
            weight.assign(generator.normal(size=weight.shape) * 0.2)
        path = tmp_path / "model.onnx"
        forecasting_graph(model, distribution=distribution).save(path, "forecasting")
        difference = greatest_difference(
            lambda model=model, **inputs: {"parameters": ops.convert_to_numpy(model(inputs))},
            Network(path, {}),
            [windows(1, 9), windows(7, 5)],
        )
        assert difference["parameters"] < 1e-4


def test_the_parts_of_a_mixture_have_names(tmp_path):
    model = build_forecaster(
        horizon=HORIZON, cell="gru", units=5, mean=np.zeros(FEATURES), variance=np.ones(FEATURES)
    )
    path = tmp_path / "model.onnx"
    forecasting_graph(model, distribution="mixture").save(path, "forecasting")
    found = Network(path, {})(**windows(2, 6))
    parts = [found[name] for name in ("weights", "location", "scales")]
    np.testing.assert_array_equal(np.concatenate(parts, axis=-1), found["parameters"])
    np.testing.assert_allclose(found["weights"].sum(axis=-1), 1, atol=1e-6)
    assert (found["scales"] > 0).all()
