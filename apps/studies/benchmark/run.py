"""Retrains the published rows, and publishes them or compares them with the published ones.

    make benchmark                                # all of them; a day on two cores
    make benchmark ONLY="translation gru"         # some of a task; "gru" alone means those of all
    make benchmark ARGS=--rescore                 # new or changed metrics, from the saved runs
    make benchmark-check ONLY="sentiment lstm"    # from nothing, beside the published figures
    make benchmark CLUSTER=local                  # or HOST:PORT: many runs at once, on Ray
    make benchmark ARGS=--plan CLUSTER_CPUS=64    # how long that would take; runs nothing

Every step is a command that you could type. Finished steps are kept; a training that was stopped
is resumed.
"""

import dataclasses
import hashlib
import itertools
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from apps.cluster.pool import cores
from apps.studies.benchmark.compare import compare_row, comparison_table, explanation
from apps.studies.benchmark.many import jobs_of, run_many, show_plan
from apps.studies.benchmark.plan import Step, plan_rescoring, plan_steps, published_row
from apps.studies.benchmark.quick import run_here, write_sample
from apps.studies.benchmark.rows import ROWS, Row
from common.cli import aside, open_console
from common.errors import UserError
from common.files import write_json
from common.publish import gather_row, publish_row
from common.results import require_clean

TASKS = tuple(dict.fromkeys(row.task for row in ROWS))


def pick_rows(only: str) -> list[Row]:
    """Returns the rows that words pick: names of tasks, of rows, or both; all without a word.

    Raises:
        UserError: If a word names nothing, or nothing is picked.
    """
    words, names = only.split(), {row.name for row in ROWS}
    for word in words:
        if word not in TASKS and word not in names:
            known = ", ".join((*TASKS, *sorted(names)))
            raise UserError(f"ONLY={word} is neither a task nor a row: choose from {known}.")
    tasks = [word for word in words if word in TASKS] or TASKS
    wanted = [word for word in words if word not in TASKS] or names
    rows = [row for row in ROWS if row.task in tasks and row.name in wanted]
    if not rows:
        raise UserError(f"ONLY={only!r} picks no row: {', '.join(tasks)} has none of that name.")
    return rows


def run_in_a_process(arguments: list[str]) -> int:
    """Runs `python -m` and returns its exit status."""
    return subprocess.run([sys.executable, "-m", *arguments], check=False).returncode


def run_steps(
    steps: list[Step], console: Console, *, execute: Callable[[list[str]], int]
) -> list[Step]:
    """Runs the steps that are not done, and prints each command.

    Args:
        steps: From `plan_steps`.
        console: Where to print.
        execute: Runs the arguments of `python -m` and returns the exit status.

    Returns:
        The steps that failed; later ones are tried all the same.
    """
    failed: list[Step] = []
    for number, step in enumerate(steps, start=1):
        if step.done():
            continue
        title = f"{step.row.task} {step.run.name} {step.verb} {step.split}".strip()
        console.rule(f"{number} of {len(steps)} · {title}", align="left")
        command = step.command()
        aside(console, f"python -m {shlex.join(command)}")
        if execute(command):
            failed.append(step)
    return failed


def code_version() -> str:
    """Returns a short hash of all code that a row depends on, committed or not."""
    digest = hashlib.sha256()
    for folder in ("apps", "common", "data", "models"):
        for path in sorted(Path(folder).rglob("*.py")):
            content = path.read_bytes()
            digest.update(f"{path.as_posix()} {len(content)}\n".encode() + content)
    return digest.hexdigest()[:12]


def publish_runs(row: Row, runs: Path) -> None:
    """Gathers a row from its run folders and publishes it.

    Raises:
        UserError: If a run was made by uncommitted code, or the runs are not one row.
    """
    # Code may have been edited while a step ran.
    for step in plan_steps([row], runs):
        step.check_commit()
    gathered = gather_row([runs / row.task / name for name in row.runs()], row.name)
    publish_row(gathered, Path("apps") / row.task / "results")


def show_schedule(rows: list[Row], runs: Path, cluster_cpus: int, cpus: int, only: str) -> None:
    """Prints when the jobs of some rows would run on a cluster, and draws how long all take."""
    # The picture of all rows stands in the documentation.
    picture = runs / "plan.png" if only.strip() else Path("docs/plan.png")
    jobs = jobs_of(plan_steps(rows, runs), runs)
    show_plan(jobs, max(1, cluster_cpus // cpus), open_console(), picture)


def main(
    only: str = "",
    quick: bool = False,
    check: bool = False,
    afresh: bool = False,
    rescore: bool = False,
    runs: Path | None = None,
    cluster: str = "",
    cpus: int = 1,
    gpus: float = 0.0,
    shared_disk: bool = True,
    plan: bool = False,
    cluster_cpus: int = 0,
) -> None:
    """Trains and scores the rows of the result tables, and publishes or compares them.

    Args:
        only: Tasks and rows, separated by spaces; all without it.
        quick: Run each row for seconds on the samples; publishes nothing.
        check: Train the first seed of each row from nothing, and compare it with the published
            figures instead of publishing it.
        afresh: Train and score finished rows again: after a change of the code. Runs that other
            rows need stay.
        rescore: Score the saved runs again and train nothing: after a change of the metrics.
        runs: Folder of the runs (default: runs, or runs/check/<hash of the code>, or runs/quick).
        cluster: Run many at once on Ray: `local`, or the address of a cluster.
        cpus: Cores that a run keeps busy, on a cluster.
        gpus: GPUs that a run keeps busy, on a cluster.
        shared_disk: Whether all nodes of the cluster see this folder. If not, Ray carries code and
            run folders.
        plan: Print when each job would run from nothing, and run nothing.
        cluster_cpus: Cores of the cluster that --plan is for (default: of this machine).
    """
    if quick + check > 1 or (rescore and (quick or check or afresh)):
        raise UserError("Give one of --quick, --check and --rescore; --rescore without --afresh.")
    if cpus < 1 or cluster_cpus < 0 or gpus < 0:
        raise UserError("--cpus must be 1 or more, --gpus and --cluster-cpus 0 or more.")
    if plan:
        show_schedule(pick_rows(only), runs or Path("runs"), cluster_cpus or cores(), cpus, only)
        return
    publishes = not (quick or check)
    if publishes:
        require_clean()
    console, problems = open_console(), []
    # A check trusts no run of other code.
    folder = runs or Path("runs", *(["quick"] if quick else ["check", code_version()] * check))
    rows = pick_rows(only)
    if check:
        rows = [row for row in rows if published_row(row)]
        if not rows:
            raise UserError("--check has nothing to compare: none of the rows is published yet.")
    if quick or check:
        rows = [dataclasses.replace(row, seeds=row.seeds[:1]) for row in rows]
    if quick:
        rows = [dataclasses.replace(row, splits=("test",)) for row in rows]
        for row in rows:
            write_sample(row.task, folder)
    steps = plan_steps(rows, folder, quick=quick, afresh=afresh)
    for step in steps:
        step.check_settings()
        if publishes:
            step.check_commit()
    if rescore:
        plans = {row: plan_rescoring(row, folder) for row in rows}
        rows = [row for row, plan in plans.items() if plan]
        steps = list(itertools.chain(*plans.values()))
        missing = [f"{row.task} {row.name}" for row, plan in plans.items() if not plan]
        problems += [f"{name} stays as it is: a run of it has no model." for name in missing]
    if cluster:
        options = {"cluster": cluster, "cpus": cpus, "gpus": gpus, "shared_disk": shared_disk}
        broken = run_many(steps, folder, console, **options)
    else:
        failed = run_steps(steps, console, execute=run_here if quick else run_in_a_process)
        broken = {
            step.run: f"{step.run} failed to {step.verb} {step.split}: see its message above."
            for step in failed
        }
    problems += broken.values()
    for task in TASKS:
        comparisons, explanations = [], []
        published = [row for row in map(published_row, ROWS) if row and row["task"] == task]
        for row in rows:
            made = [folder / task / name for name in row.runs()]
            if row.task != task or broken.keys() & set(made):
                continue
            try:
                if publishes:
                    publish_runs(row, folder)
                    continue
                again = gather_row(made, row.name)
            except UserError as error:
                problems.append(f"{task} {row.name} was not gathered: {error}")
                continue
            if check:
                before = published_row(row)
                comparisons += compare_row(before, again, published)
                explanations.append(explanation(before, again))
            else:
                write_json(folder / "results" / task / f"{row.name}.json", again)
        if comparisons:
            console.print(comparison_table(task, comparisons))
            console.print("\n".join(explanations))
        problems += [f"{c.row} moved: {c.metric}" for c in comparisons if c.verdict == "moved"]
    for problem in problems:
        console.print(problem, style="red", markup=False)
    if problems:
        aside(console, "Rows that were published are not in the tables yet: make tables")
        sys.exit(1)
