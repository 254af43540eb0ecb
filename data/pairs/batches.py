"""Batches of sentence pairs for teacher forcing, bucketed by the lengths of both sides."""

from collections.abc import Callable

import numpy as np

from data.text.batching import LengthBuckets, cheapest_chain
from data.text.padding import pad_tokens

Sequences = list[np.ndarray]

# Finer boundaries cost much time to choose and gain nothing.
_MOST_CELLS = 48


def pair_boundaries(
    lengths: np.ndarray, *, count: int, multiple: int
) -> tuple[tuple[int, int], ...]:
    """Chooses a chain of buckets, each no shorter on either side, that leaves the least padding.

    Args:
        lengths: `(rows, 2)` int, the lengths of both sides of all rows.
        count: Most boundaries.
        multiple: Every boundary is a multiple of this, at least one of it.

    Returns:
        Boundaries of both sides; the last one covers the longest of either.

    Raises:
        ValueError: If there is no row.
    """
    if not len(lengths):
        raise ValueError("There is no row to choose boundaries for.")
    longest = np.maximum(lengths.max(axis=0), 1)
    multiple *= int(max(1, -(-longest.max() // (_MOST_CELLS * multiple))))
    cells = -(-longest // multiple)
    places = np.maximum(-(-lengths // multiple), 1)
    histogram = np.zeros(cells + 1, dtype=np.int64)
    np.add.at(histogram, tuple(places.T), 1)
    # The number of rows that fit into each boundary; the one at (0, 0) is the start of the chain.
    fitting = histogram.cumsum(axis=0).cumsum(axis=1).ravel()
    points = np.indices(cells + 1).reshape(2, -1).T
    # costs[start, end]: all rows that fit into `end` and not into `start`, padded to `end`.
    costs = (fitting[None, :] - fitting[:, None]) * (points.sum(axis=1) * multiple).astype(float)
    rises = (points[:, None] <= points[None, :]).all(axis=2)
    np.fill_diagonal(rises, False)
    # Nothing is shorter than one multiple on either side.
    rises[:, (points == 0).any(axis=1)] = False
    chain = cheapest_chain(np.where(rises, costs, np.inf), count=min(count, len(points)))
    return tuple((int(source), int(target)) for source, target in points[chain] * multiple)


def pair_batches(
    sources: Sequences,
    targets: Sequences,
    *,
    start_id: int,
    end_id: int,
    buckets: int,
    multiple: int,
    tokens_per_batch: int,
    shuffle: bool = False,
    seed: int = 0,
    epoch: int = 0,
    resample: Callable[[np.ndarray], tuple[Sequences, Sequences]] | None = None,
) -> LengthBuckets:
    """Puts pairs into batches `({"source": ..., "target_in": ...}, target_out)`.

    All three are int32 and padded on the right with 0: `source` is `(batch, source_length)`,
    `target_in` and `target_out` are `(batch, target_length)`. `target_in` begins with `start_id`,
    and `target_out` is the same one step later and ends with `end_id`.

    Args:
        sources: Token ids of each source, `(time,)` int32.
        targets: Token ids of each target, without start and end.
        start_id: The token before the first.
        end_id: The token after the last.
        buckets: Most distinct pairs of lengths; an epoch has at most one shape more.
        multiple: Every padded length is a multiple of this.
        tokens_per_batch: Most tokens of both sides together in a batch, padding included.
        shuffle: Whether rows and batches are mixed anew every epoch.
        seed: Seed of the mixing.
        epoch: Number of the first epoch.
        resample: Draws other token ids for `(batch,)` rows (BPE-dropout). Where a draw is too long
            for its batch, the ids of `sources` or `targets` stand in.
    """

    def lengths_of(sources: Sequences, targets: Sequences) -> np.ndarray:
        pairs = zip(sources, targets, strict=True)
        # One more for `end_id`.
        return np.array([(len(source), len(target) + 1) for source, target in pairs])

    lengths = lengths_of(sources, targets)
    if resample:
        # One draw for all rows tells the lengths to expect, so that most draws find room.
        lengths = np.maximum(lengths, lengths_of(*resample(np.arange(len(lengths)))))

    def collate(rows: np.ndarray, boundary: tuple[int, int]) -> tuple[dict, np.ndarray]:
        source_length, target_length = boundary
        batch_sources = [sources[row] for row in rows]
        batch_targets = [targets[row] for row in rows]
        if resample:
            drawn_sources, drawn_targets = resample(rows)
            batch_sources = _where_short(drawn_sources, batch_sources, source_length)
            batch_targets = _where_short(drawn_targets, batch_targets, target_length - 1)
        started = [np.append(start_id, target) for target in batch_targets]
        ended = [np.append(target, end_id) for target in batch_targets]
        order = np.arange(len(rows))
        inputs = {
            "source": pad_tokens(batch_sources, order, source_length),
            "target_in": pad_tokens(started, order, target_length),
        }
        return inputs, pad_tokens(ended, order, target_length)

    return LengthBuckets(
        lengths,
        collate,
        boundaries=pair_boundaries(lengths, count=buckets, multiple=multiple),
        tokens_per_batch=tokens_per_batch,
        shuffle=shuffle,
        seed=seed,
        epoch=epoch,
    )


def _where_short(drawn: Sequences, stored: Sequences, most: int) -> Sequences:
    return [new if len(new) <= most else old for new, old in zip(drawn, stored, strict=True)]
