"""What a captioner learns from: the right next words, or the CIDEr of captions of its own."""

import dataclasses
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from tokenizers import Tokenizer

from apps.captioning.config import BUCKETS, Config
from apps.captioning.features import takes_pixels
from apps.captioning.metrics import readable
from apps.captioning.self_critical import SelfCriticalBatches, fit_self_critical, sequence_loss
from common.errors import UserError
from data.pictures.batches import caption_batches
from data.pictures.splits import CaptionSplit
from data.text.subwords import END_ID, START_ID, encode_texts
from models.encoder_decoder import smoothed_cross_entropy


@dataclasses.dataclass(frozen=True)
class Objective:
    """What `--objective` decides."""

    batches: keras.utils.PyDataset
    validation_batches: keras.utils.PyDataset | None
    loss: Any
    fit: Callable[..., Any] | None
    """Trains as `model.fit` does; None for that itself."""


def right_words(
    config: Config,
    tokenizer: Tokenizer,
    *,
    train: tuple[CaptionSplit, np.ndarray],
    validation: tuple[CaptionSplit, np.ndarray],
    epochs_done: int,
    log: Callable[[str], None],
) -> Objective:
    """Returns the cross-entropy of each next word under teacher forcing.

    Args:
        config: Settings.
        tokenizer: Of the captions.
        train: The split and what stands for its pictures, `(pictures, views, ...)`.
        validation: The same, `(pictures, ...)`.
        epochs_done: Of a run that goes on.
        log: What takes a line.

    Raises:
        UserError: If no caption is short enough.
    """
    pictures, views = train[1], config.views
    batching = {
        "start_id": START_ID,
        "end_id": END_ID,
        "buckets": BUCKETS,
        "multiple": 4,
        "tokens_per_batch": config.tokens_per_batch,
        # Whatever is copied into a step or looked at for each picture.
        "memory_length": 64 if takes_pixels(config) else pictures.shape[2],
    }

    def batches_of(split: CaptionSplit, **options):
        owners = [number for number, lines in enumerate(split.captions) for _ in lines]
        texts = [readable(line) for lines in split.captions for line in lines]
        tokens = encode_texts(tokenizer, texts, max_length=config.max_length + 1)
        kept = [
            row
            for row, (text, ids) in enumerate(zip(texts, tokens, strict=True))
            if text and len(ids) <= config.max_length
        ]
        if not kept:
            raise UserError(
                f"No caption of {config.data} has 1 to {config.max_length} subwords: raise"
                " --max-length."
            )
        if left_out := len(tokens) - len(kept):
            log(f"{left_out} captions are blank or longer than --max-length: left out")
        return caption_batches(
            [tokens[row] for row in kept],
            np.array([owners[row] for row in kept]),
            **batching,
            **options,
        )

    return Objective(
        batches=batches_of(
            train[0],
            shuffle=True,
            seed=config.seed,
            epoch=epochs_done,
            views=views,
            lookup=lambda numbers: np.asarray(pictures[np.divmod(numbers, views)]),
        ),
        validation_batches=batches_of(
            validation[0], lookup=lambda numbers: np.asarray(validation[1][numbers])
        ),
        loss=smoothed_cross_entropy(config.label_smoothing),
        fit=None,
    )


def own_captions(
    config: Config,
    tokenizer: Tokenizer,
    *,
    encoder: keras.Model,
    decoder: keras.Model,
    train: tuple[CaptionSplit, np.ndarray],
) -> Objective:
    """Returns the CIDEr of sampled captions, for self-critical training.

    Args:
        config: Settings.
        tokenizer: Of the captions.
        encoder: Of the captioner.
        decoder: Of the captioner.
        train: As in `right_words`.
    """
    batches = SelfCriticalBatches(
        encoder,
        decoder,
        tokenizer,
        pictures=train[1],
        references=train[0].captions,
        max_length=config.max_length,
        samples=config.samples,
        pictures_per_batch=config.pictures_per_step,
        buckets=BUCKETS,
        seed=config.seed,
    )
    return Objective(batches, None, sequence_loss(), fit_self_critical)
