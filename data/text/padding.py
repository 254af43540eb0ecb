"""Sequences of token ids below each other, padded on the right."""

from collections.abc import Sequence

import numpy as np


def pad_tokens(sequences: Sequence[np.ndarray], rows: np.ndarray, length: int) -> np.ndarray:
    """Puts the sequences at `rows` below each other, padded on the right with 0.

    Returns:
        `(batch, time)` int32 with `time == length`.
    """
    tokens = np.zeros((len(rows), length), dtype=np.int32)
    for position, row in enumerate(rows):
        sequence = sequences[row]
        tokens[position, : len(sequence)] = sequence
    return tokens
