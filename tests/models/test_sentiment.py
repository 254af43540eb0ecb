import keras
import numpy as np
import pytest

from models.sentiment import (
    build_encoder,
    build_explainer,
    build_sentiment_classifier,
    hashed_bigrams,
    token_contributions,
)
from tests.helpers import on_one_backend

VOCAB, CLASSES = 40, 3
CONFIGURATIONS = [
    ("simple_rnn", "max", True, 4),
    ("lstm", "mean", True, 0),
    ("gru", "attention", True, 4),
    on_one_backend("lstm", "last", True, 0),
    on_one_backend("gru", "last", False, 0),
]


def build(cell, pooling, bidirectional, region_length, *, num_layers=1, pairs=False, **options):
    keras.utils.set_random_seed(7)
    encoder = build_encoder(
        vocab_size=VOCAB,
        embed_dim=6,
        cell=cell,
        units=5,
        num_layers=num_layers,
        bidirectional=bidirectional,
        region_length=region_length,
        bigram_buckets=17 if pairs else 0,
        bigram_dim=3,
        skip_connection=pairs,
        **options,
    )
    if pairs:
        table = encoder.get_layer("bigram_embedding").embeddings
        table.assign(np.random.default_rng(1).normal(size=table.shape))
    return build_sentiment_classifier(
        encoder,
        num_classes=CLASSES,
        pooling=pooling,
        vector_features=9 if pairs else 0,
        backward_units=5 if bidirectional else 0,
        region_length=region_length,
    )


def random_tokens(lengths, time):
    generator = np.random.default_rng(0)
    tokens = generator.integers(2, VOCAB, (len(lengths), time)).astype("int32")
    return np.where(np.arange(time) < np.array(lengths)[:, None], tokens, 0).astype("int32")


def outputs_of(model, tokens):
    return keras.ops.convert_to_numpy(model(tokens))


@pytest.mark.parametrize(("cell", "pooling", "bidirectional", "region_length"), CONFIGURATIONS)
def test_padding_a_text_changes_nothing(cell, pooling, bidirectional, region_length):
    model = build(cell, pooling, bidirectional, region_length, num_layers=2, pairs=True)
    tokens = random_tokens([8, 3, 5], 8)
    padded = np.pad(tokens, ((0, 0), (0, 8)))
    np.testing.assert_allclose(
        outputs_of(model, padded), outputs_of(model, tokens), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize(("cell", "pooling", "bidirectional", "region_length"), CONFIGURATIONS)
def test_the_shares_of_the_tokens_and_the_bias_sum_to_the_logits(
    cell, pooling, bidirectional, region_length
):
    model = build(cell, pooling, bidirectional, region_length, pairs=True)
    dense = model.get_layer("logits")
    dense.bias.assign([0.5, -1.0, 0.25])
    lengths = np.array([12, 3, 7])
    tokens = random_tokens(lengths, 12)
    outputs = {
        name: keras.ops.convert_to_numpy(value)
        for name, value in build_explainer(model)(tokens).items()
    }
    shares = token_contributions(
        outputs["states"],
        keras.ops.convert_to_numpy(dense.kernel),
        lengths,
        pooling=pooling,
        vector_features=9,
        backward_units=5 if bidirectional else 0,
        weights=outputs.get("weights"),
    )
    np.testing.assert_allclose(
        shares.sum(axis=1) + np.array([0.5, -1.0, 0.25]), outputs["logits"], rtol=1e-4, atol=1e-5
    )
    padding = tokens == 0
    assert np.all(shares[padding] == 0)


def test_the_backward_direction_is_the_layer_run_on_each_reversed_text():
    model = build("gru", "mean", True, 0).get_layer("encoder")
    lengths = [6, 2, 4]
    tokens = random_tokens(lengths, 6)
    states = outputs_of(model, tokens)[:, :, 5:]
    vectors = keras.ops.convert_to_numpy(model.get_layer("embedding").embeddings)
    layer = model.get_layer("backward_1")
    for row, length in enumerate(lengths):
        reversed_text = vectors[tokens[row, :length][::-1]][None]
        expected = keras.ops.convert_to_numpy(layer(reversed_text))[0][::-1]
        np.testing.assert_allclose(states[row, :length], expected, rtol=1e-5, atol=1e-6)


def test_a_region_is_read_as_if_it_stood_alone():
    model = build("lstm", "max", True, 4)
    tokens = random_tokens([12], 12)
    explainer = build_explainer(model)
    whole = keras.ops.convert_to_numpy(explainer(tokens)["states"])
    for start in (0, 4, 8):
        alone = keras.ops.convert_to_numpy(explainer(tokens[:, start : start + 4])["states"])
        np.testing.assert_allclose(whole[:, start : start + 4], alone, rtol=1e-5, atol=1e-6)


def test_a_pair_of_words_has_one_number_wherever_it_stands_and_padding_none():
    tokens = np.array([[5, 9, 5, 9, 0, 0], [1, 9, 5, 0, 0, 0]], "int32")
    numbers = keras.ops.convert_to_numpy(hashed_bigrams(tokens, buckets=1000))
    assert numbers[0, 1] == numbers[0, 3] != numbers[0, 2] == numbers[1, 2]
    # No word before the first, none known before the second, none at padding.
    assert not numbers[:, 0].any() and not numbers[1, 1] and not numbers[:, 4:].any()
    ids = np.random.default_rng(0).integers(2, 30_000, (1, 5000)).astype("int32")
    numbers = keras.ops.convert_to_numpy(hashed_bigrams(ids, buckets=1000))
    assert numbers.min() >= 0 and numbers.max() < 1000
    # 5,000 pairs in 999 buckets leave about 999 / e^5, that is 7, of them empty.
    assert len(np.unique(numbers)) > 950


def test_a_saved_model_reloads_to_the_same_logits(tmp_path):
    model = build(
        "lstm", "attention", True, 4, num_layers=2, pairs=True, word_dropout=0.2, dropout=0.2
    )
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    tokens = random_tokens([8, 5], 8)
    np.testing.assert_array_equal(outputs_of(loaded, tokens), outputs_of(model, tokens))
