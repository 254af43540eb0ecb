"""The run folder around `model.fit`: what is written before it, and what after it."""

import contextlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

from rich.console import Console

from common.artifact import CONFIG, EXPORT, HISTORY, METRICS, PLOTS, STATE, TOKENIZER
from common.callbacks import read_history
from common.config import fields_as_flags
from common.console import aside
from common.device import fused_kernel_line
from common.files import read_json, write_json, write_text
from common.results import Scores, record_scores
from common.run_folder import replace_run
from common.settings import TrainingSettings
from common.training import TrainFlags, last_facts
from common.training_state import is_finished, saved_epoch


def first_epoch(config: TrainingSettings, flags: TrainFlags, run: Path) -> int:
    """Returns how many epochs are done already; all of them if an early stop ended the training."""
    if not flags.resume:
        return 0
    return config.epochs if is_finished(run / STATE) else saved_epoch(run / STATE)


@contextlib.contextmanager
def run_written(
    config: TrainingSettings,
    flags: TrainFlags,
    run: Path,
    *,
    facts: dict[str, Any],
    parameters: int,
    epochs_done: int,
    tokenizer: str = "",
    settings: dict[str, Any] | None = None,
    save_parts: Callable[[Path], None] | None = None,
    console: Console,
) -> Iterator[None]:
    """Writes the run folder before training, which is the block, and completes it afterwards.

    Args:
        config: Settings, those taken from another run included.
        flags: Whether to resume.
        run: Folder to write, opened by `open_training`; unless the training is resumed, an earlier
            run in it is replaced when the first epoch is saved.
        facts: What `metrics.json` begins with, from `first_facts`.
        parameters: Trainable numbers.
        epochs_done: From `first_epoch`.
        tokenizer: What `tokenizer.json` holds; empty for a task without.
        settings: What `config.json` holds besides the settings.
        save_parts: Writes what else belongs to the run folder.
        console: Where to say whether the fused kernel is used.
    """
    if line := fused_kernel_line(config.cell):
        aside(console, line)
    with contextlib.nullcontext() if flags.resume else replace_run(run):
        if not flags.resume:
            if tokenizer:
                write_text(run / TOKENIZER, tokenizer)
            if save_parts:
                save_parts(run)
            write_json(run / METRICS, facts)
            stored = {"task": facts["task"], **(settings or {}), **fields_as_flags(config)}
            write_json(run / CONFIG, stored)
        elif epochs_done < config.epochs:
            _note_resumption(run, facts, epochs_done)
        yield
    history = read_history(run / HISTORY)
    record = read_json(run / METRICS)
    # A run that was finished keeps what it says of its training.
    if record.get("epochs") != len(history["epoch"]):
        write_json(run / METRICS, record | last_facts(history, parameters=parameters))


def _note_resumption(run: Path, facts: dict[str, Any], epochs_done: int) -> None:
    """Appends to `metrics.json` what a run is resumed with; the rest of it stays.

    Scores of the model as it was are moved into the entry, since training may replace the model;
    its export is deleted.
    """
    shutil.rmtree(run / EXPORT, ignore_errors=True)
    record = read_json(run / METRICS)
    entry = {"after_epoch": epochs_done}
    entry |= {key: facts[key] for key in ("commit", "versions", "device", "date")}
    entry |= {key: record.pop(key) for key in ("metrics", "scored") if key in record}
    write_json(run / METRICS, {**record, "resumed": [*record.get("resumed", []), entry]})


def record_training(
    run: Path,
    scores: Scores,
    *,
    metric: str,
    mode: Literal["min", "max"] = "max",
) -> None:
    """Records the scores on the validation split and plots the training.

    Args:
        run: Run folder.
        scores: Of the saved model.
        metric: As in `plot_learning_curves`.
        mode: As in `plot_learning_curves`.
    """
    from common.plots import plot_learning_curves, plot_optimisation

    record_scores(run, scores)
    history = read_history(run / HISTORY)
    curves = run / PLOTS / "learning_curves.png"
    plot_learning_curves(history, curves, metric=metric, mode=mode, title=str(run))
    plot_optimisation(history, run / PLOTS / "optimisation.png", title=str(run))
