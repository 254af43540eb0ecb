"""Writes captions of pictures, many at once."""

import dataclasses
from collections.abc import Callable

import numpy as np

from common.settings import Search
from models.decode.hypothesis import Hypothesis


class PictureDescriber:
    """Decodes captions as token ids; its compiled loops serve a whole training.

    Args:
        network: What writes captions of a batch, `picture` and `length_limit`.
        max_length: Most tokens of a caption.
        batch_size: Pictures side by side.
    """

    def __init__(
        self,
        network: Callable[..., list[list[Hypothesis]]],
        *,
        max_length: int,
        batch_size: int = 64,
    ):
        """See the class."""
        # One more for the end.
        self._network, self._most, self._batch_size = network, max_length + 1, batch_size

    def __call__(
        self, pictures: np.ndarray, search: Search, *, attention: bool = False
    ) -> list[list[Hypothesis]]:
        """Returns the hypotheses of each picture, the best first; `n_best` of them at most.

        Args:
            pictures: `(pictures, ...)`, as the network takes them.
            search: How to look.
            attention: Whether hypotheses come with what they looked at.

        Returns:
            For each picture its hypotheses, the best first; of a beam that ended in fewer than
            `n_best`, those.
        """
        found = []
        for start in range(0, len(pictures), self._batch_size):
            batch = np.asarray(pictures[start : start + self._batch_size])
            rows = len(batch)
            # The last batch is filled up to a power of two: few shapes are compiled.
            count = min(self._batch_size, 1 << (rows - 1).bit_length())
            limits = np.full(count, self._most, np.int32)
            limits[rows:] = 1
            inputs = {
                "picture": np.concatenate([batch, np.repeat(batch[-1:], count - rows, axis=0)]),
                "length_limit": limits,
            }
            written = self._network(inputs, attention=attention, **dataclasses.asdict(search))
            found += written[:rows]
        return found
