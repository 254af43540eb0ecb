"""Makes the published rows again, or compares new ones with them.

    make benchmark                                # all of them; a day on two cores
    make benchmark ONLY="translation gru"         # some of a task; "gru" alone means those of all
    make benchmark ARGS=--rescore                 # new or changed metrics, from the saved runs
    make benchmark-check ONLY="sentiment lstm"    # from nothing, beside the published figures

Every step is a command that a reader could type. What is finished is kept, and what was stopped
goes on.
"""

import dataclasses
import hashlib
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from apps.studies.benchmark.compare import (
    changed_scores,
    compare_row,
    comparison_table,
    explanation,
)
from apps.studies.benchmark.plan import (
    Step,
    ask_for_scores,
    missing_runs,
    plan_rescoring,
    plan_steps,
    published_row,
    published_rows,
)
from apps.studies.benchmark.rows import ROWS, Row
from common.console import aside, open_console
from common.errors import UserError
from common.files import write_json
from common.provenance import require_clean
from common.results import gather_row, publish_row

TASKS = tuple(dict.fromkeys(row.task for row in ROWS))


def pick_rows(only: str) -> list[Row]:
    """Returns the rows that words pick: names of tasks, of rows, or both; all without a word.

    Raises:
        UserError: If a word names nothing, or nothing is picked.
    """
    words = only.split()
    names = {row.name for row in ROWS}
    for word in words:
        if word not in TASKS and word not in names:
            raise UserError(
                f"ONLY={word} is no task and no row: take some of"
                f" {', '.join((*TASKS, *sorted(names)))}."
            )
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
    """Runs what is not done yet and says how far it is.

    Args:
        steps: From `plan_steps`.
        console: Where to say so.
        execute: Runs the arguments of `python -m` and returns the exit status.

    Returns:
        The steps that failed; those behind them are tried all the same.
    """
    failed: list[Step] = []
    begin = time.monotonic()
    for number, step in enumerate(steps, start=1):
        if step.done():
            continue
        what = " ".join(filter(None, (step.row.task, step.run.name, step.verb, step.split)))
        console.rule(f"{number} of {len(steps)} · {what}", align="left")
        command = step.command()
        aside(console, f"python -m {shlex.join(command)}")
        if execute(command):
            failed.append(step)
    done = len(steps) - len(failed)
    console.rule(
        f"{done} of {len(steps)} steps done, {duration(time.monotonic() - begin)} now", align="left"
    )
    return failed


def duration(seconds: float) -> str:
    """Returns a length of time in words, two digits of it."""
    minutes = round(seconds / 60)
    if minutes < 2:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def code_version() -> str:
    """Returns a short hash of all code that a row depends on, whatever git knows of it."""
    digest = hashlib.sha256()
    for folder in ("apps", "common", "data", "models"):
        for path in sorted(Path(folder).rglob("*.py")):
            content = path.read_bytes()
            digest.update(f"{path.as_posix()} {len(content)}\n".encode() + content)
    return digest.hexdigest()[:12]


def main(
    only: str = "",
    quick: bool = False,
    check: bool = False,
    afresh: bool = False,
    rescore: bool = False,
    runs: Path | None = None,
) -> None:
    """Trains and scores the rows of the result tables, and publishes or compares them.

    Args:
        only: Tasks and rows, separated by spaces; all without it.
        quick: Give each row a moment on the samples; publishes nothing.
        check: Make the first seed of each row from nothing, and compare it with what is published
            instead of publishing it.
        afresh: Train and score again what is finished too: after a change of the code. What other
            rows need of runs that are not picked stays.
        rescore: Score the saved runs again and train nothing: after a change of the metrics. A row
            whose runs are missing stays as it is.
        runs: Folder of the runs (default: runs, or runs/check/<hash of the code>, or runs/quick).
    """
    from apps.studies.benchmark.quick import run_here, samples

    if quick and check:
        raise UserError("--quick and --check exclude each other: a moment reproduces no figure.")
    if rescore and (quick or check or afresh):
        raise UserError("--rescore trains nothing: leave out --quick, --check and --afresh.")
    publishes = not (quick or check)
    if publishes:
        require_clean()
    console = open_console()
    # From nothing: what other code made is not taken for this code's.
    own = ("quick",) if quick else ("check", code_version()) if check else ()
    folder = runs or Path("runs", *own)
    rows = pick_rows(only)
    incomplete = []
    if check:
        for row in rows:
            if not published_row(row):
                console.print(f"not published yet, left out: {row.task} {row.name}")
        rows = [row for row in rows if published_row(row)]
        rows = [dataclasses.replace(row, seeds=row.seeds[:1]) for row in rows]
    if quick:
        samples({row.task for row in rows}, folder)
        rows = [dataclasses.replace(row, seeds=row.seeds[:1], splits=("test",)) for row in rows]
    if rescore:
        for row in rows:
            if missing := missing_runs(row, folder):
                folders = ", ".join(map(str, missing))
                line = f"{row.task} {row.name} has no finished run in {folders}"
                console.print(f"left as it is: {line}", style="red")
                incomplete.append(row)
        rows = [row for row in rows if row not in incomplete]
    steps = plan_steps(rows, folder, quick=quick, afresh=afresh)
    for step in steps:
        step.check_settings()
        if publishes:
            step.check_commit()
    if rescore:
        steps = plan_rescoring(rows, folder)
        ask_for_scores(steps)
    failed = run_steps(steps, console, execute=run_here if quick else run_in_a_process)

    broken = {step.run for step in failed}
    moved, ungathered, published = [], [], []
    for task in TASKS:
        compared, explained = [], []
        for row in rows:
            made = [folder / task / name for name in row.runs()]
            if row.task != task or broken & set(made):
                continue
            before = published_row(row)
            try:
                again = gather_row(made, row.name)
                if publishes:
                    # Code may have been edited while a step ran.
                    for step in plan_steps([row], folder):
                        step.check_commit()
                    publish_row(again, Path("apps") / task / "results")
                    published.append(row)
            except UserError as error:
                console.print(f"not gathered: {error}", style="red")
                ungathered.append(row)
                continue
            if check:
                found = compare_row(before, again, published_rows(task))
                explained.append(explanation(before, again, found))
                compared += found
            elif quick:
                write_json(folder / "results" / task / f"{row.name}.json", again)
            elif rescore and before:
                for line in changed_scores(before, again):
                    console.print(f"changed: {task} {row.name}, {line}")
        if compared:
            console.print(comparison_table(task, compared))
            for line in explained:
                console.print(line)
        moved += [one for one in compared if one.verdict == "moved"]
    for step in failed:
        console.print(
            f"failed: {step.row.task} {step.run.name}, {step.verb} {step.split}: its"
            " message stands above; the same command tries it again"
        )
    if failed or moved or ungathered or incomplete:
        if published:
            aside(console, "the rows that were published are not in the tables yet: make tables")
        sys.exit(1)
