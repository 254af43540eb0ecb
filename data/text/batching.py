"""Groups sequences of like length into batches of few distinct shapes."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from data.text.padding import pad_tokens

# What a row is padded to: its length, or one length for each of its sides.
Length = int | tuple[int, ...]

# Most combinations of lengths that a boundary is chosen from: more take long and gain nothing.
_MOST_POINTS = 48**2


class LengthBuckets(keras.utils.PyDataset):
    """Batches whose rows have nearly the same length, padded to the boundary of their bucket.

    A bucket gives batches of `max(1, tokens_per_batch // boundary)` rows. The rows that do not fill
    one move up to the next longer bucket, so an epoch has at most one shape more than it has
    buckets, and each shape compiles once. All epochs have the same shapes.

    A row may have several sides, such as a source and a target. Then a boundary is a tuple, its
    bucket holds the rows of which no side is longer, and its sum counts as its tokens.

    The order depends on `seed` and `epoch` alone, so that a resumed run sees the batches of an
    uninterrupted one: pass the `initial_epoch` of `fit` as `epoch`, and `shuffle=False` to `fit`,
    otherwise Keras shuffles too. Without shuffling the rows run from short to long.
    `results[np.concatenate(dataset.batches)] = outputs` restores the order of the rows.

    Args:
        lengths: `<int>(rows,)` or `<int>(rows, sides)`.
        collate: Makes a batch, as `fit` takes it, from `(batch,)` row numbers and the length, or
            the tuple of lengths, to which they must be padded.
        boundaries: From `bucket_boundaries`.
        tokens_per_batch: Most tokens in a batch, padding included (one long row may exceed it).
        shuffle: Whether rows and batches are shuffled in every epoch.
        seed: Seed of the shuffling.
        epoch: Number of the first epoch.

    Raises:
        ValueError: If there is no row, or a row exceeds the last boundary.
    """

    def __init__(  # noqa: D107
        self,
        lengths: np.ndarray,
        collate: Callable[[np.ndarray, Length], Any],
        *,
        boundaries: tuple[Length, ...],
        tokens_per_batch: int,
        shuffle: bool,
        seed: int = 0,
        epoch: int = 0,
    ):
        super().__init__()
        self._lengths = np.asarray(lengths)
        if not self._lengths.size:
            raise ValueError("There is no row to put into batches.")
        rows, ends = (np.reshape(sizes, (len(sizes), -1)) for sizes in (self._lengths, boundaries))
        if (rows > ends[-1]).any():
            raise ValueError(f"A row is longer than the last boundary, {boundaries[-1]}.")
        self._collate = collate
        self._boundaries = tuple(boundaries)
        self._buckets = (rows[:, np.newaxis] <= ends).all(axis=2).argmax(axis=1)
        self._tokens_per_batch = tokens_per_batch
        self._shuffle = shuffle
        self._seed = seed
        self.epoch = epoch
        self._plan = self._make_plan()

    @property
    def batches(self) -> list[np.ndarray]:
        """The row numbers of each batch, `<int64>(batch,)`, in the order of this epoch."""
        return [rows for rows, _ in self._plan]

    def __len__(self) -> int:
        """The number of batches in an epoch."""
        return len(self._plan)

    def __getitem__(self, index: int) -> Any:
        """The batch at `index` of the current epoch."""
        rows, length = self._plan[index]
        return self._collate(rows, length)

    def on_epoch_end(self) -> None:
        """Goes on to the next epoch; Keras calls this."""
        # `fit` also calls it before its first epoch, so its epochs run one ahead of the given
        # number, in a fresh and in a resumed run alike.
        self.epoch += 1
        self._plan = self._make_plan()

    def _make_plan(self) -> list[tuple[np.ndarray, Length]]:
        """The row numbers and the padded length of every batch of the current epoch."""
        generator = np.random.default_rng((self._seed, self.epoch))
        plan = []
        left_over = np.empty(0, dtype=np.int64)
        # Empty buckets are skipped: rows that move up there would make another shape.
        for bucket in np.unique(self._buckets):
            rows = np.flatnonzero(self._buckets == bucket)
            if self._shuffle:
                rows = generator.permutation(rows)
            rows = np.concatenate([left_over, rows])
            length = self._boundaries[bucket]
            size = max(1, self._tokens_per_batch // int(np.sum(length)))
            full = len(rows) - len(rows) % size
            plan += [(rows[start : start + size], length) for start in range(0, full, size)]
            left_over = rows[full:]
        if len(left_over):
            plan.append((left_over, length))
        if self._shuffle:
            plan = [plan[index] for index in generator.permutation(len(plan))]
        return _contrast_first(plan)


def _contrast_first(
    plan: list[tuple[np.ndarray, Length]],
) -> list[tuple[np.ndarray, Length]]:
    """Moves two batches to the front that differ in every dimension that varies in the plan.

    On the TensorFlow backend Keras takes the batch signature from the first two batches: a
    dimension that is equal in both is fixed, and another size later on is an error. Such a pair
    always exists: a batch of the first bucket and the smallest batch of the last.
    """
    shapes = [(len(rows), *np.atleast_1d(length).tolist()) for rows, length in plan]
    varies = [len(set(sizes)) > 1 for sizes in zip(*shapes, strict=True)]

    def contrast(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
        return all(a != b for a, b, vary in zip(one, other, varies, strict=True) if vary)

    if not any(varies):
        return plan
    distinct = set(shapes)
    first = next(
        index for index, shape in enumerate(shapes) if any(contrast(shape, it) for it in distinct)
    )
    second = next(index for index, shape in enumerate(shapes) if contrast(shapes[first], shape))
    rest = [batch for index, batch in enumerate(plan) if index not in (first, second)]
    return [plan[first], plan[second], *rest]


def teacher_forcing(
    targets: Sequence[np.ndarray], rows: np.ndarray, length: int, *, start_id: int, end_id: int
) -> tuple[np.ndarray, np.ndarray]:
    """Returns `target_in` and `target_out` of the targets at `rows`, `<int32>(batch, length)`.

    `target_in` begins with `start_id`; `target_out` is the same one step later and ends with
    `end_id`.
    """
    order = np.arange(len(rows))
    started = [np.append(start_id, targets[row]) for row in rows]
    ended = [np.append(targets[row], end_id) for row in rows]
    return pad_tokens(started, order, length), pad_tokens(ended, order, length)


def bucket_boundaries(
    lengths: np.ndarray, *, count: int, multiple: int, tokens_per_batch: int = 1
) -> tuple[Length, ...]:
    """Chooses the bucket boundaries that leave the least padding, by dynamic programming.

    Args:
        lengths: `<int>(rows,)` or `<int>(rows, sides)`, at least one row.
        count: Most boundaries; fewer for so few tokens that a boundary would have less than two
            batches, since each compiles once.
        multiple: Every boundary is a multiple of this.
        tokens_per_batch: Most tokens in a batch.

    Returns:
        Boundaries that rise on every side; the last one covers the longest row of each.
    """
    sides = np.reshape(lengths, (len(lengths), -1))
    count = min(count, 1 + int(sides.sum()) // (2 * tokens_per_batch))
    longest = np.maximum(sides.max(axis=0), 1)
    most_cells = round(_MOST_POINTS ** (1 / len(longest)))
    multiple *= -(-int(longest.max()) // (most_cells * multiple))
    cells = -(-longest // multiple)
    histogram = np.zeros(cells + 1, dtype=np.int64)
    np.add.at(histogram, tuple(np.maximum(-(-sides // multiple), 1).T), 1)
    # The number of rows that fit into each boundary; the one at 0 is the start of the chain.
    fitting = histogram
    for side in range(len(longest)):
        fitting = fitting.cumsum(axis=side)
    fitting = fitting.ravel()
    points = np.indices(cells + 1).reshape(len(longest), -1).T
    # costs[start, end]: all rows that fit into `end` and not into `start`, padded to `end`.
    costs = (fitting[None, :] - fitting[:, None]) * (points.sum(axis=1) * multiple).astype(float)
    rises = (points[:, None] <= points[None, :]).all(axis=2)
    np.fill_diagonal(rises, False)
    # No boundary is shorter than one multiple on any side.
    rises[:, (points == 0).any(axis=1)] = False
    chain = _cheapest_chain(np.where(rises, costs, np.inf), count=count)
    boundaries = (points[chain] * multiple).tolist()
    return tuple(tuple(ends) if np.ndim(lengths) > 1 else ends[0] for ends in boundaries)


def _cheapest_chain(costs: np.ndarray, *, count: int) -> list[int]:
    """Returns the end points of the cheapest path from the first point to the last.

    Args:
        costs: `(points, points)`, the cost of each step; infinite where there is none.
        count: Most steps.
    """
    cost = costs[0]
    choices = []
    for _ in range(min(count, len(costs)) - 1):
        totals = cost[:, None] + costs
        totals[0] = np.inf
        choices.append((np.argmin(totals, axis=0), np.min(totals, axis=0) < cost))
        cost = np.minimum(cost, np.min(totals, axis=0))
    end = len(costs) - 1
    points = [end]
    for start, better in reversed(choices):
        if better[end]:
            end = int(start[end])
            points.append(end)
    return points[::-1]


def text_batches(
    sequences: Sequence[np.ndarray],
    targets: np.ndarray | None = None,
    *,
    buckets: int,
    multiple: int,
    tokens_per_batch: int,
    shuffle: bool = False,
    seed: int = 0,
    epoch: int = 0,
) -> LengthBuckets:
    """Puts whole texts into length buckets: many tokens in, one target out.

    Args:
        sequences: Token ids of each text, `(time,)` int32.
        targets: `(rows, ...)`, one target a text; None gives batches of tokens alone.
        buckets: Most distinct lengths.
        multiple: Every padded length is a multiple of this.
        tokens_per_batch: As all others, of `LengthBuckets`.
        shuffle: See there.
        seed: See there.
        epoch: See there.

    Returns:
        Batches `(tokens, targets)` or `(tokens,)`; `tokens` is `<int32>(batch, time)`.
    """
    lengths = np.array([len(sequence) for sequence in sequences])

    def collate(rows: np.ndarray, length: int) -> tuple[np.ndarray, ...]:
        tokens = pad_tokens(sequences, rows, length)
        return (tokens,) if targets is None else (tokens, targets[rows])

    return LengthBuckets(
        lengths,
        collate,
        boundaries=bucket_boundaries(
            lengths, count=buckets, multiple=multiple, tokens_per_batch=tokens_per_batch
        ),
        tokens_per_batch=tokens_per_batch,
        shuffle=shuffle,
        seed=seed,
        epoch=epoch,
    )
