import subprocess
import sys

import keras
import numpy as np
import pytest

from apps.export import saved_model
from apps.export.saved_model import save_servable, servable
from apps.sentiment import train as train_sentiment
from apps.translation import train as train_translation
from common.errors import UserError
from tests.helpers import call

pytestmark = pytest.mark.no_backend

# Loads a folder in a process of its own, where nothing of this project is imported.
RELOAD = """
import sys
import numpy as np, tensorflow as tf
inputs = dict(np.load(sys.argv[2]))
served = tf.saved_model.load(sys.argv[1]).signatures["serving_default"]
outputs = served(**{name: tf.constant(value) for name, value in inputs.items()})
assert not {"apps", "models", "common"} & set(sys.modules), "it needs this project"
np.savez(sys.argv[3], **{name: value.numpy() for name, value in outputs.items()})
"""


def served(folder, inputs, tmp_path):
    given, answered = tmp_path / "inputs.npz", tmp_path / "outputs.npz"
    np.savez(given, **inputs)
    command = [sys.executable, "-c", RELOAD, folder, given, answered]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    return dict(np.load(answered))


@pytest.mark.slow
def test_a_served_classifier_gives_the_logits_of_its_run(reviews_csv, tmp_path):
    run = tmp_path / "run"
    tiny = "--epochs 1 --units 4 --embed-dim 6 --max-length 40 --region-length 10 --vocab-size 300"
    call(train_sentiment.main, *tiny.split(), "--data", reviews_csv, "--run", run)
    tokens = np.array([[3, 4, 5, 0, 0] * 2, [7, 8, 9, 10, 11] * 2], "int32")
    (found,) = served(save_servable(run, task="sentiment"), {"tokens": tokens}, tmp_path).values()
    expected = servable(run, "sentiment").predict_on_batch(tokens)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_served_translator_writes_what_its_run_writes(pairs_tsv, tmp_path):
    run = tmp_path / "run"
    tiny = (
        "--epochs 1 --units 4 --decoder-units 6 --embed-dim 6 --vocab-size 300 --max-length 24"
        " --tokens-per-batch 800 --beam-size 2 --warmup-steps 2"
    )
    call(train_translation.main, *tiny.split(), "--data", pairs_tsv, "--run", run)
    inputs = {
        "source": np.array([[4, 5, 6, 0], [7, 8, 9, 10]], "int32"),
        "length_limit": np.array([5, 9], "int32"),
    }
    found = served(save_servable(run, task="translation"), inputs, tmp_path)
    expected = servable(run, "translation").predict_on_batch(inputs)
    np.testing.assert_array_equal(found["sequences"], expected["sequences"])
    np.testing.assert_allclose(found["scores"], expected["scores"], atol=1e-4)


def test_another_backend_is_told_how_to_write_it(tmp_path, monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(UserError, match="KERAS_BACKEND=tensorflow"):
        saved_model.save_servable(tmp_path, task="sentiment")
