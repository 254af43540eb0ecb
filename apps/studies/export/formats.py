"""The formats of a pretrained model that the study compares, each a run folder of its own."""

import importlib
import shutil
from pathlib import Path
from typing import Any

from common.run_folder import EXPORT

# Title of each format, and how its weights are stored.
FORMATS = {"Keras": "", "ONNX float32": "float32", "ONNX float16": "float16", "ONNX int8": "int8"}


def load(task: str, folder: Path | None = None, **options: Any) -> Any:
    """Loads the `Predictor` of a run folder, or of the pretrained one."""
    module = importlib.import_module(f"apps.{task}.predictor")
    return module.Predictor.load(folder or module.PRETRAINED, **options)


def copy_run(task: str, title: str, folder: Path) -> dict[str, Any]:
    """Copies the pretrained run folder of a task, and exports it in a format.

    Returns:
        What `export.json` says; nothing of Keras.
    """
    from apps.export.export import export_run

    pretrained = importlib.import_module(f"apps.{task}.predictor").PRETRAINED
    shutil.copytree(pretrained, folder, ignore=shutil.ignore_patterns(EXPORT))
    precision = FORMATS[title]
    return export_run(folder, task=task, precision=precision) if precision else {}
