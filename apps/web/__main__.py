"""Serves the page and the JSON service on this machine.

python -m apps.web --port 8000
"""

import ipaddress
import socket
from pathlib import Path

import uvicorn

from apps.captioning.predictor import PRETRAINED as CAPTIONING
from apps.forecasting.predictor import PRETRAINED as FORECASTING
from apps.sentiment.predictor import PRETRAINED as SENTIMENT
from apps.translation.predictor import PRETRAINED as TRANSLATION
from apps.web.answers import Answers
from apps.web.gate import LOOPBACK
from apps.web.service import create_service
from common.cli import run_command
from common.errors import UserError
from data.download import data_directory

# Seconds that running requests have left when the service is told to stop.
_GRACE = 35


def main(
    sentiment: Path = SENTIMENT,
    translation: Path = TRANSLATION,
    captioning: Path = CAPTIONING,
    forecasting: Path = FORECASTING,
    host: str = "127.0.0.1",
    port: int = 8000,
    origins: tuple[str, ...] = (),
    prices: Path | None = None,
) -> None:
    """Serves the page and the JSON service.

    Args:
        sentiment: Run folder of the classifier.
        translation: Run folder of the translator.
        captioning: Run folder of the captioner.
        forecasting: Run folder of the forecaster.
        host: Address to listen on; only this machine reaches the default.
        port: Port to listen on; 0 for any that is free.
        origins: Other origins whose pages may ask, such as https://example.com behind a proxy.
        prices: Folder of .csv files of prices to offer (default: those downloaded, if any).
    """
    if prices is None:
        downloaded = data_directory() / "prices"
        prices = downloaded if any(downloaded.glob("[!.]*.csv")) else None
    elif not any(prices.glob("[!.]*.csv")):
        raise UserError(f"--prices {prices} holds no .csv file: name another folder.")
    listener = _listen(host, port)
    runs = {
        "sentiment": sentiment,
        "translation": translation,
        "captioning": captioning,
        "forecasting": forecasting,
    }
    answers = Answers(runs, prices=prices)
    answers.warm_up()
    local = _is_loopback(host)
    service = create_service(answers, hosts=(*LOOPBACK, host) if local else (), origins=origins)
    config = uvicorn.Config(
        service,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_GRACE,
    )
    name = f"[{host}]" if ":" in host else host
    print(f"http://{name}:{listener.getsockname()[1]}", flush=True)
    if not local:
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


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


if __name__ == "__main__":
    run_command(
        main,
        prog="python -m apps.web",
        description="Serves a page to try the four models, and a JSON service.",
    )
