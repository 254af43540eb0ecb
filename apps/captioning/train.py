"""Trains a captioning model: pictures -> features, captions -> subwords -> decoder -> run folder.

python -m apps.captioning.train                                   # Flickr8k, MobileNetV2, LSTM
python -m apps.captioning.train --data my_pictures --backbone small_cnn --picture-size 64
"""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
from rich.console import Console
from tokenizers import Tokenizer

from apps.captioning.config import SMALL_CNN, Config
from apps.captioning.decoding import PictureDescriber, ValidationCaptions
from apps.captioning.evaluate import evaluate_run, load_split_captions, metrics_table
from apps.captioning.features import (
    PictureInputs,
    load_backbone,
    load_run_backbone,
    takes_pixels,
)
from apps.captioning.metrics import readable
from common.artifact import STATE, TOKENIZER
from common.config import run_command
from common.console import aside, open_console, warn
from common.device import device_line, xla_beside_products
from common.errors import UserError
from common.fitting import Prepared, fit_prepared, leave_scored
from common.optimizers import build_optimizer
from common.training import TrainFlags, first_facts, open_training
from common.training_state import saved_epoch
from data.pictures.batches import caption_batches
from data.pictures.features import StoredFeatures
from data.pictures.splits import CaptionSplit
from data.text.subwords import (
    END_ID,
    START_ID,
    encode_texts,
    load_subword_tokenizer,
    train_subword_tokenizer,
)
from models.attention_decoder import build_attention_decoder
from models.backbones import build_small_cnn
from models.captioning import build_picture_encoder
from models.encoder_decoder import build_encoder_decoder, smoothed_cross_entropy


def build(
    config: Config, *, vocab_size: int, backbone: keras.Model | None
) -> tuple[keras.Model, keras.Model]:
    """Builds the encoder and the decoder that `config` describes.

    Args:
        config: Settings.
        vocab_size: Number of subwords.
        backbone: Network that computes the features; None for a small CNN.
    """
    if config.backbone == SMALL_CNN:
        source = {"cnn": build_small_cnn(size=config.picture_size)}
    else:
        source = {"features": backbone.output.shape[1:]}
    encoder = build_picture_encoder(
        **source,
        variant=config.variant,
        memory_dim=config.embed_dim,
        dropout=config.dropout,
        cell=config.cell,
        decoder_units=config.decoder_units,
        decoder_layers=config.decoder_layers,
    )
    decoder = build_attention_decoder(
        vocab_size=vocab_size,
        embed_dim=config.embed_dim,
        cell=config.cell,
        units=config.decoder_units,
        num_layers=config.decoder_layers,
        memory_dim=encoder.output["memory"].shape[-1],
        word_dropout=config.word_dropout,
        embedding_dropout=config.embedding_dropout,
        dropout=config.dropout,
    )
    return encoder, decoder


def batches_of(
    config: Config,
    tokenizer: Tokenizer,
    split: CaptionSplit,
    pictures: np.ndarray | StoredFeatures,
    *,
    log: Callable[[str], None],
    **order: Any,
) -> keras.utils.PyDataset:
    """Returns batches of a split for teacher forcing, without blank and too long captions.

    Args:
        config: Settings.
        tokenizer: Of the captions.
        split: Captions of the pictures.
        pictures: `(pictures, views, ...)`, the model's inputs.
        log: Takes a line on captions that are left out.
        **order: `shuffle`, `seed` and `epoch` as `caption_batches` takes them.

    Raises:
        UserError: If no caption is left.
    """
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
    numbers = [number for number, lines in enumerate(split.captions) for _ in lines]
    views = pictures.shape[1]
    return caption_batches(
        [tokens[row] for row in kept],
        np.array(numbers)[kept],
        start_id=START_ID,
        end_id=END_ID,
        buckets=config.buckets,
        multiple=4,
        tokens_per_batch=config.tokens_per_batch,
        memory_length=64 if takes_pixels(config) else pictures.shape[2],
        views=views,
        lookup=lambda numbers: np.asarray(pictures[np.divmod(numbers, views)]),
        **order,
    )


def prepare(
    config: Config,
    *,
    run: Path,
    data_dir: str,
    backbone_weights: str = "",
    strict: bool = False,
    resume: bool,
    console: Console,
) -> Prepared:
    """Loads the data and builds the model; writes nothing.

    Args:
        config: Settings.
        run: Run folder, of which nothing is read unless `resume`.
        data_dir: Folder of downloads, or empty.
        backbone_weights: File of the backbone's weights, or empty.
        strict: Whether a missing picture is an error.
        resume: Whether the run goes on after its last finished epoch.
        console: Where to say what was loaded.
    """
    log = functools.partial(aside, console)

    captions = load_split_captions(
        config, data=config.data, data_dir=data_dir, strict=strict, log=log
    )
    for line in captions.warnings:
        warn(console, line)
    facts = first_facts(config, task="captioning", hashes=captions.hashes, run=run, resume=resume)
    keras.utils.set_random_seed(config.seed)
    train_split, validation_split = captions.split("train"), captions.split("validation")

    if config.backbone == SMALL_CNN:
        backbone = None
    elif resume:
        if backbone_weights:
            raise UserError(
                f"{run} holds the weights of its backbone: leave --backbone-weights out."
            )
        backbone = load_run_backbone(config, run)
    else:
        backbone = load_backbone(config, backbone_weights)
    inputs = PictureInputs(config, None if takes_pixels(config) else backbone)
    train_pictures = inputs.stored(captions, train_split.names, views=config.views, console=console)
    validation_pictures = inputs.stored(captions, validation_split.names, views=1, console=console)

    if resume:
        tokenizer = load_subword_tokenizer(run / TOKENIZER)
    else:
        texts = [readable(line) for lines in train_split.captions for line in lines]
        tokenizer = train_subword_tokenizer(texts, vocab_size=config.vocab_size)
    epochs_done = saved_epoch(run / STATE) if resume else 0
    encoder, decoder = build(config, vocab_size=tokenizer.get_vocab_size(), backbone=backbone)
    captioner = build_encoder_decoder(encoder, decoder, name="captioning")
    order = {"shuffle": True, "seed": config.seed, "epoch": epochs_done}
    batches = batches_of(config, tokenizer, train_split, train_pictures, log=log, **order)
    validation_batches = batches_of(
        config, tokenizer, validation_split, validation_pictures, log=log
    )
    captioner.compile(
        optimizer=build_optimizer(
            config.optimizer,
            learning_rate=config.learning_rate,
            weight_decay=config.weight_decay,
        ),
        loss=smoothed_cross_entropy(config.label_smoothing),
        jit_compile=xla_beside_products(config.jit_compile),
    )
    scorer = ValidationCaptions(
        PictureDescriber(encoder, decoder, max_length=config.max_length),
        tokenizer,
        validation_pictures[:, 0],
        validation_split,
        config,
    )
    return Prepared(
        config=config,
        facts=facts,
        model=captioner,
        batches=batches,
        validation_batches=validation_batches,
        monitor="val_cider",
        mode="max",
        summary=f"{len(train_split.names)} pictures to train on, {len(validation_split.names)} to"
        f" validate · {captioner.count_params():,} parameters · {len(batches)} steps an"
        " epoch",
        parameters=captioner.count_params(),
        save_parts=inputs.save,
        tokenizer=tokenizer.to_str(pretty=False),
        epochs_done=epochs_done,
        scores=(scorer,),
    )


def main(
    flags: TrainFlags, config: Config, backbone_weights: str = "", strict: bool = False
) -> None:
    """Trains a captioning model and leaves a run folder, scored on the validation split.

    Args:
        flags: Where the run stands, and how it begins.
        config: Settings of the model and its training.
        backbone_weights: File of the backbone's weights, where Keras cannot download them.
        strict: Stop if a picture that the captions name is missing, instead of leaving it out.
    """
    run = Path(flags.run or f"runs/captioning/{config.cell}-s{config.seed}")
    if backbone_weights and config.backbone == SMALL_CNN:
        raise UserError("--backbone-weights is for a trained backbone: small_cnn starts from none.")
    with open_training(config, flags, run, task="captioning") as config:
        console = open_console()
        aside(console, device_line())
        prepared = prepare(
            config,
            run=run,
            data_dir=flags.data_dir,
            backbone_weights=backbone_weights,
            strict=strict,
            resume=flags.resume,
            console=console,
        )
        history = fit_prepared(prepared, flags, run=run, console=console)
        # From disk, so that the score is the saved model's.
        scores = evaluate_run(
            run,
            data="",
            data_dir=flags.data_dir,
            split="validation",
            baselines=False,
            console=Console(quiet=True),
        )
        leave_scored(run, scores, history, metric="cider")
        console.print(metrics_table("validation", {str(run): scores.metrics}))
        console.print(f"Score it on the test split: make evaluate-captioning RUN={run}")


if __name__ == "__main__":
    run_command(
        main,
        prog="python -m apps.captioning.train",
        description="Trains a recurrent network that says what pictures show.",
    )
