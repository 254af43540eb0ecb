"""Batches of sentence pairs for teacher forcing, bucketed by the lengths of both sides."""

import numpy as np

from data.text.batching import LengthBuckets, bucket_boundaries, teacher_forcing
from data.text.padding import pad_tokens


def pair_batches(
    sources: list[np.ndarray],
    targets: list[np.ndarray],
    *,
    start_id: int,
    end_id: int,
    buckets: int,
    multiple: int,
    tokens_per_batch: int,
    shuffle: bool = False,
    seed: int = 0,
    epoch: int = 0,
) -> LengthBuckets:
    """Puts pairs into batches `({"source": ..., "target_in": ...}, target_out)`.

    All three are `<int32>(batch, time)` and padded on the right with 0, see `teacher_forcing`.

    Args:
        sources: Token ids of each source, `(time,)` int32.
        targets: Token ids of each target, without start and end.
        start_id: The token before the first.
        end_id: The token after the last.
        buckets: Most distinct pairs of lengths; an epoch has at most one shape more.
        multiple: Every padded length is a multiple of this.
        tokens_per_batch: Most tokens of both sides together in a batch, padding included.
        shuffle: As the rest, see `LengthBuckets`.
        seed: See there.
        epoch: See there.
    """
    sides = zip(sources, targets, strict=True)
    # One more for `end_id`.
    lengths = np.array([(len(source), len(target) + 1) for source, target in sides])

    def collate(rows: np.ndarray, boundary: tuple[int, int]) -> tuple[dict, np.ndarray]:
        source = pad_tokens(sources, rows, boundary[0])
        target_in, target_out = teacher_forcing(
            targets, rows, boundary[1], start_id=start_id, end_id=end_id
        )
        return {"source": source, "target_in": target_in}, target_out

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
