import numpy as np
import pandas as pd
import pytest

from data.prices import large_us
from data.prices.read import load_prices, read_prices
from tests.helpers import refused

HEADER = "Date,Open,High,Low,Close,Adj Close,Volume"
ROWS = (
    "2020-01-02,10,12,9,11,5.5,1000",
    "2020-01-03,11,14,10,12,6,2000",
    "2020-01-06,12,13,11,12.5,10,0",
    "2020-01-07,12.5,13,12,12.8,12.8,3000",
)


@pytest.fixture
def write(tmp_path):
    def write(rows=ROWS, *, header=HEADER, name="ABC.csv", **changed):
        """Writes a file; `line_3="..."` puts another text into its third line."""
        lines = [*header.splitlines(), *rows]
        for key, text in changed.items():
            lines[int(key.removeprefix("line_")) - 1] = text
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path

    return write


def columns_of(history):
    return np.stack([history.open, history.high, history.low, history.close, history.volume])


# ---- Adjustments -----------------------------------------------------------------------------


def test_dividends_scale_all_prices_of_a_day_by_its_adjusted_close(write):
    history = read_prices(write(line_5="2020-01-07,12.5,13,12,12,12,3000"))
    factors = np.array([5.5 / 11, 6 / 12, 10 / 12.5, 1])
    np.testing.assert_allclose(history.open, np.array([10, 11, 12, 12.5]) * factors)
    np.testing.assert_allclose(history.high, np.array([12, 14, 13, 13]) * factors)
    np.testing.assert_allclose(history.low, np.array([9, 10, 11, 12]) * factors)
    np.testing.assert_allclose(history.close, [5.5, 6, 10, 12])
    np.testing.assert_array_equal(history.volume, [1000, 2000, 0, 3000])


def test_the_last_close_kept_is_the_quoted_price_and_returns_stay_the_same(write):
    whole, cut = read_prices(write()), read_prices(write(), until=np.datetime64("2020-01-03"))
    assert whole.close[-1] == 12.8
    assert cut.close[-1] == 12
    assert cut.dates[-1] == np.datetime64("2020-01-03")
    np.testing.assert_allclose(cut.close[1] / cut.close[0], whole.close[1] / whole.close[0])


def test_without_an_adjusted_close_prices_are_those_of_the_file_in_a_range_that_holds_them(write):
    rows = ["2020-01-02,12.1,12,9,8.9", *(",".join(row.split(",")[:5]) for row in ROWS[1:])]
    history = read_prices(write(rows, header="Date,Open,High,Low,Close"))
    np.testing.assert_array_equal(history.open, [12.1, 11, 12, 12.5])
    np.testing.assert_array_equal(history.high, [12.1, 14, 13, 13])
    np.testing.assert_array_equal(history.low, [8.9, 10, 11, 12])
    np.testing.assert_array_equal(history.close, [8.9, 12, 12.5, 12.8])
    assert history.warnings == ()


def test_a_long_gap_and_a_close_that_halves_are_warned_of(write):
    rows = ["2020-01-02,11,12,9,11,11,1", "2020-01-03,11,14,10,12,12,1", "2020-01-20,6,6,6,6,6,0"]
    gap, split = read_prices(write(rows)).warnings
    assert "2020-01-03 and 2020-01-20" in gap
    assert "2020-01-20" in split and "0.5 times" in split


# ---- Layouts ---------------------------------------------------------------------------------


@pytest.mark.parametrize("group_by", ["column", "no index name"])
def test_what_pandas_writes_of_a_yfinance_frame_reads_the_same(write, tmp_path, group_by):
    expected = read_prices(write())
    frame = pd.read_csv(write(), index_col="Date").sort_index(axis=1)
    # New York's stamps, across the change to summer time and back.
    stamps = ["-05:00", "-04:00", "-04:00", "-05:00"]
    frame.index = [f"{day} 00:00:00{zone}" for day, zone in zip(frame.index, stamps, strict=True)]
    frame.index.name = None if group_by == "no index name" else "Date"
    two_levels = [("Price", "Ticker"), [(name, "ABC") for name in frame.columns]]
    if group_by == "column":
        frame.columns = pd.MultiIndex.from_tuples(two_levels[1], names=two_levels[0])
    frame.to_csv(tmp_path / "frame.csv")
    history = read_prices(tmp_path / "frame.csv")
    np.testing.assert_array_equal(history.dates, expected.dates)
    np.testing.assert_array_equal(columns_of(history), columns_of(expected))


# ---- Errors ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "text", "part"),
    [
        (3, "03/01/2020,11,14,10,12,6,1", "03/01/2020"),
        (4, "2020-01-03,12,13,11,12,6,1", "2020-01-03 follows 2020-01-03"),
        (4, "2020-01-06,12,13,11,12.5,10,0,0", "line 4"),
        (3, "2020-01-03,0,14,10,12,6,1", 'Open is "0"'),
        (1, "Day,Open,High,Low,Close,Volume,Other", "Date"),
    ],
)
def test_an_error_names_the_file_and_the_fault(write, line, text, part):
    path = write(**{f"line_{line}": text})
    message = refused(read_prices, path)
    assert message.startswith(str(path))
    assert part in message


def test_a_file_that_is_no_csv_of_prices_is_refused(tmp_path):
    path = tmp_path / "ABC.csv"
    for content in ("", "<html><body>Too many</body></html>", f'{HEADER}\n2020-01-02,"10,12'):
        path.write_text(content)
        assert str(path) in refused(read_prices, path)


# ---- Which files -----------------------------------------------------------------------------


@pytest.fixture
def load(tmp_path):
    def load(source, *tickers):
        histories = load_prices(str(source), data_dir=tmp_path, tickers=tickers)
        return [history.ticker for history in histories]

    return load


def test_a_ticker_that_the_folder_lacks_is_refused_with_some_that_it_has(write, load, tmp_path):
    for number in range(10):
        write(name=f"T{number}.csv")
    message = refused(load, tmp_path, "T1", "XYZ")
    assert "XYZ.csv" in message and "T0, T1," in message and "T9" not in message


@pytest.fixture
def set_of_two(monkeypatch):
    first_days = {"ABC": np.datetime64("2020-01-02"), "^NEW": np.datetime64("2020-01-03")}
    monkeypatch.setattr(large_us, "FIRST_DAYS", first_days)
    monkeypatch.setattr(large_us, "LAST_DAY", np.datetime64("2020-01-06"))


def test_downloads_without_a_ticker_are_the_set_cut_to_its_days(set_of_two, write, tmp_path):
    for ticker in ("ABC", "^NEW", "OTHER"):
        write(name=f"prices/{ticker}.csv")
    one, index = load_prices("yahoo", data_dir=tmp_path)
    assert (one.ticker, index.ticker) == ("ABC", "^NEW")
    assert list(map(str, one.dates)) == ["2020-01-02", "2020-01-03", "2020-01-06"]
    assert list(map(str, index.dates)) == ["2020-01-03", "2020-01-06"]
    # The last day that is kept stays as quoted.
    np.testing.assert_allclose(one.close, np.array([5.5, 6, 10]) * 12.5 / 10)
    (named,) = load_prices("yahoo", tickers=["ABC"], data_dir=tmp_path)
    assert len(named.dates) == len(ROWS)


@pytest.mark.parametrize("lines", [slice(1, None), slice(0, 2)], ids=["begins late", "ends early"])
def test_a_file_that_lacks_days_of_the_set_is_refused(set_of_two, write, load, tmp_path, lines):
    write(name="prices/^NEW.csv")
    path = write(ROWS[lines], name="prices/ABC.csv")
    message = refused(load, "yahoo")
    for part in (str(path), "2020-01-02", "2020-01-06", "remove", "--tickers"):
        assert part in message


def test_later_dividends_and_splits_change_no_return_up_to_the_last_day(write):
    def shapes(path):
        history = read_prices(path, until=np.datetime64("2020-01-06"))
        return columns_of(history) / columns_of(history)[:, :1]

    dividend, split = 0.97, 4
    rows = []
    for row in ROWS:
        date, *cells = row.split(",")
        *prices, adjusted, volume = map(float, cells)
        prices = [price / split for price in (*prices, adjusted * dividend)]
        rows.append(",".join(map(str, (date, *prices, volume * split))))
    np.testing.assert_allclose(shapes(write(rows, name="new.csv")), shapes(write()), rtol=1e-12)


@pytest.mark.parametrize("ticker", ["../ABC", ""])
def test_a_ticker_that_could_leave_the_folder_is_refused(load, ticker):
    assert refused(load, "yahoo", ticker).startswith(repr(ticker))
