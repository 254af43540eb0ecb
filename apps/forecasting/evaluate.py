"""Reloads a run from disk and scores its forecasts of a split beside the baselines.

python -m apps.forecasting.evaluate --run runs/forecasting/lstm-s1
python -m apps.forecasting.evaluate --data my_prices --split 2019-01-01:2020-12-31
"""

import dataclasses
import json as json_format
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress

from apps.forecasting.baselines import BASELINES, score_baselines
from apps.forecasting.config import Config, split_list
from apps.forecasting.inputs import Inputs, load_inputs
from apps.forecasting.metrics import Scored, diebold_mariano, forecasting_metrics, score
from apps.forecasting.predict import PRETRAINED, Predictor
from apps.forecasting.refit import refitted
from apps.forecasting.report import (
    MODEL,
    REFERENCE,
    ForecastScores,
    by_ticker,
    draw,
    metrics_tables,
    verdicts,
)
from apps.forecasting.splits import SPLITS, blocks, split_span
from common.artifact import OUTPUTS, PLOTS, write_text
from common.config import run_command
from common.device import device_line
from common.errors import UserError
from common.results import record_scores
from data.download import cache_directory
from data.errors import DataError

# Days ahead that tables show.
HORIZONS = (1, 5, 10, 20)


def evaluate_run(
    run: Path,
    *,
    data: str,
    tickers: Sequence[str],
    data_dir: str,
    split: str,
    baselines: bool,
    refit: int = 0,
    log: Callable[[str], None] | None = None,
) -> ForecastScores:
    """Scores the saved model of a run folder, from each day of a split on.

    Args:
        run: Run folder.
        data: As the flag; empty for the data that the run was trained on.
        tickers: Which ones; none means those of the training, or all of other `data`.
        data_dir: As the flag.
        split: As in `split_span`.
        baselines: Whether to score all baselines, or the last value alone.
        refit: Trading days after which model and baselines learn from the days that have passed; 0
            never.
        log: What takes a line now and then.

    Raises:
        UserError: If no ticker has a day to forecast from.
    """
    predictor = Predictor.load(run)
    config = predictor.config
    inputs = load_inputs(
        config,
        data=data or config.data,
        tickers=tickers or (() if data else split_list(config.tickers)),
        data_dir=data_dir,
        log=log,
    )
    warnings = list(inputs.warnings)
    start, end, fit_until = split_span(config, split, max(one.dates[-1] for one in inputs.features))
    if baselines and split == "train":
        warnings.append("the baselines are fitted on the training days, so they are not shown here")
        baselines = False
    origins = {
        one.ticker: one.origins(start, end, horizon=config.horizon, lookback=config.lookback)
        for one in inputs.features
    }
    short = [ticker for ticker, days in origins.items() if not len(days)]
    if short:
        warnings.append(f"too short for {split}, left out: {', '.join(short)}")
    if len(short) == len(origins):
        raise UserError(
            f"No ticker has a day between {start} and {end} with enough days before it and"
            f" --horizon {config.horizon} days after it: choose other dates with --split."
        )
    begin = time.perf_counter()
    systems: dict[str, list[Scored]] = {}
    for fitted_until, days in blocks(inputs.features, origins, fit_until, refit):
        if refit:
            predictor = refitted(predictor, inputs.features, until=fitted_until, log=log)
        found = _score_block(
            predictor, inputs, days, fitted_until, split == "train", baselines, config, log
        )
        for name, scored in found.items():
            systems[name] = _joined(systems.get(name, []), scored)
    horizons = [days for days in HORIZONS if days < config.horizon] + [config.horizon]
    reference = systems[REFERENCE]
    metrics = {
        name: forecasting_metrics(scored, reference, horizons) for name, scored in systems.items()
    }
    for name, scored in systems.items():
        if name != MODEL and baselines:
            for days in horizons:
                _, p = diebold_mariano(systems[MODEL], scored, days)
                metrics[MODEL][f"dm_p_{name}_{days}"] = p
    return ForecastScores(
        split=split,
        metrics=metrics.pop(MODEL),
        baselines=metrics if baselines else {},
        parameters=predictor.model.count_params(),
        hashes=inputs.hashes(),
        systems=systems,
        warnings=warnings,
        seconds=time.perf_counter() - begin,
    )


def _score_block(
    predictor: Predictor,
    inputs: Inputs,
    origins: dict[str, np.ndarray],
    fit_until: np.datetime64,
    in_training: bool,
    baselines: bool,
    config: Config,
    log: Callable[[str], None] | None,
) -> dict[str, list[Scored]]:
    chosen = [
        (history, features)
        for history, features in zip(inputs.histories, inputs.features, strict=True)
        if history.ticker in origins
    ]
    systems = {MODEL: []}
    for history, features in chosen:
        days = origins[history.ticker]
        changes = np.abs(np.diff(history.close[history.dates <= fit_until]))
        systems[MODEL].append(
            score(
                predictor.distribution(features, days),
                ticker=history.ticker,
                dates=history.dates[days],
                close=history.close[days],
                outcome=features.outcomes(config.horizon)[days],
                naive_error=changes.mean() if len(changes) else np.nan,
            )
        )
    histories = [history for history, _ in chosen]
    if in_training:
        # Fitted before the first origin, since it is a reference for prices alone.
        fit_until = min(history.dates[origins[history.ticker][0]] for history in histories)
    screen = Console(stderr=True)
    with Progress(console=screen, transient=True, disable=not screen.is_terminal) as progress:
        bar = progress.add_task("baselines", total=len(histories))
        return systems | score_baselines(
            histories,
            fit_until=fit_until,
            origins=origins,
            horizon=config.horizon,
            cache_dir=cache_directory(),
            names=tuple(BASELINES) if baselines else (REFERENCE,),
            processes=2 if baselines else 1,
            progress=lambda ticker: progress.advance(bar),
        )


def _joined(before: list[Scored], after: list[Scored]) -> list[Scored]:
    """Appends the forecasts of a later stretch to those of the earlier ones."""
    parts = {one.ticker: one for one in before}
    for one in after:
        if one.ticker in parts:
            old = parts[one.ticker]
            arrays = ("dates", "close", "outcome", "crps", "pit", "probability_of_rise")
            parts[one.ticker] = dataclasses.replace(
                old,
                **{
                    name: np.concatenate([getattr(old, name), getattr(one, name)])
                    for name in (*arrays, "quantiles")
                },
            )
        else:
            parts[one.ticker] = one
    return list(parts.values())


def main(
    run: Path = PRETRAINED,
    data: str = "",
    tickers: str = "",
    data_dir: str = "",
    split: str = "test",
    baselines: bool = True,
    refit: int = 0,
    json: bool = False,
) -> None:
    """Scores a saved model beside the baselines, from each day of a split on.

    Args:
        run: Run folder of the model.
        data: `yahoo`, or your own folder or file; by default what the run was trained on.
        tickers: Tickers, separated by commas (default: those of the training, or all of --data).
        data_dir: Folder of downloads (default: $DATA_DIR or a cache folder of yours).
        split: train, validation, test, or dates as 2019-01-01:2020-12-31.
        baselines: Score the baselines too: drift, EWMA, GARCH, GJR-GARCH, ARIMA and ETS.
        refit: Trading days after which model and baselines learn from the days that have passed;
            0 never.
        json: Print one line of JSON instead of a table.
    """
    if refit < 0:
        raise UserError("--refit cannot be negative; 0 never learns from the split.")
    console = Console(stderr=json, soft_wrap=True)
    console.print(f"[dim]{device_line()}[/dim]", highlight=False)
    scores = evaluate_run(
        run,
        data=data,
        tickers=split_list(tickers),
        data_dir=data_dir,
        split=split,
        baselines=baselines,
        refit=refit,
        log=lambda line: console.print(f"[dim]{escape(line)}[/dim]", highlight=False),
    )
    for line in scores.warnings:
        console.print(f"[yellow]warning:[/yellow] {escape(line)}", highlight=False)
    if json:
        record = {"split": split, "metrics": scores.metrics, "baselines": scores.baselines}
        print(json_format.dumps(record))
    else:
        for table in metrics_tables(scores, split):
            console.print(table)
        for line in verdicts(scores):
            console.print(line, highlight=False)
    # Dates and tickers of one's own do not belong into the run, whose split they are not.
    own = bool(refit or data or tickers or split not in SPLITS)
    folder = Path("runs/forecasting/evaluations") / split.replace(":", "_") if own else run
    write_text(folder / OUTPUTS / f"{split.replace(':', '_')}.csv", by_ticker(scores))
    if baselines and scores.baselines:
        draw(scores, folder / PLOTS)
    console.print(f"[dim]scores by ticker, pictures: {folder}[/dim]", highlight=False)
    if own:
        console.print("[dim]not recorded in the run: not its own split[/dim]")
    elif not record_scores(run, scores, task="forecasting"):
        console.print("[dim]not recorded: the run was trained on other data[/dim]")


if __name__ == "__main__":
    run_command(
        main,
        prog="python -m apps.forecasting.evaluate",
        description="Scores a saved forecasting model on days it was not trained on.",
        errors=(DataError,),
    )
