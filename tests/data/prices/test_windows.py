import numpy as np
import pytest

from data.prices.features import SETTLING_DAYS, Features
from data.prices.windows import HistoryChunks, PriceWindows

LOOKBACK, HORIZON, WARMUP = 16, 3, 4
DAYS = (150, 97, 130)


def make_features():
    """Tickers whose inputs tell ticker and day: `1000 * ticker + day` and its negative."""
    generator = np.random.default_rng(0)
    features = []
    for ticker, days in enumerate(DAYS):
        log_close = np.cumsum(generator.normal(size=days))
        number = 1000.0 * ticker + np.arange(days)
        features.append(
            Features(
                ticker=str(ticker),
                dates=np.busday_offset("2001-01-01", np.arange(days), roll="forward"),
                log_close=log_close,
                close=np.exp(log_close),
                inputs=np.stack([number, -number], axis=1).astype(np.float32),
                log_scale=(number / 7).astype(np.float32),
            )
        )
    return features


def all_origins(features):
    span = np.datetime64("1900-01-01"), np.datetime64("2100-01-01")
    return [one.origins(*span, horizon=HORIZON, lookback=LOOKBACK) for one in features]


def make(*, stride=16, first_step=WARMUP, seed=0, epoch=0, origins=None):
    features = make_features()
    return PriceWindows(
        features,
        origins or all_origins(features),
        lookback=LOOKBACK,
        horizon=HORIZON,
        stride=stride,
        first_step=first_step,
        batch_size=4,
        seed=seed,
        epoch=epoch,
    )


def whole_epoch(dataset):
    batches = [dataset[index] for index in range(len(dataset))]
    names = ("features", "log_scale")
    inputs = [np.concatenate([batch[0][name] for batch in batches]) for name in names]
    return *inputs, np.concatenate([batch[1] for batch in batches])


def tickers_and_days(features):
    """Reads each step's ticker and day from the inputs: `(windows,)`, `(windows, time)`."""
    ticker, day = np.divmod(features[..., 0].astype(int), 1000)
    return ticker[:, 0], day


@pytest.mark.parametrize("stride", [5, 40, 200])
def test_windows_are_slices_that_end_a_stride_apart_and_are_as_many_in_every_epoch(stride):
    features = make_features()
    origins = all_origins(features)
    cuts = set()
    for epoch in range(6):
        inputs, log_scale, _ = whole_epoch(make(stride=stride, epoch=epoch))
        tickers, days = tickers_and_days(inputs)
        for row, ticker in enumerate(tickers):
            first, last = days[row, [0, -1]]
            assert SETTLING_DAYS <= first and first + LOOKBACK - 1 == last
            assert origins[ticker][0] <= last <= origins[ticker][-1]
            window = slice(first, last + 1)
            np.testing.assert_array_equal(inputs[row], features[ticker].inputs[window])
            np.testing.assert_array_equal(log_scale[row], features[ticker].log_scale[window])
        for ticker, known in enumerate(origins):
            ends = np.sort(days[tickers == ticker, -1])
            assert len(ends) == max(len(known) // stride, 1)
            np.testing.assert_array_equal(np.diff(ends), stride)
        cuts.add(tuple(np.sort(days[:, -1])))
    assert len(cuts) > 1


@pytest.mark.parametrize("first_step", [WARMUP, LOOKBACK - 1])
def test_targets_are_outcomes_in_per_cent_where_they_are_promised(first_step):
    features = make_features()
    # Days at both ends are of no split.
    origins = [days[9:-5] for days in all_origins(features)]
    inputs, _, targets = whole_epoch(make(first_step=first_step, origins=origins, stride=7))
    tickers, days = tickers_and_days(inputs)
    count = 0
    for row, ticker in enumerate(tickers):
        log_close = features[ticker].log_close
        for step, day in enumerate(days[row]):
            if step >= first_step and day in origins[ticker]:
                expected = [100 * (log_close[day + h] - log_close[day]) for h in (1, 2, 3)]
                np.testing.assert_allclose(targets[row, step], expected, rtol=1e-5)
                count += 1
            else:
                assert np.isnan(targets[row, step]).all()
    assert len(targets) <= count <= len(targets) * (LOOKBACK - first_step)


def test_the_batches_depend_on_seed_and_epoch_alone():
    through = make(seed=5)
    for _ in range(3):
        through.on_epoch_end()
    same = whole_epoch(through)
    for one, two in zip(same, whole_epoch(make(seed=5, epoch=3)), strict=True):
        np.testing.assert_array_equal(one, two)
    for other in (make(seed=5), make(seed=6, epoch=3)):
        assert not np.array_equal(same[0], whole_epoch(other)[0])


@pytest.mark.parametrize("length", [20, 37, 0])
@pytest.mark.parametrize("first_day", [(0, 0, 0), (70, 10, 60)])
def test_the_pieces_joined_are_the_histories(length, first_day):
    features = make_features()
    origins = [days[:-2] for days in all_origins(features)]
    chunks = HistoryChunks(features, origins, first_day=first_day, length=length, horizon=HORIZON)
    pieces = [chunks[index] for index in range(len(chunks))]
    inputs = np.concatenate([piece[0]["features"] for piece in pieces], axis=1)
    log_scale = np.concatenate([piece[0]["log_scale"] for piece in pieces], axis=1)
    targets = np.concatenate([piece[1] for piece in pieces], axis=1)
    counts = [days[-1] + 1 - first for first, days in zip(first_day, origins, strict=True)]
    assert {piece[1].shape for piece in pieces} == {(3, length or max(counts), HORIZON)}
    # As few pieces as the longest history needs.
    assert 0 <= inputs.shape[1] - max(counts) < max(length, 1)
    rows = zip(features, first_day, origins, counts, strict=True)
    for row, (one, first, days, count) in enumerate(rows):
        read = slice(first, first + count)
        np.testing.assert_array_equal(inputs[row, :count], one.inputs[read])
        np.testing.assert_array_equal(log_scale[row, :count], one.log_scale[read])
        expected = 100 * one.outcomes(HORIZON)[days]
        np.testing.assert_allclose(targets[row, days - first], expected, rtol=1e-6)
        assert np.isnan(np.delete(targets[row], days - first, axis=0)).all()
        # Unknown days follow a shorter history, with a scale that no loss minds.
        assert np.isnan(inputs[row, count:]).all() and np.isfinite(log_scale).all()
