"""Batches of feature windows: shuffled pieces of history, or whole histories in consecutive pieces.

Targets are `(batch, time, horizon)` log returns in per cent; NaN where no loss is wanted.
"""

from collections.abc import Sequence

import keras
import numpy as np

from data.prices.features import Features

Batch = tuple[dict[str, np.ndarray], np.ndarray]


class PriceWindows(keras.utils.PyDataset):
    """Windows of all tickers, mixed, cut at another place in every epoch.

    Order and cuts depend on `seed` and `epoch` alone, so a resumed run sees the same batches.

    Args:
        features: One a ticker.
        origins: For each, `<int>(origins,)`, rising without gaps: the days that may count in the
            loss, their outcomes included.
        lookback: Days of a window.
        horizon: Days ahead.
        stride: Days from the end of one window to the end of the next of the same ticker.
        first_step: The first step of a window whose forecast counts.
        batch_size: Windows in a batch.
        seed: Of cuts and order.
        epoch: Number of the first epoch.
    """

    def __init__(  # noqa: D107
        self,
        features: Sequence[Features],
        origins: Sequence[np.ndarray],
        *,
        lookback: int,
        horizon: int,
        stride: int,
        first_step: int,
        batch_size: int,
        seed: int,
        epoch: int = 0,
    ):
        super().__init__()
        self._features, self._origins = features, origins
        self._targets = _targets(features, origins, horizon)
        self._lookback, self._stride, self._first_step = lookback, stride, first_step
        self._batch_size, self._seed, self._epoch = batch_size, seed, epoch
        self._windows = self._cut()

    def __len__(self) -> int:
        """The number of batches in an epoch."""
        return -(-len(self._windows) // self._batch_size)

    def __getitem__(self, index: int) -> Batch:
        """The batch at `index` of the current epoch."""
        rows = self._windows[index * self._batch_size : (index + 1) * self._batch_size]
        spans = [(ticker, slice(end - self._lookback + 1, end + 1)) for ticker, end in rows]
        targets = np.stack([self._targets[ticker][span] for ticker, span in spans])
        targets[:, : self._first_step] = np.nan
        inputs = {
            name: np.stack(
                [getattr(self._features[ticker], column)[span] for ticker, span in spans]
            )
            for name, column in (("features", "inputs"), ("log_scale", "log_scale"))
        }
        return inputs, targets

    def on_epoch_end(self) -> None:
        """Cuts the windows of the next epoch; Keras calls this."""
        # `fit` calls it also before its first epoch, after a look at the shapes: the same for a
        # fresh and a resumed run.
        self._epoch += 1
        self._windows = self._cut()

    def _cut(self) -> np.ndarray:
        """Returns the tickers and last days of the epoch's windows, `<int>(windows, 2)`."""
        generator = np.random.default_rng((self._seed, self._epoch))
        windows = []
        for ticker, days in enumerate(self._origins):
            # As many windows in every epoch, whatever the cut.
            shift = generator.integers(min(self._stride, len(days)))
            count = max(len(days) // self._stride, 1)
            ends = days[-1] - shift - self._stride * np.arange(count)
            windows.append(np.stack([np.full(count, ticker), ends], axis=1))
        return generator.permutation(np.concatenate(windows))


class HistoryChunks(keras.utils.PyDataset):
    """All tickers side by side, their histories in consecutive pieces from the oldest day on.

    A recurrent layer that keeps its state from batch to batch so reads whole histories, while
    gradients reach back over one piece: truncated backpropagation through time (Williams and Peng,
    1990). A shorter history is followed by unknown features without targets.

    Args:
        features: One a ticker, which is the same row of every batch.
        origins: As in `PriceWindows`.
        first_day: For each ticker, the index of the day that the first piece begins with.
        length: Days of a piece; 0 for all in one.
        horizon: Days ahead.
    """

    def __init__(  # noqa: D107
        self,
        features: Sequence[Features],
        origins: Sequence[np.ndarray],
        *,
        first_day: Sequence[int],
        length: int,
        horizon: int,
    ):
        super().__init__()
        spans = [slice(first, days[-1] + 1) for first, days in zip(first_day, origins, strict=True)]
        counts = [span.stop - span.start for span in spans]
        self._length = length or max(counts)
        self._count = -(-max(counts) // self._length)
        shape = len(features), self._count * self._length
        self._inputs = np.full((*shape, features[0].inputs.shape[1]), np.nan, np.float32)
        self._log_scale = np.zeros(shape, np.float32)
        self._targets = np.full((*shape, horizon), np.nan, np.float32)
        targets = _targets(features, origins, horizon)
        for row, (ticker, span, count) in enumerate(zip(features, spans, counts, strict=True)):
            self._inputs[row, :count] = ticker.inputs[span]
            self._log_scale[row, :count] = ticker.log_scale[span]
            self._targets[row, :count] = targets[row][span]

    def __len__(self) -> int:
        """The number of pieces."""
        return self._count

    def __getitem__(self, index: int) -> Batch:
        """The piece at `index`."""
        piece = slice(index * self._length, (index + 1) * self._length)
        inputs = {"features": self._inputs[:, piece], "log_scale": self._log_scale[:, piece]}
        return inputs, self._targets[:, piece]


def _targets(
    features: Sequence[Features], origins: Sequence[np.ndarray], horizon: int
) -> list[np.ndarray]:
    """Returns each ticker's outcomes in per cent, `<float32>(time, horizon)`; NaN off origins."""
    targets = []
    for ticker, days in zip(features, origins, strict=True):
        outcomes = np.full((len(ticker.dates), horizon), np.nan, np.float32)
        outcomes[days] = 100 * ticker.outcomes(horizon)[days]
        targets.append(outcomes)
    return targets
