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

from apps.forecasting.config import Config
from apps.forecasting.inputs import load_inputs, training_days
from common.cli import VERBOSITY, aside, open_console, run_command, split_list, warn
from common.device import XLA, device_line
from common.devices import start_devices
from common.fitting import TrainFlags, first_facts, open_training, training_callbacks
from common.run_folder import MODEL, save_model
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
        mean=mean,
        variance=variance,
        distribution=config.distribution,
        location=config.location,
        dropout=config.dropout,
        stateful_rows=rows,
    )


def training_batches(
    config: Config, features: list, spans: list, *, epochs_done: int
) -> "keras.utils.PyDataset":
    """Returns windows to learn from or, with --stateful, consecutive pieces of histories.

    Args:
        config: Settings.
        features: Of each ticker.
        spans: Days of each ticker to train on.
        epochs_done: Epochs before the first one.
    """
    from data.prices.windows import HistoryChunks, PriceWindows

    if config.stateful:
        return HistoryChunks(
            features,
            spans,
            # Each history from the days on that only warm the state up.
            first_day=[days[0] - config.warmup_days for days in spans],
            length=config.lookback,
            horizon=config.horizon,
        )
    return PriceWindows(
        features,
        spans,
        lookback=config.lookback,
        horizon=config.horizon,
        stride=config.stride,
        first_step=config.warmup_days if config.output == "every" else config.lookback - 1,
        batch_size=config.batch_size,
        seed=config.seed,
        epoch=epochs_done,
    )


def main(flags: TrainFlags, config: Config) -> None:
    """Trains a forecasting model and leaves a run folder, scored on the validation split.

    Args:
        flags: The run folder, and whether to resume or replace the run in it.
        config: Settings of the model and its training.
    """
    run = Path(flags.run or f"runs/forecasting/{config.cell}-s{config.seed}")
    devices = start_devices(flags.devices, unfit={"--stateful": config.stateful})
    run = devices.folder(run, resume=flags.resume)
    with open_training(config, flags, run, task="forecasting") as config:
        import keras

        from apps.export.after_training import export_trained
        from apps.forecasting.evaluate import evaluate_run
        from apps.forecasting.report import metrics_tables
        from common.fitting import first_epoch, record_training, run_written
        from common.optimization import build_optimizer
        from data.prices.windows import HistoryChunks
        from models.forecasting import LOSSES
        from models.recurrent import ResetStates

        console = open_console()
        log = functools.partial(aside, console)
        log(device_line())
        epochs_done = first_epoch(config, flags, run)

        inputs = load_inputs(
            config,
            data=config.data,
            tickers=split_list(config.tickers),
            data_dir=flags.data_dir,
            market_needed=True,
            log=log,
        )
        for line in inputs.warnings:
            warn(console, line)
        features, train_spans, validation_spans = training_days(config, inputs.features)
        if left_out := len(inputs.features) - len(features):
            log(f"{left_out} tickers have too few days before {config.validation_end}: left out")
        facts = first_facts(
            config, task="forecasting", hashes=inputs.hashes, run=run, resume=flags.resume
        )
        batches = training_batches(config, features, train_spans, epochs_done=epochs_done)
        # One batch: every ticker's validation days after the days that a window reads.
        validation = HistoryChunks(
            features,
            validation_spans,
            first_day=[days[0] - config.lookback + 1 for days in validation_spans],
            length=0,
            horizon=config.horizon,
        )

        keras.utils.set_random_seed(config.seed)
        mean, variance = feature_statistics(features, np.datetime64(config.train_end))
        rows = len(features) if config.stateful else 0
        model = build(config, mean=mean, variance=variance, rows=rows)
        # Carried states are weights too, but not of the model that is saved.
        parameters = sum(math.prod(weight.shape) for weight in model.trainable_weights)
        model.compile(
            optimizer=build_optimizer(config.optimizer, learning_rate=config.learning_rate),
            loss=LOSSES[config.distribution, config.loss],
            jit_compile=XLA[config.jit_compile],
        )

        def save(trained: "keras.Model") -> None:
            if rows:
                # The saved model takes any number of rows and begins without a state.
                weights = map(keras.ops.convert_to_numpy, trained.trainable_weights)
                trained = build(config, mean=mean, variance=variance)
                trained.set_weights(list(weights))
            save_model(trained, run / MODEL)

        callbacks = training_callbacks(
            config,
            run=run,
            steps=len(batches),
            monitor="val_loss",
            mode="min",
            save=save,
            tensorboard=flags.tensorboard,
            console=console,
        )
        if config.stateful:
            callbacks.insert(0, ResetStates())
        console.print(
            f"{len(features)} tickers, {sum(map(len, train_spans))} days to train on and"
            f" {sum(map(len, validation_spans))} to validate · {parameters:,} parameters ·"
            f" {len(batches)} steps an epoch"
        )
        batches, validation = devices.share(
            batches, validation, epochs_done=epochs_done, unknown=np.nan
        )
        with run_written(
            config,
            flags,
            run,
            facts=facts,
            parameters=parameters,
            epochs_done=epochs_done,
            console=console,
        ):
            model.fit(
                batches,
                validation_data=validation,
                initial_epoch=epochs_done,
                epochs=config.epochs,
                callbacks=callbacks,
                shuffle=False,
                verbose=VERBOSITY,
            )

        if not devices.end():
            return
        # From disk, so that the score is the saved model's.
        scores = evaluate_run(
            run, data="", tickers=(), data_dir=flags.data_dir, split="validation", baselines=False
        )
        record_training(run, scores, metric="loss", mode="min")
        for table in metrics_tables(scores, "validation"):
            console.print(table)
        export_trained(run, task="forecasting", console=console)
        console.print(f"Score it on the test split: make evaluate-forecasting RUN={run}")


if __name__ == "__main__":
    run_command(
        main,
        prog="python -m apps.forecasting.train",
        description="Trains a recurrent network that forecasts the distribution of prices.",
    )
