"""The encoder's pretraining as a language model."""

import random

import keras
import numpy as np
import pytest

from apps.sentiment import pretraining
from apps.sentiment.config import Config
from apps.sentiment.pretraining import Regions, pretrain
from models.language_model import build_language_model, mean_loss
from models.sentiment import build_encoder

VOCAB = 9
CONFIG = Config(
    units=4,
    embed_dim=3,
    region_length=6,
    max_length=24,
    tokens_per_batch=60,
    bigram_buckets=11,
    pretrain_epochs=2,
)


def rhymes(count: int) -> list[np.ndarray]:
    """Texts in which each word tells the next one."""
    generator = np.random.default_rng(4)
    lengths, starts = generator.integers(1, 25, count), generator.integers(0, 7, count)
    return [
        ((np.arange(length) + start) % 7 + 2).astype("int32")
        for length, start in zip(lengths, starts, strict=True)
    ]


def regions(texts: list[np.ndarray], rows: int) -> Regions:
    shares = np.r_[0, 0, np.ones(VOCAB - 2)]
    return Regions(texts, length=6, rows=rows, shares=shares, directions=2)


def encoder(seed: int = 1) -> keras.Model:
    keras.utils.set_random_seed(seed)
    return build_encoder(
        vocab_size=VOCAB,
        embed_dim=CONFIG.embed_dim,
        bigram_buckets=CONFIG.bigram_buckets,
        cell=CONFIG.cell,
        units=CONFIG.units,
        region_length=CONFIG.region_length,
        skip_connection=True,
    )


def weights(model: keras.Model) -> dict[str, np.ndarray]:
    return {
        variable.path: keras.ops.convert_to_numpy(variable)
        for variable in model.trainable_variables
    }


@pytest.mark.no_backend
def test_every_region_of_every_text_stands_once_in_an_epoch():
    texts = rhymes(20)
    expected = sorted(
        tuple(text[start : start + 6]) for text in texts for start in range(0, len(text), 6)
    )
    batches = regions(texts, rows=1)
    for _ in range(2):
        found = [batches[index][0][0][0] for index in range(len(batches))]
        assert sorted(tuple(row[row > 0]) for row in found) == expected
        batches.on_epoch_end()


@pytest.mark.no_backend
def test_words_are_drawn_by_their_shares_and_the_same_again():
    shares = np.array([0, 0, 1, 2, 0, 5], dtype="float64")
    one, other = (
        Regions(rhymes(40), length=6, rows=2, shares=shares, directions=2) for _ in range(2)
    )
    drawn = np.concatenate([one[index][0][1] for index in range(len(one))])
    np.testing.assert_allclose(
        np.bincount(drawn, minlength=6) / len(drawn), shares / shares.sum(), atol=0.01
    )
    for index in range(len(one)):
        for ours, theirs in zip(
            keras.tree.flatten(one[index]), keras.tree.flatten(other[index]), strict=True
        ):
            np.testing.assert_array_equal(ours, theirs)


def test_it_learns_what_comes_next():
    batches = regions(rhymes(60), rows=20)
    keras.utils.set_random_seed(1)
    plain = build_encoder(vocab_size=VOCAB, embed_dim=6, cell="gru", units=8, region_length=6)
    log_expected = np.log(np.r_[1, 1, np.full(VOCAB - 2, 1024 / (VOCAB - 2))])
    model = build_language_model(plain, units=8, bidirectional=True, log_expected=log_expected)
    model.compile(keras.optimizers.Adam(0.03), loss=mean_loss)
    losses = model.fit(batches, epochs=12, shuffle=False, verbose=0).history["loss"]
    # Seven words, each as frequent as the others: who knows nothing is surprised by ln 7 = 1.95.
    assert losses[0] > 1.2 and losses[-1] < 0.4, losses


def draws() -> list[float]:
    """What the training that follows would draw next."""
    return [random.random(), np.random.random(), float(keras.random.uniform(()))]


@pytest.mark.no_backend
def test_what_was_learned_is_kept_for_all_runs(tmp_path, monkeypatch):
    texts, one, other, before = rhymes(30), encoder(), encoder(seed=2), weights(encoder(seed=2))
    # The word vectors that both begin with.
    other.get_layer("embedding").embeddings.assign(one.get_layer("embedding").embeddings)
    pretrain(one, CONFIG, texts, cache_dir=tmp_path)
    drawn = [draws()]
    monkeypatch.setattr(pretraining, "_train", None)
    pretrain(other, CONFIG, texts, cache_dir=tmp_path)
    drawn.append(draws())
    # The training that follows is the same whether its start was kept or not.
    assert drawn[0] == drawn[1]
    ours, theirs = weights(one), weights(other)
    for name in ours:
        rows = CONFIG.embed_dim if name.endswith("cell/kernel") else None
        if name.startswith("bigram"):
            np.testing.assert_array_equal(theirs[name], before[name])
        else:
            np.testing.assert_array_equal(ours[name][:rows], theirs[name][:rows])
            assert (theirs[name][:rows] != before[name][:rows]).any(), name
            if rows:
                np.testing.assert_array_equal(theirs[name][rows:], before[name][rows:])
