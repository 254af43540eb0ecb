import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics.pairwise import cosine_similarity

from apps.captioning.baselines import (
    NEIGHBOURS,
    consensus_nearest,
    most_frequent,
    nearest_picture,
)
from data.pictures.splits import CaptionSplit

pytestmark = pytest.mark.no_backend


def split_of(captions):
    return CaptionSplit([f"{index}.jpg" for index in range(len(captions))], captions)


def random_features(count, *, seed=0, channels=8):
    return np.random.default_rng(seed).normal(size=(count, channels)).astype("float32")


def random_split(pictures, *, seed=0):
    """Pictures with one to five captions of few words."""
    generator = np.random.default_rng(seed)
    words = ["a", "the", "dog", "cat", "boy", "runs", "sleeps", "red", "ball", "snow"]
    return split_of(
        [
            [" ".join(generator.choice(words, size=6)) for _ in range(generator.integers(1, 6))]
            for _ in range(pictures)
        ]
    )


def test_the_most_frequent_caption_is_counted_without_case_and_marks():
    train = split_of([["A cat .", "A cat ."], ["A dog runs .", "a dog runs", "A DOG RUNS!"]])
    said = most_frequent(train, train_features=random_features(2), features=random_features(3))
    assert said == ["A dog runs ."] * 3
    # Of equals the first.
    train = split_of([["one", "two"], ["three", "two"], ["one"]])
    said = most_frequent(train, train_features=random_features(3), features=random_features(1))
    assert said == ["one"]


def test_a_training_picture_is_its_own_nearest_and_brightness_makes_no_difference():
    count = 50
    train = split_of([[f"Picture {index} shows a house ."] for index in range(count)])
    known = random_features(count)
    order = np.random.default_rng(1).permutation(count)
    features = known[order] * np.linspace(0.1, 9, count, dtype="float32")[:, np.newaxis]
    said = nearest_picture(train, train_features=known, features=features)
    assert said == [train.captions[index][0] for index in order]


@pytest.mark.parametrize(
    ("captions", "expected"),
    [
        (["A zebra", "A dog runs .", "a dog runs"], "A dog runs ."),
        (["first here", "second there"], "first here"),
        (["...", "words"], "words"),
    ],
)
def test_the_caption_that_agrees_most_with_the_others_is_taken_and_of_equals_the_first(
    captions, expected
):
    train = split_of([["a boy", "some snow", "the deep sea"], captions])
    known = np.eye(2, dtype="float32")
    assert nearest_picture(train, train_features=known, features=known[1:]) == [expected]


def test_the_consensus_has_the_largest_mean_cosine_to_all_captions_of_the_neighbours():
    train = random_split(80)
    known, features = random_features(80), random_features(10, seed=1)
    said = consensus_nearest(train, train_features=known, features=features)
    texts = [caption for captions in train.captions for caption in captions]
    tfidf = TfidfVectorizer(token_pattern=r"\S+", ngram_range=(1, 2)).fit(texts)
    for caption, nearness in zip(said, cosine_similarity(features, known), strict=True):
        nearest = np.argsort(-nearness)[:NEIGHBOURS]
        pool = [caption for index in nearest for caption in train.captions[index]]
        similarity = cosine_similarity(tfidf.transform(pool))
        np.fill_diagonal(similarity, 0)
        means = similarity.sum(axis=1) / (len(pool) - 1)
        assert means[pool.index(caption)] == pytest.approx(means.max())
