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
        every_step: Whether all steps count in the loss (many-to-many) or the last alone.
        warmup_days: First steps of a window that never count.
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
        every_step: bool,
        warmup_days: int,
        batch_size: int,
        seed: int,
        epoch: int = 0,
    ):
        super().__init__()
        self._features, self._origins = features, origins
        self._targets = [
            _allowed(one, days, horizon) for one, days in zip(features, origins, strict=True)
        ]
        self._lookback, self._stride = lookback, stride
        # The first step whose forecast counts.
        self._first_step = warmup_days if every_step else lookback - 1
        self._batch_size, self._seed = batch_size, seed
        self.epoch = epoch

    @property
    def epoch(self) -> int:
        """The number of the current epoch; setting it cuts the windows of that epoch."""
        return self._epoch

    @epoch.setter
    def epoch(self, epoch: int) -> None:
        self._epoch = epoch
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
            "features": np.stack([self._features[ticker].inputs[span] for ticker, span in spans]),
            "log_scale": np.stack(
                [self._features[ticker].log_scale[span] for ticker, span in spans]
            ),
        }
        return inputs, targets

    def on_epoch_end(self) -> None:
        """Goes on to the next epoch; Keras calls this."""
        # `fit` calls it also before its first epoch, after a look at the shapes: the same for a
        # fresh and a resumed run.
        self.epoch += 1

    def _cut(self) -> np.ndarray:
        """The `(windows, 2)` tickers and last days of the windows of the current epoch."""
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
    1990). Row `i` of every batch belongs to ticker `i`; a shorter history is
    followed by unknown features without targets.

    Args:
        features: One a ticker.
        origins: As in `PriceWindows`.
        first_day: For each ticker, the index of the day that the first piece begins with.
        length: Days of a piece.
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
        self._length = length
        spans = list(zip(first_day, origins, strict=True))
        days = max(known[-1] + 1 - first for first, known in spans)
        self._count = -(-days // length)
        total = self._count * length
        rows = len(features)
        self._inputs = np.full((rows, total, features[0].inputs.shape[1]), np.nan, np.float32)
        self._log_scale = np.zeros((rows, total), np.float32)
        self._targets = np.full((rows, total, horizon), np.nan, np.float32)
        for row, (one, (first, known)) in enumerate(zip(features, spans, strict=True)):
            read = slice(first, known[-1] + 1)
            count = known[-1] + 1 - first
            self._inputs[row, :count] = one.inputs[read]
            self._log_scale[row, :count] = one.log_scale[read]
            self._targets[row, :count] = _allowed(one, known, horizon)[read]

    def __len__(self) -> int:
        """The number of pieces."""
        return self._count

    def __getitem__(self, index: int) -> Batch:
        """The piece at `index`."""
        piece = slice(index * self._length, (index + 1) * self._length)
        inputs = {"features": self._inputs[:, piece], "log_scale": self._log_scale[:, piece]}
        return inputs, self._targets[:, piece]


def _allowed(features: Features, origins: np.ndarray, horizon: int) -> np.ndarray:
    """Returns `<float32>(time, horizon)` outcomes in per cent, NaN at all days but the origins."""
    outcomes = np.full((len(features.dates), horizon), np.nan, np.float32)
    outcomes[origins] = 100 * features.outcomes(horizon)[origins]
    return outcomes
