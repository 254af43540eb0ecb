"""A model trained on simulated prices, held against the distribution that they were drawn from."""

import numpy as np
import pytest

from apps.forecasting import evaluate, train
from apps.forecasting.config import Config
from apps.forecasting.distributions import GaussianMixture
from common.fitting import TrainFlags
from data.prices.sample import simulate_market, write_price_sample

TICKERS, DAYS = 8, 1500

pytestmark = pytest.mark.no_backend


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """The scores of a model on the test split, and the simulations behind the prices."""
    folder = tmp_path_factory.mktemp("truth")
    write_price_sample(folder, tickers=TICKERS, days=DAYS)
    config = Config(
        data=str(folder / "prices"),
        market="^SIM",
        features="returns,range,market",
        lookback=32,
        stride=8,
        warmup_days=8,
        horizon=2,
        units=16,
        batch_size=32,
        epochs=4,
        learning_rate=4e-3,
    )
    train.main(TrainFlags(run=str(folder / "run")), config)
    scores = evaluate.evaluate_run(
        folder / "run", data="", tickers=(), data_dir="", split="test", baselines=False
    )
    simulations = {one.ticker: one for one in simulate_market(tickers=TICKERS, days=DAYS)}
    return scores, simulations


def truth_at(simulation, dates):
    days = np.searchsorted(simulation.dates, dates)
    return GaussianMixture(*(part[days] for part in simulation.true_mixture()))


def test_a_trained_model_comes_nearer_to_the_truth_than_the_last_value(found):
    scores, simulations = found
    losses = {
        name: np.mean([one.crps[:, 0].mean() for one in scores.systems[name]])
        for name in ("model", "last_value")
    }
    truth = np.mean(
        [
            truth_at(simulations[one.ticker], one.dates).crps(one.outcome[:, 0]).mean()
            for one in scores.systems["model"]
        ]
    )
    assert truth < losses["model"] < losses["last_value"]
    # Of what can be gained over the last value, most is.
    assert losses["last_value"] - losses["model"] > 0.5 * (losses["last_value"] - truth)


def test_intervals_are_wide_when_the_true_ones_are(found):
    scores, simulations = found
    widths, true_widths = [], []
    for one in scores.systems["model"]:
        true = truth_at(simulations[one.ticker], one.dates).quantile((0.1, 0.9))
        widths.append(np.log(one.quantiles[:, 0, 5] - one.quantiles[:, 0, 1]))
        true_widths.append(np.log(true[:, 1] - true[:, 0]))
    widths, true_widths = np.concatenate(widths), np.concatenate(true_widths)
    assert np.corrcoef(widths, true_widths)[0, 1] > 0.8
    assert abs(np.mean(widths - true_widths)) < 0.1
