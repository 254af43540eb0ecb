"""Runs a command on a node that shares no disk: code and run folders travel with Ray."""

import contextlib
import dataclasses
import io
import os
import shutil
import tarfile
import tempfile
from pathlib import Path

from apps.cluster.jobs import Command, Ended, run_command
from apps.cluster.pool import CODE
from common.files import atomic_folder
from common.results import COMMIT


def run_command_apart(step: Command, given: dict[str, bytes], name: str, threads: int) -> Ended:
    """Does the same on a machine that shares no disk with the caller, from packed run folders.

    Args:
        step: The command; its paths are relative.
        given: Relative path of a run folder to what `pack` returned.
        name: Of the log.
        threads: As in `run_command`.
    """
    home = Path.cwd()
    with tempfile.TemporaryDirectory(prefix="run-") as folder:
        try:
            for path, packed in given.items():
                unpack(packed, Path(folder, path))
            ended = run_command(step, Path(folder), Path("logs", f"{name}.log"), threads)
            packed = b"" if ended.status else pack(step.run)
            return dataclasses.replace(ended, run=packed)
        finally:
            os.chdir(home)


def pack(run: Path) -> bytes:
    """Returns a run folder as one uncompressed tar file."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.add(run, arcname=".")
    return buffer.getvalue()


def unpack(packed: bytes, run: Path) -> None:
    """Puts a packed run folder in the place of the one that may stand there."""
    run.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".old-", dir=run.parent) as old:
        with contextlib.suppress(FileNotFoundError):
            os.rename(run, Path(old, run.name))
        with atomic_folder(run) as draft, tarfile.open(fileobj=io.BytesIO(packed)) as archive:
            archive.extractall(draft, filter="data")


def copy_code(folder: Path, commit: str) -> Path:
    """Copies the code that a training needs, with a note of its commit, and returns the folder."""
    copy = folder / "code"
    for name in ("apps", "common", "data", "models"):
        shutil.copytree(
            CODE / name,
            copy / name,
            ignore=shutil.ignore_patterns("pretrained", "results", "__pycache__"),
        )
    (copy / COMMIT).write_text(f"{commit}\n", encoding="utf-8")
    return copy
