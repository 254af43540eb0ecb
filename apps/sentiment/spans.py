"""Short pieces of reviews to learn from, so that a reader of long reviews reads short texts too."""

import re
from collections.abc import Iterable, Iterator

import numpy as np

from data.text.tokenization import TAG_PATTERN

# Most sentences in a span, and fewest words in a sentence.
_MOST, _FEWEST = 3, 3


def sentence_spans(texts: Iterable[str], *, count: int, seed: int) -> Iterator[str]:
    """Draws spans of one to three consecutive sentences from each text.

    Args:
        texts: Reviews.
        count: Spans of each text; a text without a sentence of three words gives itself.
        seed: Of the draw.

    Yields:
        `count` spans of the first text, then those of the second one, and so on.
    """
    generator = np.random.default_rng((seed, 3))
    for text in texts:
        sentences = [
            sentence
            for sentence in re.split(r"(?<=[.!?])\s+", re.sub(TAG_PATTERN, " ", text))
            if len(sentence.split()) >= _FEWEST
        ] or [text]
        for _ in range(count):
            length = generator.integers(1, _MOST + 1)
            start = generator.integers(0, max(1, len(sentences) - length + 1))
            yield " ".join(sentences[start : start + length])
