"""Ray on simulated nodes of this machine: what is lost goes on, and ends in the same weights."""

import contextlib
import csv
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from pathlib import Path

import psutil
import pytest
from rich.console import Console

from apps.studies.benchmark.many import run_many
from apps.studies.benchmark.plan import Step
from apps.studies.benchmark.rows import Row
from apps.studies.benchmark.run import run_in_a_process, run_steps
from common.files import read_json
from common.results import commit

pytestmark = [pytest.mark.no_backend, pytest.mark.slow]

ROOT = Path(__file__).parents[3]
LOOPBACK = "127.0.0.1"
EPOCHS = 8


def training(runs, prices, seed, *flags):
    """The step that trains a small forecaster for eight epochs."""
    row = Row("forecasting", "lstm", seeds=(seed,))
    run = runs / "forecasting" / f"lstm-s{seed}"
    settings = (
        f"--data {prices}/prices --market ^SIM --lookback 32 --stride 1 --warmup-days 10"
        " --train-end 2014-09-30 --validation-end 2015-03-31 --units 4"
        f" --epochs {EPOCHS}"
    )
    words = (*settings.split(), *flags, "--seed", str(seed), "--run", str(run))
    return Step(row, run, "train", ("apps.forecasting.train", *words))


def rows_of(run):
    """The rows of `history.csv` without their seconds; none while it is not there."""
    try:
        with open(run / "history.csv", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except FileNotFoundError:
        return []
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def weights_of(run):
    with zipfile.ZipFile(run / "model.keras") as archive:
        return archive.read("model.weights.h5")


@pytest.fixture
def two_nodes(tmp_path, monkeypatch):
    """A cluster of two nodes with one core each; yields its address and what loses a node."""
    # JAX starts sooner than TensorFlow, and compiles once for all of these runs.
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "compiled"))
    monkeypatch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    # Ray's workers would give way to whatever else this machine computes.
    monkeypatch.setenv("RAY_worker_niceness", "0")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    # Nothing may listen beyond this machine.
    monkeypatch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "0" * 64)
    # Ray reads these when it is imported.
    pytest.importorskip("ray", reason="needs requirements-cluster.txt")
    from ray.cluster_utils import Cluster

    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:
        monkeypatch.setenv("RAY_TMPDIR", folder)
        node = {"node_ip_address": LOOPBACK, "object_store_memory": 100 << 20}
        # The head, which may not be lost, runs nothing.
        head = {**node, "num_cpus": 0, "include_dashboard": False}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        nodes = [cluster.add_node(**node, num_cpus=1) for _ in range(2)]

        def lose_node_of(process):
            (node,) = [node for node in nodes if is_below(process, raylet_of(node))]
            cluster.remove_node(node, allow_graceful=False)

        try:
            yield cluster.address, lose_node_of
        finally:
            cluster.shutdown()


def raylet_of(node):
    ((raylet,),) = [found for kind, found in node.all_processes.items() if "raylet" in kind]
    return raylet.process.pid


def is_below(process, pid):
    return pid in {parent.pid for parent in process.parents()}


def process_that_trains(run):
    """The process whose command names a run folder."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if str(run) in process.cmdline():
                return process
    return None


def test_a_run_whose_node_is_lost_goes_on_and_ends_in_the_same_weights(
    tmp_path, prices_dir, two_nodes
):
    address, lose_node_of = two_nodes
    alone = training(tmp_path / "alone", prices_dir, 1)
    assert run_steps([alone], Console(quiet=True), execute=run_in_a_process) == []
    step = training(tmp_path / "many", prices_dir, 1)
    lost = []

    def lose_the_node_that_trains():
        while len(rows_of(step.run)) < 2:
            time.sleep(0.05)
        process = process_that_trains(step.run)
        lose_node_of(process)
        process.wait(60)
        lost.append(len(rows_of(step.run)))

    watcher = threading.Thread(target=lose_the_node_that_trains, daemon=True)
    watcher.start()
    problems = run_many([step], tmp_path / "many", Console(), cluster=address, cpus=1, gpus=0)
    watcher.join()
    assert problems == {}
    assert lost and 2 <= lost[0] < EPOCHS, "the node was lost too late"
    assert len(read_json(step.run / "metrics.json")["resumed"]) == 1
    assert rows_of(step.run) == rows_of(alone.run)
    assert len(rows_of(step.run)) == EPOCHS
    assert weights_of(step.run) == weights_of(alone.run)


@pytest.fixture
def quick_jax(tmp_path, monkeypatch):
    """The environment of trainings that start soon."""
    pytest.importorskip("ray", reason="needs requirements-cluster.txt")
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "compiled"))
    monkeypatch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    # Ray's workers would give way to whatever else this machine computes.
    monkeypatch.setenv("RAY_worker_niceness", "0")


DRIVER = """
import sys
from pathlib import Path
from rich.console import Console
from apps.studies.benchmark.many import run_many
from tests.apps.cluster.test_ray import training
if __name__ == "__main__":
    runs, prices, shared = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3] == "shared"
    seeds = (1, 2) if shared else (1,)
    good = [training(runs, prices, seed, "--epochs", "6") for seed in seeds]
    bad = training(runs, "/nowhere", 3)
    options = {"cluster": "local", "cpus": 1, "gpus": 0, "shared_disk": shared}
    problems = run_many([*good, bad], runs, Console(), **options)
    print("FAILED", sorted(run.name for run in problems), *problems.values())
"""


def driver(folder, runs, prices_dir, shared):
    """Starts a process that trains two runs, or one, on Ray, and fails at another."""
    script = folder / "driver.py"
    script.write_text(DRIVER, encoding="utf-8")
    # One core, so that one run comes after the other.
    command = ["taskset", "-c", "0"] if shutil.which("taskset") else []
    command += [sys.executable, str(script), str(runs), str(prices_dir), shared]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True)


def test_after_kill_9_nothing_is_trained_twice_and_a_failure_leaves_the_rest(
    tmp_path, prices_dir, quick_jax
):
    runs = tmp_path / "runs"
    first, second = (runs / "forecasting" / f"lstm-s{seed}" for seed in (1, 2))
    process = driver(tmp_path, runs, prices_dir, "shared")
    while not any(len(rows_of(run)) >= 2 for run in (first, second)):
        assert process.poll() is None
        time.sleep(0.05)
    children = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.communicate()
    _, alive = psutil.wait_procs(children, timeout=240)
    assert [one for one in alive if one.status() != psutil.STATUS_ZOMBIE] == []
    begun = {
        run: (run / "history.csv").read_text().splitlines()
        for run in (first, second)
        if rows_of(run)
    }
    process = driver(tmp_path, runs, prices_dir, "shared")
    output, _ = process.communicate(timeout=900)
    assert "FAILED ['lstm-s3']" in output and "/nowhere" in output
    for run in (first, second):
        assert len(rows_of(run)) == 6
        # With their seconds, by which an epoch that was trained again would differ.
        kept = begun.get(run, [])
        assert (run / "history.csv").read_text().splitlines()[: len(kept)] == kept


def test_without_a_shared_disk_code_goes_out_and_runs_come_back(tmp_path, prices_dir, quick_jax):
    process = driver(tmp_path, "runs", prices_dir, "apart")
    try:
        output, _ = process.communicate(timeout=900)
    finally:
        process.kill()
    assert "FAILED ['lstm-s3']" in output
    run = tmp_path / "runs" / "forecasting" / "lstm-s1"
    assert len(rows_of(run)) == 6
    assert read_json(run / "metrics.json")["commit"] == commit()
    assert zipfile.is_zipfile(run / "model.keras")
    assert not (tmp_path / "runs" / "forecasting" / "lstm-s3").exists()
