"""Word vectors trained on the task's own texts, labelled or not, kept in the cache."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from common.cache import cache_path, cached

_EPOCHS, _WINDOW, _NEGATIVES, _FREQUENT, _THREADS = 3, 8, 5, 1e-4, 1


class _Named:
    """Texts as the library wants them, lists of strings; made anew in each pass."""

    def __init__(self, sequences: Sequence[np.ndarray], vocab_size: int):
        # One string an id, shared by all texts.
        self._sequences, self._names = sequences, [str(token) for token in range(vocab_size)]

    def __iter__(self) -> Iterator[list[str]]:
        for sequence in self._sequences:
            yield [self._names[token] for token in sequence]


def train_word_vectors(
    sequences: Sequence[np.ndarray], *, vocab_size: int, embed_dim: int, cache_dir: Path
) -> np.ndarray:
    """Trains skip-gram vectors with negative sampling (Mikolov et al., 2013), once for all runs.

    One thread does the work, so that two trainings give the same vectors; several would update
    them in an order of their own each time.

    Args:
        sequences: Token ids of each text, `(time,)` int32.
        vocab_size: Number of token ids.
        embed_dim: Size of a vector.
        cache_dir: Root of derived files.

    Returns:
        `(vocab_size, embed_dim)` float32; padding and tokens without an example have 0.
    """
    path = cache_path(
        cache_dir / "word_vectors",
        [vocab_size, embed_dim, sequences],
        modules=["data.text.word_vectors"],
        suffix=".npz",
    )
    return cached(path, lambda: _train(sequences, vocab_size, embed_dim))["vectors"]


def _train(sequences: Sequence[np.ndarray], vocab_size: int, embed_dim: int) -> dict:
    from gensim.models import Word2Vec

    model = Word2Vec(
        _Named(sequences, vocab_size),
        vector_size=embed_dim,
        window=_WINDOW,
        negative=_NEGATIVES,
        sample=_FREQUENT,
        epochs=_EPOCHS,
        min_count=1,
        sg=1,
        workers=_THREADS,
        seed=1,
    )
    vectors = np.zeros((vocab_size, embed_dim), dtype=np.float32)
    vectors[[int(name) for name in model.wv.index_to_key]] = model.wv.vectors
    return {"vectors": vectors}
