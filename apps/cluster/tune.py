"""Searches settings of a task: many short trainings, judged on the validation split alone.

make tune-sentiment ARGS="--trials 40"
make tune-forecasting ARGS="--trials 40 --train='--data prices --epochs 5'" CLUSTER=10.0.0.1:6379
"""

import csv
import importlib
import importlib.util
import io
import itertools
import shlex
import statistics
import time
from pathlib import Path
from typing import Any, Literal

from rich.console import Console

from apps.cluster.folder import folder_of
from apps.cluster.jobs import run_jobs
from apps.cluster.pool import open_pool
from apps.cluster.schedule import Job
from apps.cluster.trial import FACTS, open_study, queue_again, run_trial, tuning_of
from common.cli import new_table, open_console, parse_call, run_command
from common.errors import UserError
from common.files import write_text
from common.settings import flag

# Rows of the table; the file holds all.
_SHOWN = 10
_OWN_FLAGS = ("run", "resume", "overwrite")


def main(
    task: Literal["forecasting", "sentiment", "translation", "captioning"],
    trials: int = 20,
    train: str = "",
    sweep: Path | None = None,
    sampler: Literal["tpe", "random"] = "tpe",
    pruner: Literal["median", "none"] = "median",
    seed: int = 1,
    workers: int = 1,
    cluster: str = "",
    cpus: int = 1,
    gpus: float = 0.0,
) -> None:
    """Trains with many settings, and names the best by its validation score.

    Args:
        task: The task; the settings that are varied stand at the end of its `config.py`.
        trials: Trainings, those of an earlier start included.
        train: Flags of `train` that all trials share; a setting among them is not varied.
        sweep: Folder to write (default: runs/tune/<task>); a sweep in it goes on.
        sampler: What chooses settings: by what did well so far (tpe), or at random.
        pruner: What stops a training early: a score below the median of the others at its epoch,
            or nothing.
        seed: Of the sampler.
        workers: Trainings at once on this machine.
        cluster: Run on Ray instead: `local`, or the address of a cluster that shares this disk.
        cpus: Cores that a training keeps busy, on a cluster.
        gpus: GPUs that a training keeps busy, on a cluster.
    """
    if importlib.util.find_spec("optuna") is None:
        raise UserError("A sweep needs Optuna: pip install -r requirements-cluster.lock")
    if trials < 1 or workers < 1:
        raise UserError("--trials and --workers must be at least 1.")
    folder = (sweep or Path("runs", "tune", task)).absolute()
    facts = {
        "task": task,
        "train": shlex.split(train),
        "varied": varied_settings(task, shlex.split(train)),
        "sampler": sampler,
        "pruner": pruner,
        "seed": seed,
    }
    console = open_console()
    with folder_of(facts, folder, FACTS, option="--sweep"):
        study = open_study(folder)
        left = trials - _take_up(study)
        if left > 0:
            processes = 0 if cluster else workers
            with open_pool(cluster, workers=processes, cpus=cpus, gpus=gpus) as pool:
                problems = _run_trials(pool, study, folder, left, seed, console)
            for problem in problems.values():
                console.print(problem, style="red", markup=False)
        _report(study, task, folder, facts["train"], console)


def varied_settings(task: str, words: list[str]) -> list[str]:
    """Returns the settings that a sweep varies: not those that are given, or have no effect.

    Raises:
        UserError: If a flag is unknown, or is the sweep's own.
    """
    main = importlib.import_module(f"apps.{task}.train").main
    call = parse_call(main, prog="--train", description="", arguments=words)
    given, config = call.keywords["flags"].given, call.keywords["config"]
    for name in _OWN_FLAGS:
        if name in given:
            raise UserError(f"--train cannot hold {flag(name)}: the sweep sets it.")
    fixed = given | config.ignored().keys()
    return [name for name in tuning_of(task).space if name not in fixed]


def _take_up(study: Any) -> int:
    """Queues the trials again that were stopped with an earlier start; returns how many are done.

    The folder is locked, so no other process runs them.
    """
    from optuna.trial import TrialState

    for trial in study.get_trials(states=[TrialState.RUNNING]):
        if "run" in trial.user_attrs:
            queue_again(study, trial)
    ended = study.get_trials(states=[TrialState.COMPLETE, TrialState.PRUNED])
    failed = study.get_trials(states=[TrialState.FAIL])
    return len(ended) + sum(trial.user_attrs.get("failed", False) for trial in failed)


def _run_trials(
    pool: Any, study: Any, folder: Path, count: int, seed: int, console: Console
) -> dict[str, str]:
    """Runs trials that take their settings when they begin; returns what went wrong."""
    start = len(study.trials)
    took = [trial.duration.total_seconds() for trial in study.trials if trial.duration]
    seconds = statistics.median(took) if took else 60.0
    numbers = {f"training {start + place + 1}": start + place for place in range(count)}
    # Other than those of an earlier start.
    stamp = time.time_ns()
    return run_jobs(
        [Job(name, seconds) for name in numbers],
        pool,
        begin=lambda job: pool.submit(
            run_trial, folder, f"{stamp} {job.name}", seed + numbers[job.name]
        ),
        end=lambda job, problem: problem,
        console=console,
    )


def _report(study: Any, task: str, folder: Path, train: list[str], console: Console) -> None:
    """Writes `trials.csv` and `trials.png`, and prints the best trials and their command."""
    from optuna.trial import TrialState

    tuning = tuning_of(task)
    best_first = -1 if tuning.mode == "max" else 1
    states = (TrialState.COMPLETE, TrialState.PRUNED)
    ended = [trial for trial in study.get_trials(states=states) if trial.value is not None]
    ended.sort(key=lambda trial: (trial.state != TrialState.COMPLETE, best_first * trial.value))
    if not ended or ended[0].state != TrialState.COMPLETE:
        raise UserError(f"No trial of {folder} has ended: see the logs in it.")
    rows = [
        {
            "trial": trial.number,
            tuning.monitor: trial.value,
            "state": trial.state.name.lower(),
            "epochs": len(trial.intermediate_values),
            "seconds": round(trial.duration.total_seconds(), 1),
            "flags": shlex.join(trial.user_attrs["varied"]),
        }
        for trial in ended
    ]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(folder / "trials.csv", text.getvalue())
    table = new_table(
        f"{task}, {len(rows)} trials", ("flags",), ("trial", tuning.monitor, "epochs")
    )
    for row in rows[:_SHOWN]:
        score = f"{row[tuning.monitor]:.4f}"
        table.add_row(row["flags"], str(row["trial"]), score, str(row["epochs"]))
    console.print(table)
    _draw(rows, tuning, folder / "trials.png", task)
    console.print(f"all trials: {folder}/trials.csv, trials.png")
    best = ended[0]
    flags = [*best.user_attrs["varied"], *train]
    console.print(f"best: python -m apps.{task}.train {shlex.join(flags)}")
    console.print(f"its run folder: {best.user_attrs['run']}")


def _draw(rows: list[dict[str, Any]], tuning: Any, path: Path, task: str) -> None:
    """Draws the score of each trial, and the best so far."""
    from common.plots import new_axes, save_figure

    ordered = sorted(rows, key=lambda row: row["trial"])
    figure, (axes,) = new_axes(1, f"{task}: {tuning.monitor} of each trial", width=6.4)
    for state, marker in (("complete", "o"), ("pruned", "x")):
        chosen = [row for row in ordered if row["state"] == state]
        numbers = [row["trial"] for row in chosen]
        scores = [row[tuning.monitor] for row in chosen]
        axes.plot(numbers, scores, marker, color="#8a8f98", label=state, markersize=4)
    whole = [row for row in ordered if row["state"] == "complete"]
    best = itertools.accumulate(
        (row[tuning.monitor] for row in whole), {"max": max, "min": min}[tuning.mode]
    )
    numbers = [row["trial"] for row in whole]
    axes.plot(numbers, list(best), color="#0b6e99", drawstyle="steps-post", label="best so far")
    axes.set(xlabel="trial", ylabel=tuning.monitor)
    axes.legend(frameon=False, fontsize=8)
    save_figure(figure, path)


if __name__ == "__main__":
    run_command(
        main,
        prog="python -m apps.cluster.tune",
        description="Searches the settings of a task by its validation score.",
    )
