"""Trains a captioning model: pictures -> features, captions -> subwords -> decoder -> run folder.

python -m apps.captioning.train                                   # Flickr8k, MobileNetV2, LSTM
python -m apps.captioning.train --data my_pictures --backbone small_cnn --picture-size 64
python -m apps.captioning.train --objective cider --init-from RUN --learning-rate 5e-5 --epochs 4
"""

import functools
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from apps.captioning.config import SHAPE, SMALL_CNN, Config
from apps.captioning.decoding import PictureDescriber
from apps.captioning.evaluate import evaluate_run, load_split_captions, metrics_table
from apps.captioning.features import (
    PictureInputs,
    load_backbone,
    load_run_backbone,
    takes_pixels,
)
from apps.captioning.metrics import readable
from common.artifact import BACKBONE, STATE, TOKENIZER
from common.config import run_command
from common.console import aside, open_console, warn
from common.device import device_line, xla_beside_products
from common.earlier_runs import resumed_facts, run_folder, with_shape_of
from common.errors import UserError
from common.fitting import Prepared, fit_prepared, leave_scored
from common.training import TrainFlags, first_facts, open_training
from data.text.subwords import (
    load_subword_tokenizer,
    train_subword_tokenizer,
)

if TYPE_CHECKING:
    import keras


def build(
    config: Config, *, vocab_size: int, backbone: "keras.Model | None"
) -> "tuple[keras.Model, keras.Model]":
    """Builds the encoder and the decoder that `config` describes.

    Args:
        config: Settings.
        vocab_size: Number of subwords.
        backbone: What makes features of pictures; None for a small CNN.
    """
    from models.attention_decoder import build_attention_decoder
    from models.backbones import build_small_cnn, fine_tune
    from models.captioning import build_picture_encoder

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
        activation=config.activation,
        memory_dim=encoder.output["memory"].shape[-1],
        attention=config.attention,
        word_dropout=config.word_dropout,
        embedding_dropout=config.embedding_dropout,
        dropout=config.dropout,
        recurrent_dropout=config.recurrent_dropout,
        tie_embeddings=config.tie_embeddings,
    )
    return encoder, decoder


def prepare(
    config: Config,
    *,
    run: Path,
    data_dir: str,
    backbone_weights: str = "",
    strict: bool = False,
    resume: bool,
    given: frozenset[str] = frozenset(),
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
        given: Names of the flags that were typed.
        console: Where to say what was loaded.
    """
    import keras

    from apps.captioning.network import ValidationCaptions, caption_writer
    from apps.captioning.objectives import own_captions, right_words
    from apps.captioning.second_stage import copy_weights, load_start, origin_facts
    from common.optimizers import build_optimizer
    from common.training_state import saved_epoch
    from models.encoder_decoder import build_encoder_decoder

    log = functools.partial(aside, console)

    # Also for a run that was stopped before there was a state to go on from.
    begun = resume and (run / STATE).exists()
    start = None
    if config.init_from and not begun:
        start = load_start(config)
        config = with_shape_of(config, start.config, SHAPE, given=given)
    captions = load_split_captions(
        config, data=config.data, data_dir=data_dir, strict=strict, log=log
    )
    for line in captions.warnings:
        warn(console, line)
    facts = first_facts(config, task="captioning", hashes=captions.hashes, run=run, resume=resume)
    if resume:
        facts |= resumed_facts(run)
    elif start:
        facts["init_from"] = origin_facts(
            config, start, captions, data_dir=data_dir, console=console
        )
    keras.utils.set_random_seed(config.seed)
    train_split, validation_split = captions.split("train"), captions.split("validation")

    earlier = run if resume else Path(config.init_from) if start else None
    if config.backbone == SMALL_CNN:
        backbone = None
    elif earlier and (earlier / BACKBONE).is_file():
        if backbone_weights:
            raise UserError(
                f"{earlier} holds the weights of its backbone: leave --backbone-weights out."
            )
        backbone = load_run_backbone(config, earlier)
    else:
        backbone = load_backbone(config, backbone_weights)
    inputs = PictureInputs(config, None if takes_pixels(config) else backbone)
    train_pictures = inputs.stored(captions, train_split.names, views=config.views, console=console)
    validation_pictures = inputs.stored(captions, validation_split.names, views=1, console=console)[
        :, 0
    ]

    if resume:
        tokenizer = load_subword_tokenizer(run / TOKENIZER)
    elif start:
        tokenizer = start.tokenizer
    else:
        texts = [readable(line) for lines in train_split.captions for line in lines]
        tokenizer = train_subword_tokenizer(texts, vocab_size=config.vocab_size)
    epochs_done = saved_epoch(run / STATE) if resume else 0
    encoder, decoder = build(config, vocab_size=tokenizer.get_vocab_size(), backbone=backbone)
    # This one is saved; what trains may be fed its own words besides.
    captioner = build_encoder_decoder(encoder, decoder, name="captioning")
    if start:
        copy_weights(start.network.model, captioner)
    train = train_split, train_pictures
    if config.objective == "cider":
        learns = own_captions(config, tokenizer, encoder=encoder, decoder=decoder, train=train)
    else:
        validation = validation_split, validation_pictures
        learns = right_words(
            config, tokenizer, train=train, validation=validation, epochs_done=epochs_done, log=log
        )
    model = captioner
    if config.scheduled_sampling:
        model = build_encoder_decoder(
            encoder,
            decoder,
            own_words=config.scheduled_sampling,
            ramp_steps=config.epochs * len(learns.batches),
            name="captioning",
        )
    model.compile(
        optimizer=build_optimizer(
            config.optimizer,
            learning_rate=config.learning_rate,
            weight_decay=config.weight_decay,
        ),
        loss=learns.loss,
        jit_compile=xla_beside_products(config.jit_compile),
    )
    scorer = ValidationCaptions(
        PictureDescriber(
            caption_writer(encoder, decoder, max_length=config.max_length),
            max_length=config.max_length,
        ),
        tokenizer,
        validation_pictures,
        validation_split,
        config,
    )
    return Prepared(
        config=config,
        facts=facts,
        model=model,
        batches=learns.batches,
        validation_batches=learns.validation_batches,
        monitor="val_cider",
        mode="max",
        summary=f"{len(train_split.names)} pictures to train on, {len(validation_split.names)} to"
        f" validate · {captioner.count_params():,} parameters · {len(learns.batches)} steps an"
        " epoch",
        parameters=captioner.count_params(),
        to_save=lambda _: captioner,
        save_parts=inputs.save,
        tokenizer=tokenizer.to_str(pretty=False),
        epochs_done=epochs_done,
        scores=(scorer,),
        fit=learns.fit,
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
    earlier = {"--init-from": [config.init_from] if config.init_from else []}
    run = run_folder(flags.run, f"runs/captioning/{config.cell}-s{config.seed}", earlier)
    if backbone_weights and config.backbone == SMALL_CNN:
        raise UserError("--backbone-weights is for a trained backbone: small_cnn starts from none.")
    with open_training(
        config,
        flags,
        run,
        task="captioning",
        earlier=sum(earlier.values(), []),
    ) as config:
        console = open_console()
        aside(console, device_line())
        prepared = prepare(
            config,
            run=run,
            data_dir=flags.data_dir,
            backbone_weights=backbone_weights,
            strict=strict,
            resume=flags.resume,
            given=flags.given,
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
        loss = "reward" if config.objective == "cider" else "loss"
        leave_scored(run, scores, history, metric="cider", loss=loss)
        console.print(metrics_table("validation", {str(run): scores.metrics}))
        console.print(f"Score it on the test split: make evaluate-captioning RUN={run}")


if __name__ == "__main__":
    run_command(
        main,
        prog="python -m apps.captioning.train",
        description="Trains a recurrent network that says what pictures show.",
    )
