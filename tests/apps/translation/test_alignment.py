import warnings

import numpy as np
import pytest

from apps.translation.alignment import merge_words, plot_alignment
from apps.translation.predictor import Candidate
from data.text.subwords import encode_texts, train_subword_tokenizer
from models.decode.hypothesis import Hypothesis

pytestmark = pytest.mark.no_backend

TEXTS = ["the dog sees the house", "le chien voit la maison", "l'homme n'aime pas l'eau"] * 3


@pytest.fixture(scope="module")
def tokenizer():
    """Knows the words of `TEXTS` whole, or nearly; others fall into bytes."""
    return train_subword_tokenizer(TEXTS, vocab_size=290)


def merged(tokenizer, source, target, *, seed=0):
    """Merges two sentences whose tokens look at each other at random."""
    source, target = encode_texts(tokenizer, [source, target])
    attention = np.random.default_rng(seed).dirichlet(np.ones(len(source)), size=len(target))
    hypothesis = Hypothesis(tokens=target, score=0.0, attention=attention)
    return merge_words(tokenizer, source, hypothesis)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("the dog sees zebras", ["the", "dog", "sees", "zebras"]),
        ("the dog, the house.", ["the", "dog", ",", "the", "house", "."]),
        ("œuvre garçon 電影 🐶", ["œuvre", "garçon", "電影", "🐶"]),
    ],
)
def test_subwords_and_bytes_become_the_words_of_the_sentence(tokenizer, text, words):
    assert merged(tokenizer, text, "le chien")[0] == words
    assert merged(tokenizer, "the dog", text)[1] == words


def test_a_word_looks_where_its_subwords_look_on_average(tokenizer):
    # A word that nothing was learned of falls into its space and its letters.
    source = encode_texts(tokenizer, ["the zq"])[0]
    target = encode_texts(tokenizer, ["xw pas"])[0]
    assert (len(source), len(target)) == (4, 5)
    attention = np.array(
        [
            [0.7, 0.1, 0.1, 0.1],
            [0.4, 0.3, 0.2, 0.1],
            [0.1, 0.0, 0.0, 0.9],
            [0.2, 0.8, 0.0, 0.0],
            [0.6, 0.0, 0.3, 0.1],
        ]
    )
    source_words, words, found = merge_words(
        tokenizer, source, Hypothesis(tokens=target, score=0.0, attention=attention)
    )
    assert (source_words, words) == (["the", "zq"], ["xw", "pas"])
    # Of xw the mean of three rows, of pas of two; of zq the sum of three columns.
    np.testing.assert_allclose(found, [[1.2 / 3, 1.8 / 3], [0.8 / 2, 1.2 / 2]])


@pytest.mark.parametrize(
    ("source_words", "words"),
    [
        (["a", "$x$", "[b]", "_^{", "\\frac"], ["le", "$", "%"]),
        (["a"] * 60, ["b"] * 90),
        (["a", "b"], []),
    ],
)
def test_any_words_make_a_picture_without_a_warning(source_words, words, tmp_path):
    attention = np.full((len(words), len(source_words)), 1 / len(source_words))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plot_alignment(Candidate("", 0.0, source_words, words, attention), tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
