import dataclasses

import matplotlib.figure
import matplotlib.image
import numpy as np
import pytest
from matplotlib.dates import date2num
from matplotlib.text import Text

from apps.forecasting import plots
from apps.forecasting.fan_charts import Fan, plot_fan, plot_fans
from apps.forecasting.metrics import INTERVALS
from apps.forecasting.plots import plot_calibration, plot_horizons

pytestmark = pytest.mark.no_backend

SPREADS = np.array([-9.0, -5.0, -2.0, 0.5, 2.0, 5.0, 9.0])


@pytest.fixture
def drawn(monkeypatch):
    """The panels that would have been written, ready to be looked at."""
    panels = []
    monkeypatch.setattr(plots, "save_figure", lambda figure, path: panels.extend(figure.axes))
    return panels


def fan(title="ABC", horizon=4, outcome=True):
    days = np.datetime64("2018-03-01") + np.arange(30 + horizon)
    steps = np.sqrt(np.arange(1, horizon + 1))
    return Fan(
        title=title,
        past_dates=days[:30],
        past_close=100 + np.sin(np.arange(30)),
        dates=days[30:],
        quantiles=100 + steps[:, None] * SPREADS,
        outcome=100 + steps if outcome else None,
    )


def draw_fan(path="fan.png", title="ABC", **changes):
    plot_fan(path, dataclasses.replace(fan(title), **changes))


def line(axis, label):
    return next(line for line in axis.lines if line.get_label() == label)


def band(axis, percent):
    """The lower and the upper bound on each of its dates."""
    label = f"{percent}% interval"
    shape = next(shape for shape in axis.collections if shape.get_label() == label)
    days, prices = shape.get_paths()[0].vertices.T
    return {day: (prices[days == day].min(), prices[days == day].max()) for day in set(days)}


# ---- fans ------------------------------------------------------------------------------------


def test_each_interval_of_a_fan_lies_between_its_quantiles(drawn):
    draw_fan()
    for percent, (low, high) in INTERVALS.items():
        bounds = band(drawn[0], percent)
        for day, quantiles in zip(date2num(fan().dates), fan().quantiles, strict=True):
            assert bounds[day] == pytest.approx((quantiles[low], quantiles[high]))


def test_a_fan_shows_an_outcome_only_if_there_is_one(drawn):
    draw_fan()
    np.testing.assert_array_equal(line(drawn[0], "what happened").get_ydata()[1:], fan().outcome)
    draw_fan(outcome=None)
    assert [one.get_label() for one in drawn[1].lines].count("what happened") == 0


# ---- calibration -----------------------------------------------------------------------------


def calibration(**changes):
    shares = {1: np.full(10, 0.1), 20: np.arange(10) / 45}
    steps = {1: np.arange(9, -1, -1) / 45, 20: np.full(10, 0.1)}
    actual = {1: {50: 0.53, 80: 0.8, 95: 0.94}, 20: {50: 0.45, 80: 0.82, 95: 0.97}}
    arguments = {
        "title": "",
        "pits": {"ours": shares, "garch_t": steps},
        "coverage": {"ours": actual, "garch_t": actual, "ewma": actual},
    }
    plot_calibration("calibration.png", **arguments | changes)
    return arguments


def test_a_uniform_histogram_lies_on_the_ideal_and_every_histogram_has_area_1(drawn):
    calibration()
    for axis in drawn[:2]:
        assert sum(bar.get_height() * bar.get_width() for bar in axis.patches[:10]) == (
            pytest.approx(1)
        )
        np.testing.assert_array_equal(line(axis, "ideal").get_ydata(), [1, 1])
    np.testing.assert_allclose([bar.get_height() for bar in drawn[0].patches[:10]], 1)


def test_coverage_is_drawn_as_points_above_its_nominal_value(drawn):
    calibration()
    # The ideal line comes first, then each system's horizons.
    dots = [np.array(line.get_ydata()) for line in drawn[-1].lines[1:]]
    assert len(dots) == 6
    for days_1, days_20 in zip(dots[::2], dots[1::2], strict=True):
        np.testing.assert_allclose(days_1, [3, 0, -1], atol=1e-9)
        np.testing.assert_allclose(days_20, [-5, 2, 2], atol=1e-9)


# ---- horizons --------------------------------------------------------------------------------


def test_each_line_of_horizons_holds_its_numbers_and_the_first_is_the_thickest(drawn):
    relative = {name: np.array([place, -place]) for place, name in enumerate(("ours", *"abcdefg"))}
    plot_horizons("horizons.png", title="", horizons=[1, 5], relative=relative)
    lines = {name: line(drawn[0], name) for name in relative}
    for name, drawn_line in lines.items():
        np.testing.assert_array_equal(drawn_line.get_ydata(), relative[name])
        assert name == "ours" or drawn_line.get_linewidth() < lines["ours"].get_linewidth() / 2
    assert len({drawn_line.get_color() for drawn_line in lines.values()}) == len(relative)


# ---- all of them -----------------------------------------------------------------------------

TITLE = r"$x^2$ and ^GSPC at 5 $, \frac"


def draw_all(path, title=TITLE, ticker="$A^2$"):
    draw_fan(path, title=title)
    plot_fans(path, title=title, panels=[fan(ticker)])
    pits = {ticker: {1: np.full(10, 0.1)}}
    plot_calibration(path, title=title, pits=pits, coverage={ticker: {1: {50: 0.5}}})
    plot_horizons(path, title=title, horizons=[1, 2], relative={ticker: np.zeros(2)})


def test_a_dollar_sign_is_no_mathematics_anywhere(drawn):
    draw_all("any.png")
    figures = {axis.figure for axis in drawn}
    assert len(figures) == 4
    for figure in figures:
        texts = [text for text in figure.findobj(Text) if "$" in text.get_text()]
        assert TITLE in {text.get_text() for text in texts}
        assert not any(text.get_parse_math() for text in texts)
    assert matplotlib.rcParams["text.parse_math"]


def test_every_picture_is_written_as_a_png_and_closed(tmp_path):
    before = plots.plt.get_fignums()
    path = tmp_path / "new folder" / "fan.png"
    draw_fan(path)
    height, width, _ = matplotlib.image.imread(path).shape
    assert width > height > 300
    assert plots.plt.get_fignums() == before
    assert [file.name for file in path.parent.iterdir()] == ["fan.png"]
