"""Writes simulated prices in Yahoo's format, whose true distribution is known.

`python -m data.prices.sample --data-dir DIR` takes about a second. The variance of each day is
known at the close of the day before:

    variance[t+1] = omega + (beta + alpha * r + gamma * r * fell) * variance[t]

where r is the day's realised variance in units of its expectation and `fell` is 1 if the prices
fell from open to close, else 0 (the form of Hansen, Huang and Shek, 2012, with the asymmetry of
Glosten, Jagannathan and Runkle, 1993). On a few days there is a jump at the open, whatever the past
was. So the next day's log return is exactly a mixture of two Gaussians.
"""

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd

from common.errors import UserError
from common.files import atomic_path
from data.download import data_directory
from data.sample_command import sample_command

INDEX, _FIRST_DAY = "^SIM", "2013-01-01"
# Steps of a day, and the share of its variance that the night before has.
_STEPS, _NIGHT = 26, 0.25
_MEAN_RETURN = 0.0002
_BETA, _ALPHA, _GAMMA = 0.40, 0.46, 0.24
_PERSISTENCE = _BETA + _ALPHA + _GAMMA / 2
# The size is in units of a ticker's long-run standard deviation.
_JUMP_PROBABILITY, _JUMP_SIZE = 0.02, 4.0
_MARKET_CORRELATION = 0.55
_DIVIDEND_DAYS, _DIVIDEND_YIELD = 63, 0.006


@dataclasses.dataclass(frozen=True)
class Simulation:
    """Simulated prices of one ticker and their true distribution.

    Attributes:
        ticker: The name.
        dates: `<datetime64[D]>(time,)`, weekdays.
        prices: The columns of Yahoo's export; the truth is about Adj Close.
        sigma: `(time,)`, the standard deviation of the next day's log return without a jump.
        jump_scale: The standard deviation of a jump, as a log return.
    """

    ticker: str
    dates: np.ndarray
    prices: pd.DataFrame
    sigma: np.ndarray
    jump_scale: float

    def true_mixture(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns the distribution of log(close[t+1] / close[t]) given all up to day t.

        These are weights, means and standard deviations, `(time, 2)`, of two Gaussians: without a
        jump and with one.
        """
        weights = np.tile([1 - _JUMP_PROBABILITY, _JUMP_PROBABILITY], (len(self.dates), 1))
        scales = np.stack([self.sigma, np.hypot(self.sigma, self.jump_scale)], axis=1)
        return weights, np.full_like(weights, _MEAN_RETURN), scales


def simulate_market(*, tickers: int = 8, days: int = 1_500, seed: int = 0) -> list[Simulation]:
    """Returns up to 26 tickers SIMA, SIMB, ... and, last, an index whose shocks they share.

    A ticker's prices do not depend on how many others there are.
    """
    # Column 0 is the index.
    generators = [np.random.default_rng([seed, column]) for column in range(tickers + 1)]
    normals = np.stack([g.standard_normal((days, _STEPS + 1)) for g in generators], axis=-1)
    rest = np.sqrt(1 - _MARKET_CORRELATION**2)
    normals[..., 1:] = _MARKET_CORRELATION * normals[..., :1] + rest * normals[..., 1:]
    long_run = np.array([0.010, *(0.012 + 0.0015 * (np.arange(tickers) % 8))])
    jumps = np.stack([g.standard_normal(days) for g in generators], axis=-1)
    jumped = np.stack([g.random(days) < _JUMP_PROBABILITY for g in generators], axis=-1)

    variance = np.empty((days + 1, tickers + 1))
    variance[0] = long_run**2
    steps = np.empty((days, _STEPS, tickers + 1))
    for day in range(days):
        steps[day] = np.sqrt((1 - _NIGHT) * variance[day] / _STEPS) * normals[day, 1:]
        realised = (steps[day] ** 2).sum(axis=0) / (1 - _NIGHT)
        response = _ALPHA + _GAMMA * (steps[day].sum(axis=0) < 0)
        variance[day + 1] = (
            (1 - _PERSISTENCE) * long_run**2 + _BETA * variance[day] + response * realised
        )
    nights = np.sqrt(_NIGHT * variance[:-1]) * normals[:, 0]
    nights = _MEAN_RETURN + nights + np.where(jumped, _JUMP_SIZE * long_run * jumps, 0)

    dates = pd.bdate_range(_FIRST_DAY, periods=days).to_numpy().astype("datetime64[D]")
    simulations = []
    for column in (*range(1, tickers + 1), 0):
        noise = np.exp(0.3 * generators[column].standard_normal(days))
        prices = _yahoo_columns(nights[:, column], steps[:, :, column], noise, column)
        name = f"SIM{chr(ord('A') + column - 1)}" if column else INDEX
        prices.index = pd.Index(dates, name="Date")
        sigma = np.sqrt(variance[1:, column])
        jump_scale = float(_JUMP_SIZE * long_run[column])
        simulations.append(Simulation(name, dates, prices, sigma, jump_scale))
    return simulations


def _yahoo_columns(
    nights: np.ndarray, steps: np.ndarray, noise: np.ndarray, column: int
) -> pd.DataFrame:
    """Returns Yahoo's columns from log returns over nights, `(time,)`, and steps of the days."""
    days = len(nights)
    within = np.concatenate([np.zeros((days, 1)), steps.cumsum(axis=1)], axis=1)
    before = np.concatenate([[0], np.cumsum(nights + within[:, -1])[:-1]])
    first_price = 40.0 + 5 * column if column else 1_500.0
    adjusted = first_price * np.exp((before + nights)[:, np.newaxis] + within)
    # A dividend lowers the adjusted prices of all days before its own; the index pays none.
    paid = np.arange(days) // _DIVIDEND_DAYS if column else np.zeros(days)
    quoted = adjusted / ((1 - _DIVIDEND_YIELD) ** (paid[-1] - paid))[:, np.newaxis]
    return pd.DataFrame(
        {
            "Open": quoted[:, 0],
            "High": quoted.max(axis=1),
            "Low": quoted.min(axis=1),
            "Close": quoted[:, -1],
            "Adj Close": adjusted[:, -1],
            "Volume": (1e8 * np.sqrt((steps**2).sum(axis=1)) * noise).astype(np.int64),
        }
    )


def write_price_sample(
    data_dir: Path, *, tickers: int = 8, days: int = 1_500, seed: int = 0
) -> Path:
    """Writes the files of `simulate_market` to the folder `prices` of `data_dir`; returns that.

    Raises:
        UserError: If the folder has other prices, which simulated ones must not mix with.
    """
    folder = data_dir / "prices"
    simulations = simulate_market(tickers=tickers, days=days, seed=seed)
    paths = {folder / f"{simulation.ticker}.csv": simulation for simulation in simulations}
    if others := sorted(set(folder.glob("[!.]*.csv")) - set(paths)):
        raise UserError(f"{folder} has {others[0].name} already: name another --data-dir.")
    for path, simulation in paths.items():
        with atomic_path(path) as draft:
            simulation.prices.to_csv(draft, float_format="%.6f", lineterminator="\n")
    return folder


def main() -> None:
    """Writes the sample."""
    with sample_command("Writes simulated prices in Yahoo's format.") as parser:
        print(write_price_sample(data_directory(parser.parse_args().data_dir)))


if __name__ == "__main__":
    main()
