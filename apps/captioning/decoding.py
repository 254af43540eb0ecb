"""Writes captions of pictures, many at once, each batch in one compiled loop."""

import dataclasses

import keras
import numpy as np
from tokenizers import Tokenizer

from apps.captioning.config import Config
from apps.captioning.metrics import caption_metrics
from common.search import Search
from data.pictures.splits import CaptionSplit
from data.text.subwords import END_ID, START_ID, decode_texts
from models.decode.writer import Hypothesis, SequenceWriter


class PictureDescriber:
    """Describes pictures in token ids; one serves a whole training.

    Args:
        encoder: From `build_picture_encoder`.
        decoder: From `build_attention_decoder`.
        max_length: Most tokens of a caption.
    """

    def __init__(self, encoder: keras.Model, decoder: keras.Model, *, max_length: int):
        """See the class."""
        # One more for the end.
        self._most = max_length + 1
        self._write = SequenceWriter(
            encoder, decoder, start_id=START_ID, end_id=END_ID, max_length=self._most
        )

    def __call__(
        self, pictures: np.ndarray, search: Search, *, attention: bool = False, batch_size: int = 64
    ) -> list[list[Hypothesis]]:
        """Describes.

        Args:
            pictures: `(pictures, ...)`, as the encoder takes them.
            search: How to look.
            attention: Whether hypotheses come with what they looked at.
            batch_size: Pictures side by side.

        Returns:
            For each picture its hypotheses, the best first; of a beam that ended in fewer than
            `n_best`, those.
        """
        found = []
        for start in range(0, len(pictures), batch_size):
            batch = np.asarray(pictures[start : start + batch_size])
            rows = len(batch)
            # The last batch is filled up to a power of two: few shapes are compiled.
            count = min(batch_size, 1 << (rows - 1).bit_length())
            limits = np.full(count, self._most, np.int32)
            limits[rows:] = 1
            inputs = {
                "picture": np.concatenate([batch, np.repeat(batch[-1:], count - rows, axis=0)]),
                "length_limit": limits,
            }
            written = self._write(inputs, attention=attention, **dataclasses.asdict(search))
            found += written[:rows]
        return found


class ValidationCaptions(keras.callbacks.Callback):
    """Captions the validation pictures after each epoch, greedily; adds `val_cider`, `val_bleu_4`.

    Args:
        describe_ids: Of the model in training.
        tokenizer: Its subwords.
        pictures: What the model takes of the pictures.
        split: Their captions.
        config: Settings.
    """

    def __init__(
        self,
        describe_ids: PictureDescriber,
        tokenizer: Tokenizer,
        pictures: np.ndarray,
        split: CaptionSplit,
        config: Config,
    ):
        """See the class."""
        super().__init__()
        self._describe_ids, self._tokenizer, self._config = describe_ids, tokenizer, config
        self._pictures, self._references = pictures, split.captions

    def on_epoch_end(self, epoch, logs=None):
        """Scores."""
        found = self._describe_ids(self._pictures, Search.of(self._config, method="greedy"))
        hypotheses = decode_texts(self._tokenizer, [best.tokens for best, *_ in found])
        scores = caption_metrics(hypotheses, self._references)
        logs["val_cider"], logs["val_bleu_4"] = scores["cider"], scores["bleu_4"]
