import keras
import numpy as np
import pytest
from keras import layers, ops

from models import recurrent_loops

# TensorFlow alone runs loops of this project: elsewhere Keras's would be compared with itself.
pytestmark = pytest.mark.no_backend

TOKENS, FEATURES, UNITS = 9, 4, 5
# Without the fused kernels, so that a GPU runs the same loops.
LAYERS = [
    ("SimpleRNN", {}),
    ("SimpleRNN", {"activation": "relu"}),
    ("LSTM", {"use_cudnn": False}),
    ("GRU", {"use_cudnn": False}),
]


def alike(name, **options):
    """Keras's layer and that of this project, with the same weights."""
    keras.utils.set_random_seed(0)
    pair = [
        getattr(module, name)(UNITS, return_sequences=True, return_state=True, **options)
        for module in (layers, recurrent_loops)
    ]
    generator = np.random.default_rng(0)
    for layer in pair:
        layer.build((None, None, FEATURES))
    values = [generator.normal(0, 0.5, weight.shape) for weight in pair[0].weights]
    for layer in pair:
        layer.set_weights(values)
    return pair


def model_of(layer):
    """A model whose weights give the layer its inputs and first states."""
    keras.utils.set_random_seed(1)
    tokens = keras.Input((None,), dtype="int32", name="tokens")
    rows = keras.Input((), dtype="int32", name="rows")
    first = [
        layers.Embedding(3, UNITS, name=f"first_{index}")(rows)
        for index in range(len(layer.state_size))
    ]
    steps, *last = layer(layers.Embedding(TOKENS, FEATURES)(tokens), initial_state=first)
    return keras.Model({"tokens": tokens, "rows": rows}, [steps, *last])


def outputs_of(layer, *arguments, **options):
    return [ops.convert_to_numpy(output) for output in layer(*arguments, **options)]


def assert_close(ones, others):
    for one, other in zip(ones, others, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("steps", [1, 6])
@pytest.mark.parametrize(("name", "options"), LAYERS)
def test_outputs_states_and_all_gradients_are_those_of_keras(name, options, steps):
    generator = np.random.default_rng(2)
    inputs = {
        "tokens": generator.integers(0, TOKENS, (3, steps)),
        "rows": np.arange(3),
    }
    seen = []
    for layer in alike(name, **options):
        model = model_of(layer)
        outputs = model.predict_on_batch(inputs)
        wanted = [np.ones_like(output) for output in outputs]
        # A step of the rate 1 takes away the gradient itself, also of inputs and first states.
        model.compile(optimizer=keras.optimizers.SGD(1.0), loss=["mse"] * len(outputs))
        before = model.get_weights()
        model.train_on_batch(inputs, wanted)
        after = model.get_weights()
        gradients = [one - two for one, two in zip(before, after, strict=True)]
        assert all(np.any(gradient) for gradient in gradients)
        seen.append([*outputs, *gradients])
    assert_close(*seen)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("SimpleRNN", {"activation": "sigmoid"}),
        ("SimpleRNN", {"go_backwards": True}),
        ("LSTM", {"activation": "relu"}),
        ("GRU", {"reset_after": False}),
    ],
)
def test_other_settings_give_what_keras_gives(name, options):
    sequences = np.random.default_rng(3).normal(size=(2, 4, FEATURES)).astype("float32")
    assert_close(*(outputs_of(layer, sequences) for layer in alike(name, **options)))


def test_recurrent_dropout_still_drops_in_training():
    layer = recurrent_loops.GRU(UNITS, recurrent_dropout=0.5, return_sequences=True)
    sequences = np.random.default_rng(3).normal(size=(2, 4, FEATURES)).astype("float32")
    trained, used = (
        ops.convert_to_numpy(layer(sequences, training=training)) for training in (True, False)
    )
    # The first states are 0, so nothing is dropped from them.
    assert_close(trained[:, :1], used[:, :1])
    assert np.any(trained[:, 1:] != used[:, 1:])


@pytest.mark.parametrize(("name", "options"), LAYERS)
def test_a_saved_model_reloads_as_what_it_is(tmp_path, name, options):
    inputs = {"tokens": np.array([[1, 2, 3], [4, 5, 6]]), "rows": np.array([0, 2])}
    keras_layer, own_layer = alike(name, **options)
    for layer in (keras_layer, own_layer):
        model = model_of(layer)
        model.save(tmp_path / "model.keras")
        loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
        assert type(loaded.get_layer(layer.name)) is type(layer)
        assert_close(*(map(ops.convert_to_numpy, one(inputs)) for one in (loaded, model)))
