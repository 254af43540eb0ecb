"""Self-training: trained runs label the reviews that nobody did."""

from pathlib import Path

import numpy as np

from apps.sentiment.config import Config
from apps.sentiment.evaluate import predict_probabilities
from apps.sentiment.predict import Predictor
from common.errors import UserError
from data.sentiment import Reviews


def load_teacher(run: Path, config: Config, labels: list[str]) -> Predictor:
    """Loads a run that labels what `config` will learn from.

    Raises:
        UserError: If it knows other labels, or may have learned from the validation reviews.
    """
    teacher = Predictor.load(run)
    if list(teacher.labels) != labels:
        raise UserError(
            f"--teachers {run} knows the labels {', '.join(teacher.labels)}, not"
            f" {', '.join(labels)}: leave it out."
        )
    for name in ("data", "validation_share", "split_seed"):
        ours, theirs = getattr(config, name), getattr(teacher.config, name)
        if ours != theirs:
            raise UserError(
                f"--teachers {run} was trained with {name} {theirs}, not {ours}, and may know the"
                " validation reviews: train it on the same cut."
            )
    return teacher


def targets_of(
    labelled: Reviews,
    unlabelled: Reviews | None,
    teachers: list[Path],
    *,
    config: Config,
    labels: list[str],
) -> tuple[list[str], np.ndarray]:
    """Returns what to learn from: the labelled texts, and with teachers the unlabelled too.

    Args:
        labelled: The training split.
        unlabelled: Reviews without labels.
        teachers: Run folders; an unlabelled text gets the mean of their probabilities.
        config: Settings of the student.
        labels: Names of the labels.

    Returns:
        texts: Labelled first.
        targets: `(batch, classes)`, summing to 1.

    Raises:
        UserError: If there are teachers but nothing to label, or one does not fit.
    """
    targets = np.eye(len(labels), dtype="float32")[labelled.labels]
    if not teachers:
        return labelled.texts, targets
    if unlabelled is None:
        raise UserError("--teachers label unlabelled reviews, but --data has none: leave it out.")
    predictors = [load_teacher(teacher, config, labels) for teacher in teachers]
    verdicts = [predict_probabilities(teacher, unlabelled.texts) for teacher in predictors]
    return (
        labelled.texts + unlabelled.texts,
        np.concatenate([targets, np.mean(verdicts, axis=0, dtype="float32")]),
    )
