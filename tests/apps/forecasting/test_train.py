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
    table_of,
)
from tests.helpers import assert_same_training, stopped_in_the_second_epoch

pytestmark = pytest.mark.usefixtures("jax_compiles_once", "here")

ROOT = Path(__file__).parents[3]


def test_a_run_folder_holds_what_the_house_promises(trained):
    assert (trained / "model.keras").is_file()
    for name in ("learning_curves", "optimisation"):
        assert (trained / "plots" / f"{name}.png").stat().st_size > 5000
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
    arguments = [*flags, "--run", tmp_path / "stopped"]
    if either.name == "stateful":
        arguments.append("--stateful")
    with stopped_in_the_second_epoch():
        run_train(*arguments)
    assert len(read_history(tmp_path / "stopped" / "history.csv")["loss"]) == 1
    run_train(*arguments, "--resume")
    assert_same_training(either, tmp_path / "stopped")
    assert open_network(tmp_path / "stopped", task="forecasting").parameters


@pytest.mark.no_backend
@pytest.mark.parametrize(
    "settings",
    [
        "--distribution student_t --location network --cell gru",
        "--distribution quantiles --loss pinball --output last --market none --horizon 1"
        " --num-layers 2",
        "--loss crps --features returns,range --cell simple_rnn",
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


@pytest.fixture
def small_set(prices_dir, monkeypatch):
    """A set of two of the simulated tickers and their index, which ends before their files do."""
    first = table_of(prices_dir / "prices", "SIMA").Date[5]
    first_days = dict.fromkeys(["SIMA", "SIMB", "^SIM"], np.datetime64(first))
    monkeypatch.setattr(large_us, "FIRST_DAYS", first_days)
    monkeypatch.setattr(large_us, "LAST_DAY", np.datetime64("2015-06-30"))


def loaded(folder, tickers=(), data="yahoo"):
    config = Config(market="^SIM")
    return inputs.load_inputs(config, data=str(data), tickers=tickers, data_dir=str(folder))


@pytest.mark.no_backend
def test_prices_that_are_named_are_neither_cut_nor_called_by_the_set(small_set, prices_dir):
    last = table_of(prices_dir / "prices", "SIMA").Date.iloc[-1]
    for found in (loaded(prices_dir, ["SIMA", "^SIM"]), loaded("", data=prices_dir / "prices")):
        assert str(found.histories[0].dates[-1]) == last
        assert list(found.hashes) == [f"prices of {len(found.histories)} tickers"]
    whole_set = loaded(prices_dir)
    assert str(whole_set.market.dates[-1]) == "2015-06-30"
    assert list(whole_set.hashes) == ["large_us, prices of 3 tickers to 2015-06-30"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--data prices/YOUNG.csv", "--lookback 16 and --horizon 5 need 81 days"),
        ("--data prices --tickers SIMA --market ^NOPE", "no ^NOPE.csv for the index"),
        ("--data prices --tickers SIMA --train-end 2013-03-01", "up to --train-end 2013-03-01"),
        ("--run caption --overwrite", "captioning"),
    ],
)
def test_a_mistake_in_training_ends_in_one_line_and_leaves_nothing(arguments, message, refused):
    refused(train.main, ["--run", "run", *TINY, *arguments.split()], message)
