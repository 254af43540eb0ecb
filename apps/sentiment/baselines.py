"""What a user would try without a recurrent network, scored on the same split."""

import re
from collections.abc import Callable, Iterable

import numpy as np
from scipy import sparse
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC

from apps.sentiment.metrics import classification_metrics
from data.text.tokenization import TAG_PATTERN, TOKEN_PATTERN


def _without_tags(text: str) -> str:
    """Returns a text as the model's tokenizer sees it too: lower case, no HTML tags."""
    return re.sub(TAG_PATTERN, " ", text).lower()


def _counting(texts: list[str]) -> dict:
    """Returns what both bags of words have in common."""
    return {
        "preprocessor": _without_tags,
        "token_pattern": TOKEN_PATTERN,
        # Words that occur once tell nothing about other texts, unless there are hardly any others.
        "min_df": 2 if len(texts) >= 100 else 1,
    }


def majority(texts: list[str], labels: np.ndarray, test_texts: list[str]) -> np.ndarray:
    """Returns the shares of the labels in training for every text, `(batch, classes)`."""
    shares = np.bincount(labels) / len(labels)
    return np.tile(shares, (len(test_texts), 1))


def tfidf_logistic_regression(
    texts: list[str], labels: np.ndarray, test_texts: list[str]
) -> np.ndarray:
    """Fits logistic regression on TF-IDF of single words; returns probabilities."""
    model = make_pipeline(
        TfidfVectorizer(sublinear_tf=True, **_counting(texts)),
        LogisticRegression(C=10.0, max_iter=1000),
    )
    return model.fit(texts, labels).predict_proba(test_texts)


def nb_svm(
    texts: list[str],
    labels: np.ndarray,
    test_texts: Iterable[str],
    *,
    penalty: float = 0.01,
) -> np.ndarray:
    """Fits a linear SVM on bigram presence scaled by naive Bayes (Wang and Manning, 2012).

    Args:
        texts: Training texts.
        labels: `<int>(batch,)`.
        test_texts: Texts to score.
        penalty: `C` of the SVM.

    Returns:
        `(batch, classes)`, greater for a more likely label; no probabilities.
    """
    vectorizer = CountVectorizer(ngram_range=(1, 2), binary=True, **_counting(texts))
    features = vectorizer.fit_transform(texts).astype(np.float64)
    test_features = vectorizer.transform(test_texts).astype(np.float64)
    classes = labels.max() + 1
    scores = []
    for label in range(1 if classes == 2 else 0, classes):
        inside = labels == label
        positive = 1 + np.asarray(features[inside].sum(axis=0)).ravel()
        negative = 1 + np.asarray(features[~inside].sum(axis=0)).ravel()
        ratio = np.log(positive / positive.sum()) - np.log(negative / negative.sum())
        machine = LinearSVC(C=penalty, random_state=0).fit(features @ sparse.diags(ratio), inside)
        scores.append(test_features @ (ratio * machine.coef_[0]) + machine.intercept_[0])
    if classes == 2:
        scores.insert(0, -scores[0])
    return np.stack(scores, axis=1)


BASELINES: dict[str, tuple[Callable[..., np.ndarray], bool]] = {
    # name: (function, whether it returns probabilities)
    "majority": (majority, True),
    "tfidf_logreg": (tfidf_logistic_regression, True),
    "nb_svm": (nb_svm, False),
}


def score_baselines(
    texts: list[str], labels: np.ndarray, test_texts: list[str], test_labels: np.ndarray
) -> dict[str, dict[str, float]]:
    """Fits every baseline on the training split and returns its metrics on the test split."""
    scores = {}
    for name, (function, probabilities) in BASELINES.items():
        predicted = function(texts, labels, test_texts)
        scores[name] = classification_metrics(predicted, test_labels, probabilities=probabilities)
    return scores
