import numpy as np
import pytest
from scipy import stats

from common.errors import UserError
from data.prices.read import load_prices
from data.prices.sample import simulate_market, write_price_sample


@pytest.fixture(scope="module")
def market():
    return simulate_market(tickers=3, days=3_000, seed=5)


def returns_of(simulation):
    return np.diff(np.log(simulation.prices["Adj Close"].to_numpy()))


def truth_at(simulation, returns):
    """The probability, given day t, of a return below that from t to t + 1."""
    weights, locations, scales = (part[:-1] for part in simulation.true_mixture())
    return (weights * stats.norm.cdf(returns[:, np.newaxis], locations, scales)).sum(axis=1)


def test_the_truth_is_calibrated(market):
    for simulation in market:
        transform = truth_at(simulation, returns_of(simulation))
        assert stats.kstest(transform, "uniform").pvalue > 0.01
        # A truth that is a tenth too narrow would be noticed.
        narrow = truth_at(simulation, 1.1 * returns_of(simulation))
        assert stats.kstest(narrow, "uniform").pvalue < 0.01
        # Neither the level nor the spread of one day tells of the next one's.
        assert abs(np.corrcoef(transform[1:], transform[:-1])[0, 1]) < 4 / np.sqrt(3_000)
        folded = np.abs(transform - 0.5)
        assert abs(np.corrcoef(folded[1:], folded[:-1])[0, 1]) < 4 / np.sqrt(3_000)


def test_the_files_load_and_hold_the_simulated_returns(prices_dir):
    histories = load_prices(str(prices_dir / "prices"), data_dir=prices_dir)
    simulations = {s.ticker: s for s in simulate_market(tickers=5, days=700)}
    assert [history.ticker for history in histories] == sorted(simulations)
    for history in histories:
        simulation = simulations[history.ticker]
        np.testing.assert_array_equal(history.dates, simulation.dates)
        expected = returns_of(simulation)
        np.testing.assert_allclose(np.diff(np.log(history.close)), expected, atol=1e-7)
        # The range is widened by no more than the rounding of the file.
        true_range = np.log(simulation.prices["High"] / simulation.prices["Low"])
        np.testing.assert_allclose(np.log(history.high / history.low), true_range, atol=1e-7)


def test_the_same_seed_writes_the_same_bytes(tmp_path):
    def written(name, seed):
        folder = write_price_sample(tmp_path / name, tickers=2, days=30, seed=seed)
        return {path.name: path.read_bytes() for path in folder.iterdir()}

    first = written("a", 1)
    assert sorted(first) == ["SIMA.csv", "SIMB.csv", "^SIM.csv"]
    assert first == written("b", 1)
    assert first == written("a", 1)
    assert all(first[name] != other for name, other in written("c", 2).items())


def test_simulated_prices_do_not_mix_with_others(tmp_path):
    other = tmp_path / "prices" / "AAPL.csv"
    other.parent.mkdir()
    other.touch()
    with pytest.raises(UserError, match=r"AAPL\.csv already: name another --data-dir"):
        write_price_sample(tmp_path, tickers=1, days=30)
    assert list(other.parent.iterdir()) == [other]
