"""Makes the published rows again, or compares new ones with them.

    make benchmark                                # all of them; a day on two cores
    make benchmark ONLY="translation gru"         # some of a task; "gru" alone means those of all
    make benchmark-check ONLY="sentiment lstm"    # from nothing, beside the published figures

Every step is a command that a reader could type. What is finished is kept, and what was stopped
goes on.
"""

import dataclasses
import importlib
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from apps.studies.compare import compare_row, comparison_table
from apps.studies.quick import run_here, samples, shortened
from apps.studies.rows import ROWS, Row
from common.artifact import CONFIG, METRICS, MODEL, PLOTS, read_json, write_json
from common.config import fields_as_flags, parse_call, run_command
from common.errors import UserError
from common.provenance import commit
from common.results import gather_row
from common.training import flag

TASKS = tuple(dict.fromkeys(row.task for row in ROWS))
# What scoring takes beside training, about; and what a moment is, in seconds.
_SCORING_SHARE, _MOMENT = 0.05, 8.0


@dataclasses.dataclass(frozen=True)
class Step:
    """One command on the way to a row."""

    row: Row
    run: Path
    verb: str
    """`train`, `evaluate` or `join`."""
    arguments: tuple[str, ...]
    """Of `python -m`."""
    expected: float
    """Seconds that it takes, by what is published."""
    split: str = ""
    """What `evaluate` scores."""
    afresh: bool = False
    """Whether to replace what stands there."""

    def done(self) -> bool:
        """Whether the run folder holds what the step makes."""
        if self.afresh:
            return False
        if self.verb == "join":
            return (self.run / MODEL).is_file()
        if self.verb == "train":
            # The last thing that a training writes.
            return (self.run / PLOTS / "optimisation.png").is_file()
        record = read_json(self.run / METRICS) if (self.run / METRICS).is_file() else {}
        return self.split in record.get("metrics", {})

    def command(self) -> list[str]:
        """Returns what `python -m` takes; a training that was stopped goes on."""
        if self.verb == "evaluate":
            return [*self.arguments]
        if self.afresh or self.verb == "join":
            return [*self.arguments, "--overwrite"]
        return [*self.arguments, *(["--resume"] if (self.run / CONFIG).is_file() else [])]

    def check_settings(self) -> None:
        """Makes sure that a training which stands in the folder is that of the row.

        Raises:
            UserError: If it has other settings, as one's own under the same name may have.
        """
        if self.verb != "train" or self.afresh or not (self.run / CONFIG).is_file():
            return
        module, *flags = self.arguments
        main = importlib.import_module(module).main
        wanted = parse_call(main, prog=module, description="", arguments=flags).keywords["config"]
        held = read_json(self.run / CONFIG)
        # A setting that came later is not in the file; what --init-from brings is not in the flags.
        differing = [
            flag(name)
            for name, value in fields_as_flags(wanted).items()
            if held.get(name, value) != value
        ]
        if differing and not getattr(wanted, "init_from", ""):
            raise UserError(
                f"{self.run} was trained with other settings than its row ({', '.join(differing)}):"
                " move it away, or name another folder of runs with --runs."
            )


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


def published_row(row: Row) -> dict[str, Any] | None:
    """Returns a row as it is published, or None."""
    path = Path("apps") / row.task / "results" / f"{row.name}.json"
    return read_json(path) if path.is_file() else None


def published_rows(task: str) -> list[dict[str, Any]]:
    """Returns all published rows of a task."""
    found = [published_row(row) for row in ROWS if row.task == task]
    return [row for row in found if row]


def plan_steps(rows: list[Row], runs: Path, *, quick: bool = False) -> list[Step]:
    """Returns the steps to some rows, in order, with the runs that they need but do not show.

    Args:
        rows: Which ones.
        runs: Folder of all runs.
        quick: Whether each step is to take a moment, on the samples.
    """
    shown = {(row.task, run) for row in rows for run in row.runs()}
    needed = {(row.task, run) for row in rows for run in row.needs()}
    for row in reversed(ROWS):
        if any((row.task, run) in needed for run in row.runs()):
            needed |= {(row.task, run) for run in row.needs()}
    splits = {(row.task, row.name): row.splits for row in rows}
    steps = []
    for row in ROWS:
        for seed, name in zip(row.seeds, row.runs(), strict=True):
            if (row.task, name) in shown | needed:
                steps.append(_making(row, seed, runs, quick=quick))
            if (row.task, name) in shown:
                for split in splits[row.task, row.name]:
                    steps.append(_scoring(row, name, split, runs, quick=quick))
    return steps


def _making(row: Row, seed: int, runs: Path, *, quick: bool) -> Step:
    """Returns the step that trains a run, or joins its members."""
    run = runs / row.task / f"{row.name}-s{seed}"
    expected = _MOMENT if quick else _expected_seconds(row, seed)
    if row.members:
        members = [str(runs / row.task / member) for member in row.members]
        arguments = ("apps.ensemble", "--members", *members, "--run", str(run))
        return Step(row, run, "join", arguments, expected=_MOMENT, afresh=quick)
    flags = row.train_flags(str(runs))
    if quick:
        flags = shortened(row.task, "train", flags, runs)
    arguments = (f"apps.{row.task}.train", *flags, "--seed", str(seed), "--run", str(run))
    return Step(row, run, "train", arguments, expected, afresh=quick)


def _scoring(row: Row, name: str, split: str, runs: Path, *, quick: bool) -> Step:
    """Returns the step that scores a run on a split."""
    run, flags = runs / row.task / name, shlex.split(row.scoring)
    if quick:
        flags = shortened(row.task, "evaluate", flags, runs)
    arguments = (f"apps.{row.task}.evaluate", "--run", str(run), "--split", split, *flags)
    expected = _MOMENT if quick else _SCORING_SHARE * _expected_seconds(row, row.seeds[0])
    return Step(row, run, "evaluate", arguments, expected, split=split, afresh=quick)


def _expected_seconds(row: Row, seed: int) -> float:
    """Returns what a training took when it was published, or one like it."""
    published = published_row(row)
    if published and seed in published["seeds"]:
        return published["seconds"][published["seeds"].index(seed)]
    others = [statistics.mean(other["seconds"]) for other in published_rows(row.task)]
    return statistics.mean(others) if others else 600.0


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
    expected = spent = 0.0
    begin = time.monotonic()
    for number, step in enumerate(steps, start=1):
        if step.done():
            continue
        left = sum(later.expected for later in steps[number - 1 :] if not later.done())
        # As fast or slow as this machine has been so far.
        pace = spent / expected if expected else 1.0
        what = " ".join(filter(None, (step.row.task, step.run.name, step.verb, step.split)))
        console.rule(
            f"{number} of {len(steps)} · {what} · {duration(pace * step.expected)},"
            f" {duration(pace * left)} left for all",
            align="left",
        )
        start = time.monotonic()
        command = step.command()
        console.print(f"[dim]python -m {escape(shlex.join(command))}[/dim]", highlight=False)
        if execute(command):
            failed.append(step)
            continue
        spent += time.monotonic() - start
        expected += step.expected
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


def main(
    only: str = "", quick: bool = False, check: bool = False, runs: Path | None = None
) -> None:
    """Trains and scores the rows of the result tables, and publishes or compares them.

    Args:
        only: Tasks and rows, separated by spaces; all without it.
        quick: Give each row a moment on the samples; publishes nothing.
        check: Make the first seed of each row from nothing, and compare it with what is published
            instead of publishing it.
        runs: Folder of the runs (default: runs, or runs/check/<commit>, or runs/quick).
    """
    if quick and check:
        raise UserError("--quick and --check exclude each other: a moment reproduces no figure.")
    console = Console(soft_wrap=True)
    # From nothing: what other code made is not taken for this code's.
    own = ("quick",) if quick else ("check", commit()) if check else ()
    folder = runs or Path("runs", *own)
    rows = pick_rows(only)
    if check:
        for row in rows:
            if not published_row(row):
                console.print(f"not published yet, left out: {row.task} {row.name}")
        rows = [row for row in rows if published_row(row)]
        rows = [dataclasses.replace(row, seeds=row.seeds[:1]) for row in rows]
    if quick:
        samples({row.task for row in rows}, folder)
        rows = [dataclasses.replace(row, seeds=row.seeds[:1], splits=("test",)) for row in rows]
    steps = plan_steps(rows, folder, quick=quick)
    for step in steps:
        step.check_settings()
    failed = run_steps(steps, console, execute=run_here if quick else run_in_a_process)

    broken = {step.run for step in failed}
    moved, ungathered = [], []
    for task in TASKS:
        compared = []
        for row in rows:
            made = [folder / task / name for name in row.runs()]
            if row.task != task or broken & set(made):
                continue
            try:
                again = gather_row(made, row.name)
            except UserError as error:
                console.print(f"[red]not gathered:[/red] {escape(str(error))}", highlight=False)
                ungathered.append(row)
                continue
            if check:
                compared += compare_row(published_row(row), again, published_rows(task))
            elif quick:
                write_json(folder / "results" / task / f"{row.name}.json", again)
            else:
                write_json(Path("apps") / task / "results" / f"{row.name}.json", again)
        if compared:
            console.print(comparison_table(task, compared))
        moved += [one for one in compared if one.moved]
    for step in failed:
        console.print(
            f"[red]failed:[/red] {step.row.task} {step.run.name}, {step.verb} {step.split}: its"
            " message stands above; the same command tries it again",
            highlight=False,
        )
    if failed or moved or ungathered:
        sys.exit(1)


if __name__ == "__main__":
    run_command(
        main,
        prog="python -m apps.studies.benchmark",
        description="Makes the published rows again, or compares new ones with them.",
    )
