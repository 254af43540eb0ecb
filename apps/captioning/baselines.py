"""What a user would try without a recurrent network, scored on the same split."""

from collections import Counter
from collections.abc import Callable

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.neighbors import NearestNeighbors

from apps.captioning.metrics import caption_metrics, caption_statistics, normalise
from data.pictures.splits import CaptionSplit

# Pictures that `consensus_nearest` asks; chosen on the validation split of Flickr8k.
NEIGHBOURS = 30


def most_frequent(
    train: CaptionSplit, *, train_features: np.ndarray, features: np.ndarray
) -> list[str]:
    """Says of every picture what people say most often, whatever the case and punctuation.

    Args:
        train: Pictures with their captions.
        train_features: Makes no difference here.
        features: `(pictures, channels)`, of which only the number matters.

    Returns:
        `(pictures,)`, always the same caption as it is written first; of equally frequent ones it
        is the first.
    """
    written = {}
    counts = Counter()
    for captions in train.captions:
        for caption in captions:
            counts[normalise(caption)] += 1
            written.setdefault(normalise(caption), caption)
    # Of equal counts the one that was met first stands first.
    ((commonest, _),) = counts.most_common(1)
    return [written[commonest]] * len(features)


def nearest_picture(
    train: CaptionSplit, *, train_features: np.ndarray, features: np.ndarray
) -> list[str]:
    """Says what is said of the training picture whose features have the smallest cosine distance.

    Of its captions it takes the one that agrees most with the others, as `consensus_nearest` does.

    Args:
        train: Pictures with their captions.
        train_features: `(train_pictures, channels)`, a vector of each picture.
        features: `(pictures, channels)`, those of the pictures to describe.

    Returns:
        `(pictures,)` captions of the training split.

    Raises:
        ValueError: If features and pictures of the training split differ in number.
    """
    return _consensus(train, train_features, features, neighbours=1)


def consensus_nearest(
    train: CaptionSplit, *, train_features: np.ndarray, features: np.ndarray
) -> list[str]:
    """Asks the `NEIGHBOURS` nearest training pictures and takes the caption that agrees most.

    Following Devlin et al. (2015), that is the one most similar to all their captions in the mean;
    here by the cosine of TF-IDF weights of words and of pairs of them.

    Args:
        train: Pictures with their captions.
        train_features: As in `nearest_picture`.
        features: As in `nearest_picture`.

    Returns:
        `(pictures,)` captions of the training split.

    Raises:
        ValueError: If features and pictures of the training split differ in number.
    """
    return _consensus(train, train_features, features, neighbours=NEIGHBOURS)


def _consensus(
    train: CaptionSplit, train_features: np.ndarray, features: np.ndarray, *, neighbours: int
) -> list[str]:
    """For each picture the caption that agrees most with all those of its nearest pictures."""
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
        # All vectors have length 1: the product with the sum of all is the sum of the cosines. Each
        # caption's own adds 1 to all alike.
        agreement = weights[pool] @ np.asarray(weights[pool].sum(axis=0)).ravel()
        # Without the noise of the last digits, so that of equals the first is taken.
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
    """Asks every baseline for captions and returns their metrics and statistics.

    Args:
        train: What the baselines learn from.
        split: What they are scored on.
        train_features: `(train_pictures, channels)`, a vector of each picture of `train`, such as
            the mean of its regions.
        features: `(pictures, channels)`, those of `split`.

    Raises:
        ValueError: If features and pictures differ in number.
    """
    scores = {}
    for name, function in BASELINES.items():
        captions = function(train, train_features=train_features, features=features)
        scores[name] = caption_metrics(captions, split.captions) | caption_statistics(captions)
    return scores
