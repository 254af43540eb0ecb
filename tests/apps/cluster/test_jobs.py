import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from rich.console import Console

from apps.cluster.jobs import Ended, run_command, run_jobs
from apps.cluster.pool import LocalPool, Lost, open_pool
from apps.cluster.schedule import Job
from apps.studies.benchmark.apart import copy_code, pack, unpack
from common.errors import UserError
from common.files import write_text
from common.results import commit
from common.run_folder import lock_run
from tests.apps.cluster.pools import HerePool
from tests.helpers import files_of, refused

pytestmark = pytest.mark.no_backend
QUIET = Console(quiet=True)


def test_the_rest_runs_when_a_job_fails_and_what_needs_it_is_named():
    jobs = [Job("a", 1.0), Job("b", 2.0), Job("c", 1.0, ("a",)), Job("d", 1.0, ("c",))]
    jobs.append(Job("e", 1.0, ("b",)))
    pool, ran = HerePool(), []

    def run(name):
        ran.append(name)
        if name == "a":
            raise Lost("gone")
        return "broken" if name == "e" else ""

    failed = run_jobs(
        jobs,
        pool,
        begin=lambda job: pool.submit(run, job.name),
        end=lambda job, problem: problem,
        console=QUIET,
    )
    assert sorted(ran) == ["a", "b", "e"]
    assert failed == {
        "a": "gone",
        "c": "not run, because a failed",
        "d": "not run, because c failed",
        "e": "broken",
    }
    assert pool.most == pool.slots


@dataclasses.dataclass(frozen=True)
class Sleeper:
    """A command that only writes its process id, and sleeps."""

    run: Path
    verb: str = "train"

    def done(self):
        return (self.run / "done").is_file()

    def command(self):
        return ["tests.apps.cluster.sleeper", str(self.run)]


def test_a_command_that_is_done_is_not_run_and_a_failure_shows_its_last_line(tmp_path):
    here = Path.cwd()
    write_text(tmp_path / "a" / "done", "")
    ended = run_command(Sleeper(Path("a")), tmp_path, tmp_path / "log", 1)
    assert ended == Ended(0, 0.0)
    assert not (tmp_path / "log").exists()
    failing = dataclasses.replace(Sleeper(tmp_path / "b"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Sleeper, "command", lambda self: ["apps.sentiment.predict", "--nonsense"])
        ended = run_command(failing, here, tmp_path / "log", 1)
    assert ended.status == 2
    assert "--nonsense" in ended.last_line


SCRIPT = """
import sys
from pathlib import Path
from apps.cluster.pool import open_pool
from apps.cluster.jobs import run_command
from tests.apps.cluster.test_jobs import Sleeper
if __name__ == "__main__":
    run = Path(sys.argv[1])
    with open_pool("", workers=1) as pool:
        task = pool.submit(run_command, Sleeper(run), Path.cwd(), run.with_name("log"), 1)
        while not pool.ended([task]):
            pass
"""


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is of Linux alone")
def test_kill_9_of_the_command_ends_all_that_it_started(tmp_path):
    script = tmp_path / "script.py"
    write_text(script, SCRIPT)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    parent = subprocess.Popen([sys.executable, str(script), str(tmp_path / "run")], env=environment)
    pid_file = tmp_path / "run" / "pid"
    try:
        while not pid_file.is_file():
            assert parent.poll() is None
            time.sleep(0.05)
        started = psutil.Process(int(pid_file.read_text()))
        between = psutil.Process(parent.pid).children(recursive=True)
        parent.send_signal(signal.SIGKILL)
    finally:
        parent.kill()
        parent.wait()
    _, alive = psutil.wait_procs([started, *between], timeout=30)
    assert [process for process in alive if process.status() != psutil.STATUS_ZOMBIE] == []


def killed():
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_process_that_is_killed_is_reported():
    pool = LocalPool(1)
    try:
        task = pool.submit(killed)
        while not pool.ended([task]):
            pass
        with pytest.raises(Lost, match="start the command again"):
            pool.result(task)
    finally:
        pool.close()


def test_an_address_with_a_protocol_is_refused():
    with pytest.raises(UserError, match="HOST:PORT"):
        with open_pool("ray://10.0.0.1:10001"):
            pass


def test_a_packed_run_folder_takes_the_place_of_the_old_one(tmp_path):
    write_text(tmp_path / "new" / "metrics.json", "{}")
    write_text(tmp_path / "new" / "plots" / "a.png", "picture")
    write_text(tmp_path / "old" / "state.npz", "older")
    unpack(pack(tmp_path / "new"), tmp_path / "old")
    contents = [
        {path.relative_to(run): data for path, data in files_of(run).items()}
        for run in (tmp_path / "new", tmp_path / "old")
    ]
    assert contents[0] == contents[1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "old"]


def test_a_copy_of_the_code_knows_the_commit_that_it_was_made_from(tmp_path):
    copy = copy_code(tmp_path, "abc1234")
    assert commit(copy) == "abc1234"
    assert (copy / "apps" / "sentiment" / "train.py").is_file()
    assert not (copy / "apps" / "sentiment" / "pretrained").exists()


def test_a_locked_run_is_refused_by_name(tmp_path):
    with lock_run(tmp_path / "run"):
        from apps.cluster.folder import folder_of

        message = refused(
            lambda: folder_of({}, tmp_path / "run", "facts.json", option="--output").__enter__()
        )
    assert "--output" in message
