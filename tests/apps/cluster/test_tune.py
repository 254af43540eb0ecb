import csv
import importlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from apps.cluster import trial, tune
from common.cli import parse_call
from common.files import write_text
from common.settings import Range, flag
from tests.apps.cluster.pools import here
from tests.helpers import call, printed, refused

pytestmark = pytest.mark.no_backend
optuna = pytest.importorskip("optuna", reason="needs requirements-cluster.txt")

ROOT = Path(__file__).parents[3]
TASKS = ("forecasting", "sentiment", "translation", "captioning")


@pytest.mark.parametrize("task", TASKS)
def test_every_setting_that_is_varied_exists_and_takes_its_values(task):
    tuning = trial.tuning_of(task)
    main = importlib.import_module(f"apps.{task}.train").main
    for name, values in tuning.space.items():
        ends = (values.low, values.high) if isinstance(values, Range) else values
        for value in ends:
            words = [flag(name), str(value)]
            config = parse_call(main, prog="", description="", arguments=words).keywords["config"]
            assert getattr(config, name) == value
            assert name not in config.ignored()


@pytest.mark.parametrize("task", TASKS)
def test_a_sweep_is_judged_as_training_chooses_its_epoch(task):
    source = (ROOT / "apps" / task / "train.py").read_text(encoding="utf-8")
    tuning = trial.tuning_of(task)
    assert f'monitor="{tuning.monitor}",\n            mode="{tuning.mode}"' in source


def test_a_setting_that_is_given_is_not_varied():
    names = list(trial.tuning_of("sentiment").space)
    assert tune.varied_settings("sentiment", []) == names
    left = tune.varied_settings("sentiment", ["--units", "32", "--epochs", "2"])
    assert left == [name for name in names if name != "units"]
    assert "--run" in refused(tune.varied_settings, "sentiment", ["--run", "a"])
    assert "--unitz" in refused(tune.varied_settings, "sentiment", ["--unitz", "3"])


class Trainings:
    """In place of trainings: the score is the dropout, and one of them fails."""

    def __init__(self, fails=(), stops=()):
        self.ran, self.fails, self.stops = [], fails, stops

    def __call__(self, study, one, run, words, task, tuning):
        self.ran.append((one.number, run.name))
        if one.number in self.stops:
            write_text(run / "config.json", "{}")
            raise KeyboardInterrupt
        if one.number in self.fails:
            return 2
        dropout = float(words[words.index("--dropout") + 1])
        write_text(run / "history.csv", f"epoch,val_accuracy\n1,0.1\n2,{dropout}\n3,0.2\n")
        for epoch, score in enumerate((0.1, dropout, 0.2)):
            one.report(score, epoch)
        return 0


@pytest.fixture
def sweep(tmp_path, monkeypatch):
    """Arguments of a sweep whose trainings take no time."""
    monkeypatch.setattr(tune, "open_pool", here)
    return ["--task", "sentiment", "--sweep", tmp_path / "sweep", "--trials"]


def trials_of(arguments):
    with open(arguments[3] / "trials.csv", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_best_trial_is_the_one_with_the_best_epoch(sweep, monkeypatch):
    trainings = Trainings(fails=[1])
    monkeypatch.setattr(trial, "_train", trainings)
    shown = printed(tune.main, *sweep, 6, "--train=--epochs 3")
    rows = trials_of(sweep)
    # The one that failed has no score; the rest went on.
    assert sorted(int(row["trial"]) for row in rows) == [0, 2, 3, 4, 5]
    scores = [float(row["val_accuracy"]) for row in rows]
    assert scores == sorted(scores, reverse=True)
    assert "trial 1 ended with status 2" in shown
    assert f"best: python -m apps.sentiment.train {rows[0]['flags']} --epochs 3" in shown
    assert f"trials/{int(rows[0]['trial']):04}" in shown
    assert (sweep[3] / "trials.png").read_bytes().startswith(b"\x89PNG")


def test_a_sweep_goes_on_with_what_was_stopped_and_trains_nothing_twice(sweep, monkeypatch):
    first = Trainings(stops=[2])
    monkeypatch.setattr(trial, "_train", first)
    with pytest.raises(KeyboardInterrupt):
        call(tune.main, *sweep, 5)
    assert first.ran == [(0, "0000"), (1, "0001"), (2, "0002")]
    again = Trainings()
    monkeypatch.setattr(trial, "_train", again)
    call(tune.main, *sweep, 5)
    # The third one under a new number in its own folder, then those that were missing.
    assert [run for _, run in again.ran] == ["0002", "0004", "0005"]
    study = trial.open_study(sweep[3])
    stopped, taken_up = study.trials[2], study.trials[3]
    assert stopped.params == taken_up.params
    call(tune.main, *sweep, 5)
    assert len(again.ran) == 3
    assert "seed" in refused(call, tune.main, *sweep, 5, "--seed", 2)


def test_a_trial_that_a_cluster_starts_once_more_goes_on_in_its_folder(sweep, monkeypatch):
    monkeypatch.setattr(trial, "_train", Trainings())
    call(tune.main, *sweep, 1)
    monkeypatch.setattr(trial, "_train", Trainings(stops=[1]))
    with pytest.raises(KeyboardInterrupt):
        trial.run_trial(sweep[3], "ticket", 1)
    once_more = Trainings()
    monkeypatch.setattr(trial, "_train", once_more)
    assert trial.run_trial(sweep[3], "ticket", 1) == ""
    assert once_more.ran == [(2, "0001")]


def test_a_bad_training_is_stopped_early(sweep, monkeypatch):
    monkeypatch.setattr(trial, "_train", Trainings())
    call(tune.main, *sweep, 6)
    monkeypatch.undo()
    study = trial.open_study(sweep[3])
    one = study.ask()
    # Two epochs far below the median of the six.
    for epoch in (0, 1):
        one.report(-1.0, epoch)
    assert one.should_prune()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="prctl is of Linux alone")
def test_a_sweep_of_real_trainings_survives_kill_9(tmp_path, prices_dir):
    train = (
        f"--data {prices_dir}/prices --market ^SIM --lookback 32 --stride 2 --warmup-days 10"
        " --train-end 2014-09-30 --validation-end 2015-03-31 --units 4 --epochs 6"
        " --batch-size 8 --cell lstm"
    )
    folder = tmp_path / "sweep"
    command = [sys.executable, "-m", "apps.cluster.tune", "--task", "forecasting", "--trials", "2"]
    command += ["--sweep", str(folder), f"--train={train}", "--pruner", "none"]
    environment = {
        **os.environ,
        "KERAS_BACKEND": "jax",
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    process = subprocess.Popen(command, cwd=ROOT, env=environment)
    history = folder / "trials" / "0000" / "history.csv"
    while not history.is_file():
        assert process.poll() is None
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    first_epoch = history.read_text().splitlines()[1]
    subprocess.run(command, cwd=ROOT, env=environment, check=True)
    with open(folder / "trials.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2
    assert all(row["state"] == "complete" for row in rows)
    # With its seconds: the epoch was not trained again.
    assert history.read_text().splitlines()[1] == first_epoch
