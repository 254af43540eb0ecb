import keras
import numpy as np
import pytest
from keras import layers, ops

from common.clipping import GradientClipping
from common.errors import UserError
from common.learning_rate_finder import find_learning_rate


class Batches(keras.utils.PyDataset):
    """Inputs `(batch, 2)` whose noiseless linear targets a dense layer can learn."""

    def __init__(self, batches: int = 7):
        super().__init__()
        self.inputs = np.random.default_rng(0).normal(size=(batches, 16, 2)).astype("float32")

    def __len__(self):
        return len(self.inputs)

    def __getitem__(self, index):
        return self.inputs[index], self.inputs[index].sum(axis=1, keepdims=True)


def linear_model(optimizer=None, dropout: float = 0.0) -> keras.Model:
    keras.utils.set_random_seed(3)
    inputs = keras.Input((2,))
    model = keras.Model(inputs, layers.Dense(1)(layers.Dropout(dropout)(inputs)))
    model.compile(optimizer or keras.optimizers.SGD(0.01), "mse")
    return model


def state(model: keras.Model) -> list[np.ndarray]:
    return [
        ops.convert_to_numpy(variable) for variable in model.variables + model.optimizer.variables
    ]


def test_the_ramp_is_exponential_and_stops_when_the_loss_explodes():
    rates, losses, suggestion = find_learning_rate(
        linear_model(), Batches(), minimum=1e-4, maximum=1e4, steps=81
    )
    ratios = rates[1:] / rates[:-1]
    np.testing.assert_allclose(ratios, 10 ** (8 / 80))
    # Plain gradient descent on a quadratic diverges beyond 2 / (largest curvature), here near 1.
    assert rates[-1] < 100
    assert len(rates) == len(losses) and np.all(np.isfinite(losses))
    assert losses[-1] > losses.min()
    assert 1e-3 < suggestion < rates[np.argmin(losses)]


def test_nothing_of_model_and_optimizer_is_changed():
    model = linear_model(keras.optimizers.Adam(0.01), dropout=0.5)
    clipping = GradientClipping("adaptive", window=4)
    model.fit(Batches(), epochs=1, verbose=0, callbacks=[clipping])
    before, apply = state(model), model.optimizer.apply
    find_learning_rate(model, Batches(), steps=20)
    after = state(model)
    assert len(before) == len(after)
    for old, new in zip(before, after, strict=True):
        np.testing.assert_array_equal(old, new)
    assert model.optimizer.apply is apply and list(apply.hooks) == ["gradient clipping"]


def test_training_after_a_search_equals_training_without_one():
    searched, plain = linear_model(), linear_model()
    find_learning_rate(searched, Batches(), steps=10, maximum=0.1)
    assert not hasattr(searched.optimizer.apply, "hooks")
    for model in (searched, plain):
        model.fit(Batches(), epochs=1, verbose=0, shuffle=False)
    for one, other in zip(state(searched), state(plain), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_search_that_fails_leaves_the_model_as_it_was():
    class Broken(Batches):
        def __getitem__(self, index):
            if index == 3:
                raise OSError("disk gone")
            return super().__getitem__(index)

    model = linear_model()
    before = model.get_weights()
    with pytest.raises(OSError, match="disk gone"):
        find_learning_rate(model, Broken())
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert not hasattr(model.optimizer.apply, "hooks")


def test_a_search_that_starts_too_high_says_so():
    with pytest.raises(UserError, match="search from a smaller one"):
        find_learning_rate(linear_model(), Batches(), minimum=1e8, maximum=1e9)


def test_a_search_that_is_no_ramp_is_refused():
    with pytest.raises(UserError, match="no ramp"):
        find_learning_rate(linear_model(), Batches(), minimum=1.0, maximum=0.1)
