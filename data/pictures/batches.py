"""Batches of pictures with captions for teacher forcing, bucketed by the captions' lengths."""

from collections.abc import Callable

import numpy as np

from data.text.batching import LengthBuckets, bucket_boundaries, teacher_forcing

# Keeps the draws of views apart from those of the order, which have the same seed and epoch.
_VIEWS = 1


def caption_batches(
    captions: list[np.ndarray],
    pictures: np.ndarray,
    *,
    start_id: int,
    end_id: int,
    buckets: int,
    multiple: int,
    tokens_per_batch: int,
    memory_length: int = 0,
    views: int = 1,
    shuffle: bool = False,
    seed: int = 0,
    epoch: int = 0,
    lookup: Callable[[np.ndarray], np.ndarray] | None = None,
) -> LengthBuckets:
    """Puts captions into batches `({"picture": ..., "target_in": ...}, target_out)`.

    For `target_in` and `target_out` see `teacher_forcing`. `picture` is `<int32>(batch,)` and
    numbers the views of all pictures, those of the first picture first: `picture * views + view`.
    Every epoch draws a view for each caption, which depends on `seed` and `epoch` alone; with
    `shuffle=False` it is the picture itself.

    Args:
        captions: Token ids of each caption, `(time,)` int32, without start and end.
        pictures: `<int>(captions,)`, the picture of each caption.
        start_id: The token before the first.
        end_id: The token after the last.
        buckets: Most distinct lengths; an epoch has at most one shape more.
        multiple: Every padded length is a multiple of this.
        tokens_per_batch: Most tokens in a batch, padding and `memory_length` included.
        memory_length: Tokens that each picture counts as, such as the number of its regions.
        views: Views of each picture, 2 for it and its mirror image.
        shuffle: Whether rows are mixed, and views drawn, in every epoch.
        seed: Seed of both.
        epoch: Number of the first epoch.
        lookup: Replaces `(batch,)` numbers of views by pictures or features, `(batch, ...)`.

    Returns:
        The batches; their row numbers are those of the captions.
    """
    pictures = np.asarray(pictures)
    # One more for `end_id`.
    lengths = np.array([len(caption) + 1 for caption in captions])

    def collate(rows: np.ndarray, boundary: tuple[int, int]) -> tuple[dict, np.ndarray]:
        numbers = pictures[rows] * views
        if shuffle and views > 1:
            generator = np.random.default_rng((seed, dataset.epoch, _VIEWS))
            numbers += generator.integers(views, size=len(captions))[rows]
        numbers = numbers.astype(np.int32)
        picture = numbers if lookup is None else lookup(numbers)
        target_in, target_out = teacher_forcing(
            captions, rows, boundary[1], start_id=start_id, end_id=end_id
        )
        return {"picture": picture, "target_in": target_in}, target_out

    ends = bucket_boundaries(
        lengths, count=buckets, multiple=multiple, tokens_per_batch=tokens_per_batch
    )
    dataset = LengthBuckets(
        np.stack([np.full_like(lengths, memory_length), lengths], axis=1),
        collate,
        boundaries=tuple((memory_length, end) for end in ends),
        tokens_per_batch=tokens_per_batch,
        shuffle=shuffle,
        seed=seed,
        epoch=epoch,
    )
    return dataset
