"""From a prepared model to a run folder: what all tasks do alike once data and model stand."""

import contextlib
import dataclasses
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rich.console import Console

from common.artifact import CONFIG, HISTORY, METRICS, MODEL, PLOTS, STATE, TOKENIZER, save_model
from common.config import fields_as_flags
from common.console import aside
from common.device import fused_kernel_line
from common.files import read_json, write_json, write_text
from common.results import Scores, record_scores
from common.run_folder import replace_run
from common.settings import TrainingSettings
from common.training import TrainFlags, last_facts, training_callbacks

if TYPE_CHECKING:
    import keras


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prepared:
    """A training that can begin."""

    config: TrainingSettings
    """Settings, those that another run brought included."""
    facts: dict[str, Any]
    """What `metrics.json` begins with."""
    model: "keras.Model"
    """What trains, compiled."""
    batches: "keras.utils.PyDataset"
    validation_batches: "keras.utils.PyDataset | None"
    monitor: str
    """The logged metric that chooses the epoch."""
    mode: Literal["min", "max"]
    """Whether a lower or a higher one is better."""
    summary: str
    """One line on the sizes of data and model."""
    parameters: int
    to_save: "Callable[[keras.Model], keras.Model]" = lambda trained: trained
    """Returns what is saved of what trains."""
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)
    """What `config.json` holds besides the settings."""
    tokenizer: str = ""
    """What `tokenizer.json` holds; empty for a task without."""
    save_parts: Callable[[Path], None] = lambda run: None
    """Writes what else belongs to the run folder."""
    epochs_done: int = 0
    callbacks: "tuple[keras.callbacks.Callback, ...]" = ()
    """What runs before all others."""
    scores: "tuple[keras.callbacks.Callback, ...]" = ()
    """What adds to `logs` at the end of an epoch."""
    fit: Callable[..., Any] | None = None
    """Trains as `model.fit` does, for batches that depend on the present weights."""


def fit_prepared(
    prepared: Prepared, flags: TrainFlags, *, run: Path, console: Console
) -> dict[str, list]:
    """Trains and leaves a run folder that is not scored yet.

    Args:
        prepared: What to train.
        flags: Whether to go on, and to write event files.
        run: Folder to write, opened by `open_training`; what stood there is replaced unless the
            training goes on.
        console: Where to say what is trained.

    Returns:
        The history, from `read_history`.
    """
    from common.callbacks import read_history
    from common.training_state import is_finished

    config, facts = prepared.config, prepared.facts
    console.print(prepared.summary)
    if line := fused_kernel_line(config.cell, config.recurrent_dropout):
        aside(console, line)
    callbacks = training_callbacks(
        config,
        run=run,
        steps=len(prepared.batches),
        monitor=prepared.monitor,
        mode=prepared.mode,
        save=lambda trained: save_model(prepared.to_save(trained), run / MODEL),
        scores=prepared.scores,
        tensorboard=flags.tensorboard,
        console=console,
    )
    options = {
        "epochs": config.epochs,
        "initial_epoch": prepared.epochs_done,
        "callbacks": [*prepared.callbacks, *callbacks],
        "verbose": 1 if sys.stdout.isatty() else 2,
    }
    with contextlib.nullcontext() if flags.resume else replace_run(run):
        if flags.resume:
            _note_resumption(prepared, run)
        else:
            if prepared.tokenizer:
                write_text(run / TOKENIZER, prepared.tokenizer)
            prepared.save_parts(run)
            write_json(run / METRICS, facts)
            settings = {"task": facts["task"], **prepared.settings, **fields_as_flags(config)}
            write_json(run / CONFIG, settings)
        if is_finished(run / STATE):
            pass
        elif prepared.fit:
            prepared.fit(prepared.model, prepared.batches, **options)
        else:
            prepared.model.fit(
                prepared.batches,
                validation_data=prepared.validation_batches,
                shuffle=False,
                **options,
            )
    history = read_history(run / HISTORY)
    record = read_json(run / METRICS)
    # A run that was finished keeps what it says of its training.
    if record.get("epochs") != len(history["epoch"]):
        record |= last_facts(history, parameters=prepared.parameters)
        write_json(run / METRICS, record)
    return history


def _note_resumption(prepared: Prepared, run: Path) -> None:
    """Appends to `metrics.json` what a run goes on with; what stands there stays.

    Scores of the model as it was are moved beside it, since training may replace the model.
    """
    from common.training_state import is_finished

    if is_finished(run / STATE) or prepared.epochs_done >= prepared.config.epochs:
        return
    record = read_json(run / METRICS)
    entry = {"after_epoch": prepared.epochs_done}
    entry |= {key: prepared.facts[key] for key in ("commit", "versions", "device", "date")}
    entry |= {key: record.pop(key) for key in ("metrics", "scored") if key in record}
    write_json(run / METRICS, {**record, "resumed": [*record.get("resumed", []), entry]})


def leave_scored(
    run: Path,
    scores: Scores,
    history: dict[str, Sequence],
    *,
    metric: str,
    mode: Literal["min", "max"] = "max",
    loss: str = "loss",
) -> None:
    """Records the scores on the validation split and draws the training.

    Args:
        run: Run folder.
        scores: Of the saved model.
        history: From `fit_prepared`.
        metric: As in `plot_learning_curves`.
        mode: As in `plot_learning_curves`.
        loss: As in `plot_learning_curves`.
    """
    from common.plots import plot_learning_curves, plot_optimisation

    record_scores(run, scores)
    curves = run / PLOTS / "learning_curves.png"
    plot_learning_curves(history, curves, metric=metric, mode=mode, loss=loss, title=str(run))
    plot_optimisation(history, run / PLOTS / "optimisation.png", title=str(run))
