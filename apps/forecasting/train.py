"""Trains a forecasting model: prices -> features -> windows -> recurrence -> run folder.

python -m apps.forecasting.train                     # LSTM on the set large_us
python -m apps.forecasting.train --tickers AAPL,MSFT,^GSPC
python -m apps.forecasting.train --data my_prices --market none --run runs/forecasting/mine
"""

import functools
import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console

from apps.forecasting.config import Config
from apps.forecasting.inputs import check_market, load_inputs
from apps.forecasting.splits import training_days
from common.artifact import STATE
from common.config import run_command, split_list
from common.console import aside, open_console, warn
from common.device import XLA, device_line
from common.fitting import Prepared, fit_prepared, leave_scored
from common.training import TrainFlags, first_facts, open_training
from data.prices.features import feature_statistics

if TYPE_CHECKING:
    import keras


def build(
    config: Config, *, mean: np.ndarray, variance: np.ndarray, rows: int = 0
) -> "keras.Model":
    """Builds the model that `config` describes; `rows` makes it carry its states."""
    from models.forecasting import build_forecaster

    return build_forecaster(
        horizon=config.horizon,
        cell=config.cell,
        units=config.units,
        num_layers=config.num_layers,
        activation=config.activation,
        mean=mean,
        variance=variance,
        distribution=config.distribution,
        location=config.location,
        input_dropout=config.input_dropout,
        dropout=config.dropout,
        recurrent_dropout=config.recurrent_dropout,
        stateful_rows=rows,
    )


def prepare(
    config: Config, *, run: Path, data_dir: str, resume: bool, console: Console
) -> Prepared:
    """Loads the data and builds the model; writes nothing.

    Args:
        config: Settings.
        run: Run folder, of which nothing is read unless `resume`.
        data_dir: Folder of downloads, or empty.
        resume: Whether the run goes on after its last finished epoch.
        console: Where to say what was loaded.
    """
    import keras

    from common.callbacks import ResetStates
    from common.optimizers import build_optimizer
    from common.training_state import saved_epoch
    from data.prices.windows import HistoryChunks, PriceWindows
    from models.forecasting import LOSSES

    log = functools.partial(aside, console)
    inputs = load_inputs(
        config, data=config.data, tickers=split_list(config.tickers), data_dir=data_dir, log=log
    )
    check_market(config, inputs)
    for line in inputs.warnings:
        warn(console, line)
    features, train_spans, validation_spans = training_days(config, inputs.features)
    left_out = len(inputs.features) - len(features)
    if left_out:
        log(f"{left_out} tickers have too few days before {config.validation_end}: left out")
    facts = first_facts(config, task="forecasting", hashes=inputs.hashes(), run=run, resume=resume)
    keras.utils.set_random_seed(config.seed)

    mean, variance = feature_statistics(features, np.datetime64(config.train_end))
    rows = len(features) if config.stateful else 0
    model = build(config, mean=mean, variance=variance, rows=rows)
    # Carried states are weights too, but not of the model that is saved.
    parameters = sum(math.prod(weight.shape) for weight in model.trainable_weights)
    epochs_done = saved_epoch(run / STATE) if resume else 0
    if config.stateful:
        batches = HistoryChunks(
            features,
            train_spans,
            # Each history from the days on that only warm the state up.
            first_day=[days[0] - config.warmup_days for days in train_spans],
            length=config.lookback,
            horizon=config.horizon,
        )
    else:
        batches = PriceWindows(
            features,
            train_spans,
            lookback=config.lookback,
            horizon=config.horizon,
            stride=config.stride,
            every_step=config.output == "every",
            warmup_days=config.warmup_days,
            batch_size=config.batch_size,
            seed=config.seed,
            epoch=epochs_done,
        )
    # One batch: every ticker's validation days after the days that a window reads before.
    before = [span[0] - config.lookback + 1 for span in validation_spans]
    spans = zip(before, validation_spans, strict=True)
    validation_batch = HistoryChunks(
        features,
        validation_spans,
        first_day=before,
        length=max(days[-1] + 1 - first for first, days in spans),
        horizon=config.horizon,
    )
    model.compile(
        optimizer=build_optimizer(
            config.optimizer,
            learning_rate=config.learning_rate,
            weight_decay=config.weight_decay,
        ),
        loss=LOSSES[config.distribution, config.loss],
        jit_compile=XLA[config.jit_compile],
    )

    def without_states(trained: "keras.Model") -> "keras.Model":
        # The saved model takes any number of rows and begins without a state.
        free = build(config, mean=mean, variance=variance)
        # All but the states that are carried.
        free.set_weights(
            [keras.ops.convert_to_numpy(weight) for weight in trained.trainable_weights]
        )
        return free

    return Prepared(
        config=config,
        facts=facts,
        model=model,
        batches=batches,
        validation_batches=validation_batch,
        monitor="val_loss",
        mode="min",
        summary=f"{len(features)} tickers, {sum(map(len, train_spans))} days to train on and"
        f" {sum(map(len, validation_spans))} to validate · {parameters:,} parameters ·"
        f" {len(batches)} steps an epoch",
        parameters=parameters,
        epochs_done=epochs_done,
        **({"to_save": without_states, "callbacks": (ResetStates(),)} if rows else {}),
    )


def main(flags: TrainFlags, config: Config) -> None:
    """Trains a forecasting model and leaves a run folder, scored on the validation split.

    Args:
        flags: Where the run stands, and how it begins.
        config: Settings of the model and its training.
    """
    run = Path(flags.run or f"runs/forecasting/{config.cell}-s{config.seed}")
    with open_training(config, flags, run, task="forecasting") as config:
        from apps.forecasting.evaluate import evaluate_run
        from apps.forecasting.report import metrics_tables

        console = open_console()
        aside(console, device_line())
        prepared = prepare(
            config, run=run, data_dir=flags.data_dir, resume=flags.resume, console=console
        )
        history = fit_prepared(prepared, flags, run=run, console=console)
        # From disk, so that the score is the saved model's.
        scores = evaluate_run(
            run,
            data="",
            tickers=(),
            data_dir=flags.data_dir,
            split="validation",
            baselines=False,
        )
        leave_scored(run, scores, history, metric="loss", mode="min")
        for table in metrics_tables(scores, "validation"):
            console.print(table)
        console.print(f"Score it on the test split: make evaluate-forecasting RUN={run}")


if __name__ == "__main__":
    run_command(
        main,
        prog="python -m apps.forecasting.train",
        description="Trains a recurrent network that forecasts the distribution of prices.",
    )
