import dataclasses

import matplotlib.figure
import matplotlib.image
import numpy as np
import pytest
from matplotlib.dates import date2num
from matplotlib.text import Text

from apps.forecasting import plots
from apps.forecasting.fan_charts import Fan, plot_fan, plot_fans
from apps.forecasting.metrics import INTERVALS, LEVELS
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


def overlap(texts):
    texts[0].figure.draw_without_rendering()
    # The box of an annotation as a whole holds its lead, too.
    found = [Text.get_window_extent(text) for text in texts]
    return any(one.overlaps(other) for i, one in enumerate(found) for other in found[:i])


# ---- fans ------------------------------------------------------------------------------------


def test_each_interval_of_a_fan_lies_between_its_quantiles(drawn):
    draw_fan()
    for percent, (low, high) in INTERVALS.items():
        bounds = band(drawn[0], percent)
        for day, quantiles in zip(date2num(fan().dates), fan().quantiles, strict=True):
            assert bounds[day] == pytest.approx((quantiles[low], quantiles[high]))


def test_a_fan_opens_at_the_last_close(drawn):
    draw_fan()
    origin, close = fan().past_dates[-1], fan().past_close[-1]
    for percent in INTERVALS:
        assert band(drawn[0], percent)[date2num(origin)] == (close, close)
    for label in ("median", "what happened"):
        assert line(drawn[0], label).get_xdata()[0] == origin
        assert line(drawn[0], label).get_ydata()[0] == close


def test_a_fan_shows_an_outcome_only_if_there_is_one(drawn):
    draw_fan()
    np.testing.assert_array_equal(line(drawn[0], "what happened").get_ydata()[1:], fan().outcome)
    draw_fan(outcome=None)
    assert [one.get_label() for one in drawn[1].lines].count("what happened") == 0


def test_the_legend_of_fans_knows_an_outcome_that_one_of_them_has(drawn):
    plot_fans("fans.png", title="", panels=[fan(outcome=False), fan(), fan(outcome=False)])
    (legend,) = drawn[0].figure.legends
    texts = [text.get_text() for text in legend.get_texts()]
    assert texts.count("what happened") == texts.count("median") == 1


@pytest.mark.parametrize(("count", "shape"), [(1, (1, 1)), (2, (1, 2)), (6, (2, 3)), (7, (3, 3))])
def test_fans_stand_three_in_a_row_in_their_order(drawn, count, shape):
    names = [f"T{number}" for number in range(count)]
    plot_fans("fans.png", title="", panels=[fan(name) for name in names])
    assert [axis.get_title(loc="left") for axis in drawn] == names
    corners = [(round(-axis.get_position().y0, 3), axis.get_position().x0) for axis in drawn]
    assert corners == sorted(corners)
    assert (len({y for y, _ in corners}), len({x for _, x in corners})) == shape


@pytest.mark.parametrize(("past", "horizon"), [(5, 5), (90, 20), (500, 20)])
def test_dates_can_be_read_whatever_their_span(drawn, past, horizon):
    days = np.datetime64("2017-11-20") + np.arange(past + horizon)
    quantiles = 100 + np.ones((horizon, 1)) * SPREADS
    past_close = np.full(past, 100.0)
    panel = Fan("", days[:past], past_close, days[past:], quantiles)
    plot_fans("fans.png", title="", panels=[panel] * 3)
    drawn[0].figure.draw_without_rendering()
    for axis in drawn:
        labels = [label for label in axis.get_xticklabels() if label.get_text()]
        assert len(labels) >= 2
        assert not overlap(labels)


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


def test_the_legend_of_horizons_has_the_order_in_which_the_lines_end(drawn):
    relative = {"ours": np.array([9.0, -1.0]), "ewma": np.array([0.0, 3.0]), "drift": np.zeros(2)}
    plot_horizons("horizons.png", title="", horizons=[1, 5], relative=relative)
    texts = [text.get_text() for text in drawn[0].get_legend().get_texts()]
    assert texts == ["ewma", "drift", "ours"]


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


def test_a_failing_draw_leaves_the_old_file_and_no_open_figure(tmp_path, monkeypatch):
    path = tmp_path / "fan.png"
    path.write_bytes(b"old")
    before = plots.plt.get_fignums()
    with pytest.raises(ValueError):
        draw_fan(path, quantiles=np.ones((3, len(LEVELS))))

    def disk_full(figure, file, **_):
        file.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(matplotlib.figure.Figure, "savefig", disk_full)
    with pytest.raises(OSError, match="No space left"):
        draw_fan(path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
    assert plots.plt.get_fignums() == before
