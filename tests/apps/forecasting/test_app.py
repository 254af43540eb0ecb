import dataclasses
import functools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from apps.forecasting import evaluate, inputs, predict, train
from apps.forecasting.baselines import BASELINES
from apps.forecasting.config import Config
from apps.forecasting.metrics import LEVELS
from apps.forecasting.predict import Predictor
from apps.forecasting.report import draw
from common.artifact import read_json
from common.callbacks import History, read_history
from common.config import parse_call, run_command
from common.errors import UserError
from common.training import flag
from data.prices import large_us, yahoo
from data.prices.sample import write_price_sample
from tests.helpers import assert_same_training, call, files_of, published

pytestmark = pytest.mark.usefixtures("jax_compiles_once", "here")

ROOT = Path(__file__).parents[3]
PRICES = ["Open", "High", "Low", "Close", "Adj Close"]
TRAIN_END, VALIDATION_END = "2014-12-31", "2015-05-01"
LOOKBACK, HORIZON = 16, 5
# With this stride every batch is full: JAX compiles each new shape for seconds.
TINY = (
    f"--market ^SIM --train-end {TRAIN_END} --validation-end {VALIDATION_END}"
    f" --lookback {LOOKBACK} --horizon {HORIZON} --stride 8 --warmup-days 4 --units 8"
    " --batch-size 11 --warmup-steps 2 --epochs 2"
).split()


def tiny(*arguments):
    """The flags given, after those of TINY that they leave a meaning."""
    words = list(map(str, arguments))
    config = parse_call(train.main, prog="", description="", arguments=words).keywords["config"]
    ignored = {flag(name) for name in config.ignored()}
    pairs = zip(TINY[::2], TINY[1::2], strict=True)
    return [word for pair in pairs if pair[0] not in ignored for word in pair] + words


def run_train(*arguments):
    call(train.main, *tiny(*arguments))


def evaluated(run, *, data="", tickers=(), data_dir="", split="test", baselines=False):
    return evaluate.evaluate_run(
        Path(run),
        data=str(data),
        tickers=tickers,
        data_dir=str(data_dir),
        split=split,
        baselines=baselines,
    )


@pytest.fixture(scope="module")
def flags(prices_dir):
    """What both of the trained runs were trained with."""
    return ["--data-dir", prices_dir, "--tickers", "SIMA,^SIM"]


@pytest.fixture(scope="module")
def trained(flags, tmp_path_factory):
    """A run folder trained on mixed windows."""
    run = tmp_path_factory.mktemp("runs") / "windows"
    run_train(*flags, "--run", run)
    return run


@pytest.fixture(scope="module")
def stateful(flags, tmp_path_factory):
    """A run folder trained on whole histories."""
    run = tmp_path_factory.mktemp("runs") / "stateful"
    run_train(*flags, "--run", run, "--stateful")
    return run


@pytest.fixture(params=["trained", "stateful"])
def either(request):
    """Each of the two run folders in turn."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def copy(trained, tmp_path):
    return Path(shutil.copytree(trained, tmp_path / "copy"))


@pytest.fixture(scope="module")
def scored(trained, prices_dir):
    """The test split of the first run, beside all baselines."""
    return evaluated(trained, data_dir=prices_dir, baselines=True)


@pytest.fixture
def forecast(capsys, monkeypatch):
    """Calls the command and returns its JSON, and the lines beside it."""
    # Loading takes most of the time: once a test will do.
    monkeypatch.setattr(Predictor, "load", functools.cache(Predictor.load))

    def forecast(run, ticker, *arguments):
        capsys.readouterr()
        call(predict.main, "--run", run, "--ticker", ticker, "--json", *arguments)
        output = capsys.readouterr()
        return json.loads(output.out), output.err

    return forecast


def table_of(folder, ticker):
    return pd.read_csv(folder / f"{ticker}.csv")


def prices_like(prices_dir, folder, *, tickers=("SIMA", "SIMB", "^SIM"), **changes):
    """Writes price files into a folder, some of them changed by a function of the table."""
    folder.mkdir(parents=True)
    for ticker in tickers:
        table = table_of(prices_dir / "prices", ticker)
        change = changes.get(ticker.removeprefix("^"), lambda table: table)
        # As the sample is written, so that a line that is not changed stays the same.
        change(table).to_csv(folder / f"{ticker}.csv", index=False, float_format="%.6f")
    return folder


def until(day):
    return lambda table: table[table.Date <= day]


def since(day):
    return lambda table: table[table.Date >= day]


def other_after(day):
    """Another course of the prices after a day."""

    def change(table):
        table, later = table.copy(), table.Date > day
        steps = np.random.default_rng(0).normal(0, 0.03, later.sum())
        table.loc[later, PRICES] = table.loc[later, PRICES].mul(np.exp(steps.cumsum()), axis=0)
        return table

    return change


# ---- Training --------------------------------------------------------------------------------


def test_a_run_folder_holds_what_the_house_promises(trained):
    for name in ("config.json", "model.keras", "history.csv", "metrics.json"):
        assert (trained / name).is_file(), name
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
        found = predictor.distribution(features, origins)
        assert found.shape == (len(origins), HORIZON)
        losses.append(found.crps(came))
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


def test_a_run_that_was_stopped_goes_on_to_the_same_weights(either, flags, tmp_path, monkeypatch):
    arguments = [*flags, "--run", tmp_path / "stopped"]
    if either.name == "stateful":
        arguments.append("--stateful")
    original, calls = History.on_epoch_end, []

    def stop_in_the_second_epoch(self, epoch, logs=None):
        if epoch == 1 and not calls:
            calls.append(epoch)
            raise KeyboardInterrupt
        original(self, epoch, logs)

    monkeypatch.setattr(History, "on_epoch_end", stop_in_the_second_epoch)
    with pytest.raises(KeyboardInterrupt):
        run_train(*arguments)
    assert len(read_history(tmp_path / "stopped" / "history.csv")["loss"]) == 1
    run_train(*arguments, "--resume")
    assert_same_training(either, tmp_path / "stopped")


def test_a_failing_overwrite_leaves_the_old_run(copy):
    before = files_of(copy)
    with pytest.raises(UserError, match="neither"):
        run_train("--data", "missing", "--run", copy, "--overwrite")
    assert files_of(copy) == before


@pytest.mark.no_backend
@pytest.mark.parametrize(
    "settings",
    [
        "--distribution student_t --location network --cell gru",
        "--distribution quantiles --loss pinball --output last --market none --horizon 1"
        " --num-layers 2",
        "--loss crps --features returns,range --cell simple_rnn --activation relu",
    ],
)
def test_every_kind_of_model_trains_and_predicts(settings, flags, forecast, here, prices_dir):
    run_train(*flags, "--epochs", "1", *settings.split(), "--run", here / "run")
    found, _ = forecast(here / "run", "SIMA", "--data-dir", prices_dir)
    check_forecast(found, days=read_json(here / "run" / "config.json")["horizon"])
    assert np.isfinite(read_json(here / "run" / "metrics.json")["metrics"]["validation"]["crps_1"])


# ---- Which prices, and which settings ----------------------------------------------------------


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
def test_the_set_gives_the_same_features_whatever_its_files_hold_besides(
    small_set, prices_dir, here
):
    tickers = ["SIMA", "SIMB", "^SIM"]

    def short(table):
        # The first five days are those before the set's.
        return table[5:][table.Date[5:] <= "2015-06-30"]

    names = {name.removeprefix("^"): short for name in tickers}
    exact = prices_like(prices_dir, here / "exact" / "prices", tickers=tickers, **names)
    longer, shorter = loaded(prices_dir), loaded(exact.parent)
    for found in (longer, shorter):
        assert [one.ticker for one in found.features] == tickers
        assert str(found.market.dates[-1]) == "2015-06-30"
        assert list(found.hashes()) == ["large_us, prices of 3 tickers to 2015-06-30"]
    for long, short_ in zip(longer.features, shorter.features, strict=True):
        np.testing.assert_array_equal(long.dates, short_.dates)
        np.testing.assert_allclose(long.inputs, short_.inputs, atol=1e-4)
        np.testing.assert_allclose(long.outcomes(5), short_.outcomes(5), atol=1e-6)


@pytest.mark.no_backend
def test_prices_that_are_named_are_neither_cut_nor_called_by_the_set(small_set, prices_dir):
    last = table_of(prices_dir / "prices", "SIMA").Date.iloc[-1]
    for found in (loaded(prices_dir, ["SIMA", "^SIM"]), loaded("", data=prices_dir / "prices")):
        assert str(found.histories[0].dates[-1]) == last
        assert list(found.hashes()) == [f"prices of {len(found.histories)} tickers"]


@pytest.mark.no_backend
@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({"cell": "simple_rnn"}, set()),
        ({}, {"activation"}),
        ({"stateful": True}, {"activation", "stride", "batch_size"}),
        ({"output": "last"}, {"activation", "warmup_days"}),
        ({"distribution": "student_t"}, {"activation"}),
        ({"cell": "feedforward"}, {"activation", "recurrent_dropout"}),
        ({"features": "returns,range"}, {"activation", "market"}),
    ],
)
def test_a_setting_is_ignored_in_just_the_modes_that_do_not_read_it(settings, names):
    ignored = Config(**settings).ignored()
    # What clipping and schedule ignore is the same in all tasks.
    assert ignored.keys() == {*names, "plateau_patience", "clip_percentile"}
    for name, reason in ignored.items():
        assert hasattr(Config(), name) and reason


@pytest.mark.no_backend
@pytest.mark.parametrize(
    ("mode", "others"),
    [
        ("--stateful", {"stride": 3, "batch_size": 5}),
        ("--output last", {"warmup_days": 99}),
        ("--cell gru", {"activation": "tanh"}),
        ("--features returns,range", {"market": "^NONE"}),
    ],
)
def test_what_is_ignored_changes_neither_the_batches_nor_the_model(mode, others, flags, here):
    arguments = tiny(*flags, *mode.split())
    call_ = parse_call(train.main, prog="", description="", arguments=arguments)
    plain = call_.keywords["config"]
    assert others.keys() <= plain.ignored().keys()
    shapes = []
    for config in (plain, dataclasses.replace(plain, **others)):
        prepared = train.prepare(
            config,
            run=here / "run",
            data_dir=call_.keywords["flags"].data_dir,
            resume=False,
            console=Console(quiet=True),
        )
        batch, targets = prepared.batches[0]
        weights = [tuple(weight.shape) for weight in prepared.model.weights]
        shapes.append((len(prepared.batches), batch, targets, weights))
    (count, batch, targets, weights), (count_, batch_, targets_, weights_) = shapes
    assert (count, weights) == (count_, weights_)
    np.testing.assert_array_equal(targets, targets_)
    for name in batch:
        np.testing.assert_array_equal(batch[name], batch_[name])


# ---- Prediction ------------------------------------------------------------------------------


def check_forecast(found, *, days):
    """Makes sure that quantiles and probabilities are those of one distribution a day."""
    close, change = found["close"], found["change"]
    assert len(found["days"]) == days
    dates = [np.datetime64(date) for date in (found["origin"], *(d["date"] for d in found["days"]))]
    assert np.is_busday(dates).all()
    assert np.busday_count(dates[:-1], dates[1:]).tolist() == [1] * days
    for day in found["days"]:
        quantiles = np.array([day["quantiles"][str(level)] for level in LEVELS])
        assert (np.diff(quantiles) > 0).all()
        bounds = {
            close: 1 - day["probability_of_rise"],
            close * (1 - change): day["probability_of_fall_beyond"],
            close * (1 + change): 1 - day["probability_of_rise_beyond"],
        }
        for price, below in bounds.items():
            assert 0 <= below <= 1
            for level, quantile in zip(LEVELS, quantiles, strict=True):
                # What is printed is rounded.
                if abs(level - below) > 1e-3:
                    assert (quantile > price) == (level > below)


def test_quantiles_and_probabilities_tell_the_same(either, forecast, prices_dir):
    for arguments in ([], ["--change", "0.7"], ["--change", "30"]):
        found, _ = forecast(either, "SIMB", "--data-dir", prices_dir, *arguments)
        check_forecast(found, days=HORIZON)
        assert found["change"] == pytest.approx(float((arguments or ["", 5])[1]) / 100)


def test_a_moved_run_folder_still_predicts(trained, copy, forecast, prices_dir):
    there, here = (forecast(run, "SIMA", "--data-dir", prices_dir) for run in (trained, copy))
    assert there == here


def test_fewer_days_are_the_first_of_them_all(trained, forecast, prices_dir):
    whole, _ = forecast(trained, "SIMA", "--data-dir", prices_dir)
    part, _ = forecast(trained, "SIMA", "--data-dir", prices_dir, "--days", "2")
    assert part == {**whole, "days": whole["days"][:2]}


def test_a_file_a_folder_and_the_downloads_give_the_same_forecast(trained, forecast, prices_dir):
    folder = prices_dir / "prices"
    from_downloads, _ = forecast(trained, "SIMA", "--data-dir", prices_dir)
    last = table_of(folder, "SIMA").iloc[-1]
    assert (from_downloads["ticker"], from_downloads["origin"]) == ("SIMA", last.Date)
    assert from_downloads["close"] == pytest.approx(last.Close, abs=1e-4)
    assert forecast(trained, folder / "SIMA.csv")[0] == from_downloads
    assert forecast(trained, "sima", "--data", folder)[0] == from_downloads


def test_a_ticker_without_a_file_is_downloaded_first(trained, forecast, prices_dir, monkeypatch):
    asked = []

    def download(tickers, folder, *, refresh, log):
        folder.mkdir(parents=True, exist_ok=True)
        for ticker in tickers:
            asked.append((ticker, refresh))
            shutil.copy(prices_dir / "prices" / f"{ticker}.csv", folder)

    monkeypatch.setattr(inputs, "download_prices", download)
    known, _ = forecast(trained, "SIMA", "--data-dir", prices_dir)
    assert not asked
    assert forecast(trained, "SIMA", "--data-dir", "new")[0] == known
    assert asked == [("SIMA", False), ("^SIM", False)]
    forecast(trained, "SIMA", "--data-dir", "new", "--refresh")
    assert asked[2:] == [("SIMA", True), ("^SIM", True)]


def test_as_of_a_day_is_as_if_no_later_price_were_known(either, forecast, prices_dir, here):
    # A Sunday: the Friday before counts.
    day, origin = "2015-06-14", "2015-06-12"
    seen, _ = forecast(either, "SIMA", "--data-dir", prices_dir, "--as-of", day)
    assert seen["origin"] == origin
    quoted = table_of(prices_dir / "prices", "SIMA").set_index("Date").Close[origin]
    assert seen["close"] == pytest.approx(quoted, abs=1e-4)
    cut, other = until(day), other_after(day)
    futures = {
        "cut": {"SIMA": cut},
        "index cut": {"SIM": cut},
        "other": {"SIMA": other, "SIM": other},
    }
    for name, changes in futures.items():
        folder = prices_like(prices_dir, here / name, **changes)
        assert forecast(either, folder / "SIMA.csv", "--as-of", day)[0] == seen, name
    # The past is seen, of the ticker and of the index.
    earlier = other_after("2015-06-11")
    for name, changes in {"own": {"SIMA": earlier}, "index": {"SIM": earlier}}.items():
        folder = prices_like(prices_dir, here / name, **changes)
        assert forecast(either, folder / "SIMA.csv", "--as-of", day)[0]["days"] != seen["days"]


def test_a_later_gap_in_the_file_does_not_stop_a_forecast_as_of_a_day(
    trained, forecast, prices_dir, here
):
    def gap(table):
        return table[(table.Date < "2015-07-01") | (table.Date > "2015-08-10")]

    folder = prices_like(prices_dir, here / "prices", SIMA=gap)
    found, _ = forecast(trained, folder / "SIMA.csv", "--as-of", "2015-06-12")
    assert found == forecast(trained, "SIMA", "--data-dir", prices_dir, "--as-of", "2015-06-12")[0]


def test_without_the_index_a_warning_says_what_is_lost(trained, forecast, prices_dir, here):
    known, silence = forecast(trained, "SIMA", "--data-dir", prices_dir)
    folder = prices_like(prices_dir, here / "prices", tickers=["SIMA"])
    found, messages = forecast(trained, folder / "SIMA.csv")
    check_forecast(found, days=HORIZON)
    assert found["days"] != known["days"]
    assert "warning: the index ^SIM cannot be had" in messages
    assert "the index" not in silence


def test_an_index_that_ends_before_the_ticker_is_warned_of(trained, forecast, prices_dir, here):
    folder = prices_like(prices_dir, here / "prices", SIM=until("2015-06-30"))
    _, messages = forecast(trained, folder / "SIMA.csv")
    assert "warning" in messages and "^SIM" in messages


def test_a_price_far_below_a_cent_has_quantiles_too(trained, forecast, prices_dir, here):
    def cheap(table):
        return table.assign(**{name: table[name] * 1e-4 for name in PRICES})

    folder = prices_like(prices_dir, here / "prices", SIMA=cheap)
    found, _ = forecast(trained, folder / "SIMA.csv")
    for day in found["days"]:
        assert (np.diff(list(day["quantiles"].values())) > 0).all()


def test_the_fan_chart_is_drawn_where_it_is_wanted(trained, forecast, prices_dir, here):
    forecast(trained, "SIMA", "--data-dir", prices_dir, "--as-of", "2015-06-12")
    assert [path.relative_to(here) for path in files_of(here)] == [
        Path("runs/forecasts/SIMA-2015-06-12.png")
    ]
    forecast(trained, "^SIM", "--data-dir", prices_dir, "--picture", here / "a" / "fan.png")
    for path in files_of(here):
        assert path.read_bytes().startswith(b"\x89PNG")
    assert (here / "a" / "fan.png").is_file()


def test_a_picture_may_have_brackets_in_its_name(trained, capsys, prices_dir, here):
    call(predict.main, "--run", trained, "--ticker", "SIMA", "--data-dir", prices_dir,
         "--picture", here / "[b]fan[/i].png")  # fmt: skip
    assert (here / "[b]fan[/i].png").is_file()
    assert "[b]fan[/i].png" in capsys.readouterr().out.replace("\n", "")


def test_the_table_shows_the_numbers_of_the_json(trained, forecast, capsys, prices_dir):
    found, _ = forecast(trained, "SIMA", "--data-dir", prices_dir)
    call(predict.main, "--run", trained, "--ticker", "SIMA", "--data-dir", prices_dir)
    lines = capsys.readouterr().out.splitlines()
    for day in found["days"]:
        cells = next(line for line in lines if line.split()[:1] == [day["date"]]).split()
        low, high = (day["quantiles"][level] for level in ("0.025", "0.975"))
        assert cells[1] == f"{day['quantiles']['0.5']:.2f}"
        assert f"{low:.2f}–{high:.2f}" in cells
        rise = float(next(cell for cell in cells if cell.endswith("%")).rstrip("%"))
        assert rise == pytest.approx(100 * day["probability_of_rise"], abs=0.06)


@pytest.mark.slow
def test_a_model_predicts_the_same_on_another_backend(trained, forecast, prices_dir, here):
    other = "tensorflow" if keras.backend.backend() == "jax" else "jax"
    arguments = ["--ticker", "SIMA", "--data-dir", prices_dir, "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "apps.forecasting.predict", "--run", trained, *arguments],
        capture_output=True,
        env=os.environ | {"KERAS_BACKEND": other, "PYTHONPATH": str(ROOT), "NO_COLOR": "1"},
    )
    assert done.returncode == 0, done.stderr
    found, _ = forecast(trained, "SIMA", "--data-dir", prices_dir)
    for there, day in zip(json.loads(done.stdout)["days"], found["days"], strict=True):
        assert there["date"] == day["date"]
        assert there["quantiles"] == pytest.approx(day["quantiles"], rel=1e-5)


# ---- Evaluation ------------------------------------------------------------------------------


def test_evaluate_agrees_with_predict(either, forecast, prices_dir):
    scores = evaluated(either, data_dir=prices_dir)
    one = next(one for one in scores.systems["model"] if one.ticker == "SIMA")
    for place in (0, 17, len(one.dates) - 1):
        found, _ = forecast(
            either, "SIMA", "--data-dir", prices_dir, "--as-of", one.dates[place], "--picture",
            "fan.png",
        )  # fmt: skip
        prices = np.array([list(day["quantiles"].values()) for day in found["days"]])
        np.testing.assert_allclose(np.log(prices / found["close"]), one.quantiles[place], atol=2e-5)
        rise = [day["probability_of_rise"] for day in found["days"]]
        np.testing.assert_allclose(rise, one.probability_of_rise[place], atol=2e-4)


def test_all_systems_are_scored_on_the_same_days_and_outcomes(scored, prices_dir):
    assert set(scored.systems) == {"model", *BASELINES}
    for ticker in range(2):
        one = scored.systems["model"][ticker]
        table = table_of(prices_dir / "prices", one.ticker)
        dates = table.Date.to_numpy().astype("datetime64[D]")
        # Every day after the validation split that has enough days after it.
        expected = np.flatnonzero(dates > np.datetime64(VALIDATION_END))[:-HORIZON]
        np.testing.assert_array_equal(one.dates, dates[expected])
        adjusted = np.log(table["Adj Close"].to_numpy())
        came = adjusted[expected[:, None] + np.arange(1, HORIZON + 1)] - adjusted[expected, None]
        np.testing.assert_allclose(one.outcome, came, atol=1e-12)
        naive = np.abs(np.diff(table["Adj Close"][dates <= np.datetime64(VALIDATION_END)])).mean()
        for system in scored.systems.values():
            other = system[ticker]
            assert other.ticker == one.ticker
            np.testing.assert_array_equal(other.dates, one.dates)
            np.testing.assert_allclose(other.outcome, one.outcome, atol=1e-12)
            assert other.naive_error == pytest.approx(naive)


def test_the_scores_are_the_means_over_all_forecasts(scored):
    rows = {"model": scored.metrics, **scored.baselines}
    for name, systems in scored.systems.items():
        losses = np.concatenate([one.crps for one in systems]).astype(float)
        for days in (1, HORIZON):
            assert rows[name][f"crps_{days}"] == pytest.approx(100 * losses[:, days - 1].mean())
            inside = [
                (one.quantiles[:, days - 1, 1] <= one.outcome[:, days - 1])
                & (one.outcome[:, days - 1] <= one.quantiles[:, days - 1, -2])
                for one in systems
            ]
            share = np.concatenate(inside).mean()
            assert rows[name][f"coverage_80_{days}"] == pytest.approx(share)
    for name in BASELINES:
        for days in (1, HORIZON):
            assert 0 <= scored.metrics[f"dm_p_{name}_{days}"] <= 1


def test_the_test_split_is_recorded_once_and_evaluating_again_changes_nothing(
    copy, scored, prices_dir, capsys
):
    call(evaluate.main, "--run", copy, "--data-dir", prices_dir)
    stored = read_json(copy / "metrics.json")
    assert set(stored["metrics"]) == {"validation", "test"}
    assert stored["metrics"]["test"] == pytest.approx(scored.metrics, rel=1e-5)
    assert set(stored["baselines"]) == set(BASELINES)
    assert stored["baselines"]["garch_t"]["test"] == pytest.approx(scored.baselines["garch_t"])
    assert (copy / "plots" / "calibration-test.png").stat().st_size > 5000
    before = {path: content for path, content in files_of(copy).items() if path.suffix != ".png"}
    capsys.readouterr()
    call(evaluate.main, "--run", copy, "--data-dir", prices_dir, "--json")
    printed = json.loads(capsys.readouterr().out)
    assert printed["split"] == "test"
    assert printed["metrics"] == pytest.approx(stored["metrics"]["test"], rel=1e-5)
    assert set(printed["baselines"]) == set(BASELINES)
    after = {path: content for path, content in files_of(copy).items() if path.suffix != ".png"}
    assert after == before


def test_dates_and_tickers_of_one_s_own_are_not_recorded(copy, prices_dir, here, capsys):
    before = files_of(copy)
    others = [here / "one" / "prices", here / "other" / "prices"]
    for seed, other in enumerate(others):
        write_price_sample(other.parent, tickers=1, days=620, seed=seed + 7)
    arguments = ["--run", copy, "--data-dir", prices_dir, "--no-baselines", "--json"]
    choices = [
        ["--split", "2015-02-01:2015-06-30"],
        ["--tickers", "SIMB"],
        ["--tickers", "SIMA"],
        *(["--data", other] for other in others),
    ]
    found = []
    for choice in choices:
        capsys.readouterr()
        call(evaluate.main, *arguments, *choice)
        found.append(json.loads(capsys.readouterr().out)["metrics"]["crps_1"])
    assert len(set(found)) == 5
    assert files_of(copy) == before
    root = here / "runs" / "forecasting" / "evaluations"
    folders = [str(path.parents[1].relative_to(root)) for path in sorted(root.rglob("*.csv"))]
    assert folders[:3] == ["copy/2015-02-01_2015-06-30", "copy/test-SIMA", "copy/test-SIMB"]
    # Two folders of one name are told apart.
    assert len(set(folders)) == 5 and all("test-prices_" in name for name in folders[3:])
    dates = evaluated(copy, data_dir=prices_dir, split="2015-02-01:2015-06-30").systems["model"][0]
    assert str(dates.dates[0]) == "2015-02-02"
    # Five weekdays before the last day of June.
    assert str(dates.dates[-1]) == "2015-06-23"


def test_scores_on_changed_downloads_leave_the_run_as_it_is(copy, prices_dir, here, capsys):
    before = files_of(copy)
    prices_like(prices_dir, here / "new" / "prices", SIMA=until("2015-08-31"))
    call(evaluate.main, "--run", copy, "--data-dir", here / "new", "--no-baselines")
    assert "not recorded" in capsys.readouterr().out
    assert files_of(copy) == before


def test_a_split_of_few_days_is_drawn_too(scored, here):
    def first_days(one):
        names = ("dates", "close", "outcome", "crps", "pit", "probability_of_rise", "quantiles")
        return dataclasses.replace(one, **{name: getattr(one, name)[:3] for name in names})

    few = {name: [first_days(one) for one in system] for name, system in scored.systems.items()}
    draw(dataclasses.replace(scored, systems=few), here)
    assert (here / "calibration-test.png").is_file()


@pytest.mark.parametrize(
    ("split", "listed"),
    # Training ends with an evaluation of the validation split.
    [("validation", "2015-01-05"), ("test", "2015-05-04"), ("train", "2013-10-07")],
)
def test_a_young_ticker_does_not_stop_the_evaluation_of_the_others(
    split, listed, trained, prices_dir, here
):
    folder = prices_like(prices_dir, here / "prices", SIMB=since(listed))
    scores = evaluated(trained, data=folder, split=split)
    assert {"SIMA", "^SIM"} <= {one.ticker for one in scores.systems["model"]}


# ---- Mistakes --------------------------------------------------------------------------------


@pytest.fixture
def refused(capsys, here, prices_dir):
    """Runs a command that must end in one line and status 2, with nothing written."""
    folder = here / "prices"
    prices_like(prices_dir, folder)
    table = table_of(folder, "SIMA")
    table.drop(columns="Low").to_csv(folder / "NOLOW.csv", index=False)
    table[-30:].to_csv(folder / "SHORT.csv", index=False)
    table[-70:].to_csv(folder / "YOUNG.csv", index=False)
    (folder / "BAD.csv").write_text("nonsense\n")
    (here / "caption").mkdir()
    (here / "caption" / "config.json").write_text('{"task": "captioning"}')

    def refused(main, arguments, message):
        before = files_of(here)
        with pytest.raises(SystemExit) as stop:
            run_command(main, prog="command", description="", arguments=arguments)
        lines = capsys.readouterr().err.strip().splitlines()
        assert stop.value.code == 2
        assert len(lines) == 1 and lines[0].startswith("error: ")
        assert message in lines[0]
        assert files_of(here) == before

    return refused


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--data prices/NOLOW.csv", "the column Low is missing"),
        ("--data prices/SHORT.csv", "30 days"),
        ("--data prices/YOUNG.csv", "--lookback 16 and --horizon 5 need 81 days"),
        ("--data prices --tickers SIMA,NOPE", "has no NOPE.csv"),
        ("--data prices --tickers SIMA --market ^NOPE", "no ^NOPE.csv for the index"),
        ("--data prices --tickers SIMA --market BAD", "the column Date is missing"),
        ("--data nowhere", "nowhere"),
        (f"--train-end {VALIDATION_END}", "--train-end must lie before --validation-end"),
        ("--train-end soon", "--train-end soon is not a date"),
        ("--train-end 20141231", "--train-end 20141231 is not a date"),
        ("--validation-end 2015-W20-1", "--validation-end 2015-W20-1 is not a date"),
        ("--data prices --tickers SIMA --train-end 2013-03-01", "up to --train-end 2013-03-01"),
        ("--distribution quantiles", "give --loss pinball"),
        ("--distribution student_t --loss crps", "give --loss nll"),
        ("--features returns,weather", "--features takes some of returns"),
        ("--features ,", "--features takes some of returns"),
        ("--stateful --output last", "--stateful"),
        ("--warmup-days 16", "--warmup-days"),
        ("--dropout 1", "--dropout"),
        ("--learning-rate nan", "--learning-rate"),
        ("--cell lstn", "simple_rnn"),
        ("--run caption --overwrite", "captioning"),
    ],
)
def test_a_mistake_in_training_ends_in_one_line_and_leaves_nothing(arguments, message, refused):
    refused(train.main, ["--run", "run", *TINY, *arguments.split()], message)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("", "--ticker"),
        ("--ticker prices/NOLOW.csv", "the column Low is missing"),
        ("--ticker prices/SHORT.csv", "30 days"),
        ("--ticker prices/YOUNG.csv", "needs 76 days"),
        ("--ticker prices/GONE.csv", "GONE.csv"),
        ("--ticker NOPE --data prices", "has no NOPE.csv"),
        ("--ticker SIMA --data prices --days 6", "--days must lie between 1 and 5"),
        ("--ticker SIMA --data prices --change 0", "--change"),
        ("--ticker SIMA --data prices --change 100", "--change"),
        ("--ticker SIMA --data prices --picture x.jpg", "must end in .png"),
        ("--ticker SIMA --data prices --as-of yesterday", "--as-of yesterday is not a date"),
        ("--ticker SIMA --data prices --as-of 2013-01-01", "up to 2013-01-01"),
        ("--ticker SIMA --data prices --as-of 2013-02-28", "43 days"),
        ("--ticker SIMA --data prices --run caption", "captioning"),
        ("--ticker SIMA --data prices --run nowhere", "no run folder nowhere"),
    ],
)
def test_a_mistake_in_predicting_ends_in_one_line_and_leaves_nothing(
    arguments, message, refused, trained
):
    refused(predict.main, ["--run", str(trained), *arguments.split()], message)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--split tomorrow", "--split tomorrow is unknown"),
        ("--split 2015-01-01:soon", "is not a date"),
        ("--split 2015-06-30:2015-06-01", "ends before it begins"),
        ("--split 2030-01-01:2031-01-01", "choose other dates with --split"),
        ("--split 2015-06-01:2015-06-05", "choose other dates with --split"),
        ("--run caption", "captioning"),
        ("--run nowhere", "no run folder nowhere"),
        ("--data prices --tickers NOPE", "has no NOPE.csv"),
    ],
)
def test_a_mistake_in_evaluating_ends_in_one_line_and_leaves_nothing(
    arguments, message, refused, trained, prices_dir
):
    flags = ["--run", str(trained), "--data-dir", str(prices_dir)]
    refused(evaluate.main, [*flags, *arguments.split()], message)


def test_a_ticker_that_cannot_be_downloaded_is_explained_in_one_line(trained, refused, monkeypatch):
    def no_network(*_):
        raise OSError("no route to host")

    monkeypatch.setattr(yahoo, "_fetch", no_network)
    once = functools.partial(yahoo.download_prices, attempts=1)
    monkeypatch.setattr(inputs, "download_prices", once)
    message = "NOPE cannot be downloaded"
    refused(predict.main, ["--run", str(trained), "--ticker", "NOPE"], message)
    refused(train.main, [*TINY, "--run", "run", "--tickers", "NOPE"], message)


def test_a_run_is_published_as_it_is_if_wanted(trained, tmp_path):
    published(trained, tmp_path / "small", exact=True)
    for name in ("model.keras", "config.json", "history.csv"):
        assert (tmp_path / "small" / name).read_bytes() == (trained / name).read_bytes()
    assert not (tmp_path / "small" / "state.npz").exists()


def test_prices_that_end_long_ago_are_warned_of(trained, forecast, prices_dir):
    found, beside = forecast(trained, "SIMA", "--data-dir", prices_dir)
    assert f"the prices end on {found['origin']}" in beside and "--refresh" in beside
    _, beside = forecast(trained, "SIMA", "--data-dir", prices_dir, "--as-of", found["origin"])
    assert "the prices end on" not in beside


def test_every_forecast_says_that_it_is_no_advice(trained, forecast, prices_dir):
    _, beside = forecast(trained, "SIMA", "--data-dir", prices_dir)
    assert "No investment advice" in beside
