import matplotlib.figure
import matplotlib.image
import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.dates import date2num
from matplotlib.text import Text

from apps.forecasting import plots
from apps.forecasting.fan_charts import Fan, plot_fan, plot_fans
from apps.forecasting.metrics import INTERVALS, LEVELS
from apps.forecasting.plots import plot_calibration, plot_horizons, plot_skill, spread_apart
from common.plots import MARK, VALIDATION

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
    arguments = vars(fan()) | {"title": title} | changes
    plot_fan(path, **arguments)


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


def test_the_median_lies_in_every_interval_and_the_intervals_in_each_other(drawn):
    draw_fan()
    median = line(drawn[0], "median")
    for day, price in zip(date2num(median.get_xdata()), median.get_ydata(), strict=True):
        bounds = [band(drawn[0], percent)[day] for percent in (95, 80, 50)]
        chain = [low for low, _ in bounds] + [price] + [high for _, high in reversed(bounds)]
        assert chain == sorted(chain)


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


def test_a_small_fan_shows_what_a_large_one_shows(drawn):
    draw_fan()
    plot_fans("fans.png", title="", panels=[fan()])
    large, small = ([band(axis, percent) for percent in INTERVALS] for axis in drawn)
    assert large == small


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


def test_a_baselines_histogram_is_drawn_as_steps_on_the_same_scale(drawn):
    arguments = calibration()
    for axis, days in zip(drawn, (1, 20), strict=False):
        values, edges, _ = axis.patches[-1].get_data()
        np.testing.assert_allclose(values * np.diff(edges), arguments["pits"]["garch_t"][days])
        assert axis.get_ylim() == drawn[0].get_ylim()


def test_coverage_is_drawn_as_points_above_its_nominal_value(drawn):
    calibration()
    # The ideal line comes first, then each system's horizons.
    dots = [np.array(line.get_ydata()) for line in drawn[-1].lines[1:]]
    assert len(dots) == 6
    for days_1, days_20 in zip(dots[::2], dots[1::2], strict=True):
        np.testing.assert_allclose(days_1, [3, 0, -1], atol=1e-9)
        np.testing.assert_allclose(days_20, [-5, 2, 2], atol=1e-9)


def test_the_systems_of_one_interval_stand_side_by_side(drawn):
    calibration()
    places = np.array([line.get_xdata() for line in drawn[-1].lines[1::2]])
    assert (np.diff(places, axis=0) > 0.1).all()
    assert (np.round(places) == np.arange(3)).all()


# ---- skill -----------------------------------------------------------------------------------


SKILL = {1: {"A": 0.02, "B": -0.01, "C": 0.05}, 20: {"C": -0.03, "B": 0.04, "A": 0.01}}


def bars(axis):
    """The length and the colour of each ticker's bar, from top to bottom."""
    axis.figure.draw_without_rendering()
    names = [label.get_text() for label in axis.get_yticklabels()]
    found = {
        name: (bar.get_width(), to_hex(bar.get_facecolor()))
        for name, bar in zip(names, axis.patches, strict=True)
    }
    height = {
        name: axis.transData.transform((0, bar.get_y()))[1]
        for name, bar in zip(names, axis.patches, strict=True)
    }
    return {name: found[name] for name in sorted(found, key=lambda name: -height[name])}


def test_the_bar_of_a_ticker_is_as_long_as_its_skill_and_coloured_by_its_sign(drawn):
    plot_skill("skill.png", title="", skill=SKILL)
    for axis, shares in zip(drawn, SKILL.values(), strict=True):
        for ticker, (length, colour) in bars(axis).items():
            assert length == shares[ticker]
            assert colour == (VALIDATION if shares[ticker] > 0 else MARK)


def test_the_first_horizon_orders_the_tickers_of_all_the_best_on_top(drawn):
    plot_skill("skill.png", title="", skill=SKILL)
    assert [list(bars(axis)) for axis in drawn] == [["C", "A", "B"]] * 2


def test_a_panel_of_skill_tells_its_mean_and_shares_its_scale(drawn):
    plot_skill("skill.png", title="", skill=SKILL)
    assert drawn[0].get_title(loc="left") == "1 day ahead: mean +2.0%, better on 2 of 3"
    assert drawn[1].get_title(loc="left") == "20 days ahead: mean +0.7%, better on 2 of 3"
    assert drawn[0].get_xlim() == drawn[1].get_xlim()


def test_forty_five_tickers_can_be_told_apart(drawn):
    plot_skill("skill.png", title="", skill={1: {f"T{i}": i / 100 - 0.2 for i in range(45)}})
    drawn[0].figure.draw_without_rendering()
    labels = drawn[0].get_yticklabels()
    assert len(labels) == 45
    assert not overlap(labels)


# ---- horizons --------------------------------------------------------------------------------


def test_the_labels_of_lines_that_end_together_do_not_overlap(drawn):
    ends = {"ours": -1.0, "garch_t": 0.0, "ewma": 0.0, "drift": 0.01, "arima": 9.0, "ets": 9.0}
    relative = {system: np.linspace(3, end, 20) for system, end in ends.items()}
    plot_horizons("horizons.png", title="", horizons=range(1, 21), relative=relative)
    assert [text.get_text() for text in drawn[0].texts] == list(ends)
    assert not overlap(drawn[0].texts)


def test_each_line_holds_its_numbers_and_its_label_points_at_its_end(drawn):
    relative = {"ours": np.array([-2.0, 1.0]), "garch_t": np.zeros(2)}
    plot_horizons("horizons.png", title="", horizons=[1, 5], relative=relative)
    for text in drawn[0].texts:
        (same,) = [one for one in drawn[0].lines[1:] if one.get_color() == text.get_color()]
        np.testing.assert_array_equal(same.get_ydata(), relative[text.get_text()])
        assert text.xy == (1, relative[text.get_text()][-1])
    # The end of the axes is the last horizon.
    assert drawn[0].get_xlim()[1] == 5


def test_the_first_system_is_the_thickest_and_all_differ_in_look(drawn):
    relative = {name: np.zeros(3) for name in ("ours", *"abcdefg")}
    plot_horizons("horizons.png", title="", horizons=[1, 2, 3], relative=relative)
    lines = {
        text.get_text(): next(
            one for one in drawn[0].lines[1:] if one.get_color() == text.get_color()
        )
        for text in drawn[0].texts
    }
    widths = {name: one.get_linewidth() for name, one in lines.items()}
    assert all(widths["ours"] > 2 * width for name, width in widths.items() if name != "ours")
    assert len({one.get_color() for one in lines.values()}) == len(relative)


def test_labels_that_are_far_enough_apart_stay():
    np.testing.assert_array_equal(spread_apart(np.array([5.0, 1.0, 3.0]), 2.0), [5, 1, 3])


def test_labels_move_apart_around_their_mean_and_keep_their_order():
    np.testing.assert_allclose(spread_apart(np.array([1.1, 0.9, 9.0]), 1.0), [1.5, 0.5, 9])
    places = np.random.default_rng(3).normal(size=12)
    moved = spread_apart(places, 0.5)
    np.testing.assert_array_equal(np.argsort(moved), np.argsort(places))
    assert np.diff(np.sort(moved)).min() > 0.5 - 1e-9
    assert moved.mean() == pytest.approx(places.mean())


# ---- all of them -----------------------------------------------------------------------------

TITLE = r"$x^2$ and ^GSPC at 5 $, \frac"


def draw_all(path, title=TITLE, ticker="$A^2$"):
    draw_fan(path, title=title)
    plot_fans(path, title=title, panels=[fan(ticker)])
    pits = {ticker: {1: np.full(10, 0.1)}}
    plot_calibration(path, title=title, pits=pits, coverage={ticker: {1: {50: 0.5}}})
    plot_skill(path, title=title, skill={1: {ticker: 0.1}})
    plot_horizons(path, title=title, horizons=[1, 2], relative={ticker: np.zeros(2)})


def test_a_dollar_sign_is_no_mathematics_anywhere(drawn):
    draw_all("any.png")
    figures = {axis.figure for axis in drawn}
    assert len(figures) == 5
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
