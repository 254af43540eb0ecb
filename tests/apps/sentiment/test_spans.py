import shutil

import numpy as np
import pytest

from apps.sentiment.evaluate import predict_probabilities
from apps.sentiment.predictor import PRETRAINED, Predictor
from apps.sentiment.spans import refit_bias, sentence_spans
from common.files import read_json
from data.reviews.read import Reviews

pytestmark = pytest.mark.no_backend

TEXT = "The plot is thin. I loved it!<br /><br />Would I see it again? Yes. Of course I would."


def test_a_span_is_one_to_three_sentences_in_a_row():
    sentences = [
        "The plot is thin.",
        "I loved it!",
        "Would I see it again?",
        "Of course I would.",
    ]
    allowed = {
        " ".join(sentences[start:stop])
        for start in range(4)
        for stop in range(start + 1, min(4, start + 3) + 1)
    }
    assert set(sentence_spans([TEXT], count=200, seed=1)) == allowed


def test_spans_stand_in_the_order_of_their_texts_and_depend_on_the_seed_alone():
    spans = list(sentence_spans([TEXT, "Short"], count=3, seed=1))
    assert spans[3:] == ["Short"] * 3
    assert spans == list(sentence_spans([TEXT, "Short"], count=3, seed=1))
    assert len({tuple(sentence_spans([TEXT], count=9, seed=seed)) for seed in range(5)}) > 1


def test_the_bias_is_shifted_until_the_mean_verdict_on_spans_is_the_share_of_labels(tmp_path):
    run = tmp_path / "run"
    shutil.copytree(PRETRAINED, run)
    texts = ["What a film. I liked it a lot.", "Dull from start to end.", "It is long and loud."]
    labels = np.array([1, 0, 0], "int32")
    shift = refit_bias(run, Reviews(texts, labels), count=2, seed=1)
    assert shift.sum() == pytest.approx(0, abs=1e-6)
    spans = list(sentence_spans(texts, count=2, seed=1))
    # The gradient of the cross-entropy by the bias is the difference of these two.
    found = predict_probabilities(Predictor.load(run, runtime="keras"), spans)
    assert found.mean(axis=0) == pytest.approx([2 / 3, 1 / 3], abs=1e-3)
    assert read_json(run / "metrics.json")["bias"]["shift"] == pytest.approx(shift, abs=1e-4)
    # What fits already stays as it is.
    again = refit_bias(run, Reviews(texts, labels), count=2, seed=1)
    assert again == pytest.approx(0, abs=1e-3)
