"""Writes simulated prices in Yahoo's format whose true distribution is known, to try all offline.

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
from data.download import atomic_file, data_directory
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
        prices: The columns of Yahoo's export. The truth is about Adj Close, which dividends set
            apart from Close.
        sigma: `(time,)`, the standard deviation of the log return of the day after, given this
            day and that no jump strikes.
        long_run_sigma: The square root of the variance that `sigma` squared returns to.
        jump_probability: The probability of a jump on any day.
        jump_scale: The standard deviation of a jump, as a log return.
        mean_return: The mean of every day's log return.
    """

    ticker: str
    dates: np.ndarray
    prices: pd.DataFrame
    sigma: np.ndarray
    long_run_sigma: float
    jump_probability: float
    jump_scale: float
    mean_return: float

    def true_mixture(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The distribution of log(close[t+1] / close[t]) given all up to day t.

        Returns:
            weights: `(time, 2)` of the two Gaussians, without a jump and with one.
            locations: `(time, 2)`, their means.
            scales: `(time, 2)`, their standard deviations.
        """
        weights = np.tile([1 - self.jump_probability, self.jump_probability], (len(self.dates), 1))
        locations = np.full_like(weights, self.mean_return)
        scales = np.stack([self.sigma, np.hypot(self.sigma, self.jump_scale)], axis=1)
        return weights, locations, scales


def _gaussian_day(normals: np.ndarray, variance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Splits days' variance, `(n,)`, into an overnight return, `(n,)`, and steps, `(STEPS, n)`."""
    overnight = np.sqrt(OVERNIGHT_SHARE * variance) * normals[0]
    return overnight, np.sqrt((1 - OVERNIGHT_SHARE) * variance / STEPS) * normals[1:]


def _next_variance(
    variance: np.ndarray, intraday: np.ndarray, long_run_variance: np.ndarray
) -> np.ndarray:
    """The variance of the day after one whose steps were `intraday`, `(STEPS, n)`."""
    realised = (intraday**2).sum(axis=0) / (1 - OVERNIGHT_SHARE)
    response = ALPHA + GAMMA * (intraday.sum(axis=0) < 0)
    return (1 - PERSISTENCE) * long_run_variance + BETA * variance + response * realised


def simulate_market(*, tickers: int = 8, days: int = 1_500, seed: int = 0) -> list[Simulation]:
    """Simulates tickers and an index whose shocks they share in part.

    Each ticker has a variance of its own; given the past, the Gaussian parts of all returns of a
    day are correlated through the index's. A ticker's prices do not depend on how many others
    there are.

    Args:
        tickers: How many to simulate beside the index, 26 at most.
        days: How many trading days, from 2013-01-01.
        seed: The same seed makes the same market.

    Returns:
        The tickers SIMA, SIMB, ... and, last, the index ^SIM.
    """
    if not 1 <= tickers <= 26:
        raise ValueError(f"tickers must be 1 to 26, not {tickers}.")
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
        overnight, steps[day] = _gaussian_day(normals[day], variance[day])
        opening[day] = MEAN_RETURN + overnight + jumps[day]
        variance[day + 1] = _next_variance(variance[day], steps[day], long_run**2)

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
        simulations.append(
            Simulation(
                ticker=name,
                dates=dates,
                prices=prices,
                sigma=np.sqrt(variance[1:, column]),
                long_run_sigma=float(long_run[column]),
                jump_probability=JUMP_PROBABILITY,
                jump_scale=float(JUMP_SIZE * long_run[column]),
                mean_return=MEAN_RETURN,
            )
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
    """Yahoo's columns from the log returns over each night and in each step of each day.

    Args:
        dates: `(time,)`.
        opening: `(time,)`, log returns from a close to the next open.
        steps: `(time, STEPS)`, log returns within the day.
        first_price: The adjusted price before the first day.
        dividends: Whether to pay `DIVIDEND_YIELD` of the price every `DIVIDEND_DAYS` days.
        generator: Draws the noise of the volume.
    """
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
    """Writes the files of a simulated market, which `load_prices` opens as a folder.

    Args:
        data_dir: Folder of downloads to write into.
        tickers: As in `simulate_market`.
        days: As in `simulate_market`.
        seed: As in `simulate_market`.

    Returns:
        The folder of the files.

    Raises:
        UserError: If the folder holds other prices, which simulated ones must not mix with.
    """
    folder = data_dir / "prices"
    simulations = simulate_market(tickers=tickers, days=days, seed=seed)
    ours = {f"{simulation.ticker}.csv" for simulation in simulations}
    others = sorted({path.name for path in folder.glob("[!.]*.csv")} - ours)
    if others:
        raise UserError(f"{folder} holds {others[0]} already: name another --data-dir.")
    for simulation in simulations:
        with atomic_file(folder / f"{simulation.ticker}.csv") as draft:
            simulation.prices.to_csv(draft, float_format="%.6f", lineterminator="\n")
    return folder


def main() -> None:
    """Writes the sample."""
    with sample_command("Writes simulated prices in Yahoo's format.") as parser:
        print(write_price_sample(data_directory(parser.parse_args().data_dir)))


if __name__ == "__main__":
    main()
