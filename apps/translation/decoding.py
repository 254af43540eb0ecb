"""Writes translations of token ids, many sentences at once."""

import dataclasses
from collections.abc import Callable

import numpy as np

from common.settings import Search
from data.text.padding import pad_tokens
from data.text.tokenization import UNK_ID
from models.decode.hypothesis import Hypothesis

# Lengths are padded to multiples of this, so that few distinct shapes are compiled.
_MULTIPLE = 8


class SequenceTranslator:
    """Translates sequences of token ids; one serves a whole training.

    Args:
        network: A `KerasNetwork` or `apps.export.runtime.SearchNetwork`.
        max_length: Most tokens of a source.
    """

    def __init__(self, network: Callable[..., list[list[Hypothesis]]], *, max_length: int):
        """See the class."""
        self._network, self._most = network, output_limit(max_length)

    def __call__(
        self,
        sources: list[np.ndarray],
        search: Search,
        *,
        attention: bool = False,
        batch_size: int = 64,
    ) -> list[list[Hypothesis]]:
        """Translates.

        Args:
            sources: `<int32>(time,)` each, in any order of lengths.
            search: How to look.
            attention: Whether hypotheses come with what they looked at.
            batch_size: Sentences side by side.

        Returns:
            For each source its hypotheses, the best first; of a beam that ended in fewer than
            `n_best`, those.
        """
        order = np.argsort([len(source) for source in sources], kind="stable")
        found: dict[int, list[Hypothesis]] = {}
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            # Rows are padded too, up to a power of two, with sentences of one token.
            count = min(batch_size, 1 << (len(rows) - 1).bit_length())
            filled = [sources[row] for row in rows] + [np.array([UNK_ID])] * (count - len(rows))
            lengths = np.array([len(source) for source in filled])
            padded_length = -(-lengths.max() // _MULTIPLE) * _MULTIPLE
            limits = np.minimum(output_limit(lengths), self._most)
            limits[len(rows) :] = 1
            inputs = {
                "source": pad_tokens(filled, np.arange(count), padded_length),
                "length_limit": limits.astype(np.int32),
            }
            written = self._network(inputs, attention=attention, **dataclasses.asdict(search))
            for row, hypotheses in zip(rows, written, strict=False):
                found[row] = [_without_padding(one, len(sources[row])) for one in hypotheses]
        return [found[row] for row in range(len(sources))]


def _without_padding(hypothesis: Hypothesis, source_length: int) -> Hypothesis:
    if hypothesis.attention is None:
        return hypothesis
    return dataclasses.replace(hypothesis, attention=hypothesis.attention[:, :source_length])


def output_limit(source_length):
    """Returns the most tokens of a translation, its end included: half as long again and ten."""
    return source_length * 3 // 2 + 10
