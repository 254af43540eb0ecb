"""Tests that nobody waits for a backend who needs none: flags, help and mistakes come first."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TASKS = ("forecasting", "sentiment", "translation", "captioning")
COMMANDS = [
    *(f"apps.{task}.{verb}" for task in TASKS for verb in ("train", "evaluate", "predict")),
    "apps.ensemble",
    "apps.export.__main__",
    "apps.studies.benchmark.__main__",
    "apps.web.__main__",
    "apps.cluster.predict_many",
    "apps.cluster.tune",
]
BACKENDS = ("keras", "tensorflow", "jax", "torch", "sklearn", "matplotlib")

pytestmark = pytest.mark.no_backend


def imported_by(code):
    """The slow packages that a process has imported after running some code."""
    code += f"\nimport sys\nprint([name for name in {BACKENDS} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


def test_importing_the_applications_starts_no_backend():
    assert imported_by("import apps") == "[]"


def test_no_command_imports_a_backend_before_it_knows_its_flags():
    assert imported_by("\n".join(f"import {name}" for name in COMMANDS)) == "[]"


def test_a_missing_run_folder_is_named_before_a_backend_starts():
    subjects = {"forecasting": "--ticker A.csv", "captioning": "--image docs/photograph.jpg"}
    code = "import importlib\nfrom common.cli import run_command\n"
    for task in TASKS:
        subject = subjects.get(task, "--text fine")
        for verb, flags in {"train": "--resume", "evaluate": "", "predict": subject}.items():
            arguments = ["--run", "/nowhere", *flags.split()]
            code += (
                f"main = importlib.import_module('apps.{task}.{verb}').main\n"
                "try:\n"
                f"    run_command(main, prog='x', description='', arguments={arguments})\n"
                "except SystemExit as stop:\n"
                "    assert stop.code == 2, main\n"
            )
    assert imported_by(code) == "[]"


def test_whoever_imports_keras_first_starts_its_backend():
    code = (
        "import apps, sys\n"
        "import keras\n"
        "assert keras.backend.backend() == 'jax' and 'jax' in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={"KERAS_BACKEND": "jax", "PATH": ""},
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_whoever_loads_a_model_knows_the_layers_of_the_project():
    code = (
        "import importlib, sys, keras\n"
        f"for task in {TASKS}:\n"
        # As in a new process, but without a start of Keras each.
        "    keras.saving.get_custom_objects().clear()\n"
        "    for name in [name for name in sys.modules if name.split('.')[0] == 'models']:\n"
        "        del sys.modules[name]\n"
        "    importlib.import_module(f'apps.{task}.network')\n"
        "    for name in ('LSTM', 'GRU', 'SimpleRNN', 'Feedforward', 'Chop'):\n"
        "        assert keras.saving.get_registered_object(f'models>{name}'), (task, name)"
    )
    environment = {**os.environ, "KERAS_BACKEND": "jax"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment)
    assert done.returncode == 0, done.stderr
