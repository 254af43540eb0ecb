import numpy as np
import pytest

from apps.forecasting.exchange import next_trading_days
from common.errors import UserError

pytestmark = pytest.mark.no_backend


def days_after(date, count, exchange="XNYS"):
    return next_trading_days(np.datetime64(date), count, exchange).astype(str).tolist()


def test_the_next_trading_days_skip_weekends_and_holidays():
    # 2018-12-05 was a day of mourning; Christmas and New Year's Day are holidays.
    assert days_after("2018-12-04", 2) == ["2018-12-06", "2018-12-07"]
    assert days_after("2018-12-21", 3) == ["2018-12-24", "2018-12-26", "2018-12-27"]
    assert days_after("2018-12-31", 1) == ["2019-01-02"]


def test_each_exchange_has_its_holidays():
    # Independence Day is none in London, and the summer bank holiday is none in New York.
    assert days_after("2018-07-03", 1) == ["2018-07-05"]
    assert days_after("2018-07-03", 1, "XLON") == ["2018-07-04"]
    assert days_after("2018-08-24", 1, "XLON") == ["2018-08-28"]
    assert days_after("2018-07-06", 1, "24/7") == ["2018-07-07"]


def test_as_many_days_come_as_are_asked_for():
    assert len(days_after("2018-12-20", 250)) == 250


def test_an_unknown_exchange_is_refused_with_examples():
    with pytest.raises(UserError, match=r"--exchange NOWHERE .*XNYS"):
        days_after("2018-12-20", 5, "NOWHERE")
