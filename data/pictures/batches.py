"""Batches of pictures with captions for teacher forcing, bucketed by the captions' lengths."""

from collections.abc import Callable

import numpy as np

from data.text.batching import LengthBuckets, bucket_boundaries
from data.text.padding import pad_tokens

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

    `target_in` and `target_out` are `<int32>(batch, time)` and padded on the right with 0.
    `target_in` begins with `start_id`, and `target_out` is the same one step later and ends with
    `end_id`. `picture` is `<int32>(batch,)` and numbers the views of all pictures, those of the
    first picture first: `picture * views + view`, as in `features.reshape(-1, *features.shape[2:])`
    of a `(pictures, views, ...)` array.

    Every epoch draws a view for each caption, which depends on `seed` and `epoch` alone. With
    `shuffle=False` it is the first, which is therefore the picture as it is.

    Args:
        captions: Token ids of each caption, `(time,)` int32, without start and end.
        pictures: `<int>(captions,)`, the picture of each caption.
        start_id: The token before the first.
        end_id: The token after the last.
        buckets: Most distinct lengths; an epoch has at most one shape more.
        multiple: Every padded length is a multiple of this.
        tokens_per_batch: Most tokens in a batch, padding and `memory_length` included.
        memory_length: Tokens that each picture counts as, such as the number of its regions, so
            that a batch of short captions does not hold too many pictures.
        views: Views of each picture, such as 2 for it and its mirror image.
        shuffle: Whether rows and batches are mixed, and views drawn, anew every epoch.
        seed: Seed of both.
        epoch: Number of the first epoch.
        lookup: Replaces `(batch,)` numbers of views by what the model takes, pictures or features,
            `(batch, ...)`; where none is given, the numbers stay.

    Returns:
        The batches; their row numbers are those of the captions.

    Raises:
        ValueError: If there are no captions, or not as many pictures.
    """
    pictures = np.asarray(pictures)
    if not captions or pictures.shape != (len(captions),):
        raise ValueError(f"{len(captions)} captions, but pictures of shape {pictures.shape}.")
    # One more for `end_id`.
    lengths = np.array([len(caption) + 1 for caption in captions])

    def collate(rows: np.ndarray, boundary: tuple[int, int]) -> tuple[dict, np.ndarray]:
        numbers = pictures[rows] * views
        if shuffle and views > 1:
            generator = np.random.default_rng((seed, dataset.epoch, _VIEWS))
            numbers += generator.integers(views, size=len(captions))[rows]
        numbers = numbers.astype(np.int32)
        order = np.arange(len(rows))
        started = [np.append(start_id, captions[row]) for row in rows]
        ended = [np.append(captions[row], end_id) for row in rows]
        inputs = {
            "picture": numbers if lookup is None else lookup(numbers),
            "target_in": pad_tokens(started, order, boundary[1]),
        }
        return inputs, pad_tokens(ended, order, boundary[1])

    longest = -(-int(lengths.max()) // multiple) * multiple
    ends = bucket_boundaries(lengths, count=buckets, multiple=multiple, maximum=longest)
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
