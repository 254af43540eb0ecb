import json

import numpy as np
import pytest

from apps.forecasting import evaluate
from apps.forecasting.baselines import BASELINES
from common.files import read_json
from data.prices.sample import write_price_sample
from tests.apps.forecasting.helpers import (
    HORIZON,
    VALIDATION_END,
    evaluated,
    prices_like,
    table_of,
)
from tests.helpers import call, files_of

pytestmark = pytest.mark.usefixtures("jax_compiles_once", "here")


def since(day):
    return lambda table: table[table.Date >= day]


def test_evaluate_agrees_with_predict(either, forecast, prices_dir):
    scores = evaluated(either, data_dir=prices_dir)
    one = next(one for one in scores.systems["model"] if one.ticker == "SIMA")
    for place in (0, 17, len(one.dates) - 1):
        day = one.dates[place]
        record, _ = forecast(either, "SIMA", "--data-dir", prices_dir, "--as-of", day)
        prices = np.array([list(day["quantiles"].values()) for day in record["days"]])
        expected = one.quantiles[place]
        np.testing.assert_allclose(np.log(prices / record["close"]), expected, atol=2e-5)
        rise = [day["probability_of_rise"] for day in record["days"]]
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


def test_scores_of_other_dates_tickers_and_data_are_kept_apart_from_the_run(
    copy, prices_dir, here, capsys
):
    before = files_of(copy)
    write_price_sample(here / "other", tickers=1, days=620, seed=7)
    choices = {
        "test-SIMB": ["--tickers", "SIMB"],
        "test-prices_": ["--data", here / "other" / "prices"],
        "2015-02-01_2015-06-30": ["--split", "2015-02-01:2015-06-30"],
    }
    root = here / "runs" / "forecasting" / "evaluations" / "copy"
    for name, choice in choices.items():
        call(evaluate.main, "--run", copy, "--data-dir", prices_dir, "--no-baselines", *choice)
        (folder,) = root.glob(f"{name}*")
        assert len(list(folder.rglob("*.csv"))) == 1
    assert files_of(copy) == before
    dates = evaluated(copy, data_dir=prices_dir, split="2015-02-01:2015-06-30").systems["model"][0]
    assert str(dates.dates[0]) == "2015-02-02"
    # Five weekdays before the last day of June.
    assert str(dates.dates[-1]) == "2015-06-23"


def test_a_young_ticker_does_not_stop_the_evaluation_of_the_others(trained, prices_dir, here):
    folder = prices_like(prices_dir, here / "prices", SIMB=since("2015-01-05"))
    # Training ends with it.
    scores = evaluated(trained, data=folder, split="validation")
    assert {"SIMA", "^SIM"} <= {one.ticker for one in scores.systems["model"]}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--split tomorrow", "--split tomorrow is unknown"),
        ("--split 2015-06-30:2015-06-01", "ends before it begins"),
        ("--split 2015-06-01:2015-06-05", "choose other dates with --split"),
    ],
)
def test_a_mistake_in_evaluating_ends_in_one_line_and_leaves_nothing(
    arguments, message, refused, trained, prices_dir
):
    flags = ["--run", str(trained), "--data-dir", str(prices_dir)]
    refused(evaluate.main, [*flags, *arguments.split()], message)
