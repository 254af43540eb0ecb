"""The benchmark as jobs that need one another: how long they take, and how they run on Ray."""

import statistics
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from apps.cluster.jobs import Ended, run_command, run_jobs
from apps.cluster.pool import open_pool
from apps.cluster.schedule import (
    Job,
    as_time,
    critical_path,
    length,
    simulate,
)
from apps.studies.benchmark.apart import copy_code, pack, run_command_apart, unpack
from apps.studies.benchmark.plan import Step, published_row
from common.cli import aside, new_table
from common.errors import UserError
from common.files import read_json, write_json
from common.results import commit

# Seconds of each job that the machines took, in the folder of runs.
DURATIONS = "durations.json"
# What nobody measured yet: scoring or joining takes some minutes.
_UNKNOWN = {"train": 1800.0, "evaluate": 180.0, "join": 180.0}


def job_name(step: Step) -> str:
    """Returns a name such as `translation gru-s1 evaluate test`."""
    return f"{step.row.task} {step.run.name} {step.verb} {step.split}".strip()


def jobs_of(steps: Sequence[Step], runs: Path) -> list[Job]:
    """Returns the steps as jobs, in the same order.

    The steps of one run follow one another; a training or joining also follows those that made the
    runs that it reads.
    """
    last: dict[Path, str] = {}
    made: dict[Path, str] = {}
    seconds = _Seconds(runs)
    jobs = []
    for step in steps:
        name = job_name(step)
        needs = [last[step.run]] if step.run in last else []
        if step.verb != "evaluate":
            earlier = [step.run.with_name(other) for other in step.row.needed_runs()]
            needs += [made[run] for run in earlier if run in made]
            made[step.run] = name
        jobs.append(Job(name, seconds.of(step), tuple(dict.fromkeys(needs))))
        last[step.run] = name
    return jobs


class _Seconds:
    """How long a step takes: as recorded here, else as published, else as long as others."""

    def __init__(self, runs: Path):
        path = runs / DURATIONS
        self._recorded: dict[str, float] = read_json(path) if path.is_file() else {}

    def of(self, step: Step) -> float:
        name = job_name(step)
        if name in self._recorded:
            return self._recorded[name]
        published = published_row(step.row) if step.verb == "train" else None
        if published:
            seeds = dict(zip(published["seeds"], published["seconds"], strict=False))
            seed = int(step.run.name.rpartition("-s")[2])
            return float(seeds.get(seed, statistics.median(published["seconds"])))
        alike = [
            seconds
            for other, seconds in self._recorded.items()
            if other.split()[0] == step.row.task and other.split()[2] == step.verb
        ]
        return statistics.median(alike) if alike else _UNKNOWN[step.verb]


def show_plan(jobs: Sequence[Job], workers: int, console: Console, picture: Path) -> None:
    """Prints when each job would run, and draws how long all take with other numbers of workers."""
    spans = simulate(jobs, workers)
    table = new_table(f"{len(jobs)} jobs, {workers} at once", ("worker", "job"), ("from", "to"))
    for span in spans:
        table.add_row(str(span.worker + 1), span.job.name, as_time(span.start), as_time(span.end))
    console.print(table)
    path = critical_path(jobs)
    console.print("The longest chain of jobs that need one another:")
    for job in path:
        console.print(f"  {as_time(job.seconds):>7}  {job.name}")
    longest = sum(job.seconds for job in path)
    console.print(
        f"{as_time(length(jobs, workers))} with {workers} at once, {as_time(length(jobs, 1))} one"
        f" after the other; the chain alone takes {as_time(longest)}."
    )
    aside(
        console,
        "Training times are those of the published rows or, where the benchmark ran here, of"
        f" {DURATIONS}; what neither knows counts {_UNKNOWN['evaluate']:.0f} s, a training"
        f" {_UNKNOWN['train']:.0f} s.",
    )
    plot_lengths(jobs, picture)
    console.print(f"length with 1 to 256 at once: {picture}")


def run_many(
    steps: Sequence[Step],
    runs: Path,
    console: Console,
    *,
    cluster: str,
    cpus: int,
    gpus: float,
    shared_disk: bool = True,
) -> dict[Path, str]:
    """Runs the steps that are not done as Ray tasks.

    Args:
        steps: From `plan_steps`.
        runs: Folder of all runs.
        console: Where to print.
        cluster: `local`, or the address of a Ray cluster.
        cpus: That a run keeps busy.
        gpus: That a run keeps busy.
        shared_disk: Whether all nodes see this folder. If not, the code goes out with Ray and the
            run folders come back with it.

    Returns:
        A line on what went wrong, by run folder.

    Raises:
        UserError: If there is no such cluster, or the paths fit no other machine.
    """
    if not shared_disk and runs.is_absolute():
        raise UserError("--no-shared-disk needs a relative folder of --runs.")
    steps = [step for step in steps if not step.done()]
    if not steps:
        return {}
    by_name = {job_name(step): step for step in steps}
    home, durations = Path.cwd(), runs / DURATIONS

    with tempfile.TemporaryDirectory(prefix="code-") as folder:
        code = None if shared_disk else copy_code(Path(folder), commit())
        with open_pool(cluster, cpus=cpus, gpus=gpus, code=code) as pool:

            def begin(job: Job) -> Any:
                step, log = by_name[job.name], job.name.replace(" ", "-")
                if shared_disk:
                    path = runs / "logs" / f"{log}.log"
                    return pool.submit(run_command, step, home, path, cpus)
                packed = {str(run): pack(run) for run in _read_by(step) if run.is_dir()}
                return pool.submit(run_command_apart, step, packed, log, cpus)

            def end(job: Job, ended: Ended) -> str:
                step = by_name[job.name]
                if ended.run:
                    unpack(ended.run, step.run)
                if ended.status:
                    where = f" ({runs / 'logs'})" if shared_disk else ""
                    return f"exit status {ended.status}: {ended.last_line}{where}"
                recorded = read_json(durations) if durations.is_file() else {}
                # A run that was resumed took less the second time.
                if ended.seconds > recorded.get(job.name, 0.0):
                    write_json(durations, {**recorded, job.name: round(ended.seconds, 1)})
                return ""

            problems = run_jobs(jobs_of(steps, runs), pool, begin=begin, end=end, console=console)
    return {by_name[name].run: f"{name}: {problem}" for name, problem in problems.items()}


def _read_by(step: Step) -> Iterable[Path]:
    """Returns the run folders that a step reads or goes on with."""
    yield step.run
    if step.verb != "evaluate":
        yield from (step.run.with_name(name) for name in step.row.needed_runs())


def plot_lengths(jobs: Sequence[Job], path: Path, *, most: int = 256) -> None:
    """Draws how long all jobs take with 1 to `most` workers, and what limits them."""
    from common.plots import new_axes, save_figure

    workers = list(range(1, most + 1))
    hours = [length(jobs, count) / 3600 for count in workers]
    chain = sum(job.seconds for job in critical_path(jobs)) / 3600
    figure, (axes,) = new_axes(1, f"{len(jobs)} jobs of the benchmark", width=6.4)
    axes.plot(workers, hours, color="#0b6e99", label="all jobs, as they would run")
    even = [hours[0] / count for count in workers]
    axes.plot(workers, even, color="#8a8f98", linestyle=":", label="the work, divided evenly")
    label = "the longest chain of jobs that need one another"
    axes.axhline(chain, color="#d1495b", linestyle="--", label=label)
    axes.set(xscale="log", yscale="log", xlabel="runs at once", ylabel="hours")
    axes.set_xticks([2**power for power in range(9) if 2**power <= most])
    axes.minorticks_off()
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.legend(frameon=False, fontsize=8)
    save_figure(figure, path)
