"""The trading days of an exchange, for the dates of a forecast."""

import warnings

import numpy as np

from common.errors import UserError


def next_trading_days(date: np.datetime64, count: int, exchange: str) -> np.ndarray:
    """Returns the next `count` trading days after a date, `<datetime64[D]>(count,)`.

    Args:
        date: The day of the forecast.
        count: How many days, at least 1.
        exchange: Code of a market (ISO 10383), such as XNYS, or 24/7.

    Raises:
        UserError: If the exchange is unknown or its holidays are not known that far.
    """
    import exchange_calendars  # Slow to import, and only predictions need it.

    # No exchange closes for longer than two weeks.
    last = date + np.timedelta64(2 * count + 14, "D")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Deprecations between this library and pandas.
        try:
            calendar = exchange_calendars.get_calendar(exchange, start=str(date), end=str(last))
        except exchange_calendars.errors.InvalidCalendarName:
            raise UserError(
                f"--exchange {exchange} is unknown: give the code of a market, such as XNYS (New"
                " York), XLON (London) or XTKS (Tokyo), or 24/7."
            ) from None
        except ValueError as error:
            raise UserError(
                f"--exchange {exchange} has no calendar from {date} to {last} ({error}): take fewer"
                " --days or update the package exchange_calendars."
            ) from None
        days = calendar.sessions.to_numpy().astype("datetime64[D]")
    return days[days > date][:count]
