import numpy as np
import pytest

from apps.sentiment.baselines import nb_svm, tfidf_logistic_regression
from apps.sentiment.metrics import classification_metrics, expected_calibration_error

pytestmark = pytest.mark.no_backend


def test_calibration_error_is_the_gap_weighted_by_the_size_of_its_bin():
    # Three of four at .9 are right: a gap of .15. One of one at .6 is wrong: a gap of .6.
    probabilities = np.array([[0.9, 0.1]] * 4 + [[0.4, 0.6]])
    labels = np.array([0, 0, 0, 1, 0])
    expected = (4 * 0.15 + 1 * 0.6) / 5
    assert expected_calibration_error(probabilities, labels, bins=10) == pytest.approx(expected)


def test_scores_of_a_confusion_counted_by_hand():
    predicted = np.array([0.9, 0.8, 0.3, 0.6, 0.1])
    scores = np.stack([1 - predicted, predicted], axis=1)
    metrics = classification_metrics(scores, np.array([1, 1, 1, 0, 0]))
    assert metrics["accuracy"] == pytest.approx(3 / 5)
    # Precision and recall of the second label are both 2 / 3.
    assert metrics["f1"] == pytest.approx(2 / 3)
    # Of six pairs, .3 against .6 alone is in the wrong order.
    assert metrics["roc_auc"] == pytest.approx(5 / 6)


def texts_of_pairs(count):
    # Only the order of the two words tells.
    texts = ["sweet not" if index % 2 else "not sweet" for index in range(count)]
    return texts, np.arange(count) % 2


def test_nb_svm_reads_pairs_of_words_where_single_words_cannot_tell():
    texts, labels = texts_of_pairs(200)
    probe, truth = texts_of_pairs(10)
    found = nb_svm(texts, labels, probe).argmax(axis=1)
    np.testing.assert_array_equal(found, truth)
    blind = tfidf_logistic_regression(texts, labels, probe)
    np.testing.assert_allclose(blind, 0.5, atol=1e-6)
