"""Trains a captioning model: pictures -> features, captions -> subwords -> decoder -> run folder.

python -m apps.captioning.train                                   # Flickr8k, MobileNetV2, LSTM
python -m apps.captioning.train --data my_pictures --backbone small_cnn --picture-size 64
"""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from tokenizers import Tokenizer

from apps.captioning.config import BUCKETS, LABEL_SMOOTHING, SMALL_CNN, Config
from common.cli import VERBOSITY, aside, open_console, run_command, warn
from common.device import device_line, xla_beside_products
from common.devices import start_devices
from common.errors import UserError
from common.fitting import TrainFlags, first_facts, open_training, training_callbacks
from common.run_folder import MODEL, TOKENIZER, save_model
from common.tables import metrics_table
from data.pictures.splits import CaptionSplit
from data.text.subwords import (
    END_ID,
    START_ID,
    encode_texts,
    load_subword_tokenizer,
    train_subword_tokenizer,
)
from data.text.tokenization import PAD_ID

if TYPE_CHECKING:
    import keras


def build(
    config: Config, *, vocab_size: int, backbone: "keras.Model | None"
) -> "tuple[keras.Model, keras.Model]":
    """Builds the encoder and the decoder that `config` describes.

    Args:
        config: Settings.
        vocab_size: Number of subwords.
        backbone: Network that computes the features; None for a small CNN.
    """
    from models.attention_decoder import build_attention_decoder
    from models.backbones import build_small_cnn
    from models.captioning import build_picture_encoder

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
    pictures: np.ndarray,
    *,
    log: Callable[[str], None],
    **order: Any,
) -> "keras.utils.PyDataset":
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
    from apps.captioning.features import takes_pixels
    from apps.captioning.metrics import readable
    from data.pictures.batches import caption_batches

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
        buckets=BUCKETS,
        multiple=4,
        tokens_per_batch=config.tokens_per_batch,
        memory_length=64 if takes_pixels(config) else pictures.shape[2],
        views=views,
        lookup=lambda numbers: np.asarray(pictures[np.divmod(numbers, views)]),
        **order,
    )


def backbone_of(
    config: Config, resumed: Path | None, backbone_weights: str
) -> "keras.Model | None":
    """Returns the backbone: that of a resumed run, a downloaded one, or None for a small CNN.

    Args:
        config: Settings.
        resumed: Run folder of a training that is resumed.
        backbone_weights: File of the backbone's weights, or empty.
    """
    from apps.captioning.features import load_backbone, load_run_backbone

    if config.backbone == SMALL_CNN:
        return None
    if resumed:
        if backbone_weights:
            raise UserError(
                f"{resumed} holds the weights of its backbone: leave --backbone-weights out."
            )
        return load_run_backbone(config, resumed)
    return load_backbone(config, backbone_weights)


def main(flags: TrainFlags, config: Config, backbone_weights: str = "") -> None:
    """Trains a captioning model and leaves a run folder, scored on the validation split.

    Args:
        flags: The run folder, and whether to resume or replace the run in it.
        config: Settings of the model and its training.
        backbone_weights: File of the backbone's weights, where Keras cannot download them.
    """
    run = Path(flags.run or f"runs/captioning/{config.cell}-s{config.seed}")
    if backbone_weights and config.backbone == SMALL_CNN:
        raise UserError("--backbone-weights is for a trained backbone: small_cnn starts from none.")
    devices = start_devices(flags.devices, unfit={})
    run = devices.folder(run, resume=flags.resume)
    with open_training(config, flags, run, task="captioning") as config:
        import keras

        from apps.captioning.decoding import PictureDescriber
        from apps.captioning.evaluate import TABLE_METRICS, evaluate_run, load_split_captions
        from apps.captioning.features import PictureInputs, takes_pixels
        from apps.captioning.metrics import readable
        from apps.captioning.network import ValidationCaptions, caption_writer
        from apps.export.after_training import export_trained
        from common.fitting import first_epoch, record_training, run_written
        from common.optimization import build_optimizer
        from models.encoder_decoder import build_encoder_decoder, smoothed_cross_entropy

        console = open_console()
        log = functools.partial(aside, console)
        log(device_line())
        epochs_done = first_epoch(config, flags, run)

        captions = load_split_captions(config, data=config.data, data_dir=flags.data_dir, log=log)
        for line in captions.warnings:
            warn(console, line)
        facts = first_facts(
            config, task="captioning", hashes=captions.hashes, run=run, resume=flags.resume
        )
        keras.utils.set_random_seed(config.seed)
        train_split, validation_split = captions.split("train"), captions.split("validation")
        backbone = backbone_of(config, run if flags.resume else None, backbone_weights)
        inputs = PictureInputs(config, None if takes_pixels(config) else backbone)
        stored = functools.partial(inputs.stored, captions, console=console)
        train_pictures = stored(train_split.names, views=config.views)
        validation_pictures = stored(validation_split.names, views=1)
        if flags.resume:
            tokenizer = load_subword_tokenizer(run / TOKENIZER)
        else:
            texts = [readable(line) for lines in train_split.captions for line in lines]
            tokenizer = train_subword_tokenizer(texts, vocab_size=config.vocab_size)

        encoder, decoder = build(config, vocab_size=tokenizer.get_vocab_size(), backbone=backbone)
        model = build_encoder_decoder(encoder, decoder, name="captioning")
        batches = batches_of(
            config,
            tokenizer,
            train_split,
            train_pictures,
            log=log,
            shuffle=True,
            seed=config.seed,
            epoch=epochs_done,
        )
        validation_batches = batches_of(
            config, tokenizer, validation_split, validation_pictures, log=log
        )
        model.compile(
            optimizer=build_optimizer(config.optimizer, learning_rate=config.learning_rate),
            loss=smoothed_cross_entropy(LABEL_SMOOTHING),
            jit_compile=xla_beside_products(config.jit_compile),
        )
        describer = PictureDescriber(
            caption_writer(encoder, decoder, max_length=config.max_length),
            max_length=config.max_length,
        )
        validation = ValidationCaptions(
            describer, tokenizer, validation_pictures[:, 0], validation_split, config
        )
        callbacks = training_callbacks(
            config,
            run=run,
            steps=len(batches),
            monitor="val_cider",
            mode="max",
            save=lambda trained: save_model(trained, run / MODEL),
            scores=[validation],
            tensorboard=flags.tensorboard,
            console=console,
        )
        console.print(
            f"{len(train_split.names)} pictures to train on, {len(validation_split.names)} to"
            f" validate · {model.count_params():,} parameters · {len(batches)} steps an epoch"
        )
        batches, validation_batches = devices.share(
            batches, validation_batches, epochs_done=epochs_done, unknown=PAD_ID
        )
        with run_written(
            config,
            flags,
            run,
            facts=facts,
            parameters=model.count_params(),
            epochs_done=epochs_done,
            tokenizer=tokenizer.to_str(pretty=False),
            save_parts=inputs.save,
            console=console,
        ):
            model.fit(
                batches,
                validation_data=validation_batches,
                initial_epoch=epochs_done,
                epochs=config.epochs,
                callbacks=callbacks,
                shuffle=False,
                verbose=VERBOSITY,
            )

        if not devices.end():
            return
        # From disk, so that the score is the saved model's.
        scores = evaluate_run(
            run,
            data="",
            data_dir=flags.data_dir,
            split="validation",
            baselines=False,
            console=Console(quiet=True),
        )
        record_training(run, scores, metric="cider")
        rows = {str(run): scores.metrics}
        console.print(metrics_table("captioning, validation split", rows, TABLE_METRICS))
        export_trained(run, task="captioning", console=console)
        console.print(f"Score it on the test split: make evaluate-captioning RUN={run}")


if __name__ == "__main__":
    run_command(
        main,
        prog="python -m apps.captioning.train",
        description="Trains a recurrent network that says what pictures show.",
    )
