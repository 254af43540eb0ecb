import csv
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from common.devices import Devices, rows_of, start_devices
from common.files import read_json
from tests.helpers import refused

pytestmark = pytest.mark.no_backend

ROOT = Path(__file__).parents[2]


def test_the_processes_take_each_row_once_where_the_rows_divide():
    shares = [rows_of(12, parts=4, processes=2, process=process) for process in (0, 1)]
    np.testing.assert_array_equal(np.concatenate(shares), np.arange(12))


def test_a_batch_that_does_not_divide_is_filled_up_with_its_first_rows():
    shares = [rows_of(5, parts=4, processes=2, process=process) for process in (0, 1)]
    np.testing.assert_array_equal(np.concatenate(shares), [0, 1, 2, 3, 4, 0, 1, 2])
    # Fewer rows than devices too.
    np.testing.assert_array_equal(rows_of(1, parts=4, processes=1, process=0), [0, 0, 0, 0])


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


def started(run, prices_dir, compiled, *flags, **environment):
    """A process that trains a small forecaster whose batches divide by two."""
    settings = (
        f"--data {prices_dir}/prices --market ^SIM --lookback 32 --stride 8 --warmup-days 10"
        " --train-end 2014-09-30 --validation-end 2015-03-31 --units 4 --batch-size 16"
        " --dropout 0 --input-dropout 0 --epochs 2"
    )
    command = [sys.executable, "-m", "apps.forecasting.train", *settings.split(), *flags]
    environment |= {
        "KERAS_BACKEND": "jax",
        "JAX_COMPILATION_CACHE_DIR": str(compiled),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    return subprocess.Popen(
        [*command, "--run", str(run)],
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


def losses_of(run):
    with open(run / "history.csv", encoding="utf-8") as file:
        return [[float(row["loss"]), float(row["val_loss"])] for row in csv.DictReader(file)]


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.mark.slow
def test_two_devices_and_two_processes_train_as_one_does(tmp_path, prices_dir):
    compiled = tmp_path / "compiled"
    one, two, many = (tmp_path / name for name in ("one", "two", "many"))
    ended(started(one, prices_dir, compiled))
    ended(started(two, prices_dir, compiled, "--devices", "2"))
    address = f"127.0.0.1:{free_port()}"
    ended(
        *(
            started(
                many,
                prices_dir,
                compiled,
                "--devices",
                "all",
                JAX_NUM_CPU_DEVICES="1",
                KERAS_DISTRIBUTION_JOB_ADDRESSES=address,
                KERAS_DISTRIBUTION_NUM_PROCESSES="2",
                KERAS_DISTRIBUTION_PROCESS_ID=str(process),
            )
            for process in (0, 1)
        )
    )
    # Sums are rounded in another order.
    np.testing.assert_allclose(losses_of(two), losses_of(one), rtol=1e-4)
    np.testing.assert_allclose(losses_of(many), losses_of(two), rtol=1e-4)
    assert "validation" in read_json(many / "metrics.json")["metrics"]
    assert sorted(path.name for path in many.iterdir()) == sorted(
        path.name for path in one.iterdir()
    )
