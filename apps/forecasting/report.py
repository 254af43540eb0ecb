"""The report of an evaluation: tables, scores by ticker, pictures."""

import dataclasses
from pathlib import Path

import pandas as pd
from rich.table import Table

from apps.forecasting.metrics import Scored, forecasting_metrics
from apps.forecasting.plots import ahead, example_fans, plot_calibration, plot_fans, plot_horizons
from common.results import Scores
from common.tables import metrics_table

MODEL, REFERENCE = "model", "last_value"


@dataclasses.dataclass(frozen=True, kw_only=True)
class ForecastScores(Scores):
    """Scores of a saved model on one split, with all its forecasts."""

    systems: dict[str, list[Scored]]
    """The model's and the baselines' scored forecasts, one item a ticker."""
    warnings: list[str]

    def horizons(self) -> list[int]:
        """Returns the days ahead that the metrics are of, rising."""
        names = [name for name in self.metrics if name.startswith("crps_")]
        return [int(name.removeprefix("crps_")) for name in names]

    def best_garch(self, horizon: int) -> str:
        """Returns the GARCH model with the lower CRPS at a horizon."""
        names = ("garch_t", "gjr_garch_t")
        return min(names, key=lambda name: self.baselines[name][f"crps_{horizon}"])


def metrics_tables(scores: ForecastScores, title: str) -> list[Table]:
    """Returns a table for the nearest and one for the farthest day, the best CRPS on top."""
    tables = []
    for days in sorted({scores.horizons()[0], scores.horizons()[-1]}):
        names = ["crps", "rel_mae", "mase", "coverage_80", "coverage_95", "direction"]
        names += ["dm_p_model"] if scores.baselines else []
        rows = {MODEL: scores.metrics}
        for system, metrics in scores.baselines.items():
            p_value = scores.metrics.get(f"dm_p_{system}_{days}")
            own = {} if p_value is None else {f"dm_p_model_{days}": p_value}
            rows[system] = metrics | own
        ordered = dict(sorted(rows.items(), key=lambda item: item[1][f"crps_{days}"]))
        columns = [f"{name}_{days}" for name in names]
        title_of_day = f"{title}, {ahead(days)}"
        known = f", {days} d"
        tables.append(metrics_table(title_of_day, ordered, columns, known=known, bold=MODEL))
    return tables


def by_ticker(scores: ForecastScores) -> str:
    """Returns every system's scores of every ticker and horizon as CSV text."""
    rows = []
    for system, scored in scores.systems.items():
        for ticker, reference in zip(scored, scores.systems[REFERENCE], strict=True):
            for days in scores.horizons():
                metrics = forecasting_metrics([ticker], [reference], [days])
                values = {name.removesuffix(f"_{days}"): value for name, value in metrics.items()}
                rows.append(
                    {"system": system, "ticker": ticker.ticker, "days_ahead": days, **values}
                )
    return pd.DataFrame(rows).to_csv(index=False, float_format="%.6g", lineterminator="\n")


def draw(scores: ForecastScores, folder: Path) -> None:
    """Draws fans, calibration and the CRPS by horizon of the evaluated split."""
    name = scores.split.replace(":", "_")
    # In a split no longer than the horizon no fan has a whole outcome.
    if fans := example_fans(scores.systems[MODEL]):
        title = f"Forecasts of the {scores.split} split, at evenly spaced tickers and days"
        plot_fans(folder / f"fans-{name}.png", fans, title=title)
    days = scores.horizons()
    best = scores.best_garch(days[0])
    plot_calibration(
        folder / f"calibration-{name}.png",
        {system: scores.systems[system] for system in (MODEL, best)},
        {MODEL: scores.metrics, best: scores.baselines[best]},
        horizons=sorted({days[0], days[-1]}),
        title=f"Calibration on the {scores.split} split",
    )
    plot_horizons(
        folder / f"horizons-{name}.png",
        {name: scored for name, scored in scores.systems.items() if name not in ("arima", "ets")},
        reference=REFERENCE,
        title=f"CRPS against that of the last value, in per cent, {scores.split} split",
    )
