import dataclasses

import numpy as np
import pytest

from data.prices.features import (
    SETTLING_DAYS,
    Features,
    build_features,
    days_needed,
    feature_statistics,
)
from data.prices.read import PriceHistory, read_prices
from data.prices.windows import HistoryChunks, PriceWindows

PRICES = ("open", "high", "low", "close")
DAYS = 700
# The first day after a gap, where there is one.
AFTER_GAP = 400


def make_history(*, days=DAYS, seed=0, start="2001-01-01", gap_weeks=0, **changed):
    """A random walk on weekdays; `open=`, `volume=` and so on replace its columns."""
    generator = np.random.default_rng(seed)
    dates = np.busday_offset(start, np.arange(days), roll="forward")
    dates[AFTER_GAP:] += 7 * gap_weeks
    walk = 3 + 0.01 * np.cumsum(generator.standard_normal(4 * days)).reshape(days, 4)
    columns = {
        "open": np.exp(walk[:, 0]),
        "high": np.exp(walk.max(axis=1)),
        "low": np.exp(walk.min(axis=1)),
        "close": np.exp(walk[:, -1]),
        "volume": np.round(1e6 * np.exp(generator.standard_normal(days))),
    }
    return PriceHistory(
        ticker="ABC", path="ABC.csv", dates=dates, warnings=(), sha256="", **columns | changed
    )


def flat_history(*, days=DAYS, **changed):
    """Prices that stand still at 1, but for the columns given."""
    one = np.ones(days)
    columns = dict.fromkeys((*PRICES, "volume"), one) | changed
    return make_history(days=days, **columns)


def changed_after(history, day, *, seed=1):
    """The same history with other prices and volumes from the day after `day` on."""
    other = make_history(days=len(history.dates), seed=seed)
    columns = {}
    for name in (*PRICES, "volume"):
        columns[name] = getattr(history, name).copy()
        columns[name][day + 1 :] = 7 * getattr(other, name)[day + 1 :]
    return dataclasses.replace(history, **columns)


def select(history, days):
    """The history of some of its days."""
    columns = {name: getattr(history, name)[days] for name in ("dates", *PRICES, "volume")}
    return dataclasses.replace(history, **columns)


def through_a_file(history, path):
    columns = [getattr(history, name) for name in (*PRICES, "close", "volume")]
    rows = [
        ",".join(map(str, [date, *row])) for date, *row in zip(history.dates, *columns, strict=True)
    ]
    path.write_text("\n".join(["Date,Open,High,Low,Close,Adj Close,Volume", *rows]) + "\n")
    return read_prices(path)


def features_of(history, **options):
    return build_features([history], **options)[0]


def batches_of(features, until):
    """All that training sees of the outcomes up to a date, in two epochs."""
    days = features.origins(np.datetime64("1900-01-01"), until, horizon=5, lookback=30)
    windows = PriceWindows(
        [features],
        [days],
        lookback=30,
        horizon=5,
        stride=20,
        first_step=3,
        batch_size=4,
        seed=0,
    )
    chunks = HistoryChunks([features], [days], first_day=[0], length=50, horizon=5)
    arrays = []
    for _ in range(2):
        for batches in (windows, chunks):
            for inputs, targets in map(batches.__getitem__, range(len(batches))):
                arrays += [inputs["features"], inputs["log_scale"], targets]
        windows.on_epoch_end()
    return arrays


# ---- Nothing is known before its day ---------------------------------------------------------


@pytest.mark.parametrize(("gap_weeks", "day"), [(0, 100), (20, AFTER_GAP)])
def test_a_future_price_changes_no_earlier_feature_window_or_statistic(tmp_path, gap_weeks, day):
    def seen(change):
        history, index = (
            make_history(gap_weeks=gap_weeks),
            make_history(seed=2, gap_weeks=gap_weeks),
        )
        if change:
            history, index = changed_after(history, day), changed_after(index, day, seed=3)
        # The index lacks some days, the one in question among them.
        index = select(index, np.arange(DAYS) % 9 != day % 9)
        history, index = (
            through_a_file(one, tmp_path / name)
            for one, name in ((history, "ABC.csv"), (index, "INDEX.csv"))
        )
        return features_of(history, market=index)

    before, after = seen(change=False), seen(change=True)
    for name in ("inputs", "log_scale", "close", "log_close"):
        one, other = getattr(before, name), getattr(after, name)
        np.testing.assert_array_equal(one[: day + 1], other[: day + 1])
        assert not np.array_equal(one[day + 1], other[day + 1])
    until = before.dates[day]
    for one, other in zip(
        [*feature_statistics([before], until), *batches_of(before, until)],
        [*feature_statistics([after], until), *batches_of(after, until)],
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("boundary", ["2002-03-01", "2002-03-03"])
def test_no_outcome_belongs_to_two_splits(boundary):
    features = features_of(make_history())
    boundary, horizon = np.datetime64(boundary), 20
    first = features.origins(np.datetime64("1900-01-01"), boundary, horizon=horizon, lookback=40)
    second = features.origins(boundary + 1, features.dates[-1], horizon=horizon, lookback=40)
    steps = np.arange(1, horizon + 1)
    assert features.dates[first[:, None] + steps].max() <= boundary
    assert features.dates[second].min() > boundary
    # Each split has all the days it can have: between the two, one horizon is left out.
    assert features.dates[first[-1] + horizon + 1] > boundary
    assert second[0] - first[-1] == horizon + 1
    assert second[-1] + horizon == len(features.dates) - 1


def test_an_origin_has_its_lookback_behind_the_days_that_settle():
    features = features_of(make_history())
    ends = np.datetime64("1900-01-01"), features.dates[-1]
    for lookback in (2, 100):
        days = features.origins(*ends, horizon=3, lookback=lookback)
        np.testing.assert_array_equal(days, np.arange(SETTLING_DAYS + lookback - 1, DAYS - 3))
        assert days[0] + 1 == days_needed(lookback)
    longest = DAYS - SETTLING_DAYS - 3
    for lookback, count in ((longest, 1), (longest + 1, 0)):
        assert len(features.origins(*ends, horizon=3, lookback=lookback)) == count


# ---- Outcomes and dates ----------------------------------------------------------------------


def test_outcomes_are_the_log_returns_over_the_next_days():
    days = np.arange(SETTLING_DAYS)
    prices = dict.fromkeys(PRICES, np.exp(0.01 * days**2))
    outcomes = features_of(flat_history(days=SETTLING_DAYS, **prices)).outcomes(2)
    # (t + 1)^2 - t^2 = 2 t + 1 and (t + 2)^2 - t^2 = 4 t + 4.
    expected = 0.01 * np.stack([2 * days + 1, 4 * days + 4], axis=1)
    expected[-1:, 0] = expected[-2:, 1] = np.nan
    np.testing.assert_allclose(outcomes, expected)


# ---- What a feature is -----------------------------------------------------------------------


def test_the_scale_of_a_steady_range_is_the_mean_of_two_estimates():
    high, low = np.full(DAYS, np.exp(0.02)), np.full(DAYS, np.exp(-0.01))
    features = features_of(flat_history(high=high, low=low))
    rogers_satchell, parkinson = 0.02**2 + 0.01**2, 0.03**2 / (4 * np.log(2))
    expected = np.sqrt((rogers_satchell + parkinson) / 2 + 1e-6)
    np.testing.assert_allclose(np.exp(features.log_scale), expected, rtol=1e-5)


# ---- Statistics ------------------------------------------------------------------------------


def plain_features(inputs, *, start="2001-01-01"):
    days = len(inputs)
    ones = np.ones(days)
    dates = np.busday_offset(start, np.arange(days), roll="forward")
    return Features("ABC", dates, ones, ones, inputs.astype(np.float32), ones.astype(np.float32))


def test_statistics_are_of_the_known_values_up_to_the_date_alone():
    generator = np.random.default_rng(0)
    one, other = 5 + 3 * generator.standard_normal((2, 200, 4))
    one[generator.random(one.shape) < 0.3] = np.nan
    last = SETTLING_DAYS + 50
    tickers = [plain_features(one), plain_features(other)]
    until = tickers[0].dates[last]
    rows = np.concatenate([one[SETTLING_DAYS : last + 1], other[SETTLING_DAYS : last + 1]])
    mean, variance = feature_statistics(tickers, until)
    np.testing.assert_allclose(mean, np.nanmean(rows, axis=0), rtol=1e-6)
    np.testing.assert_allclose(variance, np.nanvar(rows, axis=0), rtol=1e-5)
    one[last + 1 :], other[:SETTLING_DAYS] = 1e6, 1e6
    again = feature_statistics([plain_features(one), plain_features(other)], until)
    np.testing.assert_array_equal(again, (mean, variance))


def test_what_is_unknown_or_never_moves_has_variance_one():
    inputs = np.stack([np.full(100, np.nan), np.full(100, 0.1)], axis=1)
    mean, variance = feature_statistics([plain_features(inputs)], np.datetime64("2100-01-01"))
    np.testing.assert_allclose(mean, [0, 0.1], rtol=1e-6)
    np.testing.assert_array_equal(variance, [1, 1])
