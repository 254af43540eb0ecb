"""Writes translations of token ids, many sentences at once, each batch in one compiled loop."""

import dataclasses

import keras
import numpy as np
from tokenizers import Tokenizer

from apps.translation.config import Config
from apps.translation.metrics import translation_metrics
from common.search import Search
from data.pairs.splits import PairSplit
from data.text.padding import pad_tokens
from data.text.subwords import END_ID, START_ID, UNK_ID, decode_texts, encode_texts
from models.decode.writer import Hypothesis, SequenceWriter

# Validation sentences that are translated after each epoch.
SCORED_AN_EPOCH = 1000
# Lengths are padded to multiples of this, so that few distinct shapes are compiled.
_MULTIPLE = 8


class SequenceTranslator:
    """Translates sequences of token ids; one serves a whole training.

    Args:
        encoder: From `build_encoder`.
        decoder: From `build_attention_decoder`.
        max_length: Most tokens of a source.
    """

    def __init__(self, encoder: keras.Model, decoder: keras.Model, *, max_length: int):
        """See the class."""
        self._most = int(output_limit(max_length))
        self._write = SequenceWriter(
            encoder, decoder, start_id=START_ID, end_id=END_ID, max_length=self._most
        )

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
            written = self._write(inputs, attention=attention, **dataclasses.asdict(search))
            for row, hypotheses in zip(rows, written, strict=False):
                found[row] = [_without_padding(one, len(sources[row])) for one in hypotheses]
        return [found[row] for row in range(len(sources))]


class ValidationBleu(keras.callbacks.Callback):
    """Translates validation sentences after each epoch, greedily, and adds `val_bleu` to `logs`.

    Args:
        translate_ids: Of the model in training.
        tokenizer: Its subwords.
        split: What to translate; its first `SCORED_AN_EPOCH` sentences are.
        config: Settings.
    """

    def __init__(
        self,
        translate_ids: SequenceTranslator,
        tokenizer: Tokenizer,
        split: PairSplit,
        config: Config,
    ):
        """See the class."""
        super().__init__()
        self._translate_ids, self._tokenizer, self._config = translate_ids, tokenizer, config
        self._sources = encode_texts(
            tokenizer, split.source[:SCORED_AN_EPOCH], max_length=config.max_length
        )
        self._references = split.references[:SCORED_AN_EPOCH]

    def on_epoch_end(self, epoch, logs=None):
        """Scores."""
        found = self._translate_ids(self._sources, Search.of(self._config, method="greedy"))
        hypotheses = decode_texts(self._tokenizer, [best.tokens for best, *_ in found])
        scores = translation_metrics(
            hypotheses, self._references, target_language=self._config.target_language
        )
        logs["val_bleu"] = scores["bleu"]


def _without_padding(hypothesis: Hypothesis, source_length: int) -> Hypothesis:
    if hypothesis.attention is None:
        return hypothesis
    return dataclasses.replace(hypothesis, attention=hypothesis.attention[:, :source_length])


def output_limit(source_length):
    """Returns the most tokens of a translation, its end included: half as long again and ten."""
    return source_length * 3 // 2 + 10
