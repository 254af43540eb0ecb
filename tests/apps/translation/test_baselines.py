import numpy as np
import pytest

from apps.translation import baselines
from apps.translation.baselines import (
    nearest_sentence,
    word_by_word,
)

pytestmark = pytest.mark.no_backend

# An invented language that says everything backwards.
WORDS = {
    "sun": "lora",
    "moon": "vasti",
    "sees": "kemo",
    "warms": "punja",
    "old": "dirro",
    "stone": "gald",
    "river": "wenu",
    "and": "oi",
}


def invented_pairs(count, *, length=4):
    generator = np.random.default_rng(0)
    sources, targets = [], []
    for _ in range(count):
        chosen = generator.choice(list(WORDS), size=length, replace=False)
        sources.append(" ".join(chosen))
        targets.append(" ".join(WORDS[word] for word in reversed(chosen)))
    return sources, targets


def test_the_dictionary_of_a_language_with_another_word_order_is_found():
    sentence = "old moon and old sun"
    translation = " ".join(WORDS[word] for word in sentence.split())
    assert word_by_word(*invented_pairs(60), [sentence]) == [translation]


def test_unknown_words_are_copied_and_the_capital_of_a_sentence_is_kept():
    found = word_by_word(*invented_pairs(60), ["Sun sees Zoe", "Zoe sees sun", "river"])
    assert found == ["Lora kemo Zoe", "Zoe kemo lora", "wenu"]


def test_words_are_joined_as_the_target_language_writes_them():
    sources = ["red", "the water", "water", "!", ","]
    targets = ["rouge", "l'eau", "eau", "!", ","]
    for language, expected in (("fr", "L'eau, rouge !"), ("it", "L'eau, rouge!")):
        found = word_by_word(sources, targets, ["The water, red!"], languages=("en", language))
        assert found == [expected]


def test_a_training_sentence_gets_its_own_translation_and_keeps_its_place(monkeypatch):
    # So little memory that the 400 times 400 distances of 8 bytes are made in two parts.
    monkeypatch.setattr(baselines, "_CHUNK_MB", 1)
    count = 400
    sources = [f"Picture {index} shows a house." for index in range(count)]
    targets = [f"Bild {index}" for index in range(count)]
    order = np.random.default_rng(0).permutation(count)
    found = nearest_sentence(sources, targets, [sources[index] for index in order])
    assert found == [targets[index] for index in order]


def test_rare_words_decide_which_sentence_is_nearest():
    sources = ["a man in a park", "a man in a boat", "a zebra runs", "a man in a car"]
    targets = ["park", "boat", "zebra", "car"]
    found = nearest_sentence(sources, targets, ["in a ZEBRA", "a boat", "nothing"])
    assert found == ["zebra", "boat", "park"]
