"""What the tests of exported searches share."""

import numpy as np


def sharpen(model, factor):
    """Makes weights larger, so that beams are not all alike, and no bias or mean is 0."""
    generator = np.random.default_rng(0)
    for weight in model.weights:
        array = np.array(weight)
        noise = generator.uniform(-0.4, 0.4, array.shape)
        weight.assign(factor * array if array.ndim > 1 else array + noise)


def assert_same_search(keras_search, network, inputs, *, ties=False):
    """Compares all outputs of a graph with those of Keras.

    With `ties` some sequences may be others, as long as their scores are the same.
    """
    expected, found = keras_search(**inputs), network(**inputs)
    assert set(found) == set(expected) == {"sequences", "scores", "attention"}
    np.testing.assert_allclose(found["scores"], expected["scores"], atol=1e-4)
    same = (found["sequences"] == expected["sequences"]).all(axis=2)
    assert same.any() if ties else same.all()
    np.testing.assert_allclose(found["attention"][same], expected["attention"][same], atol=1e-4)
