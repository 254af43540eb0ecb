"""From a run folder to `export/`: the graph, and how far it is from the Keras model."""

import importlib
import importlib.metadata
import platform
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import keras
import numpy as np

from apps.export.graph import OPSET, Precision
from apps.export.quantize import quantize
from apps.export.runtime import FACTS, FORMAT, GRAPH, Network, sha256
from common.cli import open_console
from common.errors import UserError
from common.files import atomic_path, write_json
from common.run_folder import BACKBONE, EXPORT, MODEL, TOKENIZER, lock_run, read_config

TASKS = ("forecasting", "sentiment", "translation", "captioning")
# Answers of a graph that are further from those of Keras are an error of the export.
_FAR = 1e-3


def export_run(
    run: Path, *, task: str, precision: Precision = "auto", split: str = "", data_dir: str = ""
) -> dict[str, Any]:
    """Writes `export/` of a run folder that nobody else writes meanwhile.

    Args:
        run: Run folder.
        task: Its task.
        precision: Of the weights.
        split: What the graph is scored on, of the data of the run; empty for nothing.
        data_dir: Folder of downloads.

    Returns:
        What `export.json` says.

    Raises:
        UserError: If it is no run folder of the task, holds what cannot be exported, or answers in
            another way than the Keras model.
    """
    if task not in TASKS:
        raise UserError(f"{run} is a run of {task or 'no known task'}: name another with --run.")
    read_config(run, task)
    with lock_run(run):
        facts = write_export(run, task=task, precision=precision)
        if split:
            facts["metrics"] = {split: _score(run, task, split, data_dir)}
            write_json(run / EXPORT / FACTS, facts)
    return facts


def write_export(run: Path, *, task: str, precision: Precision = "auto") -> dict[str, Any]:
    """Does the same for a caller that has locked the run folder, and scores nothing.

    A failure leaves an earlier export as it was.
    """
    source, path = open_source(run, task), run / EXPORT / GRAPH
    graph = source.graph("float32" if precision == "int8" else precision)
    with atomic_path(path) as draft:
        graph.save(draft, task)
        left = {"left_in_float32": quantize(draft)} if precision == "int8" else {}
        difference = greatest_difference(source.network, Network(draft, {}), source.examples())
        _check(difference, precision, run)
        facts = {
            "task": task,
            "format": FORMAT,
            "opset": OPSET,
            "precision": precision,
            "parameters": source.network.model.count_params(),
            "bytes": draft.stat().st_size,
            "sha256": sha256(draft),
            "model_sha256": sha256(run / MODEL),
            "files": {
                name: sha256(run / name) for name in (TOKENIZER, BACKBONE) if (run / name).is_file()
            },
            "versions": _versions(),
            # Sequences of other lengths have none.
            "difference": {name: far for name, far in difference.items() if np.isfinite(far)},
            **left,
        }
        # What says that the graph is whole comes last.
        (run / EXPORT / FACTS).unlink(missing_ok=True)
    write_json(run / EXPORT / FACTS, facts)
    return facts


def _score(run: Path, task: str, split: str, data_dir: str) -> dict[str, float]:
    """Returns the metrics of the graph that was just written."""
    evaluate = importlib.import_module(f"apps.{task}.evaluate")
    options = {
        "forecasting": {"data": "", "tickers": ()},
        "sentiment": {"data": ""},
        "translation": {"data": ()},
        "captioning": {"data": "", "console": open_console(stderr=True)},
    }
    scores = evaluate.evaluate_run(
        run, split=split, data_dir=data_dir, baselines=False, runtime="onnx", **options[task]
    )
    return scores.metrics


def open_source(run: Path, task: str) -> Any:
    """Loads a model: its `network`, its `graph(precision)` and `examples()` to compare both on."""
    module = importlib.import_module(f"apps.export.{task}")
    return getattr(module, f"{task.capitalize()}Source")(run)


def greatest_difference(
    expected: Callable[..., dict[str, np.ndarray]],
    network: Callable[..., dict[str, np.ndarray]],
    examples: Iterable[dict[str, np.ndarray]],
) -> dict[str, float]:
    """Returns the greatest difference of each output over some inputs.

    Args:
        expected: The network of Keras.
        network: The exported one.
        examples: Inputs by name.

    Returns:
        By output; infinite where two sequences have other lengths.
    """
    greatest: dict[str, float] = {}
    for inputs in examples:
        found = network(**inputs)
        for name, value in expected(**inputs).items():
            same = value.shape == found[name].shape
            far = float(np.abs(value - found[name]).max()) if same else np.inf
            greatest[name] = max(far, greatest.get(name, 0.0))
    return greatest


def _check(difference: dict[str, float], precision: Precision, run: Path) -> None:
    name = max(difference, key=difference.get)
    # Float16 and int8 were asked for, so that their differences are.
    if precision in ("auto", "float32") and not difference[name] < _FAR:
        raise UserError(
            f"The graph of {run} differs from Keras by {difference[name]:.2g} in its {name}, too"
            " much to be used: it was not written; please report it."
        )


def _versions() -> dict[str, str]:
    packages = ("keras", keras.backend.backend(), "onnx", "onnxruntime", "numpy")
    return {
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in packages},
    }
