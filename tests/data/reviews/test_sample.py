import random
import re

import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from data.reviews.sample import BAD, GOOD, review, reviews, write_imdb_sample

OPINIONS = {word: 1 for word in GOOD} | {word: -1 for word in BAD}
# What turns an opinion around: a negation before it in its clause, or "rather than".
TURNING = re.compile(r"\b(not|never|nothing|nobody|anything but|far from|rather than)\b")
# Sentences whose first opinion is only what somebody had thought.
SUPPOSED = re.compile(r"\b(expected|looked|called it|sound)\b.*, but ")


def read(text):
    """Reads a review by the rules of language; returns the opinion of each of its sentences."""
    opinions = []
    for sentence in re.split(r"(?<=[.!])\s+", text.replace("<br />", " ").lower()):
        sentence = SUPPOSED.sub("", sentence)
        for clause in re.split(r",| rather (?=than)", sentence):
            clause = clause.replace("than", "rather than")
            sign = -1 if TURNING.search(clause) else 1
            words = re.findall(r"[a-z]+", clause)
            opinions += [sign * OPINIONS[word] for word in words if word in OPINIONS]
    return opinions


@pytest.fixture(scope="module")
def sample():
    generator = random.Random(1)
    return reviews(1_200, generator), reviews(400, generator)


def test_a_reader_who_minds_negation_and_order_is_always_right(sample):
    for text, label in sample[0] + sample[1]:
        opinions = read(text)
        assert opinions, text
        assert set(opinions) == {2 * label - 1}, text


def test_counting_words_is_better_than_chance_and_far_from_right(sample):
    train, test = sample
    model = make_pipeline(TfidfVectorizer(), LogisticRegression(C=10.0))
    model.fit(*zip(*train, strict=True))
    assert 0.6 < model.score(*zip(*test, strict=True)) < 0.85


def test_the_same_seed_writes_the_same_reviews():
    assert review(True, random.Random(3)) == review(True, random.Random(3))
    assert review(True, random.Random(3)) != review(True, random.Random(4))


def test_a_data_set_that_is_there_stays_as_it_is(imdb_dir):
    before = {path: path.stat().st_mtime_ns for path in imdb_dir.rglob("*")}
    write_imdb_sample(imdb_dir, train=10, test=10, unlabelled=10, seed=9)
    assert {path: path.stat().st_mtime_ns for path in imdb_dir.rglob("*")} == before
