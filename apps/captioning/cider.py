"""CIDEr-D of one caption after the other, fast enough to reward all that a training writes."""

import dataclasses
import math
from collections import Counter
from collections.abc import Iterator, Sequence

# Words of the longest runs that are compared.
_LONGEST = 4
# Standard deviation of the length, in words, that a caption may differ by.
_DEVIATION = 6.0

Run = tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class _Counted:
    """A caption as the metric sees it."""

    runs: dict[Run, int]
    """Runs of one to four words to how often they stand in it."""
    norms: list[float]
    """Lengths of its four vectors of weighted runs, one for each number of words."""
    pairs: int
    """Its length: pycocoevalcap counts runs of two words."""


class CiderD:
    """Scores captions of known pictures as pycocoevalcap does (Vedantam et al., 2015).

    A run of words weighs the more, the fewer of these pictures have it in a reference. So captions
    can be scored one at a time by what all references say of the words.

    Args:
        references: `(pictures,)`, the captions of each, with white space between words.

    Raises:
        ValueError: If a picture has no reference, or there is no picture.
    """

    def __init__(self, references: Sequence[Sequence[str]]):
        """See the class."""
        if not references or not all(references):
            raise ValueError("Each picture needs a reference, and there must be one.")
        pictures_with: Counter[Run] = Counter()
        for captions in references:
            pictures_with.update({run for caption in captions for run in _runs(caption)})
        self._rarest = math.log(len(references))
        self._rarity = {run: self._rarest - math.log(n) for run, n in pictures_with.items()}
        # The same object for equal runs: they are many.
        self._known = {run: run for run in pictures_with}
        self._references = [[self._counted(text) for text in captions] for captions in references]

    def __call__(self, picture: int, caption: str) -> float:
        """Returns the score, 0 to 10.

        Args:
            picture: Number of the picture among `references`.
            caption: What is said of it.
        """
        said = self._counted(caption)
        total = 0.0
        for wanted in self._references[picture]:
            products = [0.0] * _LONGEST
            for run, count in said.runs.items():
                if often := wanted.runs.get(run):
                    # Both weights have the rarity; what is said too often counts no more.
                    products[len(run) - 1] += min(count, often) * often * self._rarity[run] ** 2
            cosines = sum(
                product / (one * other)
                for product, one, other in zip(products, said.norms, wanted.norms, strict=True)
                if product
            )
            distance = (said.pairs - wanted.pairs) / _DEVIATION
            total += cosines * math.exp(-(distance**2) / 2)
        return 10 * total / _LONGEST / len(self._references[picture])

    def _counted(self, caption: str) -> _Counted:
        counts = Counter(self._known.get(run, run) for run in _runs(caption))
        squares, pairs = [0.0] * _LONGEST, 0
        for run, count in counts.items():
            squares[len(run) - 1] += (count * self._rarity.get(run, self._rarest)) ** 2
            pairs += count * (len(run) == 2)
        return _Counted(dict(counts), [math.sqrt(square) for square in squares], pairs)


def _runs(caption: str) -> Iterator[Run]:
    """Yields all runs of one to four words."""
    words = caption.split()
    for length in range(1, _LONGEST + 1):
        for start in range(len(words) - length + 1):
            yield tuple(words[start : start + length])
