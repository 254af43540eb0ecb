"""Writes simulated prices in Yahoo's format whose true distribution is known, to try it offline.

`python -m data.prices.sample --data-dir DIR` takes about a second. The variance of each day is
known at the close of the day before:

    variance[t+1] = omega + (beta + alpha * r + gamma * r * fell) * variance[t]

where r is the day's realised variance in units of its expectation and `fell` is 1 if the prices
fell from open to close, else 0 (the form of Hansen, Huang and Shek, 2012, with the asymmetry of
Glosten, Jagannathan and Runkle, 1993). On a few days a jump strikes at the open, whatever the past
was. So the next day's log return is exactly a mixture of two Gaussians. The range of a day tells
more about the next one than its close does, for a close sees the path once and jumps besides.
"""

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd

from common.errors import UserError
from common.files import atomic_path
from data.download import data_directory
from data.sample_command import sample_command

INDEX = "^SIM"
FIRST_DAY = "2013-01-01"

STEPS = 26
OVERNIGHT_SHARE = 0.25
MEAN_RETURN = 0.0002
BETA, ALPHA, GAMMA = 0.40, 0.46, 0.24
PERSISTENCE = BETA + ALPHA + GAMMA / 2
JUMP_PROBABILITY = 0.02
# In units of a ticker's long-run standard deviation.
JUMP_SIZE = 4.0
MARKET_CORRELATION = 0.55
DIVIDEND_DAYS, DIVIDEND_YIELD = 63, 0.006


@dataclasses.dataclass(frozen=True)
class Simulation:
    """Simulated prices of one ticker and the truth behind them.

    Attributes:
        ticker: The name.
        dates: `<datetime64[D]>(time,)`, weekdays.
        prices: The columns of Yahoo's export; the truth is about Adj Close.
        sigma: `(time,)`, the standard deviation of the log return of the day after, given this
            day and that no jump strikes.
        jump_scale: The standard deviation of a jump, as a log return.
    """

    ticker: str
    dates: np.ndarray
    prices: pd.DataFrame
    sigma: np.ndarray
    jump_scale: float

    def true_mixture(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The distribution of log(close[t+1] / close[t]) given all up to day t.

        Returns:
            weights: `(time, 2)` of the two Gaussians, without a jump and with one.
            locations: `(time, 2)`, their means.
            scales: `(time, 2)`, their standard deviations.
        """
        weights = np.tile([1 - JUMP_PROBABILITY, JUMP_PROBABILITY], (len(self.dates), 1))
        locations = np.full_like(weights, MEAN_RETURN)
        scales = np.stack([self.sigma, np.hypot(self.sigma, self.jump_scale)], axis=1)
        return weights, locations, scales


def simulate_market(*, tickers: int = 8, days: int = 1_500, seed: int = 0) -> list[Simulation]:
    """Simulates tickers and an index whose shocks they share in part.

    A ticker's prices do not depend on how many others there are.

    Args:
        tickers: How many to simulate beside the index, 26 at most.
        days: How many trading days, from 2013-01-01.
        seed: The same seed makes the same market.

    Returns:
        The tickers SIMA, SIMB, ... and, last, the index ^SIM.
    """
    # Column 0 is the index.
    generators = [np.random.default_rng([seed, column]) for column in range(tickers + 1)]
    normals = np.stack([g.standard_normal((days, STEPS + 1)) for g in generators], axis=-1)
    own_share = np.sqrt(1 - MARKET_CORRELATION**2)
    normals[..., 1:] = MARKET_CORRELATION * normals[..., :1] + own_share * normals[..., 1:]
    long_run = np.array([0.010, *(0.012 + 0.0015 * (np.arange(tickers) % 8))])
    jumps = np.stack([g.standard_normal(days) for g in generators], axis=-1)
    struck = np.stack([g.random(days) < JUMP_PROBABILITY for g in generators], axis=-1)
    jumps = np.where(struck, JUMP_SIZE * long_run * jumps, 0)

    variance = np.empty((days + 1, tickers + 1))
    variance[0] = long_run**2
    opening = np.empty((days, tickers + 1))
    steps = np.empty((days, STEPS, tickers + 1))
    for day in range(days):
        # A day's variance is split into a night and the steps of the day.
        overnight = np.sqrt(OVERNIGHT_SHARE * variance[day]) * normals[day][0]
        steps[day] = np.sqrt((1 - OVERNIGHT_SHARE) * variance[day] / STEPS) * normals[day][1:]
        opening[day] = MEAN_RETURN + overnight + jumps[day]
        realised = (steps[day] ** 2).sum(axis=0) / (1 - OVERNIGHT_SHARE)
        response = ALPHA + GAMMA * (steps[day].sum(axis=0) < 0)
        variance[day + 1] = (
            (1 - PERSISTENCE) * long_run**2 + BETA * variance[day] + response * realised
        )

    names = [INDEX, *(f"SIM{chr(ord('A') + number)}" for number in range(tickers))]
    dates = pd.bdate_range(FIRST_DAY, periods=days).to_numpy().astype("datetime64[D]")
    simulations = []
    for column, name in enumerate(names):
        prices = _prices(
            dates,
            opening[:, column],
            steps[:, :, column],
            first_price=1_500.0 if name == INDEX else 40.0 + 5 * column,
            dividends=name != INDEX,
            generator=generators[column],
        )
        sigma = np.sqrt(variance[1:, column])
        simulations.append(
            Simulation(name, dates, prices, sigma, float(JUMP_SIZE * long_run[column]))
        )
    return simulations[1:] + simulations[:1]


def _prices(
    dates: np.ndarray,
    opening: np.ndarray,
    steps: np.ndarray,
    *,
    first_price: float,
    dividends: bool,
    generator: np.random.Generator,
) -> pd.DataFrame:
    """Yahoo's columns from log returns over nights, `(time,)`, and within days, `(time, STEPS)`."""
    days = len(dates)
    within = np.concatenate([np.zeros((days, 1)), steps.cumsum(axis=1)], axis=1)
    before = np.concatenate([[0], np.cumsum(opening + within[:, -1])[:-1]])
    adjusted = first_price * np.exp((before + opening)[:, np.newaxis] + within)
    # A dividend lowers the adjusted prices of all days before its own, as at Yahoo.
    paid = np.arange(days) // DIVIDEND_DAYS if dividends else np.zeros(days)
    factor = (1 - DIVIDEND_YIELD) ** (paid[-1] - paid)
    quoted = adjusted / factor[:, np.newaxis]
    activity = np.sqrt((steps**2).sum(axis=1))
    noise = np.exp(0.3 * generator.standard_normal(days))
    return pd.DataFrame(
        {
            "Open": quoted[:, 0],
            "High": quoted.max(axis=1),
            "Low": quoted.min(axis=1),
            "Close": quoted[:, -1],
            "Adj Close": adjusted[:, -1],
            "Volume": (1e8 * activity * noise).astype(np.int64),
        },
        index=pd.Index(dates, name="Date"),
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
    ours = {f"{simulation.ticker}.csv" for simulation in simulations}
    others = sorted({path.name for path in folder.glob("[!.]*.csv")} - ours)
    if others:
        raise UserError(f"{folder} has {others[0]} already: name another --data-dir.")
    for simulation in simulations:
        with atomic_path(folder / f"{simulation.ticker}.csv") as draft:
            simulation.prices.to_csv(draft, float_format="%.6f", lineterminator="\n")
    return folder


def main() -> None:
    """Writes the sample."""
    with sample_command("Writes simulated prices in Yahoo's format.") as parser:
        print(write_price_sample(data_directory(parser.parse_args().data_dir)))


if __name__ == "__main__":
    main()
