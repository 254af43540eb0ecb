"""What a service is told when it starts: its models, its address and its prices."""

import dataclasses
import ipaddress
from pathlib import Path

from fastapi import FastAPI

from apps.captioning.predictor import PRETRAINED as CAPTIONING
from apps.forecasting.predictor import PRETRAINED as FORECASTING
from apps.sentiment.predictor import PRETRAINED as SENTIMENT
from apps.translation.predictor import PRETRAINED as TRANSLATION
from apps.web.answers import Answers
from apps.web.gate import LOOPBACK
from apps.web.service import create_service
from common.errors import UserError
from data.download import data_directory


@dataclasses.dataclass(frozen=True)
class ServiceFlags:
    """What to serve, and where."""

    sentiment: Path = SENTIMENT
    """Run folder of the classifier."""
    translation: Path = TRANSLATION
    """Run folder of the translator."""
    captioning: Path = CAPTIONING
    """Run folder of the captioner."""
    forecasting: Path = FORECASTING
    """Run folder of the forecaster."""
    host: str = "127.0.0.1"
    """Address to listen on; only this machine reaches the default."""
    port: int = 8000
    """Port to listen on; 0 for any that is free."""
    origins: tuple[str, ...] = ()
    """Other origins whose pages may ask, such as https://example.com behind a proxy."""
    prices: Path | None = None
    """Folder of .csv files of prices to offer (default: those downloaded, if any)."""

    @property
    def is_local(self) -> bool:
        """Whether only this machine reaches the address."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


def prices_of(flags: ServiceFlags) -> Path | None:
    """Returns the folder of prices to offer.

    Raises:
        UserError: If the one that is named holds none.
    """
    if flags.prices is None:
        downloaded = data_directory() / "prices"
        return downloaded if any(downloaded.glob("[!.]*.csv")) else None
    if not any(flags.prices.glob("[!.]*.csv")):
        raise UserError(f"--prices {flags.prices} holds no .csv file: name another folder.")
    return flags.prices


def start_service(flags: ServiceFlags) -> FastAPI:
    """Loads the models, lets each answer once and returns the service.

    Raises:
        UserError: If a run folder or its export cannot be used, or there are no prices.
    """
    runs = {
        "sentiment": flags.sentiment,
        "translation": flags.translation,
        "captioning": flags.captioning,
        "forecasting": flags.forecasting,
    }
    answers = Answers(runs, prices=prices_of(flags))
    answers.warm_up()
    hosts = (*LOOPBACK, flags.host) if flags.is_local else ()
    return create_service(answers, hosts=hosts, origins=flags.origins)
