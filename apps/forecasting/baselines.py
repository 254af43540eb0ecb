"""What a user would try without a recurrent network, scored on the same origins."""

import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from apps.forecasting import baseline_models
from apps.forecasting.distributions import Distribution
from apps.forecasting.metrics import Scored, score
from common.cache import cache_path, read_cached, write_cached
from common.errors import UserError

BASELINES: dict[str, Callable[..., Distribution]] = {
    "last_value": baseline_models.last_value,
    "drift": baseline_models.drift,
    "ewma": baseline_models.ewma,
    "garch_t": baseline_models.garch_t,
    "gjr_garch_t": baseline_models.gjr_garch_t,
    "arima": baseline_models.arima,
    "ets": baseline_models.ets,
}
FEWEST_DAYS = 30
_ARRAYS = ("crps", "pit", "probability_of_rise", "quantiles")
_CODE = (
    "apps.forecasting.baselines",
    "apps.forecasting.baseline_models",
    "apps.forecasting.distributions",
    "apps.forecasting.metrics",
)
_ONE_THREAD = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL")}
# Importing the package `apps` starts Keras: seven seconds and 800 MB that a worker has no use for.
# It is given the folder without that, and the jobs' files.
_WORKER = """
import os, sys, types
root, *jobs = sys.argv[1:]
sys.path.insert(0, root)
sys.modules["apps"] = types.ModuleType("apps")
sys.modules["apps"].__path__ = [root + "/apps"]
from apps.forecasting.baselines import run_job
for job in jobs:
    os.write(1, run_job(job).encode() + b"\\n")  # At once: the workers share the pipe.
"""


class History(Protocol):
    """Daily prices of one ticker, oldest first, as `data.prices.read.PriceHistory` holds them."""

    ticker: str
    dates: np.ndarray
    close: np.ndarray


def score_baselines(
    histories: Sequence[History],
    *,
    fit_until: np.datetime64,
    origins: dict[str, np.ndarray],
    horizon: int,
    cache_dir: Path | None,
    seed: int = 0,
    processes: int = 2,
    names: Sequence[str] = tuple(BASELINES),
    progress: Callable[[str], None] | None = None,
) -> dict[str, list[Scored]]:
    """Fits every baseline on each ticker and scores its forecasts.

    Args:
        histories: One item a ticker.
        fit_until: The last day that the baselines are fitted on.
        origins: Of each ticker, `<int>(origins,)`: days of its history, from `fit_until` on, that
            have `horizon` days after them.
        horizon: Days to forecast.
        cache_dir: Root of derived files; what stands there is not computed again.
        seed: Of the simulations.
        processes: Number of tickers at a time.
        names: Which baselines.
        progress: Called with the ticker after each one that had to be computed.

    Returns:
        For each name one item a ticker; its `note` says where another baseline stood in.

    Raises:
        UserError: If a ticker has too few days to be fitted on or a price that never moves, if an
            origin lies before `fit_until` or too near to the end, or if there is none.
        subprocess.CalledProcessError: If a worker fails; its error is on standard error.
    """
    for history in histories:
        _check(history, fit_until, origins[history.ticker], horizon)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) if cache_dir is None else cache_dir / "forecasting_baselines"
        paths, results, jobs = {}, {}, {}
        for history in histories:
            job = {
                "ticker": history.ticker,
                "dates": np.asarray(history.dates, "datetime64[D]"),
                "close": np.asarray(history.close, np.float64),
                "fit_until": np.asarray(fit_until, "datetime64[D]"),
                "origins": np.asarray(origins[history.ticker], np.int64),
                "horizon": horizon,
                "seed": seed,
                "names": list(names),
            }
            path = cache_path(root, job, modules=_CODE, suffix=".npz")
            results[history.ticker] = read_cached(path)
            if results[history.ticker] is None:
                jobs[history.ticker] = Path(folder, f"job-{len(jobs)}.npz")
                np.savez(jobs[history.ticker], **job)
                paths[history.ticker] = path
        for ticker in _run(list(map(str, jobs.values())), min(processes, len(jobs))):
            results[ticker] = read_cached(_result_of(jobs[ticker]))
            write_cached(paths[ticker], results[ticker])
            if progress:
                progress(ticker)
    tickers = [_scored(arrays, names) for arrays in results.values()]
    return {name: [ticker[name] for ticker in tickers] for name in names}


def _check(history: History, fit_until: np.datetime64, origins: np.ndarray, horizon: int) -> None:
    last = _last_training_day(history.dates, fit_until)
    if last < FEWEST_DAYS:
        raise UserError(
            f"{history.ticker} has {last + 1} days up to {fit_until}, and the baselines need "
            f"{FEWEST_DAYS + 1} to be fitted: take a longer history or leave the ticker out."
        )
    if not np.diff(history.close[: last + 1]).any():
        raise UserError(
            f"{history.ticker} has the same price on all days up to {fit_until}, which tells "
            "nothing of its risk: leave the ticker out."
        )
    if not len(origins):
        raise UserError(f"{history.ticker} has no day to forecast on: choose a longer --split.")
    if origins.min() < last:
        raise UserError(
            f"{history.ticker}: a forecast on {history.dates[origins.min()]} cannot be compared "
            f"with baselines that are fitted on days up to {fit_until}: choose a later --split."
        )
    if origins.max() + horizon >= len(history.close):
        raise UserError(
            f"{history.ticker}: a forecast on {history.dates[origins.max()]} cannot be scored, as "
            f"the prices end before {horizon} more days: choose an earlier --split."
        )


def _last_training_day(dates: np.ndarray, fit_until: np.datetime64) -> int:
    return int(np.searchsorted(dates, fit_until, side="right")) - 1


def _result_of(job: Path) -> Path:
    return job.with_name(f"result-{job.name}")


def _run(jobs: list[str], processes: int) -> Iterator[str]:
    """Runs the jobs side by side and yields each one's ticker when it is done."""
    if processes <= 1:
        yield from map(run_job, jobs)
        return
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", _WORKER, str(root)]
    environment = os.environ | _ONE_THREAD
    read_end, write_end = os.pipe()
    workers = [
        subprocess.Popen([*command, *jobs[first::processes]], stdout=write_end, env=environment)
        for first in range(processes)
    ]
    try:
        os.close(write_end)
        with open(read_end, encoding="utf-8") as lines:
            for line in lines:
                yield line.rstrip("\n")
        for worker in workers:
            if worker.wait():
                raise subprocess.CalledProcessError(worker.returncode, command[:2])
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()


def run_job(path: str) -> str:
    """Computes a job of `score_baselines`, saves the result beside it and returns the ticker."""
    with np.load(path, allow_pickle=False) as stored:
        job = dict(stored)
    ticker, horizon = str(job["ticker"]), int(job["horizon"])
    close, origins = job["close"], job["origins"]
    last = _last_training_day(job["dates"], job["fit_until"])
    log_price = np.log(close)
    ahead = origins[:, None] + np.arange(1, horizon + 1)
    known = {
        "ticker": ticker,
        "dates": job["dates"][origins],
        "close": close[origins],
        "outcome": log_price[ahead] - log_price[origins, None],
        "naive_error": np.abs(np.diff(close[: last + 1])).mean(),
    }
    arrays = dict(known)
    for name in map(str, job["names"]):
        with warnings.catch_warnings(record=True) as caught:
            # Optimisers warn of much that does no harm.
            warnings.simplefilter("ignore")
            warnings.simplefilter("always", baseline_models.FallbackWarning)
            distribution = BASELINES[name](
                np.diff(log_price, prepend=log_price[0]),
                fit_until=last,
                origins=origins,
                horizon=horizon,
                # Tickers draw different errors, so that the means over them are steadier.
                seed=[int(job["seed"]), *ticker.encode()],
            )
            scored = score(distribution, **known)
        arrays[f"{name} note"] = "; ".join(str(warning.message) for warning in caught)
        for field in _ARRAYS:
            arrays[f"{name} {field}"] = getattr(scored, field).astype(np.float32)
    np.savez(_result_of(Path(path)), **arrays)
    return ticker


def _scored(arrays: dict[str, np.ndarray], names: Sequence[str]) -> dict[str, Scored]:
    known = {
        "ticker": str(arrays["ticker"]),
        "dates": arrays["dates"],
        "close": arrays["close"],
        "outcome": arrays["outcome"],
        "naive_error": float(arrays["naive_error"]),
    }
    return {
        name: Scored(
            **known,
            **{field: arrays[f"{name} {field}"] for field in _ARRAYS},
            note=str(arrays[f"{name} note"]),
        )
        for name in names
    }
