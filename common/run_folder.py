"""Run folders are read, opened, locked and replaced so that none is lost or written by two."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from common.artifact import (
    BACKBONE,
    CONFIG,
    EXPORT,
    HISTORY,
    METRICS,
    MODEL,
    OUTPUTS,
    PLOTS,
    STATE,
    TENSORBOARD,
    TOKENIZER,
)
from common.errors import UserError
from common.files import read_json

# All that training writes; anything else in a folder is the user's.
_OWN = (
    MODEL,
    TOKENIZER,
    BACKBONE,
    HISTORY,
    METRICS,
    STATE,
    PLOTS,
    OUTPUTS,
    TENSORBOARD,
    EXPORT,
    CONFIG,
)
# Where the old run stands while a new one is made, and on its way there and back.
_ASIDE, _LEAVING, _RETURNING = ".replaced", ".leaving", ".returning"


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
    if _is_being_replaced(run):
        with lock_run(run):
            end_replacement(run)
    if not (run / CONFIG).is_file():
        raise UserError(f"{run} is not a run folder: it has no {CONFIG}. Name another with --run.")
    config = read_json(run / CONFIG)
    found = config.pop("task", None) if isinstance(config, dict) else None
    if found != task:
        raise UserError(
            f"{run} is a run of {found or 'no known task'}, not of {task}: name another with --run."
        )
    return config


def read_labels(config: dict[str, Any], run: Path) -> list[str]:
    """Takes the names of the labels out of what `read_config` returned.

    Raises:
        UserError: If there are none.
    """
    labels = config.pop("labels", None)
    if not isinstance(labels, list) or len(labels) < 2:
        raise UserError(f"{run / CONFIG} names no labels: restore it or train again.")
    return labels


def open_run(
    run: Path, *, task: str, resume: bool, overwrite: bool, init_from: bool = False
) -> None:
    """Makes sure that training may write into `run`; deletes no run.

    Args:
        run: Run folder, locked by `lock_run` until training has written it.
        task: Task of the run.
        resume: As the flag.
        overwrite: As the flag.
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
    strange = [path.name for path in run.iterdir() if path.name not in _OWN]
    strange = [name for name in strange if ".part" not in name]
    if strange:
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
    if shared and _is_being_replaced(run):
        # Tidied before it is shared: nobody may change a folder that others read.
        with lock_run(run):
            end_replacement(run)
    is_new = not run.exists()
    run.mkdir(parents=True, exist_ok=True)
    handle = _lock(run, shared=shared)
    if handle == _TAKEN:
        raise UserError(
            f"{run} is being trained or scored by another process: wait for its end, or name"
            " another folder with --run."
        )
    try:
        yield
    finally:
        if is_new and run.is_dir() and not any(run.iterdir()):
            run.rmdir()
        if handle is not None:
            os.close(handle)


@contextlib.contextmanager
def lock_scores(run: Path) -> Iterator[None]:
    """Waits until no other process changes the scores of a run, and keeps them out."""
    handle = _lock(run / CONFIG, wait=True)
    try:
        yield
    finally:
        if handle is not None:
            os.close(handle)


# What `_lock` returns for a path that another process holds.
_TAKEN = -1


def _lock(path: Path, *, shared: bool = False, wait: bool = False) -> int | None:
    """Returns what holds a path until it is closed; None where paths cannot be locked."""
    try:
        import fcntl
    except ImportError:
        return None
    if not path.exists():
        return None
    kind = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB)
    handle = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(handle, kind)
    except BlockingIOError:
        os.close(handle)
        return _TAKEN
    except OSError:
        # Not on every file system.
        os.close(handle)
        return None
    return handle


@contextlib.contextmanager
def replace_run(run: Path) -> Iterator[None]:
    """Sets the old run in a folder aside until the block has left a model there.

    If it leaves none, for instance because the disk is full or the loss is no number, the old run
    is put back. Files that training did not write stay where they are. A process that is killed,
    at whatever moment, leaves one of the two runs whole; `read_config` and `open_run` find it.
    """
    remove_leftovers(run)
    leaving, aside = run / _LEAVING, run / _ASIDE
    leaving.mkdir(parents=True, exist_ok=True)
    for name in _OWN:
        if (run / name).exists():
            os.replace(run / name, leaving / name)
    os.replace(leaving, aside)
    try:
        yield
    finally:
        end_replacement(run)
        remove_leftovers(run)


def remove_leftovers(run: Path) -> None:
    """Deletes the temporary files of a process that was killed while it wrote."""
    for path in run.glob(".*.part*"):
        path.unlink(missing_ok=True)


def _is_being_replaced(run: Path) -> bool:
    return any((run / name).is_dir() for name in (_ASIDE, _LEAVING, _RETURNING))


def _is_whole(run: Path) -> bool:
    """Whether a new run can be used and, if it was trained, be resumed."""
    if not (run / MODEL).is_file():
        return False
    # Only ensembles, which name their members, have no state.
    return (run / STATE).is_file() or "members" in read_json(run / METRICS)


def end_replacement(run: Path) -> bool:
    """Ends what `replace_run` began, also after its process was killed: one run is kept.

    Returns:
        Whether the older run was put back.
    """
    # Killed while the old run was moved, either way: nothing of a new one is there.
    returned = False
    for folder in (run / _LEAVING, run / _RETURNING):
        if folder.is_dir():
            returned = any(folder.iterdir())
            _move_back(folder, run)
    aside = run / _ASIDE
    if not aside.is_dir():
        return returned
    if not any(aside.iterdir()) or _is_whole(run):
        shutil.rmtree(aside)
        return False
    for name in _OWN:
        if (run / name).is_dir():
            shutil.rmtree(run / name)
        else:
            (run / name).unlink(missing_ok=True)
    os.replace(aside, run / _RETURNING)
    _move_back(run / _RETURNING, run)
    return True


def _move_back(folder: Path, run: Path) -> None:
    for path in list(folder.iterdir()):
        os.replace(path, run / path.name)
    folder.rmdir()
