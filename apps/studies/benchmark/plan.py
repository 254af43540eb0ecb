"""The steps to the published rows: a command each, and whether it is done."""

import dataclasses
import importlib
import shlex
from pathlib import Path
from typing import Any

from apps.studies.benchmark.rows import ROWS, Row
from common.artifact import CONFIG, METRICS, MODEL
from common.config import fields_as_flags, parse_call
from common.errors import UserError
from common.files import read_json, write_json
from common.provenance import is_committed
from common.run_folder import lock_run
from common.settings import flag


@dataclasses.dataclass(frozen=True)
class Step:
    """One command on the way to a row."""

    row: Row
    run: Path
    verb: str
    """`train`, `evaluate` or `join`."""
    arguments: tuple[str, ...]
    """Of `python -m`."""
    split: str = ""
    """What `evaluate` scores."""
    afresh: bool = False
    """Whether to replace what stands there."""

    def done(self) -> bool:
        """Whether the run folder holds what the step makes."""
        if self.afresh:
            return False
        if self.verb == "join":
            return self._is_joined()
        if self.verb == "train":
            # A training that ended records its length, and then its scores on validation.
            # A rescoring that was stopped leaves scores that no commit is known of.
            record = self._record()
            ended = "seconds" in record and "validation" in record.get("metrics", {})
            return ended and is_committed(record.get("scored", {}).get("validation", ""))
        # Scores of code that no commit holds could not be published.
        scored = is_committed(self._record().get("scored", {}).get(self.split, ""))
        return scored and self.split in self._record().get("metrics", {})

    def has_run(self) -> bool:
        """Whether the run folder holds a model that can be scored, whatever joined it."""
        if self.verb == "join":
            return (self.run / MODEL).is_file() and "members" in self._record()
        return (self.run / MODEL).is_file() and self.done()

    def _record(self) -> dict[str, Any]:
        """Returns what the run folder records; nothing if there is no such file."""
        return read_json(self.run / METRICS) if (self.run / METRICS).is_file() else {}

    def _is_joined(self) -> bool:
        """Whether the run joins the row's members as they are now."""
        members = [self.run.with_name(name) / MODEL for name in self.row.members]
        if not (self.run / MODEL).is_file() or not all(map(Path.is_file, members)):
            return False
        held = [Path(name).name for name in self._record().get("members", [])]
        joined = (self.run / MODEL).stat().st_mtime
        newer = any(member.stat().st_mtime > joined for member in members)
        return held == list(self.row.members) and not newer

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
            if as_list(held.get(name, value)) != as_list(value)
        ]
        if differing and not getattr(wanted, "init_from", ""):
            raise UserError(
                f"{self.run} was trained with other settings than its row ({', '.join(differing)}):"
                " move it away, or name another folder of runs with --runs."
            )

    def check_commit(self) -> None:
        """Makes sure that git holds the code that trained or joined what stands in the folder.

        Raises:
            UserError: If it does not: no row can come from such a run.
        """
        if not self.afresh and not is_committed(self._record().get("commit", "")):
            raise UserError(
                f"{self.run} was made by code that no commit holds ({self._record()['commit']}), so"
                " its figures cannot be published: move it away, and it is made again."
            )


def as_list(value: Any) -> list[Any]:
    """Returns a setting as a list: JSON has no tuples, and older runs hold a single name."""
    return list(value) if isinstance(value, list | tuple) else [value]


def published_row(row: Row) -> dict[str, Any] | None:
    """Returns a row as it is published, or None."""
    path = Path("apps") / row.task / "results" / f"{row.name}.json"
    return read_json(path) if path.is_file() else None


def published_rows(task: str) -> list[dict[str, Any]]:
    """Returns all published rows of a task."""
    found = [published_row(row) for row in ROWS if row.task == task]
    return [row for row in found if row]


def plan_steps(
    rows: list[Row], runs: Path, *, quick: bool = False, afresh: bool = False
) -> list[Step]:
    """Returns the steps to some rows, in order, with the runs that they need but do not show.

    Args:
        rows: Which ones.
        runs: Folder of all runs.
        quick: Whether each step takes a moment, on the samples, and replaces what stands there.
        afresh: Whether what stands there of the rows themselves is replaced too.
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
                again = quick or (afresh and (row.task, name) in shown)
                steps.append(_making(row, seed, runs, quick=quick, afresh=again))
            if (row.task, name) in shown:
                for split in splits[row.task, row.name]:
                    steps.append(_scoring(row, name, split, runs, quick=quick, afresh=again))
    return steps


def missing_runs(row: Row, runs: Path) -> list[Path]:
    """Returns the run folders of a row that hold no finished run to score."""
    made = [step for step in plan_steps([row], runs) if step.verb != "evaluate"]
    return [step.run for step in made if step.run.name in row.runs() and not step.has_run()]


def plan_rescoring(rows: list[Row], runs: Path) -> list[Step]:
    """Returns the steps that score the saved runs of some rows, without any training.

    Args:
        rows: Which ones; trained ones are scored on validation too, as their training did it.
        runs: Folder of all runs.
    """
    return [
        _scoring(row, name, split, runs, quick=False, afresh=False)
        for row in rows
        for name in row.runs()
        for split in (*row.splits, *(() if row.members else ("validation",)))
    ]


def ask_for_scores(steps: list[Step]) -> None:
    """Lets runs forget which code scored them, so that they are scored again and say by which.

    The scores stay, but no row is published of them until `evaluate` has found them anew.

    Args:
        steps: From `plan_rescoring`.
    """
    for step in steps:
        with lock_run(step.run):
            record = read_json(step.run / METRICS)
            record.setdefault("scored", {})[step.split] = "unknown"
            write_json(step.run / METRICS, record)


def _making(row: Row, seed: int, runs: Path, *, quick: bool, afresh: bool) -> Step:
    """Returns the step that trains a run, or joins its members."""
    from apps.studies.benchmark.quick import shortened

    run = runs / row.task / f"{row.name}-s{seed}"
    if row.members:
        members = [str(runs / row.task / member) for member in row.members]
        arguments = ("apps.ensemble", "--members", *members, "--run", str(run))
        return Step(row, run, "join", arguments, afresh=afresh)
    flags = row.train_flags(str(runs))
    if quick:
        flags = shortened(row.task, "train", flags, runs)
    arguments = (f"apps.{row.task}.train", *flags, "--seed", str(seed), "--run", str(run))
    return Step(row, run, "train", arguments, afresh=afresh)


def _scoring(row: Row, name: str, split: str, runs: Path, *, quick: bool, afresh: bool) -> Step:
    """Returns the step that scores a run on a split."""
    from apps.studies.benchmark.quick import shortened

    run = runs / row.task / name
    # Validation is scored as at the end of a training, which knows no baselines and no more beams.
    flags = shlex.split(row.scoring) if split in row.splits else ["--no-baselines"]
    if quick:
        flags = shortened(row.task, "evaluate", flags, runs)
    arguments = (f"apps.{row.task}.evaluate", "--run", str(run), "--split", split, *flags)
    return Step(row, run, "evaluate", arguments, split=split, afresh=afresh)
