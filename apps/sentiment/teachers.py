"""Self-training: trained runs, or NB-SVM, label the reviews and spans that nobody did."""

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from apps.sentiment.config import NB_SVM, Config, teacher_folders
from apps.sentiment.evaluate import predict_probabilities
from apps.sentiment.predictor import Predictor
from common.cache import cache_path, cached
from common.cli import split_list
from common.earlier_runs import check_same_cut, check_same_data
from common.errors import UserError
from common.files import read_json
from common.run_folder import CONFIG, METRICS, MODEL, TOKENIZER
from data.download import cache_directory, sha256_of

if TYPE_CHECKING:
    from data.reviews.read import Reviews


# What a teacher's verdicts come from: its files, and the code.
_READ = (CONFIG, TOKENIZER, MODEL)
_CODE = (
    "apps.sentiment.teachers",
    "apps.sentiment.baselines",
    "apps.sentiment.evaluate",
    "apps.sentiment.predictor",
)


def checked_teachers(config: Config, hashes: dict[str, str], run: Path, *, resume: bool) -> dict:
    """Returns what `metrics.json` says of the teachers: `runs`, the SHA-256 of each run's model.

    Args:
        config: Settings of the student.
        hashes: Of the student's data.
        run: Run folder of the student.
        resume: Whether the student's training is resumed.

    Raises:
        UserError: If a teacher was trained on other files, or the student began with others.
    """
    for teacher in teacher_folders(config):
        check_same_data(hashes, teacher, named=f"--teachers {teacher}")
    models = {folder: sha256_of(Path(folder) / MODEL) for folder in teacher_folders(config)}
    if resume and read_json(run / METRICS)["teacher"]["runs"] != models:
        raise UserError(
            f"{run} was begun with other teachers: restore them, or train anew with --overwrite."
        )
    return {"runs": models}


def load_teacher(run: Path, config: Config, labels: list[str]) -> Predictor:
    """Loads a run that labels what `config` will learn from.

    Raises:
        UserError: If it knows other labels, or may have learned from the validation reviews.
    """
    teacher = Predictor.load(run, runtime="keras")
    if list(teacher.labels) != labels:
        raise UserError(
            f"--teachers {run} knows the labels {', '.join(teacher.labels)}, not"
            f" {', '.join(labels)}: leave it out."
        )
    check_same_cut(
        config,
        teacher.config,
        ("data", "validation_share", "split_seed"),
        named=f"--teachers {run}",
    )
    return teacher


def nb_svm_verdicts(labelled: "Reviews", validation: "Reviews", texts: Sequence[str]) -> np.ndarray:
    """Fits NB-SVM and returns its verdicts as probabilities, `(batch, classes)`.

    Args:
        labelled: What it is fitted on.
        validation: What its temperature is fitted on (Guo et al., 2017).
        texts: What to label.
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax, softmax

    from apps.sentiment.baselines import nb_svm

    scores = nb_svm(labelled.texts, labelled.labels, itertools.chain(validation.texts, texts))
    known, wanted = scores[: len(validation.texts)], scores[len(validation.texts) :]
    rows = np.arange(len(known))

    def surprise(sharpness: float) -> float:
        return -log_softmax(sharpness * known, axis=1)[rows, validation.labels].mean()

    best = minimize_scalar(surprise, bounds=(1e-3, 1e3), method="bounded")
    return softmax(best.x * wanted, axis=1)


def targets_of(
    labelled: "Reviews",
    validation: "Reviews",
    unlabelled: "Reviews | None",
    *,
    config: Config,
    labels: list[str],
) -> np.ndarray:
    """Returns what to learn of the labelled texts and then, with teachers, of the unlabelled ones.

    The unlabelled ones are labelled once; what the teachers said is kept in the cache.

    Args:
        labelled: The training split.
        validation: The validation split, on which `nb_svm` finds how sure it may be.
        unlabelled: Reviews without labels.
        config: Settings of the student; an unlabelled text gets the mean of the probabilities
            that its teachers give.
        labels: Names of the labels.

    Returns:
        `(batch, classes)`, summing to 1.

    Raises:
        UserError: If there are teachers but nothing to label, or one does not fit.
    """
    targets = np.eye(len(labels), dtype="float32")[labelled.labels]
    teachers = split_list(config.teachers)
    if not teachers:
        return targets
    if unlabelled is None:
        raise UserError("--teachers label unlabelled reviews, but --data has none: leave it out.")
    networks = _networks(config, labels)

    def mean_verdicts() -> dict[str, np.ndarray]:
        verdicts = [
            nb_svm_verdicts(labelled, validation, unlabelled.texts)
            if name == NB_SVM
            else predict_probabilities(networks[name], unlabelled.texts)
            for name in teachers
        ]
        return {"verdicts": np.mean(verdicts, axis=0)}

    reviews = [(part.labels, part.texts) for part in (labelled, validation, unlabelled)]
    verdicts = _kept(teachers, reviews, mean_verdicts)
    return np.concatenate([targets, verdicts]).astype("float32")


def span_targets(
    spans: Sequence[str], targets: np.ndarray, *, config: Config, labels: list[str]
) -> np.ndarray:
    """Returns what to learn of spans: the target of their text, which many a span contradicts.

    Where networks teach, it is the mean of that target and of what they make of the span itself.
    NB-SVM knows how sure to be of whole reviews alone, so it is not asked.

    Args:
        spans: As many of each text as of any other.
        targets: `(texts, classes)`.
        config: Settings of the student.
        labels: Names of the labels.

    Returns:
        `(spans, classes)`, summing to 1.
    """
    repeated = np.repeat(targets, len(spans) // len(targets), axis=0)
    networks = _networks(config, labels)
    if not networks:
        return repeated

    def mean_verdicts() -> dict[str, np.ndarray]:
        found = [predict_probabilities(network, spans) for network in networks.values()]
        return {"verdicts": np.mean(found, axis=0)}

    verdicts = _kept(list(networks), [spans], mean_verdicts)
    return ((repeated + verdicts) / 2).astype("float32")


def _networks(config: Config, labels: list[str]) -> dict[str, Predictor]:
    """Loads the runs among the teachers, by their folders."""
    return {
        folder: load_teacher(Path(folder), config, labels) for folder in teacher_folders(config)
    }


def _kept(teachers: list[str], read: list, verdicts: Callable[[], dict]) -> np.ndarray:
    """Returns what teachers said of what they read, from the cache if it is there."""
    files = [
        [] if name == NB_SVM else [sha256_of(Path(name) / file) for file in _READ]
        for name in teachers
    ]
    path = cache_path(
        cache_directory() / "sentiment_verdicts", [files, read], modules=_CODE, suffix=".npz"
    )
    return cached(path, verdicts)["verdicts"]
