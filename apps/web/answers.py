"""Loads the four exported models and answers requests as `predict --json` does."""

import dataclasses
import functools
import io
import json
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from apps.captioning import predict as captioning
from apps.captioning.predictor import Predictor as Captioner
from apps.forecasting import predict as forecasting
from apps.forecasting.baselines import last_value
from apps.forecasting.forecasts import as_json as forecast_as_json
from apps.forecasting.inputs import NO_MARKET
from apps.forecasting.metrics import LEVELS
from apps.forecasting.predictor import Predictor as Forecaster
from apps.sentiment import predict as sentiment
from apps.sentiment.predictor import Predictor as Classifier
from apps.translation import predict as translation
from apps.translation.predictor import Predictor as Translator
from common.cli import split_list
from common.errors import UserError
from common.settings import Search
from data.prices.features import build_features, days_needed
from data.prices.read import PriceHistory, read_prices
from data.prices.sample import simulate_market

PREDICTORS = {
    "sentiment": Classifier,
    "translation": Translator,
    "captioning": Captioner,
    "forecasting": Forecaster,
}
MOST_PIXELS = 40_000_000
# Days of the past that a chart shows.
_PAST = 60


class TooLarge(UserError):
    """An input that is larger than the service takes."""


@dataclasses.dataclass(frozen=True)
class SearchSettings:
    """What a request may ask of the beam; None is the run's own setting."""

    beam_size: int | None = None
    length_penalty: float | None = None
    n_best: int = 1

    def of(self, config) -> Search:
        """Returns the search, or raises a `UserError` if the settings contradict each other."""
        return Search.of(config, **dataclasses.asdict(self))


class Answers:
    """The loaded models; each method answers one request and may be called by threads.

    Attributes:
        predictors: The models by task.
        runs: Their run folders.
    """

    def __init__(self, runs: dict[str, Path], *, prices: Path | None = None):
        """Loads the models.

        Args:
            runs: Run folder of each task; all must hold an export.
            prices: Folder of price files to offer, one of them perhaps the index.

        Raises:
            UserError: If a run folder or its export cannot be used.
        """
        self.runs, self._prices = runs, prices

        def load(task: str):
            # One thread a request: concurrent requests share the cores.
            return PREDICTORS[task].load(runs[task], runtime="onnx", threads=1)

        with ThreadPoolExecutor() as pool:
            self.predictors = dict(zip(runs, pool.map(load, runs), strict=True))

    def warm_up(self) -> None:
        """Answers one request of each task, so that no visitor waits for a first one."""
        self.sentiment(["A fine film."])
        self.translation(["A dog runs."], SearchSettings())
        picture = io.BytesIO()
        Image.new("RGB", (64, 64), "grey").save(picture, "PNG")
        self.captioning(picture.getvalue(), "grey", SearchSettings())
        self.forecasting(self.price_file(self.tickers()[0]), self.tickers()[0], chart=True)

    def sentiment(self, texts: list[str]) -> list[dict]:
        """Returns a verdict on each text."""
        predictions = self.predictors["sentiment"].predict(texts)
        for number, prediction in enumerate(predictions, start=1):
            if not prediction.tokens:
                raise UserError(f"Text {number} holds no word: give at least one.")
        return [json.loads(sentiment.as_json(prediction)) for prediction in predictions]

    def translation(self, texts: list[str], settings: SearchSettings) -> list[dict]:
        """Returns the translations of each text, with what each word attended to."""
        predictor = self.predictors["translation"]
        search = settings.of(predictor.config)
        translations = predictor.predict(texts, search, attention=True)
        return [json.loads(translation.as_json(one)) for one in translations]

    def captioning(self, content: bytes, name: str, settings: SearchSettings) -> dict:
        """Returns the captions of a picture, with where each word looked."""
        _check_pixels(content)
        predictor = self.predictors["captioning"]
        picture = predictor.inputs.read(content, name=name)
        attention = predictor.config.variant == "attention"
        (captions,) = predictor.predict(
            picture[None], settings.of(predictor.config), attention=attention
        )
        return json.loads(captioning.as_json(Path(name), captions))

    def forecasting(
        self,
        content: bytes,
        name: str,
        *,
        as_of: np.datetime64 | None = None,
        days: int = 0,
        change: float = 5.0,
        exchange: str = "XNYS",
        chart: bool = False,
    ) -> dict:
        """Returns the forecast of a file of prices.

        Args:
            content: The file.
            name: The ticker.
            as_of: The day to forecast from; None for the last one.
            days: Days to forecast; 0 for all.
            change: Per cent, of the probabilities of larger moves.
            exchange: Code of the market whose trading days are forecast.
            chart: Add what a chart shows: past, outcome and the fan of the last value.
        """
        predictor = self.predictors["forecasting"]
        horizon = predictor.config.horizon
        if not 0 <= days <= horizon:
            raise UserError(f"days must lie between 1 and {horizon}, the horizon.")
        if not 0 < change < 100:
            raise UserError("change must lie between 0 and 100 per cent.")
        history = read_prices(Path(f"{name}.csv"), until=as_of, content=content)
        market = self._market(as_of)
        groups = split_list(predictor.config.features)
        (features,) = build_features([history], groups=groups, market=market)
        prediction = forecasting.forecast(
            predictor,
            features,
            days=days or horizon,
            change=change / 100,
            exchange=exchange,
        )
        record = json.loads(forecast_as_json(prediction))
        if chart:
            whole = read_prices(Path(f"{name}.csv"), content=content)
            record["chart"] = self._chart(prediction, history, whole)
            record["chart"]["warnings"] = self._warnings(history, market)
        return record

    def tickers(self) -> list[str]:
        """Returns the names of the price files that are there to try."""
        if self._prices is None:
            return list(_simulated())
        return sorted(path.stem for path in self._prices.glob("[!.]*.csv"))

    def price_file(self, ticker: str) -> bytes:
        """Returns one of these files, or raises a `UserError` if there is none of that name."""
        if ticker not in self.tickers():
            raise UserError(f"There is no ticker {ticker}: choose one of /api/tickers.")
        if self._prices is None:
            return _simulated()[ticker]
        return (self._prices / f"{ticker}.csv").read_bytes()

    def _market(self, until: np.datetime64 | None) -> PriceHistory | None:
        """Returns the index that the model wants, if the folder of prices has it."""
        config = self.predictors["forecasting"].config
        wanted = config.market != NO_MARKET and "market" in split_list(config.features)
        path = self._prices / f"{config.market}.csv" if wanted and self._prices else None
        return _read_index(path, until) if path is not None and path.is_file() else None

    def _warnings(self, history: PriceHistory, market: PriceHistory | None) -> list[str]:
        config = self.predictors["forecasting"].config
        lines = list(history.warnings)
        if market is None and config.market != NO_MARKET:
            lines.append(
                f"The index {config.market} is not at hand, so the model does not see the market"
                " and its forecasts are less sharp."
            )
        elif market is not None and history.dates[-1] not in market.dates:
            lines.append(f"The index {market.ticker} does not know {history.dates[-1]}.")
        return lines

    def _chart(self, forecast, history: PriceHistory, whole: PriceHistory) -> dict:
        """Returns what surrounds a forecast in a chart, in the prices of its own day."""
        last = len(history.dates) - 1
        returns = np.diff(np.log(history.close), prepend=np.log(history.close[0]))
        count = len(forecast.dates)
        plain = last_value(returns, fit_until=last, origins=np.array([last]), horizon=count)
        plain_prices = forecast.close * np.exp(plain.quantile(LEVELS)[0])
        # Whole histories are adjusted to their last day, the forecast to its own.
        close = whole.close * (forecast.close / whole.close[last])
        after = slice(last + 1, last + 1 + count)
        first = min(days_needed(self.predictors["forecasting"].config.lookback), len(whole.dates))
        return {
            "past": _points(history.dates[-_PAST:], history.close[-_PAST:]),
            "outcome": _points(whole.dates[after], close[after]),
            "plain": [
                dict(zip(map(str, LEVELS), map(_rounded, row), strict=True)) for row in plain_prices
            ],
            "first_day": str(whole.dates[first - 1]),
            "last_day": str(whole.dates[-1]),
        }


def _points(dates: np.ndarray, prices: np.ndarray) -> list[list]:
    return [[str(day), _rounded(price)] for day, price in zip(dates, prices, strict=True)]


def _rounded(price: float) -> float:
    return float(f"{price:.8g}")


@functools.lru_cache(maxsize=32)
def _read_index(path: Path, until: np.datetime64 | None) -> PriceHistory:
    return read_prices(path, until=until)


@functools.cache
def _simulated() -> dict[str, bytes]:
    """Returns files of simulated prices, for whoever has none."""
    simulations = simulate_market(tickers=3, days=1_500)
    return {
        one.ticker: one.prices.to_csv(float_format="%.4f").encode()
        for one in simulations
        if not one.ticker.startswith("^")
    }


def _check_pixels(content: bytes) -> None:
    """Raises `TooLarge` if a picture's header says that decoding it would take too much memory."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(content)) as image:
                width, height = image.size
    except Image.DecompressionBombError:
        width, height = MOST_PIXELS, 2
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, ArithmeticError, LookupError):
        return  # Whoever reads it says what is wrong.
    if width * height > MOST_PIXELS:
        raise TooLarge(f"The picture has more than {MOST_PIXELS:,} pixels: make it smaller.")
