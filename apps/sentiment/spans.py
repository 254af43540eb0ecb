"""Short pieces of reviews to learn from, so that a reader of long reviews reads short texts too."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from common.files import read_json, write_json
from common.results import commit
from common.run_folder import METRICS, MODEL, save_model
from data.text.tokenization import TAG_PATTERN

if TYPE_CHECKING:
    from data.reviews.read import Reviews

# Most sentences in a span, and fewest words in a sentence.
_MOST, _FEWEST = 3, 3


def sentence_spans(texts: Iterable[str], *, count: int, seed: int) -> Iterator[str]:
    """Draws spans of one to three consecutive sentences from each text.

    Args:
        texts: Reviews.
        count: Spans of each text; a text without a sentence of three words gives itself.
        seed: Of the draw.

    Yields:
        `count` spans of the first text, then those of the second one, and so on.
    """
    generator = np.random.default_rng((seed, 3))
    for text in texts:
        sentences = [
            sentence
            for sentence in re.split(r"(?<=[.!?])\s+", re.sub(TAG_PATTERN, " ", text))
            if len(sentence.split()) >= _FEWEST
        ] or [text]
        for _ in range(count):
            length = generator.integers(1, _MOST + 1)
            start = generator.integers(0, max(1, len(sentences) - length + 1))
            yield " ".join(sentences[start : start + length])


def refit_bias(run: Path, validation: "Reviews", *, count: int, seed: int) -> np.ndarray:
    """Shifts the bias of a saved model to fit spans of the validation reviews, and saves it.

    The verdicts on short texts lean to one side, by more than those on whole reviews. The shift is
    that of the least mean cross-entropy; what it is and the commit stand in `metrics.json`.

    Args:
        run: Run folder of one network.
        validation: The validation split.
        count: Spans of each review.
        seed: Of their draw.

    Returns:
        `(classes,)`, what was added to the logits; its mean is 0.
    """
    from scipy.optimize import minimize
    from scipy.special import log_softmax

    from apps.sentiment.evaluate import predict_probabilities
    from apps.sentiment.predictor import Predictor

    predictor = Predictor.load(run, runtime="keras")
    spans = list(sentence_spans(validation.texts, count=count, seed=seed))
    labels = np.repeat(validation.labels, count)
    logits = np.log(np.maximum(predict_probabilities(predictor, spans), 1e-30))

    def loss(shift: np.ndarray) -> float:
        return -log_softmax(logits + shift, axis=1)[np.arange(len(labels)), labels].mean()

    shift = minimize(loss, np.zeros(logits.shape[1])).x
    shift -= shift.mean()
    model = predictor.network.model
    model.get_layer("logits").bias.assign_add(shift)
    save_model(model, run / MODEL)
    record = read_json(run / METRICS)
    record["bias"] = {"shift": [round(float(one), 4) for one in shift], "commit": commit()}
    write_json(run / METRICS, record)
    return shift
