import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import models.forecasting  # noqa: F401
import models.sentiment  # noqa: F401  Registers the layers that are loaded.
from common.devices import Devices, rows_of, start_devices
from common.files import read_json
from tests.helpers import refused, weights_of

pytestmark = pytest.mark.no_backend

ROOT = Path(__file__).parents[2]


def test_the_processes_take_each_row_once_where_the_rows_divide():
    shares = [rows_of(12, parts=4, processes=2, process=process) for process in (0, 1)]
    rows, weights = (np.concatenate(parts) for parts in zip(*shares, strict=True))
    np.testing.assert_array_equal(rows, np.arange(12))
    np.testing.assert_array_equal(weights, np.ones(12))


def test_a_batch_that_does_not_divide_is_filled_up_with_rows_that_weigh_nothing():
    shares = [rows_of(5, parts=4, processes=2, process=process) for process in (0, 1)]
    rows, weights = (np.concatenate(parts) for parts in zip(*shares, strict=True))
    np.testing.assert_array_equal(rows, [0, 1, 2, 3, 4, 0, 1, 2])
    # The mean over all eight is that over the five.
    losses = np.array([3.0, 1, 4, 1, 5])
    assert (losses[rows] * weights).mean() == pytest.approx(losses.mean())
    # Fewer rows than devices too.
    np.testing.assert_array_equal(rows_of(1, parts=4, processes=1, process=0)[0], [0, 0, 0, 0])


def test_what_cannot_be_combined_is_refused_in_one_line(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    assert "KERAS_BACKEND=jax" in refused(start_devices, "2", unfit={})
    assert "--devices none" in refused(start_devices, "none", unfit={})
    assert "--devices 0" in refused(start_devices, "0", unfit={})
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    assert "--stateful" in refused(start_devices, "2", unfit={"--stateful": True})
    monkeypatch.setenv("KERAS_DISTRIBUTION_NUM_PROCESSES", "2")
    assert "--devices all" in refused(start_devices, "", unfit={})
    assert "all" in refused(start_devices, "2", unfit={})


def test_only_the_first_process_writes_the_run_folder(tmp_path):
    run, second = tmp_path / "run", Devices(2, 2, 1)
    assert Devices(2, 2, 0).folder(run, resume=False) == run
    assert second.folder(run, resume=False).parent != tmp_path
    assert "does not see" in refused(second.folder, run, resume=True)
    run.mkdir()
    (run / "state.npz").write_bytes(b"state")
    own = Devices(2, 2, 1).folder(run, resume=True)
    assert not own.exists() or (own / "state.npz").read_bytes() == b"state"


FORECASTING = (
    "apps.forecasting.train --data {prices} --market ^SIM --lookback 32 --stride 8 --warmup-days 10"
    " --train-end 2014-09-30 --validation-end 2015-03-31 --units 4 --batch-size 16 --epochs 3"
)
# Dropout draws by the number of rows, and some of these batches are filled up.
SENTIMENT = (
    "apps.sentiment.train --data {reviews} --units 4 --embed-dim 6 --max-length 40"
    " --region-length 10 --tokens-per-batch 360 --warmup-steps 2 --vocab-size 300"
    " --bigram-buckets 50 --word-dropout 0 --embedding-dropout 0 --dropout 0 --epochs 3"
)


def started(words, run, compiled, *flags, **environment):
    environment |= {
        "KERAS_BACKEND": "jax",
        "JAX_COMPILATION_CACHE_DIR": str(compiled),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    return subprocess.Popen(
        [sys.executable, "-m", *words, *flags, "--run", str(run)],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def ended(*processes):
    """Waits, and checks that all processes ended well."""
    for process in processes:
        output, _ = process.communicate(timeout=900)
        assert process.returncode == 0, output


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.mark.slow
@pytest.mark.parametrize("command", [FORECASTING, SENTIMENT], ids=["forecasting", "sentiment"])
def test_two_devices_and_two_processes_train_as_one_does(
    command, tmp_path, prices_dir, reviews_csv
):
    words = command.format(prices=prices_dir / "prices", reviews=reviews_csv).split()
    compiled = tmp_path / "compiled"
    one, two, many = (tmp_path / name for name in ("one", "two", "many"))
    ended(started(words, one, compiled))
    ended(started(words, two, compiled, "--devices", "2"))
    both = {
        "JAX_NUM_CPU_DEVICES": "1",
        "KERAS_DISTRIBUTION_JOB_ADDRESSES": f"127.0.0.1:{free_port()}",
        "KERAS_DISTRIBUTION_NUM_PROCESSES": "2",
    }
    numbers = [{"KERAS_DISTRIBUTION_PROCESS_ID": str(process)} for process in (0, 1)]
    ended(*(started(words, many, compiled, "--devices", "all", **both, **one) for one in numbers))
    # Sums are rounded in another order.
    for run in (two, many):
        for ours, theirs in zip(weights_of(run), weights_of(one), strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-6)
    assert "validation" in read_json(many / "metrics.json")["metrics"]
    assert sorted(path.name for path in many.iterdir()) == sorted(
        path.name for path in one.iterdir()
    )
