"""The scores of a classifier: accuracy, F1, ROC AUC and expected calibration error."""

import numpy as np
from sklearn.metrics import f1_score, roc_auc_score


def expected_calibration_error(
    probabilities: np.ndarray, labels: np.ndarray, *, bins: int = 15
) -> float:
    """Returns the mean gap between confidence and accuracy, over bins of confidence.

    Args:
        probabilities: `(batch, classes)`.
        labels: `<int>(batch,)`.
        bins: Of equal width (Guo et al., 2017).
    """
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == labels
    bin_of = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = [
        np.sum(bin_of == index)
        * abs(confidence[bin_of == index].mean() - correct[bin_of == index].mean())
        for index in np.unique(bin_of)
    ]
    return float(np.sum(gaps) / len(labels))


def classification_metrics(
    scores: np.ndarray, labels: np.ndarray, *, probabilities: bool = True
) -> dict[str, float]:
    """Scores predictions against labels.

    Args:
        scores: `(batch, classes)`, greater for a more likely label.
        labels: `<int>(batch,)`.
        probabilities: Whether `scores` are probabilities; only then is calibration defined.

    Returns:
        `accuracy`, `f1` (of the second label if there are two, else the mean of all), `roc_auc`
        (with more than two labels one against the rest, from probabilities only) and `ece`.
    """
    predicted = scores.argmax(axis=1)
    classes = scores.shape[1]
    metrics = {
        "accuracy": float(np.mean(predicted == labels)),
        "f1": float(
            f1_score(
                labels, predicted, average="binary" if classes == 2 else "macro", zero_division=0
            )
        ),
    }
    # A split of the user's own may lack a label, and then the curve is not defined.
    complete = len(np.unique(labels)) == classes
    if classes == 2 and complete:
        metrics["roc_auc"] = float(roc_auc_score(labels, scores[:, 1] - scores[:, 0]))
    elif probabilities and complete:
        metrics["roc_auc"] = float(roc_auc_score(labels, scores, multi_class="ovr"))
    if probabilities:
        metrics["ece"] = expected_calibration_error(scores, labels)
    return metrics
