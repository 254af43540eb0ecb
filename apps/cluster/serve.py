"""Serves the page and the JSON service with replicas on a Ray cluster.

make serve REPLICAS=2
make serve CLUSTER=10.0.0.1:6379 REPLICAS=4
"""

import logging
import signal
import threading

from apps.cluster.pool import open_pool
from apps.web.start import ServiceFlags, prices_of
from common.cli import run_command
from common.errors import UserError

_NAME = "recurrent-apps"
# Seconds that running requests have left when a replica is told to stop.
_GRACE = 35.0


def main(flags: ServiceFlags, cluster: str = "local", replicas: int = 2, cpus: int = 1) -> None:
    """Serves until it is stopped.

    Each node of the cluster that holds a replica answers at the port.

    Args:
        flags: The models and the address; all nodes see the run folders.
        cluster: `local` for Ray on this machine, or the address of a cluster.
        replicas: Processes that hold the models.
        cpus: Cores that a replica keeps busy.
    """
    if replicas < 1 or cpus < 1:
        raise UserError("--replicas and --cpus must be at least 1.")
    if not 0 < flags.port < 2**16:
        raise UserError("--port must lie between 1 and 65535.")
    prices_of(flags)
    with open_pool(cluster, workers=replicas * cpus, cpus=cpus) as pool:
        if cluster != "local" and pool.room() < replicas:
            raise UserError(
                f"CLUSTER={cluster} has room for {pool.room()} replicas: lower REPLICAS or CPUS."
            )
        _serve(flags, replicas=replicas, cpus=cpus)


def _serve(flags: ServiceFlags, *, replicas: int, cpus: int) -> None:
    try:
        from ray import serve
    except ImportError:
        raise UserError(
            "Replicas need Ray Serve, which is not installed: pip install -r"
            " requirements-serve.lock"
        ) from None
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    stopped = threading.Event()
    # Ray has handlers of its own, with which it would end before the requests.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())

    def build():
        from apps.web.start import start_service

        return start_service(flags)

    serve.start(
        proxy_location="EveryNode",
        http_options={"host": flags.host, "port": flags.port},
        logging_config={"log_level": "ERROR", "enable_access_log": False},
    )
    replica = serve.deployment(
        num_replicas=replicas,
        ray_actor_options={"num_cpus": cpus},
        graceful_shutdown_timeout_s=_GRACE,
        # More than the service lets wait, so that it is the one that refuses.
        max_ongoing_requests=200,
    )(serve.ingress(build)())
    try:
        serve.run(replica.bind(), name=_NAME)
        print(f"http://{flags.host}:{flags.port} · {replicas} replicas", flush=True)
        stopped.wait()
    finally:
        serve.shutdown()


if __name__ == "__main__":
    run_command(
        main,
        prog="python -m apps.cluster.serve",
        description="Serves the page and the JSON service with replicas on a Ray cluster.",
    )
