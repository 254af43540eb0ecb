"""The report of an evaluation: tables, comparison with GARCH, scores by ticker, pictures."""

import csv
import dataclasses
import io
from pathlib import Path

import numpy as np
from rich.table import Table

from apps.forecasting.fan_charts import Fan, plot_fans
from apps.forecasting.metrics import (
    INTERVALS,
    Scored,
    diebold_mariano,
    forecasting_metrics,
    pit_histogram,
)
from apps.forecasting.plots import ahead, plot_calibration, plot_horizons
from common.cli import new_table
from common.results import Scores

MODEL, REFERENCE = "model", "last_value"
_GARCH = ("garch_t", "gjr_garch_t")
_PANELS = 6


@dataclasses.dataclass(frozen=True, kw_only=True)
class ForecastScores(Scores):
    """Scores of a saved model on one split, with all its forecasts."""

    systems: dict[str, list[Scored]]
    """The model's and the baselines' scored forecasts, one item a ticker."""
    warnings: list[str]
    seconds: float

    def horizons(self) -> list[int]:
        """The days ahead that the metrics are of, rising."""
        names = [name for name in self.metrics if name.startswith("crps_")]
        return [int(name.removeprefix("crps_")) for name in names]

    def best_garch(self, horizon: int) -> str:
        """Returns the GARCH model with the lower CRPS at a horizon."""
        return min(_GARCH, key=lambda name: self.baselines[name][f"crps_{horizon}"])


def metrics_tables(scores: ForecastScores, title: str) -> list[Table]:
    """Returns a table for the nearest and one for the farthest day, the best CRPS on top."""
    return [
        _table_at(scores, title, days)
        for days in sorted({scores.horizons()[0], scores.horizons()[-1]})
    ]


def _table_at(scores: ForecastScores, title: str, days: int) -> Table:
    names = ["CRPS %", "rel MAE", "MASE", "in 80 %", "in 95 %", "direction"]
    if scores.baselines:
        names.append("DM p")
    table = new_table(f"{title}, {ahead(days)}", [""], names)
    rows = {MODEL: scores.metrics, **scores.baselines}
    for system, metrics in sorted(rows.items(), key=lambda item: item[1][f"crps_{days}"]):
        cells = [f"{metrics[f'{name}_{days}']:.4f}" for name in ("crps", "rel_mae", "mase")]
        shares = ("coverage_80", "coverage_95", "direction")
        cells += [f"{metrics[f'{name}_{days}']:.1%}" for name in shares]
        if scores.baselines:
            p = scores.metrics.get(f"dm_p_{system}_{days}")
            cells.append("" if p is None else f"{p:.4f}" if p >= 1e-4 else "< .0001")
        table.add_row(system, *cells, style="bold" if system == MODEL else "")
    return table


def verdicts(scores: ForecastScores) -> list[str]:
    """Returns one line a horizon: the model's CRPS against the better GARCH's."""
    if not scores.baselines:
        return []
    lines = []
    for days in scores.horizons():
        best = scores.best_garch(days)
        change = scores.metrics[f"crps_{days}"] / scores.baselines[best][f"crps_{days}"] - 1
        _, p = diebold_mariano(scores.systems[MODEL], scores.systems[best], days)
        side = "below" if change < 0 else "above"
        lines.append(
            f"{ahead(days)}: CRPS {abs(change):.2%} {side} {best}"
            f" (Diebold-Mariano p {'< .0001' if p < 1e-4 else f'= {p:.4f}'})"
        )
    return lines


def by_ticker(scores: ForecastScores) -> str:
    """Returns every system's scores of every ticker and horizon as CSV text."""
    horizons = scores.horizons()
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    header: list[str] = []
    for system, scored in scores.systems.items():
        for ticker_scores, reference in zip(scored, scores.systems[REFERENCE], strict=True):
            metrics = forecasting_metrics([ticker_scores], [reference], horizons)
            names = [name.removesuffix("_1") for name in metrics if name.endswith("_1")]
            if not header:
                header = ["system", "ticker", "days_ahead", *names]
                writer.writerow(header)
            for days in horizons:
                values = [f"{metrics[f'{name}_{days}']:.6g}" for name in header[3:]]
                writer.writerow([system, ticker_scores.ticker, days, *values])
    return text.getvalue()


def draw(scores: ForecastScores, folder: Path) -> None:
    """Draws fans, calibration and the CRPS by horizon of the evaluated split."""
    model = scores.systems[MODEL]
    days = scores.horizons()
    ends = sorted({days[0], days[-1]})
    split = scores.split.replace(":", "_")
    # In a split no longer than the horizon no fan has a whole outcome.
    if panels := _fans(model):
        plot_fans(
            folder / f"fans-{split}.png",
            title=f"Forecasts of the {scores.split} split, at evenly spaced tickers and days",
            panels=panels,
        )
    best = scores.best_garch(ends[0])
    shown = {MODEL: model, best: scores.systems[best]}
    plot_calibration(
        folder / f"calibration-{split}.png",
        title=f"Calibration on the {scores.split} split",
        pits={
            name: {horizon: pit_histogram(scored, horizon) for horizon in ends}
            for name, scored in shown.items()
        },
        coverage={
            name: {
                horizon: {
                    percent: metrics[f"coverage_{percent}_{horizon}"] for percent in INTERVALS
                }
                for horizon in ends
            }
            for name, metrics in ((MODEL, scores.metrics), (best, scores.baselines[best]))
        },
    )
    every_day = np.arange(1, model[0].crps.shape[1] + 1)
    losses = {
        name: np.concatenate([one.crps for one in scored]).mean(axis=0, dtype=float)
        for name, scored in scores.systems.items()
    }
    relative = {
        name: 100 * (loss / losses[REFERENCE] - 1)
        for name, loss in losses.items()
        if name not in (REFERENCE, "arima", "ets")
    }
    plot_horizons(
        folder / f"horizons-{split}.png",
        title=f"CRPS against that of the last value, in per cent, {scores.split} split",
        horizons=every_day,
        relative=relative,
    )


def _fans(scored: list[Scored]) -> list[Fan]:
    """Chooses tickers and origins by a fixed rule, so that none is picked by its look."""
    tickers = np.unique(np.linspace(0, len(scored) - 1, _PANELS).round().astype(int))
    panels = []
    for place, ticker in enumerate(tickers):
        forecasts = scored[ticker]
        horizon = forecasts.outcome.shape[1]
        first = min(60, len(forecasts.dates) // 3)
        last = max(len(forecasts.dates) - 1 - horizon, first)
        origin = int(np.linspace(first, last, len(tickers))[place])
        after = forecasts.dates[origin + 1 : origin + 1 + horizon]
        if len(after) < horizon:
            continue
        panels.append(
            Fan(
                title=f"{forecasts.ticker}, {forecasts.dates[origin]}",
                past_dates=forecasts.dates[: origin + 1][-60:],
                past_close=forecasts.close[: origin + 1][-60:],
                dates=after,
                quantiles=forecasts.close[origin] * np.exp(forecasts.quantiles[origin]),
                outcome=forecasts.close[origin] * np.exp(forecasts.outcome[origin]),
            )
        )
    return panels
