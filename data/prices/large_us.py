"""The set of prices behind the published forecasting rows: its tickers, first days and last day."""

import numpy as np

NAME = "large_us"
# 42 large companies of the United States, chosen with hindsight, and the S&P 500. Files are cut to
# these days, so that later downloads give the same ones.
FIRST_DAYS = {
    **dict.fromkeys(
        (
            "AAPL AMZN AXP BA BAC C CAT COP COST CSCO CVX DE DIS DUK ED F FCX GD GE GS HAL HD HON"
            " IBM INTC JNJ JPM KO LOW MCD MMM MRK MS MSFT NEM NKE NVDA ORCL OXY PEP PFE PG"
        ).split(),
        np.datetime64("1999-12-31"),
    ),
    "^GSPC": np.datetime64("1990-01-02"),
}
LAST_DAY = np.datetime64("2018-12-31")
