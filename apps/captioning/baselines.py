"""Baselines without a recurrent network, scored on the same split."""

from collections import Counter
from collections.abc import Callable

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.neighbors import NearestNeighbors

from apps.captioning.metrics import caption_metrics, caption_statistics, normalise
from data.pictures.splits import CaptionSplit

# Pictures that `consensus_nearest` compares; chosen on the validation split of Flickr8k.
NEIGHBOURS = 30


def most_frequent(
    train: CaptionSplit, *, train_features: np.ndarray, features: np.ndarray
) -> list[str]:
    """Returns the most frequent training caption for every picture.

    Captions that differ in case and punctuation count as one; the first of equals wins.

    Args:
        train: Pictures with their captions.
        train_features: Not used.
        features: `(pictures, channels)`; only their number matters.

    Returns:
        `(pictures,)` captions.
    """
    first_spelling = {}
    counts = Counter()
    for captions in train.captions:
        for caption in captions:
            counts[normalise(caption)] += 1
            first_spelling.setdefault(normalise(caption), caption)
    ((commonest, _),) = counts.most_common(1)
    return [first_spelling[commonest]] * len(features)


def nearest_picture(
    train: CaptionSplit, *, train_features: np.ndarray, features: np.ndarray
) -> list[str]:
    """As `consensus_nearest`, from the captions of the nearest picture alone."""
    return consensus_nearest(train, train_features=train_features, features=features, neighbours=1)


def consensus_nearest(
    train: CaptionSplit,
    *,
    train_features: np.ndarray,
    features: np.ndarray,
    neighbours: int = NEIGHBOURS,
) -> list[str]:
    """Returns, of the nearest training pictures' captions, the one most similar to all the others.

    Following Devlin et al. (2015), here by the cosine of TF-IDF weights of words and word pairs.

    Args:
        train: Pictures with their captions.
        train_features: `(train_pictures, channels)`, a vector of each picture.
        features: `(pictures, channels)` of the pictures to describe.
        neighbours: Pictures to compare, those with the smallest cosine distance.

    Returns:
        `(pictures,)` captions.

    Raises:
        ValueError: If features and pictures of the training split differ in number.
    """
    if len(train_features) != len(train.captions):
        raise ValueError(f"{len(train_features)} rows of features, {len(train.captions)} pictures")
    captions = [caption for several in train.captions for caption in several]
    ends = np.cumsum([len(several) for several in train.captions])
    rows = np.split(np.arange(len(captions)), ends[:-1])
    vectorizer = TfidfVectorizer(preprocessor=normalise, token_pattern=r"\S+", ngram_range=(1, 2))
    weights = vectorizer.fit_transform(captions)
    search = NearestNeighbors(
        n_neighbors=min(neighbours, len(rows)), metric="cosine", algorithm="brute"
    ).fit(train_features)
    chosen = []
    for nearest in search.kneighbors(features, return_distance=False):
        pool = np.concatenate([rows[picture] for picture in nearest])
        # All vectors have length 1, so the product with their sum is the sum of the cosines.
        agreement = weights[pool] @ np.asarray(weights[pool].sum(axis=0)).ravel()
        # Rounding removes numerical noise, so that the first of equals wins.
        chosen.append(captions[pool[agreement.round(9).argmax()]])
    return chosen


BASELINES: dict[str, Callable[..., list[str]]] = {
    "most_frequent": most_frequent,
    "nearest_picture": nearest_picture,
    "consensus_nearest": consensus_nearest,
}


def score_baselines(
    train: CaptionSplit,
    split: CaptionSplit,
    *,
    train_features: np.ndarray,
    features: np.ndarray,
) -> dict[str, dict[str, float]]:
    """Returns metrics and statistics of every baseline.

    Args:
        train: Data that the baselines learn from.
        split: Data to score on.
        train_features: `(train_pictures, channels)`, such as the mean of each picture's regions.
        features: `(pictures, channels)` of `split`.
    """
    scores = {}
    for name, baseline in BASELINES.items():
        captions = baseline(train, train_features=train_features, features=features)
        scores[name] = caption_metrics(captions, split.captions) | caption_statistics(captions)
    return scores
