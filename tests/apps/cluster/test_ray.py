"""Ray on simulated nodes of this machine: what is lost goes on, and ends in the same weights."""

import contextlib
import csv
import tempfile
import threading
import time
import zipfile

import psutil
import pytest
from rich.console import Console

from apps.studies.benchmark.many import run_many
from apps.studies.benchmark.plan import Step
from apps.studies.benchmark.rows import Row
from apps.studies.benchmark.run import run_in_a_process, run_steps
from common.files import read_json

pytestmark = [pytest.mark.no_backend, pytest.mark.slow]

LOOPBACK = "127.0.0.1"
EPOCHS = 8


def training(runs, prices_dir, seed, *flags):
    """The step that trains a small forecaster for eight epochs."""
    row = Row("forecasting", "lstm", seeds=(seed,))
    run = runs / "forecasting" / f"lstm-s{seed}"
    settings = (
        f"--data {prices_dir}/prices --market ^SIM --lookback 32 --stride 1 --warmup-days 10"
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
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "0" * 64)
    # Ray reads these when it is imported.
    pytest.importorskip("ray", reason="needs requirements-cluster.txt")
    from ray._private import services
    from ray.cluster_utils import Cluster

    # Nothing may listen beyond this machine.
    monkeypatch.setattr(services, "resolve_ip_for_localhost", lambda host: host)
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
