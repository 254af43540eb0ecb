"""Plans the commands that make the published rows, and tells which of them are done."""

import dataclasses
import importlib
import shlex
from pathlib import Path
from typing import Any

from apps.studies.benchmark.quick import quick_flags
from apps.studies.benchmark.rows import ROWS, Row
from common.cli import parse_call
from common.errors import UserError
from common.files import read_json
from common.results import is_committed
from common.run_folder import CONFIG, METRICS, MODEL
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
    """Split that `evaluate` scores."""
    afresh: bool = False
    """Whether to run it although it is done."""

    def record(self) -> dict[str, Any]:
        """Returns `metrics.json` of the run, empty if there is none."""
        return read_json(self.run / METRICS) if (self.run / METRICS).is_file() else {}

    def done(self) -> bool:
        """Whether `metrics.json` records the end of the step, by committed code."""
        record = self.record()
        if self.afresh:
            return False
        if self.verb == "join":
            return self._is_joined(record)
        # A training ends with its seconds and with its scores on validation.
        split = self.split or "validation"
        scored = split in record.get("metrics", {})
        scored = scored and is_committed(record.get("scored", {}).get(split, ""))
        return scored and (self.verb == "evaluate" or "seconds" in record)

    def _is_joined(self, record: dict[str, Any]) -> bool:
        """Whether the run joins the row's members, and none of them is newer."""
        models = [self.run / MODEL, *(self.run.with_name(m) / MODEL for m in self.row.members)]
        if not all(map(Path.is_file, models)):
            return False
        joined, *members = (model.stat().st_mtime for model in models)
        names = [Path(name).name for name in record.get("members", [])]
        return names == list(self.row.members) and max(members) <= joined

    def command(self) -> list[str]:
        """Returns the arguments of `python -m`; a training that was stopped is resumed."""
        if self.verb == "evaluate":
            return [*self.arguments]
        if self.afresh or self.verb == "join":
            return [*self.arguments, "--overwrite"]
        return [*self.arguments, *(["--resume"] if (self.run / CONFIG).is_file() else [])]

    def check_settings(self) -> None:
        """Makes sure that a run in the folder has the settings of the row.

        Raises:
            UserError: If it has others, as your own run of the same name may have.
        """
        if self.verb != "train" or self.afresh or not (self.run / CONFIG).is_file():
            return
        module, *flags = self.arguments
        main = importlib.import_module(module).main
        config = parse_call(main, prog=module, description="", arguments=flags).keywords["config"]
        stored = read_json(self.run / CONFIG)
        # A newer setting is missing in the file; --init-from brings settings that no flag names.
        differing = [
            flag(name)
            for name, value in dataclasses.asdict(config).items()
            if as_list(stored.get(name, value)) != as_list(value)
        ]
        if differing and not getattr(config, "init_from", ""):
            raise UserError(
                f"{self.run} was trained with other settings than its row ({', '.join(differing)}):"
                " move it away, or name another folder of runs with --runs."
            )

    def check_commit(self) -> None:
        """Makes sure that a commit holds the code that made the run.

        Raises:
            UserError: If none does: the row could not be published.
        """
        commit = self.record().get("commit", "")
        if not self.afresh and not is_committed(commit):
            raise UserError(
                f"{self.run} was made by uncommitted code ({commit}), so its figures cannot be"
                " published: move it away and run the benchmark again."
            )


def as_list(value: Any) -> list[Any]:
    """Returns a setting as a list: JSON has no tuples, and older runs hold a single name."""
    return list(value) if isinstance(value, list | tuple) else [value]


def published_row(row: Row) -> dict[str, Any] | None:
    """Returns a row as it is published, or None."""
    path = Path("apps") / row.task / "results" / f"{row.name}.json"
    return read_json(path) if path.is_file() else None


def plan_steps(
    rows: list[Row], runs: Path, *, quick: bool = False, afresh: bool = False
) -> list[Step]:
    """Returns the steps to some rows, in order, with those to the runs that they need.

    Args:
        rows: Which ones.
        runs: Folder of all runs.
        quick: Whether each step takes seconds, on the samples, and replaces an existing run.
        afresh: Whether existing runs of these rows, not of others, are replaced too.
    """
    chosen = {(row.task, row.name): row for row in rows}
    needed = {(row.task, run) for row in rows for run in row.needed_runs()}
    for row in reversed(ROWS):
        if any((row.task, run) in needed for run in row.runs()):
            needed |= {(row.task, run) for run in row.needed_runs()}
    steps = []
    for row in ROWS:
        asked = chosen.get((row.task, row.name))
        for seed, name in zip(row.seeds, row.runs(), strict=True):
            scored = asked is not None and seed in asked.seeds
            if scored or (row.task, name) in needed:
                again = quick or (afresh and scored)
                steps.append(_run_step(row, seed, runs, quick=quick, afresh=again))
            for split in asked.splits if scored else ():
                steps.append(_score_step(row, name, split, runs, quick=quick, afresh=again))
    return steps


def plan_rescoring(row: Row, runs: Path) -> list[Step]:
    """Returns the steps that score the saved runs of a row again, trained ones on validation too.

    Empty if a run has no model.
    """
    if not all((runs / row.task / name / MODEL).is_file() for name in row.runs()):
        return []
    splits = row.splits if row.members else (*row.splits, "validation")
    return [
        _score_step(row, name, split, runs, quick=False, afresh=True)
        for name in row.runs()
        for split in splits
    ]


def _run_step(row: Row, seed: int, runs: Path, *, quick: bool, afresh: bool) -> Step:
    """Returns the step that trains a run, or joins its members."""
    run = runs / row.task / f"{row.name}-s{seed}"
    if row.members:
        members = [str(runs / row.task / member) for member in row.members]
        arguments = ("apps.ensemble", "--members", *members, "--run", str(run))
        return Step(row, run, "join", arguments, afresh=afresh)
    flags = row.train_flags(str(runs))
    if quick:
        flags = quick_flags(row.task, "train", flags, runs)
    arguments = (f"apps.{row.task}.train", *flags, "--seed", str(seed), "--run", str(run))
    return Step(row, run, "train", arguments, afresh=afresh)


def _score_step(row: Row, name: str, split: str, runs: Path, *, quick: bool, afresh: bool) -> Step:
    """Returns the step that scores a run on a split."""
    run = runs / row.task / name
    # A training scores validation without baselines and with one beam size.
    flags = shlex.split(row.scoring) if split in row.splits else ["--no-baselines"]
    if quick:
        flags = quick_flags(row.task, "evaluate", flags, runs)
    arguments = (f"apps.{row.task}.evaluate", "--run", str(run), "--split", split, *flags)
    return Step(row, run, "evaluate", arguments, split=split, afresh=afresh)
