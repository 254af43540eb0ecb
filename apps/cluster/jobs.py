"""Runs many commands, each when those that it needs have ended, and tells how far they are."""

import contextlib
import dataclasses
import io
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from rich.console import Console

from apps.cluster.pool import CODE, Lost, Pool
from apps.cluster.schedule import Job, as_time, length, urgencies
from common.errors import UserError
from common.files import atomic_folder
from common.run_folder import lock_run

# Seconds that a run folder may stay locked by a process that is just ending.
_LOCKED = 120


class Command(Protocol):
    """What `run_command` starts: a step of the benchmark, or a trial."""

    run: Path
    verb: str

    def done(self) -> bool:
        """Whether the run folder shows that it has ended."""

    def command(self) -> list[str]:
        """Arguments of `python -m`, with `--resume` where the run folder holds a beginning."""


@dataclasses.dataclass(frozen=True)
class Ended:
    """What a command left."""

    status: int
    seconds: float
    last_line: str = ""
    run: bytes = b""
    """The packed run folder, if it was made where the caller cannot see it."""


def run_command(step: Command, folder: Path, log: Path, threads: int) -> Ended:
    """Runs a command unless it is done; a training that was stopped goes on.

    Args:
        step: The command. Its paths may be relative.
        folder: The working directory.
        log: File to which its output is appended.
        threads: That TensorFlow and PyTorch may use.
    """
    os.chdir(folder)
    started = time.monotonic()
    if step.done():
        return Ended(0, 0.0)
    if step.verb != "evaluate":
        _wait_until_free(step.run)
    log.parent.mkdir(parents=True, exist_ok=True)
    count = str(threads)
    environment = {
        **os.environ,
        "PYTHONPATH": str(CODE),
        "OMP_NUM_THREADS": count,
        "TF_NUM_INTRAOP_THREADS": count,
        "TF_NUM_INTEROP_THREADS": count,
    }
    command = [sys.executable, "-m", "apps.cluster", str(os.getpid()), *step.command()]
    with open(log, "ab") as output:
        streams = {"stdin": subprocess.DEVNULL, "stdout": output, "stderr": subprocess.STDOUT}
        status = subprocess.run(command, env=environment, check=False, **streams).returncode
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return Ended(status, time.monotonic() - started, lines[-1] if status and lines else "")


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
    with tempfile.TemporaryDirectory(prefix=".old-", dir=_made(run.parent)) as old:
        with contextlib.suppress(FileNotFoundError):
            os.rename(run, Path(old, run.name))
        with atomic_folder(run) as draft, tarfile.open(fileobj=io.BytesIO(packed)) as archive:
            archive.extractall(draft, filter="data")


def run_jobs(
    jobs: Sequence[Job],
    pool: Pool,
    *,
    begin: Callable[[Job], Any],
    end: Callable[[Job, Any], str],
    console: Console,
) -> dict[str, str]:
    """Runs jobs, the most urgent first, as many at once as the pool has room for.

    Args:
        jobs: Each after those that it needs.
        pool: Where.
        begin: Submits a job to the pool and returns the task.
        end: Takes what the task returned; a text that it returns says what went wrong.
        console: Where to print a line at the start and at the end of each job.

    Returns:
        What went wrong, by name, in the order of the jobs. What needs a failed job is not run.
    """
    urgent = urgencies(jobs)
    waiting = sorted(jobs, key=lambda job: -urgent[job.name])
    open_names, failed = {job.name for job in jobs}, {}
    running: dict[Any, tuple[Job, float]] = {}
    clock = _Clock()
    while waiting or running:
        for job in list(waiting):
            broken = [need for need in job.needs if need in failed]
            if broken:
                failed[job.name] = f"not run, because {broken[0]} failed"
                open_names.discard(job.name)
                waiting.remove(job)
        room = max(0, pool.slots - len(running))
        for job in [job for job in waiting if not open_names & set(job.needs)][:room]:
            waiting.remove(job)
            running[begin(job)] = job, time.monotonic()
            console.print(f"begins  {job.name}")
        for task in pool.ended(list(running)) if running else ():
            job, since = running.pop(task)
            open_names.discard(job.name)
            try:
                problem = end(job, pool.result(task))
            except (Lost, UserError, OSError) as error:
                problem = str(error)
            if problem:
                failed[job.name] = problem
            clock.tick(job, time.monotonic() - since)
            left = clock.left(waiting, list(running.values()), pool.slots)
            word = "FAILED " if problem else "ends   "
            console.print(
                f"{word} {job.name} after {as_time(time.monotonic() - since)} ·"
                f" {len(jobs) - len(open_names)} of {len(jobs)} · {len(running)} running ·"
                f" about {as_time(left)} left"
            )
    return {job.name: failed[job.name] for job in jobs if job.name in failed}


class _Clock:
    """Estimates the time that is left, by how this cluster compares with the recorded times."""

    def __init__(self):
        self._expected = self._taken = 0.0

    def tick(self, job: Job, seconds: float) -> None:
        """Takes note of a job that has ended."""
        self._expected += job.seconds
        self._taken += seconds

    def left(self, waiting: list[Job], running: list[tuple[Job, float]], slots: int) -> float:
        """Returns seconds; `running` are jobs with the moments when they began."""
        pace = self._taken / self._expected if self._expected else 1.0
        now = time.monotonic()
        begun = [
            dataclasses.replace(job, seconds=max(0.0, job.seconds - (now - since) / (pace or 1.0)))
            for job, since in running
        ]
        order = [*begun, *waiting]
        names = {job.name for job in order}
        # `simulate` wants each job behind those that it needs.
        ranked: list[Job] = []
        while len(ranked) < len(order):
            placed = {job.name for job in ranked}
            ranked += [
                job
                for job in order
                if job.name not in placed and not (set(job.needs) & names) - placed
            ]
        return pace * length(ranked, slots)


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _wait_until_free(run: Path) -> None:
    """Waits until whoever trained the run before, on a node that was lost, is gone.

    Raises:
        UserError: If it does not end.
    """
    patience = time.monotonic() + _LOCKED
    while True:
        try:
            with lock_run(run):
                return
        except UserError:
            if time.monotonic() > patience:
                raise
            time.sleep(1)
