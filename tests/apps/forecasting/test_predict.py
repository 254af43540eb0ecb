import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from apps.forecasting import predict, train
from apps.forecasting.forecasts import next_trading_days
from data.prices import yahoo
from tests.apps.forecasting.helpers import (
    HORIZON,
    TINY,
    check_forecast,
    other_after,
    prices_like,
    table_of,
    until,
)
from tests.helpers import call

pytestmark = pytest.mark.usefixtures("jax_compiles_once", "here")


ROOT = Path(__file__).parents[3]


def test_quantiles_and_probabilities_tell_the_same_beside_a_chart(
    either, forecast, prices_dir, here, capsys
):
    for change in (0.7, 30):
        record, _ = forecast(either, "SIMB", "--data-dir", prices_dir, "--change", change)
        check_forecast(record, days=HORIZON)
        assert record["change"] == pytest.approx(change / 100)
    assert not list(here.iterdir())
    call(predict.main, "--run", either, "--ticker", "SIMB", "--data-dir", prices_dir)
    assert (here / "runs" / "forecasts" / f"SIMB-{record['origin']}.png").is_file()
    assert f"{record['days'][-1]['quantiles']['0.5']:.2f}" in capsys.readouterr().out


def test_a_moved_run_folder_still_predicts(trained, copy, forecast, prices_dir):
    there, here = (forecast(run, "SIMA", "--data-dir", prices_dir) for run in (trained, copy))
    assert there == here


def test_a_file_a_folder_and_the_downloads_give_the_same_forecast(trained, forecast, prices_dir):
    folder = prices_dir / "prices"
    from_downloads, _ = forecast(trained, "SIMA", "--data-dir", prices_dir)
    last = table_of(folder, "SIMA").iloc[-1]
    assert (from_downloads["ticker"], from_downloads["origin"]) == ("SIMA", last.Date)
    assert from_downloads["close"] == pytest.approx(last.Close, abs=1e-4)
    assert forecast(trained, folder / "SIMA.csv")[0] == from_downloads
    assert forecast(trained, "sima", "--data", folder)[0] == from_downloads


def test_as_of_a_day_is_as_if_no_later_price_were_known(either, forecast, prices_dir, here):
    # A Sunday: the Friday before counts.
    day, origin = "2015-06-14", "2015-06-12"
    seen, _ = forecast(either, "SIMA", "--data-dir", prices_dir, "--as-of", day)
    assert seen["origin"] == origin
    quoted = table_of(prices_dir / "prices", "SIMA").set_index("Date").Close[origin]
    assert seen["close"] == pytest.approx(quoted, abs=1e-4)
    cut, other = until(day), other_after(day)
    futures = {"cut": {"SIMA": cut}, "other": {"SIMA": other, "SIM": other}}
    for name, changes in futures.items():
        folder = prices_like(prices_dir, here / name, **changes)
        assert forecast(either, folder / "SIMA.csv", "--as-of", day)[0] == seen, name
    # The past is seen, of the ticker and of the index.
    earlier = other_after("2015-06-11")
    for name, changes in {"own": {"SIMA": earlier}, "index": {"SIM": earlier}}.items():
        folder = prices_like(prices_dir, here / name, **changes)
        assert forecast(either, folder / "SIMA.csv", "--as-of", day)[0]["days"] != seen["days"]


def test_without_the_index_a_warning_says_what_is_lost(trained, forecast, prices_dir, here):
    known, silence = forecast(trained, "SIMA", "--data-dir", prices_dir)
    folder = prices_like(prices_dir, here / "prices", tickers=["SIMA"])
    record, messages = forecast(trained, folder / "SIMA.csv")
    check_forecast(record, days=HORIZON)
    assert record["days"] != known["days"]
    assert "warning: the index ^SIM cannot be read" in messages
    assert "the index" not in silence


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
    record, _ = forecast(trained, "SIMA", "--data-dir", prices_dir)
    for there, day in zip(json.loads(done.stdout)["days"], record["days"], strict=True):
        assert there["date"] == day["date"]
        assert there["quantiles"] == pytest.approx(day["quantiles"], rel=1e-5)


@pytest.mark.no_backend
@pytest.mark.parametrize(
    ("date", "exchange", "expected"),
    [
        # 2018-12-05 was a day of mourning; Christmas and New Year's Day are holidays.
        ("2018-12-04", "XNYS", ["2018-12-06", "2018-12-07"]),
        ("2018-12-24", "XNYS", ["2018-12-26", "2018-12-27"]),
        ("2018-08-24", "XLON", ["2018-08-28", "2018-08-29"]),
        ("2018-07-06", "24/7", ["2018-07-07", "2018-07-08"]),
    ],
)
def test_the_next_trading_days_skip_weekends_and_holidays_of_the_exchange(date, exchange, expected):
    assert next_trading_days(np.datetime64(date), 2, exchange).astype(str).tolist() == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("", "--ticker"),
        ("--ticker prices/YOUNG.csv", "needs 76 days"),
        ("--ticker NOPE --data prices", "has no NOPE.csv"),
        ("--ticker SIMA --data prices --as-of yesterday", "--as-of yesterday is not a date"),
    ],
)
def test_a_mistake_in_predicting_ends_in_one_line_and_leaves_nothing(
    arguments, message, refused, trained
):
    refused(predict.main, ["--run", str(trained), *arguments.split()], message)


def test_a_ticker_that_cannot_be_downloaded_is_explained_in_one_line(trained, refused, monkeypatch):
    def no_network(*_):
        raise OSError("no route to host")

    monkeypatch.setattr(yahoo, "_fetch", no_network)
    monkeypatch.setattr(yahoo, "_PAUSES_S", (0,))
    message = "NOPE cannot be downloaded"
    refused(predict.main, ["--run", str(trained), "--ticker", "NOPE"], message)
    refused(train.main, [*TINY, "--run", "run", "--tickers", "NOPE"], message)
