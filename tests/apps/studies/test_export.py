"""Tests of the study of exports, on the pretrained forecaster and random windows."""

import numpy as np
import pytest

from apps.studies.export import study
from apps.studies.export.formats import FORMATS, load
from apps.studies.export.samples import SAMPLES, Sample

pytestmark = pytest.mark.no_backend


@pytest.fixture(scope="module")
def sample():
    size = load("forecasting").network.inputs["features"].shape[-1]
    features = np.random.default_rng(0).normal(size=(3, 20, size)).astype("float32")
    inputs = {"features": features, "log_scale": np.full((3, 20), -4.5, "float32")}
    return Sample(
        items=[0, 1, 2],
        predict=lambda predictor, items: list(
            predictor.network(**{name: value[items] for name, value in inputs.items()})[
                "parameters"
            ][:, -1, 0, -1]
        ),
        score=lambda outcomes: float(np.mean(outcomes)),
        metric="crps_1",
        output="parameters",
        first=[],
    )


@pytest.fixture(scope="module")
def rows(sample, tmp_path_factory):
    """The figures of each format of the pretrained forecaster, without starts of `predict`."""
    run = tmp_path_factory.mktemp("study") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study, "first_answer", lambda *_: (2.0, 100.0))
        return {
            title: study.measure_format("forecasting", title, run, sample=sample)
            for title in FORMATS
        }


def test_every_format_answers_as_nearly_like_keras_as_its_weights_are_stored(rows):
    differences = [rows[title]["difference"] for title in FORMATS]
    assert differences[0] == 0
    assert max(differences[1:3]) < 1e-4 < differences[3]
    qualities = [rows[title]["metric"] for title in FORMATS]
    assert qualities == pytest.approx([qualities[0]] * 4, rel=0.05)
    assert qualities[:3] == pytest.approx([qualities[0]] * 3, rel=1e-5)


def test_fewer_bits_make_a_smaller_graph(rows):
    float32, float16, int8 = (rows[title]["megabytes"] for title in list(FORMATS)[1:])
    assert float32 > 1.5 * float16 > 1.5 * int8
    # All weights of an LSTM have a quantized operator.
    assert rows["ONNX int8"]["left_in_float32"] == {}


def test_a_sample_holds_the_first_items_of_the_test_split(translation_dir, tmp_path):
    translator = load("translation")
    found = SAMPLES["translation"](translator.config, 3, str(translation_dir), tmp_path)
    assert len(found.items) == 3
    answers = found.predict(translator, found.items)
    assert all(isinstance(answer, str) for answer in answers)
    assert found.score(answers) >= 0
