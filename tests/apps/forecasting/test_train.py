import shutil
from pathlib import Path

import numpy as np
import pytest

from apps.export.runtime import open_network
from apps.forecasting import inputs, train
from apps.forecasting.config import Config
from apps.forecasting.predictor import Predictor
from common.files import read_json
from common.results import read_history
from data.prices import large_us
from tests.apps.forecasting.helpers import (
    HORIZON,
    TINY,
    TRAIN_END,
    VALIDATION_END,
    check_forecast,
    other_after,
    prices_like,
    run_train,
)
from tests.helpers import assert_same_training

pytestmark = pytest.mark.usefixtures("jax_compiles_once", "here")

ROOT = Path(__file__).parents[3]


def test_a_run_folder_holds_what_the_house_promises(trained):
    assert (trained / "model.keras").is_file()
    assert (trained / "plots" / "learning_curves.png").stat().st_size > 5000
    config = read_json(trained / "config.json")
    assert (config["task"], config["units"], config["market"]) == ("forecasting", 8, "^SIM")
    history = read_history(trained / "history.csv")
    assert {"loss", "val_loss", "gradient_norm", "learning_rate", "seconds"} <= set(history)
    assert len(history["loss"]) == 2
    metrics = read_json(trained / "metrics.json")
    assert {"command", "backend", "device", "versions", "commit", "data"} <= set(metrics)
    assert set(metrics["metrics"]) == {"validation"}
    assert not list(trained.glob(".*")), "a temporary file was left behind"


def test_the_validation_score_is_that_of_the_model_read_from_disk(either, prices_dir):
    predictor = Predictor.load(either)
    loaded = inputs.load_inputs(
        predictor.config,
        data="yahoo",
        tickers=["SIMA", "^SIM"],
        data_dir=str(prices_dir),
    )
    losses = []
    for features in loaded.features:
        # A forecast begins and its last day ends within the split.
        after = np.flatnonzero(features.dates > np.datetime64(TRAIN_END))
        within = features.dates[after[:-HORIZON] + HORIZON] <= np.datetime64(VALIDATION_END)
        origins = after[:-HORIZON][within]
        days = origins[:, None] + np.arange(1, HORIZON + 1)
        came = np.log(features.close[days] / features.close[origins, None])
        losses.append(predictor.distribution(features, origins).crps(came))
    expected = 100 * np.concatenate(losses).mean(axis=0)[[0, HORIZON - 1]]
    stored = read_json(either / "metrics.json")["metrics"]["validation"]
    np.testing.assert_allclose([stored["crps_1"], stored["crps_5"]], expected, rtol=1e-6)


def test_prices_after_the_validation_split_change_nothing_that_is_learnt(
    trained, prices_dir, tmp_path
):
    change = other_after(VALIDATION_END)
    folder = tmp_path / "downloads" / "prices"
    prices_like(prices_dir, folder, SIMA=change, SIM=change)
    run_train("--data-dir", folder.parent, "--tickers", "SIMA,^SIM", "--run", tmp_path / "run")
    assert_same_training(trained, tmp_path / "run")
    before, after = (read_json(run / "metrics.json") for run in (trained, tmp_path / "run"))
    assert before["data"] != after["data"]


def test_a_run_that_was_stopped_goes_on_to_the_same_weights(either, flags, tmp_path, exporting):
    stopped = Path(shutil.copytree(either.with_name("stopped"), tmp_path / "stopped"))
    assert len(read_history(stopped / "history.csv")["loss"]) == 1
    stateful = ["--stateful"] * (either.name == "stateful")
    run_train(*flags, "--run", stopped, "--resume", *stateful)
    assert_same_training(either, stopped)
    assert open_network(stopped, task="forecasting").parameters


@pytest.mark.no_backend
@pytest.mark.parametrize(
    "settings",
    [
        "--distribution student_t --location network --cell gru --features returns,range",
        "--distribution quantiles --loss pinball --output last --market none --horizon 1"
        " --num-layers 2 --cell simple_rnn",
    ],
)
def test_every_kind_of_model_trains_and_predicts(settings, flags, forecast, here, prices_dir):
    run_train(*flags, "--epochs", "1", *settings.split(), "--run", here / "run")
    record, _ = forecast(here / "run", "SIMA", "--data-dir", prices_dir)
    check_forecast(record, days=read_json(here / "run" / "config.json")["horizon"])
    assert np.isfinite(read_json(here / "run" / "metrics.json")["metrics"]["validation"]["crps_1"])


def test_every_published_forecast_is_of_the_set_that_the_default_trains_on():
    name = f"large_us, prices of {len(large_us.FIRST_DAYS)} tickers to {large_us.LAST_DAY}"
    folder = ROOT / "apps" / "forecasting"
    records = [*(folder / "results").glob("*.json"), folder / "pretrained" / "metrics.json"]
    assert len(records) > 1
    for record in map(read_json, records):
        assert list(record["data"]) == [name]
        config = record.get("config") or read_json(folder / "pretrained" / "config.json")
        assert (config["data"], config["tickers"]) == (Config().data, Config().tickers)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--data prices/YOUNG.csv", "--lookback 16 and --horizon 5 need 81 days"),
        ("--data prices --tickers SIMA --market ^NOPE", "no ^NOPE.csv for the index"),
        ("--data prices --tickers SIMA --train-end 2013-03-01", "up to --train-end 2013-03-01"),
    ],
)
def test_a_mistake_in_training_ends_in_one_line_and_leaves_nothing(arguments, message, refused):
    refused(train.main, ["--run", "run", *TINY, *arguments.split()], message)
