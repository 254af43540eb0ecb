"""Groups sequences of like length into batches of few distinct shapes."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from data.text.padding import pad_tokens

# What a row is padded to: its length, or one length for each of its sides.
Length = int | tuple[int, ...]


class LengthBuckets(keras.utils.PyDataset):
    """Batches whose rows have nearly the same length, padded to the boundary of their bucket.

    Every row stands in exactly one batch. A bucket gives batches of
    `max(1, tokens_per_batch // boundary)` rows; the rows that do not fill one move up to the next
    longer bucket, so that only the last bucket may end in a smaller batch. So an epoch has at most
    one shape more than it has buckets, and each shape compiles once. The shapes are the same in
    every epoch.

    A row may have several sides, such as a source and a target, with a length each. Then a boundary
    is a tuple, it holds the rows of which no side is longer, and its sum counts as its tokens.

    The order of the batches depends on `seed` and `epoch` alone, so a resumed run sees what an
    uninterrupted one would have seen: give it the `initial_epoch` of `fit` as `epoch`, and give
    `fit` the argument `shuffle=False`, because else Keras mixes the batches by a generator of its
    own. With `shuffle=False` all epochs are alike and the rows run
    from short to long. Either way `batches` tells which row stands where:
    `results[np.concatenate(dataset.batches)] = outputs` restores the order of the rows.

    Args:
        lengths: `(rows,)` or `(rows, sides)` int, the length of every row.
        collate: Makes a batch, as `fit` takes it, from `(batch,)` row numbers and the length, or
            the tuple of lengths, to which they must be padded.
        boundaries: Lengths of the buckets, rising, as `bucket_boundaries` chooses them; no side
            falls from one to the next.
        tokens_per_batch: Most tokens in a batch, padding included (one long row may exceed it).
        shuffle: Whether rows and batches are mixed anew every epoch.
        seed: Seed of the mixing.
        epoch: Number of the first epoch.

    Raises:
        ValueError: If there is no row, the boundaries are missing or do not rise, or a row is
            longer than the last of them.
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
        if not boundaries:
            raise ValueError("There is no boundary.")
        rows, ends = (np.reshape(sizes, (len(sizes), -1)) for sizes in (self._lengths, boundaries))
        steps = np.diff(ends, axis=0)
        if (steps < 0).any() or (steps == 0).all(axis=1).any():
            raise ValueError(f"The boundaries must rise: {boundaries}.")
        if (rows > ends[-1]).any():
            longest = self._lengths.max(axis=0)
            raise ValueError(
                f"A row of length {longest} exceeds the last boundary, {boundaries[-1]}"
            )
        self._collate = collate
        self._boundaries = tuple(boundaries)
        self._buckets = (rows[:, np.newaxis] <= ends).all(axis=2).argmax(axis=1)
        self._tokens_per_batch = tokens_per_batch
        self._shuffle = shuffle
        self._seed = seed
        self.epoch = epoch

    @property
    def epoch(self) -> int:
        """The number of the current epoch; setting it makes the batches of that epoch."""
        return self._epoch

    @epoch.setter
    def epoch(self, epoch: int) -> None:
        self._epoch = epoch
        self._plan = self._make_plan()

    @property
    def batches(self) -> list[np.ndarray]:
        """The row numbers, `(batch,)` int64 each, batch by batch in the order of this epoch."""
        return [rows for rows, _ in self._plan]

    @property
    def padding_share(self) -> float:
        """The share of padding among all tokens of an epoch."""
        padded = sum(len(rows) * int(np.sum(length)) for rows, length in self._plan)
        return 1.0 - float(self._lengths.sum()) / max(padded, 1)

    def __len__(self) -> int:
        """The number of batches in an epoch."""
        return len(self._plan)

    def __getitem__(self, index: int) -> Any:
        """The batch at `index` of the current epoch."""
        rows, length = self._plan[index]
        return self._collate(rows, length)

    def on_epoch_end(self) -> None:
        """Goes on to the next epoch; Keras calls this."""
        # `fit` calls it also before its first epoch, after a look at the shapes, so its epochs run
        # one ahead of what it was given: the same for a fresh and a resumed run.
        self.epoch += 1

    def _make_plan(self) -> list[tuple[np.ndarray, Length]]:
        """The row numbers and the padded length of every batch of the current epoch."""
        generator = np.random.default_rng((self._seed, self._epoch))
        plan = []
        left_over = np.empty(0, dtype=np.int64)
        # Empty buckets are passed over: rows that move up there would make a shape of their own.
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
    dimension that is equal in both is fixed for good, and another size later on is an error.

    Such a pair always exists. The boundaries form a chain, so a batch of the first bucket in use
    and one of the last differ in every length that varies. The first bucket's batches are full, and
    no other has more rows; if the numbers of rows vary, then some batch of the last bucket has
    fewer: all of them if its full size is smaller, else the one that is not full. If there is but
    one bucket in use, only the number of rows can vary.
    """
    shapes = [(len(rows), *np.atleast_1d(length).tolist()) for rows, length in plan]
    varies = [len(set(sizes)) > 1 for sizes in zip(*shapes, strict=True)]

    def contrast(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
        return all(a != b for a, b, vary in zip(one, other, varies, strict=True) if vary)

    if not any(varies):
        return plan
    distinct = set(shapes)
    first = next(
        index
        for index, shape in enumerate(shapes)
        if any(contrast(shape, other) for other in distinct)
    )
    second = next(index for index, shape in enumerate(shapes) if contrast(shapes[first], shape))
    rest = [batch for index, batch in enumerate(plan) if index not in (first, second)]
    return [plan[first], plan[second], *rest]


def bucket_boundaries(
    lengths: np.ndarray, *, count: int, multiple: int, maximum: int
) -> tuple[int, ...]:
    """Chooses the bucket boundaries that leave the least padding, by dynamic programming.

    Args:
        lengths: `(rows,)` int, the lengths of all rows that will be put into these buckets.
        count: Most boundaries.
        multiple: Every boundary is a multiple of this, or `maximum`.
        maximum: No boundary is above this.

    Returns:
        Rising boundaries; the last one covers the longest row.

    Raises:
        ValueError: If there is no row or one is longer than `maximum`.
    """
    lengths = np.asarray(lengths)
    if not lengths.size or lengths.max() > maximum:
        raise ValueError(f"The lengths must be 1 to {maximum}, at least one of them.")
    cells = max(1, -(-int(lengths.max()) // multiple))
    ends = np.minimum(np.arange(cells + 1) * multiple, maximum)
    histogram = np.bincount(np.maximum(-(-lengths // multiple), 1), minlength=cells + 1)
    below = np.cumsum(histogram)
    # tokens[start, end]: all rows longer than boundary `start`, up to boundary `end`, padded to it.
    tokens = (below[None, :] - below[:, None]) * ends[None, :].astype(np.float64)
    tokens[np.tril_indices(cells + 1)] = np.inf
    return tuple(int(ends[boundary]) for boundary in cheapest_chain(tokens, count=count))


def cheapest_chain(costs: np.ndarray, *, count: int) -> list[int]:
    """Finds the cheapest way from the first point to the last, by dynamic programming.

    Args:
        costs: `(points, points)`, the cost of each step; infinite where there is none.
        count: Most steps.

    Returns:
        The points that end a step, rising to the last.
    """
    cost = costs[0]
    choices = []
    for _ in range(count - 1):
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
        tokens_per_batch: Most tokens in a batch, padding included.
        shuffle: Whether rows and batches are mixed anew every epoch.
        seed: Seed of the mixing.
        epoch: Number of the first epoch.

    Returns:
        Batches `(tokens, targets)` or `(tokens,)`; `tokens` is `<int32>(batch, time)`.

    Raises:
        ValueError: If there is no text, or not one target each.
    """
    if targets is not None and len(targets) != len(sequences):
        raise ValueError(f"{len(sequences)} texts, but {len(targets)} targets.")
    lengths = np.array([len(sequence) for sequence in sequences])

    def collate(rows: np.ndarray, length: int) -> tuple[np.ndarray, ...]:
        tokens = pad_tokens(sequences, rows, length)
        return (tokens,) if targets is None else (tokens, targets[rows])

    boundaries = bucket_boundaries(
        lengths,
        count=buckets,
        multiple=multiple,
        maximum=-(-int(lengths.max()) // multiple) * multiple,
    )
    return LengthBuckets(
        lengths,
        collate,
        boundaries=boundaries,
        tokens_per_batch=tokens_per_batch,
        shuffle=shuffle,
        seed=seed,
        epoch=epoch,
    )
