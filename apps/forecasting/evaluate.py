"""Reloads a run from disk and scores its forecasts of a split beside the baselines.

python -m apps.forecasting.evaluate --run runs/forecasting/lstm-s1
python -m apps.forecasting.evaluate --data my_prices --split 2019-01-01:2020-12-31
"""

import functools
import json as json_format
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from apps.export.runtime import runtime_line
from apps.forecasting.baselines import BASELINES, FEWEST_DAYS, score_baselines
from apps.forecasting.inputs import SPLITS, load_inputs, split_span
from apps.forecasting.metrics import (
    Scored,
    diebold_mariano,
    forecasting_metrics,
    outcomes_of,
    score,
)
from apps.forecasting.predictor import PRETRAINED, Predictor
from common.cli import aside, open_console, run_command, split_list, warn
from common.device import device_line
from common.errors import UserError
from common.files import write_text
from common.results import (
    data_label,
    evaluation_folder,
    record_scores,
    why_not_recorded,
)
from common.run_folder import OUTPUTS, PLOTS, lock_run, read_config
from data.download import cache_directory

if TYPE_CHECKING:
    from apps.forecasting.report import ForecastScores

# Days ahead that are scored, besides the last.
HORIZONS = (1, 5, 10, 20)


def evaluate_run(
    run: Path,
    *,
    data: str,
    tickers: Sequence[str],
    data_dir: str,
    split: str,
    baselines: bool,
    log: Callable[[str], None] | None = None,
    runtime: Literal["keras", "onnx"] = "keras",
) -> "ForecastScores":
    """Scores the saved model of a run folder, from each day of a split on.

    Args:
        run: Run folder.
        data: As the flag; empty for the data that the run was trained on.
        tickers: Which ones; none means those of the training, or all of other `data`.
        data_dir: As the flag.
        split: As in `split_span`.
        baselines: Whether to score all baselines, or the last value alone.
        log: Takes a line for each download.
        runtime: What computes.

    Raises:
        UserError: If no ticker has a day to forecast from.
    """
    from apps.forecasting.report import MODEL, REFERENCE, ForecastScores

    predictor = Predictor.load(run, runtime=runtime)
    config = predictor.config
    inputs = load_inputs(
        config,
        data=data or config.data,
        tickers=tickers or (() if data else split_list(config.tickers)),
        data_dir=data_dir,
        log=log,
    )
    warnings = list(inputs.warnings)
    last = max(history.dates[-1] for history in inputs.histories)
    start, end = split_span(config, split, last)
    fit_until = start - 1
    if start <= np.datetime64(config.train_end):
        warnings.append(
            f"the model was trained on the days up to {config.train_end}: the test is not fair"
        )
    histories, origins, systems = [], {}, {MODEL: []}
    for history, features in zip(inputs.histories, inputs.features, strict=True):
        days = features.origins(start, end, horizon=config.horizon, lookback=config.lookback)
        if len(days) and np.sum(history.dates <= fit_until) > FEWEST_DAYS:
            histories.append(history)
            origins[history.ticker] = days
            outcomes = outcomes_of(history, days, horizon=config.horizon, fit_until=fit_until)
            scores = score(predictor.distribution(features, days), outcomes["outcome"])
            systems[MODEL].append(Scored(**outcomes, **scores))
    if not histories:
        raise UserError(
            f"No ticker has a day between {start} and {end} with enough days before it and"
            f" --horizon {config.horizon} days after it: choose other dates with --split"
            f" (the prices end on {last})."
        )
    if short := [one.ticker for one in inputs.histories if one.ticker not in origins]:
        warnings.append(f"too short for {split}, left out: {', '.join(short)}")
    systems |= score_baselines(
        histories,
        fit_until=fit_until,
        origins=origins,
        horizon=config.horizon,
        cache_dir=cache_directory(),
        names=tuple(BASELINES) if baselines else (REFERENCE,),
    )
    for name, scored in systems.items():
        warnings += [f"{name} of {one.ticker}: {one.note}" for one in scored if one.note]
    horizons = [days for days in HORIZONS if days < config.horizon] + [config.horizon]
    metrics = {
        name: forecasting_metrics(scored, systems[REFERENCE], horizons)
        for name, scored in systems.items()
    }
    if baselines:
        for name in BASELINES:
            for days in horizons:
                _, p_value = diebold_mariano(systems[MODEL], systems[name], days)
                metrics[MODEL][f"dm_p_{name}_{days}"] = p_value
    return ForecastScores(
        split=split,
        metrics=metrics.pop(MODEL),
        baselines=metrics if baselines else {},
        parameters=predictor.network.parameters,
        hashes=inputs.hashes,
        systems=systems,
        warnings=warnings,
    )


def main(
    run: Path = PRETRAINED,
    data: str = "",
    tickers: str = "",
    data_dir: str = "",
    split: str = "test",
    baselines: bool = True,
    json: bool = False,
    runtime: Literal["keras", "onnx"] = "keras",
) -> None:
    """Scores a saved model beside the baselines, from each day of a split on.

    Args:
        run: Run folder of the model.
        data: `yahoo`, or your own folder or file; by default what the run was trained on.
        tickers: Tickers, separated by commas (default: those of the training, or all of --data).
        data_dir: Folder of downloads (default: $DATA_DIR or a cache folder of yours).
        split: validation, test, or dates as 2019-01-01:2020-12-31.
        baselines: Score the baselines too: drift, EWMA, GARCH, GJR-GARCH, ARIMA and ETS.
        json: Print one line of JSON instead of a table.
        runtime: The Keras model, or the graph that `make export-forecasting` wrote.
    """
    console = open_console(stderr=json)
    # A mistake is answered before Keras starts.
    read_config(run, "forecasting")
    from apps.forecasting.report import by_ticker, draw, metrics_tables

    aside(console, device_line() if runtime == "keras" else runtime_line())
    # Scores of other dates, tickers or data are not recorded in the run.
    foreign = bool(data or tickers or split not in SPLITS)
    with lock_run(run, shared=True):
        scores = evaluate_run(
            run,
            data=data,
            tickers=split_list(tickers),
            data_dir=data_dir,
            split=split,
            baselines=baselines,
            log=functools.partial(aside, console),
            runtime=runtime,
        )
        recorded = not foreign and runtime == "keras" and record_scores(run, scores)
        name, folder = split.replace(":", "_"), run
        if not recorded:
            # A name of its own for each way of scoring the same run, of a length that files have.
            label = "-".join(filter(None, [name, data_label(data), tickers.replace(",", "_")]))
            folder = evaluation_folder(run, task="forecasting", what=label[:200])
        write_text(folder / OUTPUTS / f"{name}.csv", by_ticker(scores))
        if scores.baselines:
            draw(scores, folder / PLOTS)
    for line in scores.warnings:
        warn(console, line)
    if json:
        record = {"split": split, "metrics": scores.metrics, "baselines": scores.baselines}
        print(json_format.dumps(record))
    else:
        for table in metrics_tables(scores, split):
            console.print(table)
    aside(console, f"scores by ticker, pictures: {folder}")
    if not recorded:
        reason = "not its own split" if foreign else why_not_recorded(run, scores.hashes)
        reason = reason or "published scores are those of the Keras model"
        aside(console, f"not recorded in the run: {reason}")


if __name__ == "__main__":
    run_command(
        main,
        prog="python -m apps.forecasting.evaluate",
        description="Scores a saved forecasting model on days it was not trained on.",
    )
