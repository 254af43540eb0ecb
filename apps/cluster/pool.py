"""Where tasks run: in processes of this machine, or on a Ray cluster. Both have the same methods.

Ray is optional (`requirements-cluster.txt`). It places the tasks, starts those of a lost node again
and carries arguments and results; nothing here listens on a port.
"""

import concurrent.futures
import contextlib
import ctypes
import multiprocessing
import os
import secrets
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from common.errors import UserError

CODE = Path(__file__).parents[2]
# How often Ray starts a task again whose node or process was lost.
_RETRIES = 3
# Seconds after which whoever waits looks at the size of the cluster again.
_PATIENCE = 5.0
_INSTALL = "pip install -r requirements-cluster.lock"
_PR_SET_PDEATHSIG = 1
_LOOPBACK = "127.0.0.1"


class Lost(Exception):
    """A task that ended without a result, because its process or its node is gone."""


def die_with_parent() -> None:
    """Lets this process be killed when its parent ends, also by kill -9. Does so on Linux alone."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class LocalPool:
    """Processes of this machine, each of which runs one task after the other."""

    def __init__(self, workers: int):
        """Starts no process yet.

        Args:
            workers: How many.
        """
        self.slots = workers
        self._pool = concurrent.futures.ProcessPoolExecutor(
            workers,
            # A fork would copy the threads of a backend or of Arrow.
            mp_context=multiprocessing.get_context("spawn"),
            initializer=die_with_parent,
        )

    def submit(self, function: Callable[..., Any], *arguments: Any) -> concurrent.futures.Future:
        """Begins a task, at once if a process is free."""
        return self._pool.submit(function, *arguments)

    def ended(self, tasks: Sequence[concurrent.futures.Future]) -> list[concurrent.futures.Future]:
        """Waits for one of the tasks, but not for ever, and returns those that have ended."""
        done, _ = concurrent.futures.wait(tasks, _PATIENCE, concurrent.futures.FIRST_COMPLETED)
        return list(done)

    def result(self, task: concurrent.futures.Future) -> Any:
        """Returns what a task returned.

        Raises:
            Lost: If its process was killed.
        """
        try:
            return task.result()
        except BrokenProcessPool:
            raise Lost(
                "a process was killed, perhaps for want of memory: start the command again, and"
                " it goes on"
            ) from None

    def close(self) -> None:
        """Ends the processes; tasks that have not begun are dropped."""
        self._pool.shutdown(wait=True, cancel_futures=True)


class RayPool:
    """The free CPUs and GPUs of a Ray cluster, in shares of one task each."""

    def __init__(self, *, cpus: float, gpus: float):
        """Takes the cluster that this process has joined.

        Args:
            cpus: That a task keeps busy.
            gpus: That a task keeps busy.
        """
        self._options = {"num_cpus": cpus, "num_gpus": gpus, "max_retries": _RETRIES}
        self._shares = {"CPU": cpus, "GPU": gpus}

    @property
    def slots(self) -> int:
        """How many tasks the nodes that are there now run at once; at least 1."""
        return max(1, self.room())

    def room(self) -> int:
        """Returns the same, 0 if no node is large enough for a task."""
        import ray

        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        shares = {kind: share for kind, share in self._shares.items() if share}
        return sum(
            int(min(node.get(kind, 0) // share for kind, share in shares.items())) for node in nodes
        )

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Begins a task, at once if a node has room."""
        import ray

        return ray.remote(function).options(**self._options).remote(*arguments)

    def ended(self, tasks: Sequence[Any]) -> list[Any]:
        """Waits for one of the tasks, but not for ever, and returns those that have ended."""
        import ray

        done, _ = ray.wait(list(tasks), timeout=_PATIENCE, fetch_local=False)
        return done

    def result(self, task: Any) -> Any:
        """Returns what a task returned.

        Raises:
            Lost: If its process or node was lost more often than it is started again.
        """
        import ray

        try:
            return ray.get(task)
        except ray.exceptions.RayTaskError as error:
            raise error.as_instanceof_cause() from None
        except ray.exceptions.RayError as error:
            reason = str(error).strip().splitlines()
            raise Lost(f"lost with its node or process ({reason[0] if reason else ''})") from None

    def close(self) -> None:
        """Leaves the cluster, which drops the tasks of this process."""
        import ray

        ray.shutdown()


Pool = LocalPool | RayPool


@contextlib.contextmanager
def open_pool(
    cluster: str,
    *,
    workers: int = 0,
    cpus: float = 1,
    gpus: float = 0,
    code: Path | None = None,
) -> Iterator[Pool]:
    """Lends what runs tasks, and ends it with all that it started.

    Args:
        cluster: `""` for processes of this machine, `local` for Ray on this machine alone, or the
            address of a Ray cluster.
        workers: Processes, or CPUs of `local`; 0 for one a core.
        cpus: That a task keeps busy, on Ray.
        gpus: That a task keeps busy, on Ray.
        code: A copy of the project that Ray takes to nodes that do not see this folder.

    Raises:
        UserError: If Ray is not installed or there is no cluster at the address.
    """
    workers = workers or cores()
    if not cluster:
        pool = LocalPool(workers)
        try:
            yield pool
        finally:
            pool.close()
        return
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:
        _join(cluster, workers, Path(folder), code)
        pool = RayPool(cpus=cpus, gpus=gpus)
        try:
            if not pool.room():
                raise UserError(
                    f"CLUSTER={cluster} has no node with {cpus} CPUs and {gpus} GPUs: lower CPUS"
                    " or GPUS."
                )
            yield pool
        finally:
            pool.close()


def cores() -> int:
    """Returns the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _join(cluster: str, workers: int, folder: Path, code: Path | None) -> None:
    """Joins a cluster; the files of one that is started here lie in `folder`."""
    if "://" in cluster:
        raise UserError(
            f"CLUSTER={cluster}: give HOST:PORT, and start the command on a node of the cluster."
        )
    # Nothing is reported to anybody; the settings count when Ray is imported.
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    options: dict[str, Any] = {"address": cluster}
    if cluster == "local":
        # Whoever else uses this machine has no business in the cluster, and no file in the user's
        # home folder says who has.
        os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32))
        # What Ray does by itself on Windows and macOS: it listens on the loopback address alone.
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
        options |= {"num_cpus": workers, "include_dashboard": False, "_temp_dir": str(folder)}
    if cluster.partition(":")[0] in ("local", "localhost", _LOOPBACK):
        options["_node_ip_address"] = _LOOPBACK
    try:
        import ray
    except ImportError:
        raise UserError(f"CLUSTER needs Ray, which is not installed: {_INSTALL}") from None
    shared = {"env_vars": {"PYTHONPATH": str(CODE)}}
    try:
        ray.init(
            **options,
            runtime_env={"working_dir": str(code)} if code else shared,
            log_to_driver=False,
            logging_level="error",
        )
    except (ConnectionError, ValueError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f"CLUSTER={cluster} cannot be joined ({reason}): start one with `ray start --head`, or"
            " give CLUSTER=local."
        ) from None
