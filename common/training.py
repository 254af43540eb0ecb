"""What every training does alike: its settings, its callbacks, and what it notes about itself."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro
from rich.console import Console

from common.artifact import CONFIG, HISTORY, STATE, TENSORBOARD, check_same_training
from common.config import command_of, config_from_flags, resumed_config
from common.device import peak_memory_mb
from common.errors import UserError
from common.provenance import provenance
from common.run_folder import lock_run, open_run, read_config
from common.settings import TrainingSettings, flag

if TYPE_CHECKING:
    import keras

    from common.clipping import GradientClipping


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
    read_besides: Callable[[dict[str, Any], Path], Any] | None = None,
    earlier: Iterable[str] = (),
) -> Iterator[Any]:
    """Makes sure that a training may begin or go on in `run`, and holds its lock for the block.

    Args:
        config: The settings from the command line.
        flags: The other flags.
        run: Run folder.
        task: Task of the run.
        read_besides: Takes what `config.json` holds beside the settings out of it, such as
            `read_labels`.
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
            if read_besides:
                read_besides(stored, run)
            stored = config_from_flags(type(config), stored, run / CONFIG)
            config = resumed_config(config, stored, run, given=flags.given)
            check_ignored(config, flags.given)
        yield config


def check_ignored(config: TrainingSettings, given: frozenset[str]) -> None:
    """Raises a `UserError` if a setting was typed that the chosen mode does not read.

    Args:
        config: Settings.
        given: Names of the flags that were typed.
    """
    for name, reason in config.ignored().items():
        if name in given:
            raise UserError(f"{flag(name)} has no effect here, {reason}: leave it out.")


def first_facts(
    config: Any, *, task: str, hashes: dict[str, str], run: Path, resume: bool
) -> dict[str, Any]:
    """Returns what `metrics.json` begins with.

    Args:
        config: Settings.
        task: Task of the run.
        hashes: Of the data.
        run: Run folder.
        resume: Whether the run goes on.

    Raises:
        UserError: If a run is to go on that was begun on other data or another backend.
    """
    facts = {
        "task": task,
        **provenance(command_of(config, prog=f"python -m apps.{task}.train"), data=hashes),
    }
    if resume:
        check_same_training(facts, run)
    return facts


def last_facts(history: dict[str, Sequence], *, parameters: int) -> dict[str, Any]:
    """Returns what `metrics.json` gains after training.

    Args:
        history: From `read_history`.
        parameters: Trainable numbers.

    Returns:
        `parameters`, `seconds` of all epochs, `epochs` and `peak_memory_mb`.
    """
    return {
        "parameters": parameters,
        "seconds": round(sum(history["seconds"]), 1),
        "epochs": len(history["seconds"]),
        "peak_memory_mb": peak_memory_mb(),
    }


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
    from common.callbacks import BestEpoch, History, StopOnNaN, tensorboard_callback
    from common.learning_rate import LearningRateControl
    from common.training_state import TrainingState

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
    return [
        StopOnNaN(),
        gradient_clipping(config),
        # Before the rate, because a plateau may watch one of them.
        *scores,
        rate,
        best,
        History(run / HISTORY),
        *([tensorboard_callback(run / TENSORBOARD)] if tensorboard else []),
        TrainingState(run / STATE, parts=[rate, best]),
    ]


def gradient_clipping(config: TrainingSettings) -> "GradientClipping":
    """Returns the clipping that the settings ask for."""
    from common.clipping import GradientClipping

    return GradientClipping(config.clipping, threshold=config.clip_threshold)
