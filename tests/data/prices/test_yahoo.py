import logging
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from data.prices.yahoo import download_prices
from tests.helpers import refused

ROOT = Path(__file__).parents[3]
COLUMNS = ["Open", "High", "Low", "Close", "Adj Close", "Volume"]
ROWS = [[10, 12, 9, 11, 5.5, 1000], [11, 14, 10, 12, 6, 2000], [12, 13, 11, 12.5, 12.5, 0]]


def answer(rows=ROWS):
    index = pd.date_range("2020-03-06", periods=len(rows), freq="B", tz="America/New_York")
    frame = pd.DataFrame(rows, columns=COLUMNS, index=index.rename("Date"))
    return frame.astype(dict.fromkeys(COLUMNS[:-1], float))


class Failure(Exception):
    pass


class RateLimit(Failure):
    pass


class TickerMissing(Failure):
    rationale = "no timezone found"


class NotFound(OSError):
    response = types.SimpleNamespace(status_code=404)


@pytest.fixture
def yahoo(monkeypatch):
    """A yfinance whose answers a test lists: frames to return and exceptions to raise."""
    module = types.ModuleType("yfinance")
    module.answers, module.asked = [], []
    module.config = types.SimpleNamespace(debug=types.SimpleNamespace(hide_exceptions=True))

    module.exceptions = types.SimpleNamespace(
        YFException=Failure, YFRateLimitError=RateLimit, YFTickerMissingError=TickerMissing
    )

    class Ticker:
        def __init__(self, name):
            self.name = name

        def history(self, **options):
            module.asked.append((self.name, options))
            assert not module.config.debug.hide_exceptions
            logging.getLogger("yfinance").error("yfinance complains")
            result = module.answers.pop(0)
            if isinstance(result, Exception):
                raise result
            return result

    module.Ticker = Ticker
    monkeypatch.setitem(sys.modules, "yfinance", module)
    return module


@pytest.fixture
def download(tmp_path):
    def download(*tickers, **options):
        download_prices(tickers, tmp_path / "prices", **options)
        return [tmp_path / "prices" / f"{ticker.upper()}.csv" for ticker in tickers]

    return download


@pytest.fixture(autouse=True)
def pauses(monkeypatch):
    """The seconds of each pause, which nobody waits for."""
    pauses = []
    monkeypatch.setattr("time.sleep", pauses.append)
    return pauses


def files_of(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_a_download_is_written_in_the_format_of_yahoo(yahoo, download, tmp_path):
    yahoo.answers = [answer()]
    (path,) = download("brk-b")
    ((ticker, options),) = yahoo.asked
    assert ticker == "BRK-B" and options["auto_adjust"] is False
    assert path == tmp_path / "prices" / "BRK-B.csv"
    assert path.read_text().splitlines() == [
        "Date,Open,High,Low,Close,Adj Close,Volume",
        "2020-03-06,10.0,12.0,9.0,11.0,5.5,1000",
        "2020-03-09,11.0,14.0,10.0,12.0,6.0,2000",
        "2020-03-10,12.0,13.0,11.0,12.5,12.5,0",
    ]


def test_a_file_that_is_there_is_never_fetched_again(yahoo, download):
    yahoo.answers = [answer()]
    (path,) = download("AAA")
    before = path.stat().st_mtime_ns
    assert download("AAA", "aaa") == [path, path]
    assert path.stat().st_mtime_ns == before
    assert len(yahoo.asked) == 1


def test_a_refreshed_file_is_replaced_only_by_a_whole_new_one(yahoo, download):
    yahoo.answers = [answer(), answer(ROWS[:2]), answer([])]
    (path,) = download("AAA")
    assert len(path.read_text().splitlines()) == 4
    download("AAA", refresh=True)
    newer = path.read_text()
    assert len(newer.splitlines()) == 3
    refused(download, "AAA", refresh=True)
    assert path.read_text() == newer


def test_pauses_double_until_yahoo_answers(yahoo, download, tmp_path, pauses):
    yahoo.answers = [RateLimit(), ConnectionError("reset"), TimeoutError(), answer()]
    lines = []
    download("AAA", log=lines.append)
    assert pauses == [0, 2, 4, 8]
    assert len(lines) == 4
    assert files_of(tmp_path) == ["AAA.csv"]


def test_after_the_last_attempt_the_error_tells_what_to_do(yahoo, download, pauses):
    yahoo.answers = [ConnectionError("no\nroute")] * 4
    message = refused(download, "AAA")
    for part in ("AAA", "no route", "try again", "--data"):
        assert part in message
    assert len(pauses) == 4


@pytest.mark.parametrize(
    "result", [TickerMissing(), NotFound(), answer([]), answer([[np.nan] * 5 + [0]])]
)
def test_an_unknown_ticker_is_named_and_nothing_is_written(yahoo, download, tmp_path, result):
    yahoo.answers = [answer(), result]
    assert "no prices of NOPE" in refused(download, "AAA", "NOPE", "BBB")
    assert files_of(tmp_path) == ["AAA.csv"]


@pytest.mark.slow
def test_a_process_that_runs_the_apps_can_still_download():
    # The backend's native code must not hide what the download needs; nothing listens on port 1.
    code = (
        "import apps, keras\n"
        "from curl_cffi import requests\n"
        "try:\n"
        "    requests.Session(impersonate='chrome').get('https://127.0.0.1:1/')\n"
        "except requests.exceptions.ConnectionError as error:\n"
        "    print('refused' if 'connect' in str(error) else error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.strip() == "refused", done.stderr
