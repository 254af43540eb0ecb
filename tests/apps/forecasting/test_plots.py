import dataclasses

import matplotlib.image
import numpy as np
import pytest
from matplotlib.dates import date2num
from matplotlib.text import Text

from apps.forecasting import plots
from apps.forecasting.distributions import StudentT
from apps.forecasting.metrics import INTERVALS, Scored, forecasting_metrics, score
from apps.forecasting.plots import (
    Fan,
    example_fans,
    plot_calibration,
    plot_fan,
    plot_fans,
    plot_horizons,
)

pytestmark = pytest.mark.no_backend

DAYS, HORIZON = 200, 4


@pytest.fixture
def drawn(monkeypatch):
    """The panels that would have been written, ready to be looked at."""
    panels = []
    monkeypatch.setattr(plots, "save_figure", lambda figure, path: panels.extend(figure.axes))
    return panels


def scored(ticker="ABC", scale=0.02):
    """Gaussian forecasts of Gaussian outcomes of a standard deviation of 0.02."""
    outcome = 0.02 * np.random.default_rng(0).normal(size=(DAYS, HORIZON))
    return Scored(
        ticker=ticker,
        dates=np.busday_offset("2018-03-01", np.arange(DAYS), roll="forward"),
        close=np.full(DAYS, 100.0),
        outcome=outcome,
        naive_error=1.0,
        **score(StudentT(np.zeros(outcome.shape), scale, np.inf), outcome),
    )


def systems():
    return {name: [scored(scale=scale)] for name, scale in (("ours", 0.02), ("wide", 0.04))}


def draw_calibration(forecasts, title=""):
    metrics = {name: forecasting_metrics(one, one, (1, 4)) for name, one in forecasts.items()}
    plot_calibration("a.png", forecasts, metrics, horizons=(1, 4), title=title)
    return metrics


def line(axis, label):
    return next(line for line in axis.lines if line.get_label() == label)


def test_each_interval_of_a_fan_lies_between_its_quantiles_and_the_outcome_is_drawn(drawn):
    fan = example_fans([scored()])[0]
    plot_fan("fan.png", fan)
    for percent, (low, high) in INTERVALS.items():
        label = f"{percent}% interval"
        shape = next(shape for shape in drawn[0].collections if shape.get_label() == label)
        days, prices = shape.get_paths()[0].vertices.T
        for day, quantiles in zip(date2num(fan.dates), fan.quantiles, strict=True):
            bounds = prices[days == day].min(), prices[days == day].max()
            assert bounds == pytest.approx((quantiles[low], quantiles[high]))
    np.testing.assert_array_equal(line(drawn[0], "what happened").get_ydata()[1:], fan.outcome)
    plot_fan("fan.png", dataclasses.replace(fan, outcome=None))
    assert "what happened" not in [one.get_label() for one in drawn[1].lines]


def test_fans_show_the_days_before_and_after_their_origin():
    ticker = scored()
    for fan in example_fans([ticker, ticker]):
        assert isinstance(fan, Fan)
        origin = int(np.searchsorted(ticker.dates, fan.past_dates[-1]))
        np.testing.assert_array_equal(fan.dates, ticker.dates[origin + 1 : origin + 1 + HORIZON])
        np.testing.assert_allclose(np.log(fan.outcome / 100), ticker.outcome[origin])


def test_histograms_have_area_1_and_coverage_is_drawn_above_its_nominal_value(drawn):
    metrics = draw_calibration(systems())
    for axis in drawn[:2]:
        bars = axis.patches[:20]
        assert sum(bar.get_height() * bar.get_width() for bar in bars) == pytest.approx(1)
        np.testing.assert_array_equal(line(axis, "ideal").get_ydata(), [1, 1])
    for name, values in metrics.items():
        points = line(drawn[2], f"{name}, 1 day ahead").get_ydata()
        expected = [100 * values[f"coverage_{percent}_1"] - percent for percent in INTERVALS]
        np.testing.assert_allclose(points, expected)


def test_each_line_of_horizons_is_relative_to_the_reference_and_the_first_is_the_thickest(drawn):
    forecasts = systems()
    plot_horizons(
        "horizons.png", forecasts | {"twin": forecasts["ours"]}, reference="wide", title=""
    )
    ours, twin = line(drawn[0], "ours"), line(drawn[0], "twin")
    ratio = forecasts["ours"][0].crps.mean(axis=0) / forecasts["wide"][0].crps.mean(axis=0)
    for drawn_line in (ours, twin):
        np.testing.assert_allclose(drawn_line.get_ydata(), 100 * (ratio - 1))
    assert twin.get_linewidth() < ours.get_linewidth() / 2


def test_a_dollar_sign_is_no_mathematics_anywhere(drawn):
    title, ticker = r"$x^2$ and ^GSPC at 5 $, \frac", [scored("$A^2$")]
    fans = example_fans(ticker)
    plot_fan("a.png", dataclasses.replace(fans[0], title=title))
    plot_fans("a.png", fans, title=title)
    draw_calibration({"$A^2$": ticker}, title)
    plot_horizons("a.png", {"$A^2$": ticker, "b": ticker}, reference="b", title=title)
    figures = {axis.figure for axis in drawn}
    assert len(figures) == 4
    for figure in figures:
        texts = [text for text in figure.findobj(Text) if "$" in text.get_text()]
        assert title in {text.get_text() for text in texts}
        assert not any(text.get_parse_math() for text in texts)


def test_a_picture_is_written_as_a_png(tmp_path):
    path = tmp_path / "new folder" / "fan.png"
    plot_fan(path, example_fans([scored()])[0])
    height, width, _ = matplotlib.image.imread(path).shape
    assert width > height > 300
