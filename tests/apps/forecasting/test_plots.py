import dataclasses

import numpy as np
import pytest
from matplotlib.dates import date2num

from apps.forecasting import plots
from apps.forecasting.distributions import StudentT
from apps.forecasting.metrics import INTERVALS, Scored, score
from apps.forecasting.plots import (
    example_fans,
    plot_fan,
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
