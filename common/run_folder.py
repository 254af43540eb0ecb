"""Run folders: what lies in them, and how they are read, locked and replaced."""

import contextlib
import os
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.files import atomic_path, read_json

BACKBONE = "backbone.npz"
CONFIG = "config.json"
MODEL = "model.keras"
TOKENIZER = "tokenizer.json"
HISTORY = "history.csv"
METRICS = "metrics.json"
STATE = "state.npz"
PLOTS = "plots"
OUTPUTS = "outputs"
TENSORBOARD = "tensorboard"
EXPORT = "export"
# All that training and exporting write; anything else in a folder is the user's. config.json comes
# first: a folder that has it was set aside, or put back, completely.
_WRITTEN = (CONFIG, MODEL, TOKENIZER, BACKBONE, HISTORY, METRICS, STATE)
_WRITTEN += (PLOTS, OUTPUTS, TENSORBOARD, EXPORT)
# Holds the old run while a new one is made.
_ASIDE = ".replaced"
_REMEDY = "train again, or name another folder with --run."


def read_config(run: Path, task: str) -> dict[str, Any]:
    """Reads the settings of a run folder and checks that it belongs to `task`.

    A training that was killed while it replaced an older run is tidied up first, so that every
    reader finds one whole run.

    Raises:
        UserError: If the folder or its `config.json` is missing, another task made it, or a
            training replaces it right now.
    """
    if not run.is_dir():
        raise UserError(
            f"There is no run folder {run}: train one with `make train-{task}`, or name another"
            " with --run."
        )
    if (run / _ASIDE).is_dir():
        with lock_run(run):
            end_replacement(run)
    if not (run / CONFIG).is_file():
        raise UserError(f"{run} is not a run folder: it has no {CONFIG}. Name another with --run.")
    config = read_json(run / CONFIG)
    recorded_task = config.pop("task", None) if isinstance(config, dict) else None
    if recorded_task != task:
        raise UserError(
            f"{run} is a run of {recorded_task or 'no known task'}, not of {task}: name another"
            " with --run."
        )
    return config


def save_model(model, path: Path) -> None:
    """Saves a model for inference, atomically and without its optimizer.

    Raises:
        OSError: If the disk is full; an older file at `path` stays as it was.
    """
    import keras

    # Functional models share their layers: the new one is the same but was never compiled.
    bare = keras.Model(model.input, model.output, name=model.name)
    with atomic_path(path) as temporary:
        try:
            bare.save(temporary)
        except RuntimeError as error:
            # h5py reports a failed write in its own words.
            raise OSError(f"could not write {path}: {error}") from error


def load_model(run: Path):
    """Loads `model.keras` of a run folder, never running code that stands in the file.

    Raises:
        UserError: If the file is missing, cut short or not a Keras model.
    """
    import keras

    path = run / MODEL
    if not path.is_file():
        raise UserError(
            f"{run} has no {MODEL} (was training stopped before its first epoch?): {_REMEDY}"
        )
    if not zipfile.is_zipfile(path):
        raise UserError(f"{path} is cut short or not a Keras model: {_REMEDY}")
    try:
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except (OSError, ValueError, TypeError, KeyError, zipfile.BadZipFile) as error:
        first_line = str(error).strip().splitlines()[0] if str(error).strip() else type(error)
        raise UserError(f"{path} cannot be loaded ({first_line}): {_REMEDY}") from error


def open_run(
    run: Path, *, task: str, resume: bool, overwrite: bool, init_from: bool = False
) -> None:
    """Makes sure that training may write into `run`; deletes no run.

    Args:
        run: Run folder, locked by `lock_run` until training has written it.
        task: Task of the run.
        resume: The flag.
        overwrite: The flag.
        init_from: Whether the command has a flag `--init-from`.

    Raises:
        UserError: If the folder holds a run and neither flag is set, if it holds files that no
            training wrote, or if there is nothing to resume.
    """
    if resume and overwrite:
        raise UserError("--resume and --overwrite exclude each other: give one of them.")
    returned = end_replacement(run)
    if resume:
        read_config(run, task)
        if returned:
            raise UserError(
                f"{run} holds the older run again: the training that was to replace it was stopped"
                " before its first epoch had ended. Train again with --overwrite."
            )
        if (run / MODEL).is_file() and not (run / STATE).is_file():
            go_on = ", or go on from it with --init-from" if init_from else ""
            raise UserError(
                f"{run} has a model but no {STATE}, as published and joined runs have none: train"
                f" anew under another --run{go_on}."
            )
        return
    if (run / CONFIG).is_file():
        if not overwrite:
            raise UserError(
                f"{run} holds a run already: go on with --resume, replace it with --overwrite, or"
                " name another folder with --run."
            )
        read_config(run, task)
        return
    names = {path.name for path in run.iterdir() if ".part" not in path.name}
    if strange := names.difference(_WRITTEN):
        raise UserError(
            f"{run} is not a run folder, it holds {min(strange)}: name another with --run."
        )


@contextlib.contextmanager
def lock_run(run: Path, *, shared: bool = False) -> Iterator[None]:
    """Keeps other processes from writing a run folder; a killed process lets go of it.

    A folder that is new and still empty at the end is removed.

    Args:
        run: Run folder; it is made unless the lock is `shared`.
        shared: Let others score the run at the same time, but not train it.

    Raises:
        UserError: If another process holds it, or `run` is a file.
    """
    if run.exists() and not run.is_dir():
        raise UserError(f"--run {run} is a file: name a folder.")
    if shared and not run.exists():
        yield
        return
    if shared and (run / _ASIDE).is_dir():
        # Tidied before it is shared: nobody may change a folder that others read.
        with lock_run(run):
            end_replacement(run)
    is_new = not run.exists()
    run.mkdir(parents=True, exist_ok=True)
    try:
        handle = _lock(run, shared=shared)
    except BlockingIOError:
        raise UserError(
            f"{run} is being trained or scored by another process: wait for its end, or name"
            " another folder with --run."
        ) from None
    try:
        yield
    finally:
        if is_new and run.is_dir() and not any(run.iterdir()):
            run.rmdir()
        _unlock(handle)


@contextlib.contextmanager
def lock_scores(run: Path) -> Iterator[None]:
    """Waits until no other process changes the scores of a run, and keeps them out."""
    handle = _lock(run / CONFIG, wait=True)
    try:
        yield
    finally:
        _unlock(handle)


def _lock(path: Path, *, shared: bool = False, wait: bool = False) -> int | None:
    """Returns what holds a path until it is closed; None where paths cannot be locked.

    Raises:
        BlockingIOError: If another process holds it.
    """
    try:
        import fcntl
    except ImportError:
        return None
    kind = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB)
    handle = None
    try:
        handle = os.open(path, os.O_RDONLY)
        fcntl.flock(handle, kind)
    except OSError as error:
        _unlock(handle)
        if isinstance(error, BlockingIOError):
            raise
        # The file is missing, or its file system has no locks.
        return None
    return handle


def _unlock(handle: int | None) -> None:
    if handle is not None:
        os.close(handle)


@contextlib.contextmanager
def replace_run(run: Path) -> Iterator[None]:
    """Sets the old run in a folder aside until the block has left a model there.

    If it leaves none, for instance because the disk is full or the loss is no number, the old run
    is put back. Files that training did not write stay where they are. A process that is killed,
    at whatever moment, leaves one of the two runs whole; `read_config` and `open_run` find it.
    """
    remove_leftovers(run)
    if (run / CONFIG).is_file():
        (run / _ASIDE).mkdir()
        _move(run, run / _ASIDE, names=_WRITTEN[::-1])
    else:
        _delete(run)
    try:
        yield
    finally:
        end_replacement(run)
        remove_leftovers(run)


def remove_leftovers(run: Path) -> None:
    """Deletes the temporary files of a process that was killed while it wrote."""
    for path in run.glob(".*.part*"):
        path.unlink(missing_ok=True)


def end_replacement(run: Path) -> bool:
    """Ends what `replace_run` began, also after its process was killed: one run is kept.

    Returns:
        Whether the older run was put back.
    """
    aside = run / _ASIDE
    if not aside.is_dir():
        return False
    # Without config.json, the process was killed while it moved the old run, either way: nothing
    # of a new one is there.
    if (aside / CONFIG).is_file():
        if _is_whole(run):
            _delete(aside)
            aside.rmdir()
            return False
        _delete(run)
    returned = any(aside.iterdir())
    _move(aside, run, names=_WRITTEN)
    aside.rmdir()
    return returned


def _is_whole(run: Path) -> bool:
    """Whether a new run can be used and, if it was trained, be resumed."""
    if not (run / MODEL).is_file():
        return False
    # Only ensembles, which name their members, have no state.
    return (run / STATE).is_file() or "members" in read_json(run / METRICS)


def _move(source: Path, destination: Path, *, names: tuple[str, ...]) -> None:
    for name in names:
        if (source / name).exists():
            os.replace(source / name, destination / name)


def _delete(run: Path) -> None:
    """Deletes what training wrote, `config.json` last."""
    for name in reversed(_WRITTEN):
        if (run / name).is_dir():
            shutil.rmtree(run / name)
        else:
            (run / name).unlink(missing_ok=True)
