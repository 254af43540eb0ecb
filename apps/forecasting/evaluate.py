"""Reloads a run from disk and scores its forecasts of a split beside the baselines.

python -m apps.forecasting.evaluate --run runs/forecasting/lstm-s1
python -m apps.forecasting.evaluate --data my_prices --split 2019-01-01:2020-12-31
"""

import functools
import hashlib
import json as json_format
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from rich.console import Console
from rich.progress import Progress

from apps.export.runtime import runtime_line
from apps.forecasting.inputs import Inputs, load_inputs
from apps.forecasting.predictor import PRETRAINED
from apps.forecasting.splits import SPLITS, split_span
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
    from apps.forecasting.metrics import Scored
    from apps.forecasting.predictor import Predictor
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
        log: What takes a line now and then.
        runtime: What computes.

    Raises:
        UserError: If no ticker has a day to forecast from.
    """
    from apps.forecasting.baselines import BASELINES, FEWEST_DAYS
    from apps.forecasting.metrics import diebold_mariano, forecasting_metrics
    from apps.forecasting.predictor import Predictor
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
    last = max(history.dates[-1] for history in inputs.features)
    start, end, fit_until = split_span(config, split, last)
    if baselines and split == "train":
        warnings.append("the baselines are fitted on the training days, so they are not shown here")
        baselines = False
    origins = {
        history.ticker: history.origins(
            start, end, horizon=config.horizon, lookback=config.lookback
        )
        for history in inputs.features
    }
    for history in inputs.features:
        if split != "train" and np.sum(history.dates <= fit_until) <= FEWEST_DAYS:
            origins[history.ticker] = origins[history.ticker][:0]
    short = [ticker for ticker, days in origins.items() if not len(days)]
    if short:
        warnings.append(f"too short for {split}, left out: {', '.join(short)}")
    if start <= np.datetime64(config.train_end) and split not in SPLITS:
        warnings.append(
            f"the model was trained on the days up to {config.train_end}: the test is not fair"
        )
    if len(short) == len(origins):
        raise UserError(
            f"No ticker has a day between {start} and {end} with enough days before it and"
            f" --horizon {config.horizon} days after it: choose other dates with --split"
            f" (the prices end on {last})."
        )
    begin = time.perf_counter()
    names = tuple(BASELINES) if baselines else (REFERENCE,)
    systems = _scored_systems(predictor, inputs, origins, fit_until, split == "train", names)
    notes: dict[tuple[str, str], list[str]] = {}
    for name, scored in systems.items():
        for forecasts in scored:
            if forecasts.note:
                notes.setdefault((name, forecasts.note), []).append(forecasts.ticker)
    warnings += [f"{name} of {', '.join(of)}: {note}" for (name, note), of in notes.items()]
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
        parameters=predictor.network.parameters,
        hashes=inputs.hashes(),
        systems=systems,
        warnings=warnings,
        seconds=time.perf_counter() - begin,
    )


def _scored_systems(
    predictor: "Predictor",
    inputs: Inputs,
    origins: dict[str, np.ndarray],
    fit_until: np.datetime64,
    in_training: bool,
    names: Sequence[str],
) -> "dict[str, list[Scored]]":
    """Scores the model and the baselines, with the tickers in the same order.

    Baselines are fitted up to `fit_until`, in the training split up to each ticker's first origin.
    """
    from apps.forecasting.baselines import score_baselines
    from apps.forecasting.metrics import score
    from apps.forecasting.report import MODEL

    horizon = predictor.config.horizon
    chosen = [
        (history, features, origins[history.ticker])
        for history, features in zip(inputs.histories, inputs.features, strict=True)
        if len(origins[history.ticker])
    ]
    systems: dict[str, list[Scored]] = {MODEL: []} | {name: [] for name in names}
    ends: dict[np.datetime64, list] = {}
    for history, features, days in chosen:
        end = history.dates[days[0]] if in_training else fit_until
        ends.setdefault(end, []).append(history)
        systems[MODEL].append(
            score(
                predictor.distribution(features, days),
                ticker=history.ticker,
                dates=history.dates[days],
                close=history.close[days],
                outcome=features.outcomes(horizon)[days],
                naive_error=np.abs(np.diff(history.close[history.dates <= end])).mean(),
            )
        )
    screen = Console(stderr=True)
    with Progress(console=screen, transient=True, disable=not screen.is_terminal) as progress:
        bar = progress.add_task("baselines", total=len(chosen))
        for end, histories in ends.items():
            scored = score_baselines(
                histories,
                fit_until=end,
                origins=origins,
                horizon=horizon,
                cache_dir=cache_directory(),
                names=names,
                progress=lambda ticker: progress.advance(bar),
            )
            for name in names:
                systems[name] += scored[name]
    places = {history.ticker: place for place, (history, *_) in enumerate(chosen)}
    for name in names:
        systems[name].sort(key=lambda scored: places[scored.ticker])
    return systems


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
        split: train, validation, test, or dates as 2019-01-01:2020-12-31.
        baselines: Score the baselines too: drift, EWMA, GARCH, GJR-GARCH, ARIMA and ETS.
        json: Print one line of JSON instead of a table.
        runtime: The Keras model, or the graph that `make export-forecasting` wrote.
    """
    console = open_console(stderr=json)
    # A mistake is answered before Keras starts.
    read_config(run, "forecasting")
    from apps.forecasting.report import by_ticker, draw, metrics_tables, verdicts

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
        name = split.replace(":", "_")
        folder = run
        if not recorded:
            what = _what_is_scored(name, data, split_list(tickers))
            folder = evaluation_folder(run, task="forecasting", what=what)
        write_text(folder / OUTPUTS / f"{name}.csv", by_ticker(scores))
        if scores.baselines:
            draw(scores, folder / PLOTS)
    for line in scores.warnings:
        warn(console, line)
    if json:
        record = {"split": split, "metrics": scores.metrics, "baselines": scores.baselines}
        print(json_format.dumps(_without_nan(record), allow_nan=False))
    else:
        for table in metrics_tables(scores, split):
            console.print(table)
        for line in verdicts(scores):
            console.print(line)
    aside(console, f"scores by ticker, pictures: {folder}")
    if not recorded:
        reason = "not its own split" if foreign else why_not_recorded(run, scores.hashes)
        reason = reason or "published scores are those of the Keras model"
        aside(console, f"not recorded in the run: {reason}")


def _what_is_scored(split: str, data: str, tickers: tuple[str, ...]) -> str:
    """Returns a folder name that tells apart all ways of scoring the same run."""
    parts = [split, *([data_label(data)] if data else [])]
    if len(tickers) > 3:
        parts.append(f"{len(tickers)}_tickers_{_digest(','.join(tickers))}")
    elif tickers:
        parts.append("_".join(tickers))
    return "-".join(parts)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:6]


def _without_nan(value):
    """Returns a record with None for NaN, which JSON does not have."""
    if isinstance(value, dict):
        return {name: _without_nan(item) for name, item in value.items()}
    return None if isinstance(value, float) and np.isnan(value) else value


if __name__ == "__main__":
    run_command(
        main,
        prog="python -m apps.forecasting.evaluate",
        description="Scores a saved forecasting model on days it was not trained on.",
    )
