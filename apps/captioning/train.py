"""Trains a captioning model: pictures -> features, captions -> subwords -> decoder -> run folder.

python -m apps.captioning.train                                   # Flickr8k, MobileNetV2, LSTM
python -m apps.captioning.train --data my_pictures --backbone small_cnn --picture-size 64
python -m apps.captioning.train --objective cider --init-from RUN --learning-rate 5e-5 --epochs 4
"""

import functools
from pathlib import Path

import keras
from rich.console import Console

from apps.captioning.config import SHAPE, SMALL_CNN, Config
from apps.captioning.decoding import PictureDescriber, ValidationCaptions
from apps.captioning.evaluate import evaluate_run, load_split_captions, metrics_table
from apps.captioning.features import (
    PictureInputs,
    load_backbone,
    load_run_backbone,
    takes_pixels,
)
from apps.captioning.metrics import readable
from apps.captioning.objectives import own_captions, right_words
from apps.captioning.second_stage import copy_weights, load_start, origin_facts
from common.artifact import BACKBONE, MODEL, TOKENIZER, save_model
from common.config import run_command
from common.console import VERBOSITY, aside, open_console, warn
from common.device import device_line, xla_beside_products
from common.earlier_runs import run_folder, with_shape_of
from common.errors import UserError
from common.fitting import first_epoch, record_training, run_written
from common.optimizers import build_optimizer
from common.training import TrainFlags, first_facts, open_training, training_callbacks
from data.text.subwords import (
    load_subword_tokenizer,
    train_subword_tokenizer,
)
from models.attention_decoder import build_attention_decoder
from models.backbones import build_small_cnn, fine_tune
from models.captioning import build_picture_encoder
from models.encoder_decoder import build_encoder_decoder


def build(
    config: Config, *, vocab_size: int, backbone: keras.Model | None
) -> tuple[keras.Model, keras.Model]:
    """Builds the encoder and the decoder that `config` describes.

    Args:
        config: Settings.
        vocab_size: Number of subwords.
        backbone: What makes features of pictures; None for a small CNN.
    """
    if config.backbone == SMALL_CNN:
        sight = {"cnn": build_small_cnn(size=config.picture_size)}
    elif config.fine_tune:
        try:
            fine_tune(backbone, config.fine_tune)
        except ValueError as error:
            raise UserError(f"--fine-tune: {error}") from error
        sight = {"cnn": backbone}
    else:
        sight = {"features": backbone.output.shape[1:]}
    encoder = build_picture_encoder(
        **sight,
        variant=config.variant,
        memory_dim=config.memory_dim,
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
        attention=config.attention,
        word_dropout=config.word_dropout,
        embedding_dropout=config.embedding_dropout,
        dropout=config.dropout,
    )
    return encoder, decoder


def backbone_of(config: Config, earlier: Path | None, backbone_weights: str) -> keras.Model | None:
    """Returns the backbone: that of an earlier run, a downloaded one, or None for a small CNN.

    Args:
        config: Settings.
        earlier: Run folder that the training goes on from.
        backbone_weights: File of the backbone's weights, or empty.
    """
    if config.backbone == SMALL_CNN:
        return None
    if earlier and (earlier / BACKBONE).is_file():
        if backbone_weights:
            raise UserError(
                f"{earlier} holds the weights of its backbone: leave --backbone-weights out."
            )
        return load_run_backbone(config, earlier)
    return load_backbone(config, backbone_weights)


def main(flags: TrainFlags, config: Config, backbone_weights: str = "") -> None:
    """Trains a captioning model and leaves a run folder, scored on the validation split.

    Args:
        flags: The run folder, and whether to resume or replace the run in it.
        config: Settings of the model and its training.
        backbone_weights: File of the backbone's weights, where Keras cannot download them.
    """
    earlier = [config.init_from] if config.init_from else []
    run = run_folder(
        flags.run, f"runs/captioning/{config.cell}-s{config.seed}", {"--init-from": earlier}
    )
    if backbone_weights and config.backbone == SMALL_CNN:
        raise UserError("--backbone-weights is for a trained backbone: small_cnn starts from none.")
    with open_training(config, flags, run, task="captioning", earlier=earlier) as config:
        console = open_console()
        log = functools.partial(aside, console)
        log(device_line())
        epochs_done = first_epoch(config, flags, run)

        # A saved state holds all weights.
        start = load_start(config) if config.init_from and not epochs_done else None
        if start:
            config = with_shape_of(config, start.config, SHAPE, given=flags.given)
        captions = load_split_captions(config, data=config.data, data_dir=flags.data_dir, log=log)
        for line in captions.warnings:
            warn(console, line)
        facts = first_facts(
            config, task="captioning", hashes=captions.hashes, run=run, resume=flags.resume
        )
        if start and not flags.resume:
            facts["init_from"] = origin_facts(
                config, start, captions, data_dir=flags.data_dir, console=console
            )
        keras.utils.set_random_seed(config.seed)
        train_split, validation_split = captions.split("train"), captions.split("validation")
        before = run if flags.resume else Path(config.init_from) if start else None
        backbone = backbone_of(config, before, backbone_weights)
        inputs = PictureInputs(config, None if takes_pixels(config) else backbone)
        train_pictures = inputs.stored(
            captions, train_split.names, views=config.views, console=console
        )
        validation_pictures = inputs.stored(
            captions, validation_split.names, views=1, console=console
        )[:, 0]
        if flags.resume:
            tokenizer = load_subword_tokenizer(run / TOKENIZER)
        elif start:
            tokenizer = start.tokenizer
        else:
            texts = [readable(line) for lines in train_split.captions for line in lines]
            tokenizer = train_subword_tokenizer(texts, vocab_size=config.vocab_size)

        encoder, decoder = build(config, vocab_size=tokenizer.get_vocab_size(), backbone=backbone)
        model = build_encoder_decoder(encoder, decoder, name="captioning")
        if start:
            copy_weights(start.model, model)
        train = train_split, train_pictures
        if config.objective == "cider":
            learns = own_captions(config, tokenizer, encoder=encoder, decoder=decoder, train=train)
        else:
            learns = right_words(
                config,
                tokenizer,
                train=train,
                validation=(validation_split, validation_pictures),
                epochs_done=epochs_done,
                log=log,
            )
        model.compile(
            optimizer=build_optimizer(config.optimizer, learning_rate=config.learning_rate),
            loss=learns.loss,
            jit_compile=xla_beside_products(config.jit_compile),
        )
        describer = PictureDescriber(encoder, decoder, max_length=config.max_length)
        validation = ValidationCaptions(
            describer, tokenizer, validation_pictures, validation_split, config
        )
        callbacks = training_callbacks(
            config,
            run=run,
            steps=len(learns.batches),
            monitor="val_cider",
            mode="max",
            save=lambda trained: save_model(trained, run / MODEL),
            scores=[validation],
            tensorboard=flags.tensorboard,
            console=console,
        )
        console.print(
            f"{len(train_split.names)} pictures to train on, {len(validation_split.names)} to"
            f" validate · {model.count_params():,} parameters · {len(learns.batches)} steps an"
            " epoch"
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
            options = {
                "initial_epoch": epochs_done,
                "epochs": config.epochs,
                "callbacks": callbacks,
                "verbose": VERBOSITY,
            }
            if learns.fit:
                learns.fit(model, learns.batches, **options)
            else:
                model.fit(
                    learns.batches,
                    validation_data=learns.validation_batches,
                    shuffle=False,
                    **options,
                )

        # From disk, so that the score is the saved model's.
        scores = evaluate_run(
            run,
            data="",
            data_dir=flags.data_dir,
            split="validation",
            baselines=False,
            console=Console(quiet=True),
        )
        loss = "reward" if config.objective == "cider" else "loss"
        record_training(run, scores, metric="cider", loss=loss)
        console.print(metrics_table("validation", {str(run): scores.metrics}))
        console.print(f"Score it on the test split: make evaluate-captioning RUN={run}")


if __name__ == "__main__":
    run_command(
        main,
        prog="python -m apps.captioning.train",
        description="Trains a recurrent network that says what pictures show.",
    )
