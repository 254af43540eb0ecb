"""The published translator and captioner: what is answered with the exports they come with."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import apps.captioning.predictor as captioning
import apps.translation.predictor as translation
from common.settings import Search

ROOT = Path(__file__).parents[3]
TEXTS = ["A dog runs. How are you?", "42", "Two men sit on a bench in front of the old station."]
SEARCHES = [{"n_best": 3}, {"method": "greedy"}, {"beam_size": 2, "length_penalty": 0.0}]
PHOTOGRAPH = ROOT / "docs" / "photograph.jpg"


def assert_same(candidates, others):
    assert [one.text for one in candidates] == [other.text for other in others]
    for one, other in zip(candidates, others, strict=True):
        assert one.score == pytest.approx(other.score, abs=1e-4)
        if one.attention is not None:
            np.testing.assert_allclose(one.attention, other.attention, atol=1e-3)


def test_the_exported_translator_answers_like_keras():
    both = [
        translation.Predictor.load(translation.PRETRAINED, runtime=runtime, threads=1)
        for runtime in ("onnx", "keras")
    ]
    for settings in SEARCHES:
        search = Search.of(both[0].config, **settings)
        found = [predictor.predict(TEXTS, search, attention=True) for predictor in both]
        for one, other in zip(*found, strict=True):
            assert_same(one.candidates, other.candidates)


def test_the_exported_captioner_answers_like_keras():
    for mirror in (True, False):
        both = [
            captioning.Predictor.load(
                captioning.PRETRAINED, mirror=mirror, runtime=runtime, threads=1
            )
            for runtime in ("onnx", "keras")
        ]
        picture = both[0].inputs.read(PHOTOGRAPH)
        pictures = np.stack([picture, picture[::-1], picture[:, ::-1]])
        search = Search.of(both[0].config, n_best=2)
        found = [predictor.predict(pictures, search, attention=True) for predictor in both]
        for one, other in zip(*found, strict=True):
            assert_same(one, other)


def test_keras_samples_for_the_exported_translator_and_says_so_once(capsys):
    predictor = translation.Predictor.load(translation.PRETRAINED, runtime="onnx")
    search = Search.of(predictor.config, method="sample", n_best=2, seed=3)
    assert len(predictor.predict(TEXTS[:1], search)[0].candidates) == 2
    predictor.predict(TEXTS[:1], search)
    assert capsys.readouterr().err.count("--method sample") == 1


@pytest.mark.parametrize(
    ("task", "flags"),
    [("translation", ["--text", "A dog."]), ("captioning", ["--image", str(PHOTOGRAPH)])],
)
def test_an_export_is_answered_with_without_keras(task, flags):
    heavy = "('keras', 'tensorflow', 'jax', 'torch', 'sklearn', 'scipy', 'matplotlib')"
    program = (
        f"import sys\nfrom apps.{task}.predict import main\n"
        f"from common.cli import parse_call\n"
        f"parse_call(main, prog='', description='', arguments=sys.argv[1:])()\n"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    command = [sys.executable, "-c", program, *flags]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
