"""One trial of a sweep: settings from Optuna, the ordinary `train` command, a validation score."""

import csv
import functools
import importlib
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from apps.cluster.pool import CODE
from common.files import read_json
from common.run_folder import CONFIG, HISTORY
from common.settings import Range, Tuning, flag

if TYPE_CHECKING:
    import optuna

# What the folder of a sweep holds: its facts, Optuna's storage, and what the trials leave.
FACTS, JOURNAL, TRIALS = "sweep.json", "trials.journal", "trials"
# Trials that run to their end before any is stopped early, and epochs that each has in any case.
_UNPRUNED, _LEAST_EPOCHS = 5, 1
# Seconds between two looks at the history of a training.
_LOOK = 1.0


def open_study(folder: Path, *, seed: int = 0) -> "optuna.Study":
    """Opens the study in the folder of a sweep.

    Args:
        folder: It holds `sweep.json`.
        seed: Of the settings that this process draws.
    """
    import optuna
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    facts = read_json(folder / FACTS)
    samplers = {
        "tpe": functools.partial(optuna.samplers.TPESampler, constant_liar=True),
        "random": optuna.samplers.RandomSampler,
    }
    pruner = optuna.pruners.NopPruner()
    if facts["pruner"] == "median":
        pruner = optuna.pruners.MedianPruner(_UNPRUNED, n_warmup_steps=_LEAST_EPOCHS)
    mode = tuning_of(facts["task"]).mode
    return optuna.create_study(
        storage=optuna.storages.JournalStorage(JournalFileBackend(str(folder / JOURNAL))),
        sampler=samplers[facts["sampler"]](seed=seed),
        pruner=pruner,
        study_name="sweep",
        direction={"min": "minimize", "max": "maximize"}[mode],
        load_if_exists=True,
    )


def tuning_of(task: str) -> Tuning:
    """Returns what a sweep of the task varies."""
    return importlib.import_module(f"apps.{task}.config").TUNING


def queue_again(study: "optuna.Study", trial: Any) -> None:
    """Lets the next process go on with a trial whose process is gone."""
    import optuna

    study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
    study.enqueue_trial(trial.params, user_attrs={"run": trial.user_attrs["run"]})


def run_trial(folder: Path, ticket: str, seed: int) -> str:
    """Runs a trial and returns what went wrong, or nothing.

    Args:
        folder: Of the sweep.
        ticket: The same where a cluster starts this once more because a node was lost.
        seed: Of the settings that are drawn.
    """
    import optuna

    states = optuna.trial.TrialState
    study, facts = open_study(folder, seed=seed), read_json(folder / FACTS)
    for lost in study.get_trials(states=[states.RUNNING]):
        if lost.user_attrs.get("ticket") == ticket:
            queue_again(study, lost)
    tuning, trial = tuning_of(facts["task"]), study.ask()
    run = Path(trial.user_attrs.get("run", folder / TRIALS / f"{trial.number:04}"))
    trial.set_user_attr("run", str(run))
    trial.set_user_attr("ticket", ticket)
    words = suggested(trial, tuning.space, facts["varied"])
    trial.set_user_attr("varied", words)
    status = _train(study, trial, run, [*words, *facts["train"]], facts["task"], tuning)
    if status is None:
        study.tell(trial, state=states.PRUNED)
        return ""
    scores = scores_of(run, tuning.monitor)
    if status or not scores:
        trial.set_user_attr("failed", True)
        study.tell(trial, state=states.FAIL)
        return f"trial {trial.number} ended with status {status}: see {_log(run)}"
    study.tell(trial, max(scores) if tuning.mode == "max" else min(scores))
    return ""


def suggested(trial: Any, space: dict[str, Range | tuple], names: list[str]) -> list[str]:
    """Returns flags with values that Optuna suggests, to four digits."""
    words = []
    for name in names:
        values = space[name]
        if isinstance(values, Range):
            value = f"{trial.suggest_float(name, values.low, values.high, log=values.log):.4g}"
        else:
            value = str(trial.suggest_categorical(name, values))
        words += [flag(name), value]
    return words


def scores_of(run: Path, monitor: str) -> list[float]:
    """Returns the score of each epoch so far, without a backend."""
    if not (run / HISTORY).is_file():
        return []
    with open(run / HISTORY, encoding="utf-8", newline="") as file:
        return [float(row[monitor]) for row in csv.DictReader(file)]


def _train(
    study: Any, trial: Any, run: Path, words: list[str], task: str, tuning: Tuning
) -> int | None:
    """Trains and reports each epoch; returns the exit status, or None if it was stopped early."""
    resume = ["--resume"] if (run / CONFIG).is_file() else []
    command = [sys.executable, "-m", "apps.cluster", str(os.getpid()), f"apps.{task}.train"]
    command += [*words, "--run", str(run), *resume]
    run.parent.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "PYTHONPATH": str(CODE)}
    reported = 0
    with open(_log(run), "ab") as log:
        streams = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": subprocess.STDOUT}
        with subprocess.Popen(command, env=environment, **streams) as process:
            while True:
                try:
                    status = process.wait(_LOOK)
                except subprocess.TimeoutExpired:
                    status = None
                scores = scores_of(run, tuning.monitor)
                for epoch in range(reported, len(scores)):
                    trial.report(scores[epoch], epoch)
                if status is not None:
                    return status
                if len(scores) > reported and trial.should_prune():
                    process.kill()
                    return None
                reported = len(scores)


def _log(run: Path) -> Path:
    return run.with_name(f"{run.name}.log")
