"""Trains a forecasting model: prices -> features -> windows -> recurrence -> run folder.

python -m apps.forecasting.train                     # LSTM on all files of the downloads
python -m apps.forecasting.train --tickers AAPL,MSFT,^GSPC
python -m apps.forecasting.train --data my_prices --market none --run runs/forecasting/mine
"""

import contextlib
import functools
import math
import sys
from pathlib import Path

import keras
import numpy as np

from apps.forecasting.config import Config
from apps.forecasting.evaluate import evaluate_run
from apps.forecasting.inputs import check_market, load_inputs
from apps.forecasting.report import metrics_tables
from apps.forecasting.splits import training_days
from common.artifact import (
    CONFIG,
    HISTORY,
    METRICS,
    MODEL,
    PLOTS,
    STATE,
    replace_run,
    save_model,
    write_json,
)
from common.callbacks import ResetStates, read_history
from common.config import fields_as_flags, run_command, split_list
from common.console import aside, open_console, warn
from common.device import XLA, device_line, fused_kernel_line
from common.optimizers import build_optimizer
from common.plots import plot_learning_curves, plot_optimisation
from common.results import record_scores
from common.training import (
    first_facts,
    last_facts,
    open_training,
    suggest_learning_rate,
    training_callbacks,
)
from common.training_state import is_finished, saved_epoch
from data.errors import DataError
from data.forecasting import feature_statistics
from data.price_windows import HistoryChunks, PriceWindows
from models.forecasting import LOSSES, build_forecaster


def build(config: Config, *, mean: np.ndarray, variance: np.ndarray, rows: int = 0) -> keras.Model:
    """Builds the model that `config` describes; `rows` makes it carry its states."""
    return build_forecaster(
        horizon=config.horizon,
        cell=config.cell,
        units=config.units,
        num_layers=config.num_layers,
        activation=config.activation,
        mean=mean,
        variance=variance,
        distribution=config.distribution,
        components=config.components,
        location=config.location,
        input_dropout=config.input_dropout,
        dropout=config.dropout,
        recurrent_dropout=config.recurrent_dropout,
        skip_connection=config.skip_connection,
        stateful_rows=rows,
    )


def train(
    config: Config, *, run: Path, data_dir: str, resume: bool, tensorboard: bool, find_rate: bool
) -> None:
    """Trains one model and leaves a run folder, scored on the validation split.

    Args:
        config: Settings.
        run: Folder to write; what stood there is replaced unless `resume`.
        data_dir: Folder of downloads, or empty.
        resume: Go on after the last finished epoch.
        tensorboard: Write event files to `run/tensorboard`.
        find_rate: Draw the loss over a rising learning rate instead of training.
    """
    console = open_console()
    aside(console, device_line())

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
    console.print(
        f"{len(features)} tickers, {sum(map(len, train_spans))} days to train on and"
        f" {sum(map(len, validation_spans))} to validate · {parameters:,} parameters ·"
        f" {len(batches)} steps an epoch"
    )

    if line := fused_kernel_line(config.cell, config.recurrent_dropout):
        aside(console, line)
    if find_rate:
        suggest_learning_rate(model, config, batches, run, console)
        return

    def save(trained: keras.Model) -> None:
        if rows:
            # The saved model takes any number of rows and begins without a state.
            free = build(config, mean=mean, variance=variance)
            # All but the states that are carried.
            free.set_weights(
                [keras.ops.convert_to_numpy(weight) for weight in trained.trainable_weights]
            )
            trained = free
        save_model(trained, run / MODEL)

    callbacks = training_callbacks(
        config,
        run=run,
        steps=len(batches),
        monitor="val_loss",
        mode="min",
        save=save,
        tensorboard=tensorboard,
        console=console,
    )
    if rows:
        callbacks.insert(0, ResetStates())

    with contextlib.nullcontext() if resume else replace_run(run):
        if not resume:
            write_json(run / METRICS, facts)
            write_json(run / CONFIG, {"task": "forecasting", **fields_as_flags(config)})
        if not is_finished(run / STATE):
            model.fit(
                batches,
                validation_data=validation_batch,
                epochs=config.epochs,
                initial_epoch=epochs_done,
                callbacks=callbacks,
                shuffle=False,
                verbose="auto" if sys.stdout.isatty() else 2,
            )

    history = read_history(run / HISTORY)
    facts |= last_facts(history, parameters=parameters)
    write_json(run / METRICS, facts)
    # From disk, so that the score is the saved model's.
    scores = evaluate_run(
        run, data="", tickers=(), data_dir=data_dir, split="validation", baselines=False
    )
    record_scores(run, scores, task="forecasting")
    plot_learning_curves(
        history, run / PLOTS / "learning_curves.png", metric="loss", mode="min", title=str(run)
    )
    plot_optimisation(history, run / PLOTS / "optimisation.png", title=str(run))
    for table in metrics_tables(scores, "validation"):
        console.print(table)
    console.print(f"Score it on the test split: make evaluate-forecasting RUN={run}")


def main(
    config: Config,
    run: str = "",
    data_dir: str = "",
    resume: bool = False,
    overwrite: bool = False,
    tensorboard: bool = False,
    find_learning_rate: bool = False,
) -> None:
    """Trains a forecasting model and leaves a run folder.

    Args:
        config: Settings of the model and its training.
        run: Folder to write (default: runs/forecasting/<cell>-s<seed>).
        data_dir: Folder of downloads (default: $DATA_DIR or a cache folder of yours).
        resume: Go on where an interrupted run stopped, with its own settings.
        overwrite: Replace the run that stands in the folder.
        tensorboard: Write event files for TensorBoard.
        find_learning_rate: Draw the loss over a rising learning rate instead of training.
    """
    folder = Path(run or f"runs/forecasting/{config.cell}-s{config.seed}")
    config = open_training(
        config,
        folder,
        task="forecasting",
        resume=resume,
        overwrite=overwrite,
        find_rate=find_learning_rate,
    )
    train(
        config,
        run=folder,
        data_dir=data_dir,
        resume=resume,
        tensorboard=tensorboard,
        find_rate=find_learning_rate,
    )


if __name__ == "__main__":
    run_command(
        main,
        prog="python -m apps.forecasting.train",
        description="Trains a recurrent network that forecasts the distribution of prices.",
        errors=(DataError,),
    )
