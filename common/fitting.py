"""A training around `model.fit`: its flags, its callbacks, and its run folder before and after."""

import contextlib
import dataclasses
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro
from rich.console import Console

from common.cli import aside
from common.device import fused_kernel_line, peak_memory_mb
from common.earlier_runs import check_same_training, resumed_config
from common.errors import UserError
from common.files import read_json, write_json, write_text
from common.results import Scores, provenance, read_history, record_scores
from common.run_folder import (
    CONFIG,
    EXPORT,
    HISTORY,
    METRICS,
    PLOTS,
    STATE,
    TENSORBOARD,
    TOKENIZER,
    lock_run,
    open_run,
    read_config,
    replace_run,
)
from common.settings import TrainingSettings, command_of, config_from_flags, flag

if TYPE_CHECKING:
    import keras


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainFlags:
    """What every `train` command takes besides the settings of model and training."""

    run: str = ""
    """Folder to write (default: runs/<task>/<cell>-s<seed>)."""
    data_dir: str = ""
    """Folder of downloads (default: $DATA_DIR or a cache folder of yours)."""
    resume: bool = False
    """Go on where an interrupted run stopped, with its own settings."""
    overwrite: bool = False
    """Replace the run that stands in the folder."""
    tensorboard: bool = False
    """Write event files for TensorBoard."""
    devices: str = ""
    """Train on this many devices of the host, or on all of all hosts (JAX alone; see
    docs/cluster.md)."""
    given: tyro.conf.Suppress[frozenset[str]] = frozenset()
    """Names of the flags that were typed; `parse_call` fills it in."""


@contextlib.contextmanager
def open_training(
    config: Any,
    flags: TrainFlags,
    run: Path,
    *,
    task: str,
    earlier: Iterable[str] = (),
) -> Iterator[Any]:
    """Makes sure that a training may begin or go on in `run`, and holds its lock for the block.

    Args:
        config: The settings from the command line.
        flags: The other flags.
        run: Run folder.
        task: Task of the run.
        earlier: Run folders that the training reads, which nobody may train meanwhile.

    Yields:
        The settings to train with: those given or, to resume, those that the run holds.

    Raises:
        UserError: If the flags contradict each other, the folder or what it holds, or if another
            process trains or scores the run.
    """
    if not flags.resume:
        check_ignored(config, flags.given)
    if flags.resume and not flags.overwrite:
        read_config(run, task)
    with contextlib.ExitStack() as locks:
        for folder in earlier:
            locks.enter_context(lock_run(Path(folder), shared=True))
        locks.enter_context(lock_run(run))
        open_run(
            run,
            task=task,
            resume=flags.resume,
            overwrite=flags.overwrite,
            init_from=hasattr(config, "init_from"),
        )
        if flags.resume:
            stored = read_config(run, task)
            # Beside its settings, a classifier keeps the names of its labels there.
            stored.pop("labels", None)
            stored = config_from_flags(type(config), stored, run / CONFIG)
            config = resumed_config(config, stored, run, given=flags.given)
            check_ignored(config, flags.given)
        yield config


def check_ignored(config: TrainingSettings, given: frozenset[str]) -> None:
    """Raises a `UserError` if a setting is among the typed flags that the mode does not read."""
    for name, reason in config.ignored().items():
        if name in given:
            raise UserError(f"{flag(name)} has no effect here, {reason}: leave it out.")


def first_facts(
    config: Any, *, task: str, hashes: dict[str, str], run: Path, resume: bool
) -> dict[str, Any]:
    """Returns what `metrics.json` begins with: where the run's figures come from.

    Raises:
        UserError: If a run is to go on that was begun on other data or another backend.
    """
    command = command_of(config, prog=f"python -m apps.{task}.train")
    facts = {"task": task, **provenance(command, data=hashes)}
    if resume:
        check_same_training(facts, run)
    return facts


def training_callbacks(
    config: TrainingSettings,
    *,
    run: Path,
    steps: int,
    monitor: str,
    mode: Literal["min", "max"],
    save: "Callable[[keras.Model], None]",
    scores: "Iterable[keras.callbacks.Callback]" = (),
    tensorboard: bool = False,
    console: Console,
) -> "list[keras.callbacks.Callback]":
    """Returns the callbacks that all tasks share, in the order that they need.

    Args:
        config: Settings.
        run: Run folder.
        steps: Steps of an epoch.
        monitor: The logged metric that chooses the epoch, and that a plateau watches; one of
            `scores` will do.
        mode: Whether a lower (`"min"`) or a higher (`"max"`) one is better.
        save: Called with the model after each better epoch.
        scores: Callbacks that add to `logs` at the end of an epoch.
        tensorboard: Write event files to the run folder.
        console: Where to say that the warm-up was shortened.
    """
    import keras

    from common.callbacks import BestEpoch, History, StopOnNaN, TrainingState
    from common.optimization import GradientClipping, LearningRateControl

    total_steps = config.epochs * steps
    warmup_steps = min(config.warmup_steps, total_steps // 10)
    if warmup_steps < config.warmup_steps:
        console.print(f"so short a training warms up for {warmup_steps} steps, a tenth of it")
    rate = LearningRateControl(
        config.learning_rate,
        schedule=config.schedule,
        total_steps=total_steps,
        warmup_steps=warmup_steps,
        monitor=monitor,
        mode=mode,
    )
    best = BestEpoch(monitor=monitor, mode=mode, patience=config.patience, save=save)
    events = []
    if tensorboard:
        events = [keras.callbacks.TensorBoard(log_dir=str(run / TENSORBOARD), write_graph=False)]
    return [
        StopOnNaN(),
        GradientClipping(config.clipping, threshold=config.clip_threshold),
        # Before the rate, because a plateau may watch one of them.
        *scores,
        rate,
        best,
        History(run / HISTORY),
        *events,
        TrainingState(run / STATE, parts=[rate, best]),
    ]


def first_epoch(config: TrainingSettings, flags: TrainFlags, run: Path) -> int:
    """Returns how many epochs are done already; all of them if an early stop ended the training."""
    from common.callbacks import is_finished, saved_epoch

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
            stored = {"task": facts["task"], **(settings or {}), **dataclasses.asdict(config)}
            write_json(run / CONFIG, stored)
        elif epochs_done < config.epochs:
            _note_resumption(run, facts, epochs_done)
        yield
    history = read_history(run / HISTORY)
    record = read_json(run / METRICS)
    # A run that was finished keeps what it says of its training.
    if record.get("epochs") != len(history["epoch"]):
        record |= {
            "parameters": parameters,
            "seconds": round(sum(history["seconds"]), 1),
            "epochs": len(history["epoch"]),
            "peak_memory_mb": peak_memory_mb(),
        }
        write_json(run / METRICS, record)


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
    """Records the saved model's scores on the validation split and plots the training.

    For `metric` and `mode` see `plot_learning_curves`.
    """
    from common.plots import plot_learning_curves, plot_optimisation

    record_scores(run, scores)
    history = read_history(run / HISTORY)
    curves = run / PLOTS / "learning_curves.png"
    plot_learning_curves(history, curves, metric=metric, mode=mode, title=str(run))
    plot_optimisation(history, run / PLOTS / "optimisation.png", title=str(run))
