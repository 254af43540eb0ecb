import keras
import numpy as np
import pytest

from models.language_model import SampledSoftmax, build_language_model, mean_loss
from models.sentiment import build_encoder

VOCAB, UNITS, TIME = 11, 6, 8


def language_model(*, bidirectional: bool = True) -> keras.Model:
    keras.utils.set_random_seed(3)
    encoder = build_encoder(
        vocab_size=VOCAB,
        embed_dim=4,
        cell="gru",
        units=UNITS,
        bidirectional=bidirectional,
        region_length=TIME,
    )
    return build_language_model(
        encoder, units=UNITS, bidirectional=bidirectional, log_expected=np.zeros(VOCAB)
    )


def losses_of(model: keras.Model, tokens: np.ndarray) -> np.ndarray:
    drawn = np.arange(2, VOCAB, dtype="int32")
    return keras.ops.convert_to_numpy(model([tokens, drawn], training=False))


def tokens_of(rows: int) -> np.ndarray:
    return np.random.default_rng(5).integers(2, VOCAB, size=(rows, TIME)).astype("int32")


@pytest.mark.parametrize("changed", [0, 4, TIME - 1])
def test_a_word_is_predicted_from_one_side_alone(changed):
    model, tokens = language_model(), tokens_of(3)
    other = tokens.copy()
    other[:, changed] = (tokens[:, changed] - 1) % (VOCAB - 2) + 2
    assert (other[:, changed] != tokens[:, changed]).all()
    before, after = losses_of(model, tokens), losses_of(model, other)
    # Forward, place i predicts word i + 1; backward, word i from all behind it.
    np.testing.assert_allclose(
        before[:, 0, : max(changed - 1, 0)], after[:, 0, : max(changed - 1, 0)], rtol=1e-5
    )
    np.testing.assert_allclose(before[:, 1, changed + 1 :], after[:, 1, changed + 1 :], rtol=1e-5)
    # And the others do look at it.
    assert np.abs(before[:, 0, changed:] - after[:, 0, changed:]).sum() > 1e-4 or (
        changed == TIME - 1
    )
    assert np.abs(before[:, 1, :changed] - after[:, 1, :changed]).sum() > 1e-4 or changed == 0


def test_among_all_words_the_loss_is_that_of_a_softmax():
    embedding = keras.layers.Embedding(VOCAB, 4)
    embedding.build()
    layer = SampledSoftmax(embedding, np.zeros(VOCAB))
    generator = np.random.default_rng(1)
    guesses = generator.normal(size=(2, 5, 4)).astype("float32")
    words = generator.integers(2, VOCAB, size=(2, 5)).astype("int32")
    drawn = np.arange(VOCAB, dtype="int32")
    layer(guesses, words, drawn)
    bias = generator.normal(size=VOCAB).astype("float32")
    layer.bias.assign(bias)
    table = keras.ops.convert_to_numpy(embedding.embeddings)
    logits = guesses @ table.T + bias
    log_sum = np.log(np.exp(logits).sum(axis=-1))
    expected = log_sum - np.take_along_axis(logits, words[..., None], axis=-1)[..., 0]
    found = keras.ops.convert_to_numpy(layer(guesses, words, drawn))
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_padding_and_unknown_words_cost_nothing():
    tokens = tokens_of(2)
    tokens[0, 5:] = 0
    tokens[1, 2] = 1
    found = losses_of(language_model(), tokens)
    known = np.stack([tokens[:, 1:], tokens[:, :-1]], axis=1) > 1
    assert ((found > 0) == known).all()
    mean = keras.ops.convert_to_numpy(mean_loss(known.astype("float32"), found))
    np.testing.assert_allclose(mean, found[known].mean(), rtol=1e-5)
