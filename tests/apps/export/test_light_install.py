"""Tests that the light requirements are enough to predict, in an empty environment."""

import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from apps.export import __main__ as export
from apps.sentiment.predictor import PRETRAINED
from tests.helpers import call

ROOT = Path(__file__).parents[3]
MOST_MB = 350


@pytest.mark.slow
@pytest.mark.no_backend
def test_a_text_is_read_with_the_light_requirements_alone(tmp_path):
    """Needs the package index that pip is set up with."""
    run = Path(shutil.copytree(PRETRAINED, tmp_path / "run"))
    call(export.main, "--run", run, "--task", "sentiment")
    place = tmp_path / "light"
    venv.create(place, with_pip=True)
    python = place / "bin" / "python"
    install = [python, "-m", "pip", "install", "--quiet", "--no-compile"]
    subprocess.run([*install, "-r", ROOT / "requirements-predict.txt"], check=True)
    size = sum(path.stat().st_size for path in place.rglob("*") if path.is_file()) / 1e6
    assert size <= MOST_MB
    predict = ["-m", "apps.sentiment.predict", "--run", run, "--text", "Far from dull."]
    done = subprocess.run(
        [python, *predict, "--runtime", "onnx"], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    with_keras = subprocess.run(
        [sys.executable, *predict, "--runtime", "keras"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    )
    assert done.stdout == with_keras.stdout
