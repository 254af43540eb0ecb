"""Runs many commands, each when those that it needs have ended, and tells how far they are."""

import dataclasses
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from rich.console import Console

from apps.cluster.pool import CODE, Lost, Pool
from apps.cluster.schedule import Job, as_time, length, urgencies
from common.errors import UserError
from common.run_folder import lock_run

# Seconds that a run folder may stay locked by a process that is just ending.
_LOCKED = 120


class Command(Protocol):
    """What `run_command` starts, such as a step of the benchmark."""

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
    expected = taken = 0.0
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
            now = time.monotonic()
            expected, taken = expected + job.seconds, taken + now - since
            # How this machine compares with the recorded times.
            pace = taken / expected if taken and expected else 1.0
            begun = {other.name: (now - start) / pace for other, start in running.values()}
            left = [
                dataclasses.replace(one, seconds=max(0.0, one.seconds - begun.get(one.name, 0.0)))
                for one in jobs
                if one.name in open_names
            ]
            word = "FAILED " if problem else "ends   "
            console.print(
                f"{word} {job.name} after {as_time(now - since)} ·"
                f" {len(jobs) - len(open_names)} of {len(jobs)} · {len(running)} running ·"
                f" about {as_time(pace * length(left, pool.slots))} left"
            )
    return {job.name: failed[job.name] for job in jobs if job.name in failed}


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
