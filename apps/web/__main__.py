"""Serves the page and the JSON service on this machine.

python -m apps.web --port 8000
"""

import socket

import uvicorn

from apps.web.start import ServiceFlags, prices_of, start_service
from common.cli import run_command
from common.errors import UserError

# Seconds that running requests have left when the service is told to stop.
_GRACE = 35


def main(flags: ServiceFlags) -> None:
    """Serves the page and the JSON service.

    Args:
        flags: The models and the address.
    """
    # Before the models are loaded.
    prices_of(flags)
    listener = _listen(flags.host, flags.port)
    config = uvicorn.Config(
        start_service(flags),
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_GRACE,
    )
    name = f"[{flags.host}]" if ":" in flags.host else flags.host
    print(f"http://{name}:{listener.getsockname()[1]}", flush=True)
    if not flags.is_local:
        print("Everyone who reaches this address may use the service.", flush=True)
    uvicorn.Server(config).run(sockets=[listener])


def _listen(host: str, port: int) -> socket.socket:
    """Returns a socket that listens, so that a wrong address is known before models are loaded."""
    if not 0 <= port < 2**16:
        raise UserError("--port must lie between 0 and 65535.")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=512)
    except (OSError, OverflowError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(
            f"--host {host} --port {port} cannot be listened on ({reason}): name others."
        ) from None


if __name__ == "__main__":
    run_command(
        main,
        prog="python -m apps.web",
        description="Serves a page to try the four models, and a JSON service.",
    )
