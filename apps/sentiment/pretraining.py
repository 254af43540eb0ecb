"""Pretraining: before it learns verdicts, the encoder learns to predict words in all reviews.

Dai and Le (2015) found that a recurrent network reads better when it begins as a language model.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np

from apps.sentiment.config import Config
from common.cache import cache_path, cached
from common.callbacks import StopOnNaN
from common.device import xla_beside_products
from common.optimization import GradientClipping, LearningRateControl, build_optimizer
from models.language_model import build_language_model, mean_loss
from models.sentiment import build_encoder

_DRAWN, _OPTIMIZER, _RATE, _WARMUP, _DROPOUT, _SEED = 1024, "adam", 2e-3, 300, 0.1, 1
# Texts that are read at a time.
_TOGETHER = 1000
# The settings that the encoder's weights depend on.
_SETTINGS = (
    "vocab_size",
    "max_length",
    "cell",
    "units",
    "bidirectional",
    "region_length",
    "embed_dim",
    "embedding",
    "tokens_per_batch",
    "clipping",
    "clip_threshold",
    "jit_compile",
    "pretrain_epochs",
)
# The modules that they depend on, besides those of `models`.
_CODE = (
    "apps.sentiment.pretraining",
    "common.callbacks",
    "common.optimization",
)


class Regions(keras.utils.PyDataset):
    """Batches of regions of texts, cut as the classifier cuts them, and words drawn for each.

    Args:
        sequences: Token ids of each text.
        length: Tokens of a region; the last of a text is padded on the right.
        rows: Regions in a batch.
        shares: `(vocab_size,)`, how likely each word is to be drawn.
        directions: 1 or 2.
    """

    def __init__(  # noqa: D107
        self,
        sequences: Sequence[np.ndarray],
        *,
        length: int,
        rows: int,
        shares: np.ndarray,
        directions: int,
    ):
        super().__init__()
        self._sequences, self._length, self._directions = sequences, length, directions
        counts = [-(-len(sequence) // length) for sequence in sequences]
        texts = np.repeat(np.arange(len(sequences)), counts)
        starts = np.concatenate([np.arange(count) for count in counts]) * length
        self._regions = np.stack([texts, starts], axis=1)
        # The last batch of an epoch is left out if it is not full: all have one shape.
        self._rows = min(rows, len(self._regions))
        self._steps_to = np.cumsum(shares)
        self._epoch = -1
        self.on_epoch_end()

    def __len__(self) -> int:
        """The number of batches in an epoch."""
        return len(self._regions) // self._rows

    def __getitem__(self, index: int) -> tuple:
        """Returns `(tokens, drawn), known`, as `build_language_model` and `mean_loss` take."""
        tokens = np.zeros((self._rows, self._length), dtype="int32")
        chosen = self._order[index * self._rows : (index + 1) * self._rows]
        for row, (text, start) in enumerate(self._regions[chosen]):
            part = self._sequences[text][start : start + self._length]
            tokens[row, : len(part)] = part
        uniform = np.random.default_rng((_SEED, self._epoch, index)).random(_DRAWN)
        drawn = np.searchsorted(self._steps_to, uniform * self._steps_to[-1], side="right")
        words = [tokens[:, 1:], tokens[:, :-1]][: self._directions]
        known = (np.stack(words, axis=1) > 1).astype("float32")
        return (tokens, drawn.astype("int32")), known

    def on_epoch_end(self) -> None:
        """Mixes the regions anew."""
        self._epoch += 1
        generator = np.random.default_rng((_SEED, self._epoch))
        self._order = generator.permutation(len(self._regions))


def pretrain(
    encoder: keras.Model, config: Config, sequences: Sequence[np.ndarray], *, cache_dir: Path
) -> None:
    """Gives an encoder the weights of a language model, trained once for all runs alike.

    Args:
        encoder: Of the classifier; begins with its word vectors, and keeps what it has for pairs
            of words, which a language model must not see.
        config: Settings.
        sequences: Token ids of each text, labelled or not, as long as the classifier reads them.
        cache_dir: Root of derived files.

    Raises:
        UserError: If a weight or the loss becomes NaN.
    """
    settings = {name: getattr(config, name) for name in _SETTINGS}
    vectors = keras.ops.convert_to_numpy(encoder.get_layer("embedding").embeddings)
    if config.embedding == "random":
        # Those of the run's own seed; the language model begins with others.
        vectors = np.zeros_like(vectors)
    path = cache_path(
        cache_dir / "language_models", [settings, vectors, sequences], modules=_CODE, suffix=".npz"
    )
    weights = cached(path, lambda: _train(config, sequences, vectors=vectors))
    # What comes next is the same, whether the weights were kept or not.
    keras.utils.set_random_seed(config.seed)
    own = _weights(encoder)
    for name, values in weights.items():
        whole = keras.ops.convert_to_numpy(own[name]).copy()
        # A kernel also has rows for the vectors of pairs, which come last.
        whole[: len(values)] = values
        own[name].assign(whole)


def _weights(encoder: keras.Model) -> dict[str, keras.Variable]:
    """Returns what a language model and a classifier's encoder have in common, by its name."""
    return {
        variable.path.replace("/", "."): variable
        for variable in encoder.trainable_variables
        if not variable.path.startswith("bigram")
    }


def _train(
    config: Config, sequences: Sequence[np.ndarray], *, vectors: np.ndarray
) -> dict[str, np.ndarray]:
    """Trains a language model, from these vectors if any is not 0.

    Returns:
        The weights of its encoder by their names.
    """
    keras.utils.set_random_seed(_SEED)
    vocab_size = len(vectors)
    encoder = build_encoder(
        vocab_size=vocab_size,
        embed_dim=config.embed_dim,
        cell=config.cell,
        units=config.units,
        bidirectional=config.bidirectional,
        word_dropout=_DROPOUT,
        embedding_dropout=_DROPOUT,
        region_length=config.region_length,
    )
    if vectors.any():
        encoder.get_layer("embedding").embeddings.assign(vectors)
    counts = np.zeros(vocab_size)
    for start in range(0, len(sequences), _TOGETHER):
        tokens = np.concatenate(sequences[start : start + _TOGETHER])
        counts += np.bincount(tokens, minlength=vocab_size)
    counts[:2] = 0
    shares = counts**0.75 / np.maximum((counts**0.75).sum(), 1)
    length = config.region_length or config.max_length
    batches = Regions(
        sequences,
        length=length,
        rows=max(1, config.tokens_per_batch // length),
        shares=shares,
        directions=1 + config.bidirectional,
    )
    model = build_language_model(
        encoder,
        units=config.units,
        bidirectional=config.bidirectional,
        log_expected=np.log(np.maximum(_DRAWN * shares, 1e-9)),
        dropout=_DROPOUT,
    )
    model.compile(
        optimizer=build_optimizer(_OPTIMIZER, learning_rate=_RATE),
        loss=mean_loss,
        jit_compile=xla_beside_products(config.jit_compile),
    )
    steps = config.pretrain_epochs * len(batches)
    callbacks = [
        StopOnNaN(),
        GradientClipping(config.clipping, threshold=config.clip_threshold),
        LearningRateControl(
            _RATE, "cosine", total_steps=steps, warmup_steps=min(_WARMUP, steps // 10)
        ),
    ]
    model.fit(
        batches,
        epochs=config.pretrain_epochs,
        shuffle=False,
        callbacks=callbacks,
        verbose=1 if sys.stdout.isatty() else 2,
    )
    return {name: keras.ops.convert_to_numpy(value) for name, value in _weights(encoder).items()}
