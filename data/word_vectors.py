"""Word vectors trained on the task's own texts, labelled or not, kept in the cache."""

import hashlib
import time
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from data.download import atomic_file
from data.errors import DataError

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
) -> tuple[np.ndarray, float]:
    """Trains skip-gram vectors with negative sampling (Mikolov et al., 2013), once for all runs.

    One thread does the work, so that two trainings give the same vectors; several would update
    them in an order of their own each time.

    Args:
        sequences: Token ids of each text, `(time,)` int32.
        vocab_size: Number of token ids.
        embed_dim: Size of a vector.
        cache_dir: Root of derived files.

    Returns:
        vectors: `(vocab_size, embed_dim)` float32; padding and tokens without an example have 0.
        seconds: How long the training took, also when it comes from the cache.

    Raises:
        DataError: If the cached file is damaged.
        OSError: If it cannot be written.
    """
    settings = (vocab_size, embed_dim, _EPOCHS, _WINDOW, _NEGATIVES, _FREQUENT, _THREADS)
    digest = hashlib.sha256(repr(settings).encode())
    for sequence in sequences:
        digest.update(sequence.tobytes() + b"|")
    path = cache_dir / "word_vectors" / f"{digest.hexdigest()[:16]}.npz"
    if path.is_file():
        try:
            with np.load(path, allow_pickle=False) as stored:
                return stored["vectors"], float(stored["seconds"])
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise DataError(f"{path} is damaged: delete it and run again.") from error

    from gensim.models import Word2Vec

    begin = time.perf_counter()
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
    seconds = time.perf_counter() - begin
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as draft, open(draft, "wb") as file:
        np.savez(file, vectors=vectors, seconds=seconds)
    return vectors, seconds
