"""Decodes captions of many pictures, each batch in one compiled loop."""

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
    """Decodes captions as token ids; its compiled loops serve a whole training.

    Args:
        encoder: From `build_picture_encoder`.
        decoder: From `build_attention_decoder`.
        max_length: Most tokens of a caption, the end token not counted.
    """

    def __init__(self, encoder: keras.Model, decoder: keras.Model, *, max_length: int):
        """See the class."""
        self._max_length = max_length + 1
        self._write = SequenceWriter(
            encoder, decoder, start_id=START_ID, end_id=END_ID, max_length=self._max_length
        )

    def __call__(
        self, pictures: np.ndarray, search: Search, *, attention: bool = False, batch_size: int = 64
    ) -> list[list[Hypothesis]]:
        """Returns the hypotheses of each picture, the best first; `n_best` of them at most.

        Args:
            pictures: `(pictures, ...)`, the encoder's inputs.
            search: Settings of the decoding.
            attention: Whether hypotheses come with their attention.
            batch_size: Pictures in a batch.
        """
        hypotheses = []
        for start in range(0, len(pictures), batch_size):
            batch = np.asarray(pictures[start : start + batch_size])
            rows = len(batch)
            # The last batch is filled up to a power of two, so that few shapes are compiled.
            count = min(batch_size, 1 << (rows - 1).bit_length())
            limits = np.full(count, self._max_length, np.int32)
            limits[rows:] = 1
            inputs = {
                "picture": np.concatenate([batch, np.repeat(batch[-1:], count - rows, axis=0)]),
                "length_limit": limits,
            }
            written = self._write(inputs, attention=attention, **dataclasses.asdict(search))
            hypotheses += written[:rows]
        return hypotheses


class ValidationCaptions(keras.callbacks.Callback):
    """Decodes the validation pictures greedily after each epoch; logs `val_cider`, `val_bleu_4`.

    Args:
        describe_ids: Describer of the model in training.
        tokenizer: Its subwords.
        pictures: The model's inputs.
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
        self._describe_ids, self._tokenizer = describe_ids, tokenizer
        self._pictures, self._references = pictures, split.captions
        self._search = Search.of(config, method="greedy")

    def on_epoch_end(self, epoch, logs=None):
        """Adds the scores to `logs`."""
        hypotheses = self._describe_ids(self._pictures, self._search)
        texts = decode_texts(self._tokenizer, [best.tokens for best, *_ in hypotheses])
        scores = caption_metrics(texts, self._references)
        logs["val_cider"], logs["val_bleu_4"] = scores["cider"], scores["bleu_4"]
