"""Trains a sentiment model: reviews -> encoder -> classifier -> run folder.

python -m apps.sentiment.train                  # LSTM on IMDB
python -m apps.sentiment.train --cell gru
python -m apps.sentiment.train --data reviews.csv --run runs/sentiment/mine
"""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console

from apps.sentiment.config import Config
from common.artifact import STATE, TOKENIZER
from common.config import run_command, split_list
from common.console import aside, open_console
from common.device import XLA, device_line
from common.earlier_runs import check_same_data, resumed_facts, run_folder
from common.errors import UserError
from common.run_folder import read_labels
from common.training import TrainFlags, first_facts, open_training
from data.download import cache_directory
from data.row_files import RowFile, texts_on_disk, tokens_on_disk
from data.text.tokenization import encoded, load_tokenizer, train_tokenizer
from data.text.word_vectors import train_word_vectors

if TYPE_CHECKING:
    import keras

    from common.fitting import Prepared


# Longer texts are cut for the word vectors too, far beyond any review.
MOST_TOKENS = 10_000


def build(config: Config, *, vocab_size: int, num_classes: int) -> "keras.Model":
    """Builds the model that `config` describes."""
    from apps.sentiment.network import feature_counts
    from models.sentiment import build_encoder, build_sentiment_classifier

    encoder = build_encoder(
        vocab_size=vocab_size,
        embed_dim=config.embed_dim,
        bigram_buckets=config.bigram_buckets,
        bigram_dim=config.bigram_dim,
        cell=config.cell,
        units=config.units,
        num_layers=config.num_layers,
        bidirectional=config.bidirectional,
        activation=config.activation,
        word_dropout=config.word_dropout,
        bigram_dropout=config.bigram_dropout,
        embedding_dropout=config.embedding_dropout,
        dropout=config.dropout,
        recurrent_dropout=config.recurrent_dropout,
        region_length=config.region_length,
        skip_connection=config.skip_connection,
    )
    return build_sentiment_classifier(
        encoder,
        num_classes=num_classes,
        pooling=config.pooling,
        **feature_counts(config),
        dropout=config.dropout,
        region_length=config.region_length,
    )


def prepare(
    config: Config, *, run: Path, data_dir: str, resume: bool, console: Console
) -> "Prepared":
    """Loads the data and builds the model; writes nothing.

    Args:
        config: Settings.
        run: Run folder, of which nothing is read unless `resume`.
        data_dir: Folder of downloads, or empty.
        resume: Whether the run goes on after its last finished epoch.
        console: Where to say what was loaded.
    """
    import keras

    from apps.sentiment.evaluate import load_split_reviews
    from apps.sentiment.pretraining import pretrain
    from apps.sentiment.teachers import targets_of, teacher_facts, teacher_folders
    from common.fitting import Prepared
    from common.optimizers import build_optimizer
    from common.training_state import saved_epoch
    from data.text.batching import text_batches

    data = load_split_reviews(
        config, data=config.data, data_dir=data_dir, log=lambda line: aside(console, line)
    )
    labels = list(data.label_names)
    train_split, validation_split = data.splits["train"], data.splits["validation"]
    unlabelled = data.splits.get("unlabelled")
    teachers = split_list(config.teachers)
    facts = first_facts(config, task="sentiment", hashes=data.hashes, run=run, resume=resume)
    if resume:
        facts |= resumed_facts(run)
    for teacher in teacher_folders(config):
        check_same_data(data.hashes, teacher, named=f"--teachers {teacher}")
    targets = targets_of(
        train_split, validation_split, unlabelled, teachers, config=config, labels=labels
    )
    if teachers:
        found = teacher_facts(config)
        if facts.setdefault("teacher", found)["runs"] != found["runs"]:
            raise UserError(
                f"{run} was begun with other teachers: restore them, or train anew with"
                " --overwrite."
            )
        aside(console, f"{len(unlabelled.texts)} reviews labelled by {', '.join(teachers)}")
    cache_dir = cache_directory()
    everything = train_split.texts
    if unlabelled:
        chained = itertools.chain(everything, unlabelled.texts)
        everything = texts_on_disk(chained, cache_dir)
    texts = everything if teachers else train_split.texts
    if resume:
        tokenizer = load_tokenizer(run / TOKENIZER)
    else:
        tokenizer = train_tokenizer(everything, kind=config.tokenizer, vocab_size=config.vocab_size)
    vocab_size = tokenizer.get_vocab_size()
    # After the teachers, so that the student is the same whether they had to label or not.
    keras.utils.set_random_seed(config.seed)
    model = build(config, vocab_size=vocab_size, num_classes=len(labels))

    def encoded_on_disk(texts: Sequence[str], max_length: int) -> RowFile:
        return tokens_on_disk(encoded(tokenizer, texts, max_length=max_length), cache_dir)

    epochs_done = saved_epoch(run / STATE) if resume else 0
    # A saved state holds all weights, so that a run with one needs none to begin with.
    if config.embedding == "word2vec" and not epochs_done:
        vectors = train_word_vectors(
            encoded_on_disk(everything, MOST_TOKENS),
            vocab_size=vocab_size,
            embed_dim=config.embed_dim,
            cache_dir=cache_dir,
        )
        model.get_layer("encoder").get_layer("embedding").embeddings.assign(vectors)
    if config.pretrain_epochs and not epochs_done:
        aside(
            console,
            f"the encoder begins as a language model of {len(everything)} reviews, trained for"
            f" {config.pretrain_epochs} epochs or kept from an earlier run in {cache_dir}",
        )
        pretrain(
            model.get_layer("encoder"),
            config,
            encoded_on_disk(everything, config.max_length),
            cache_dir=cache_dir,
        )

    batching = {
        "buckets": config.buckets,
        "multiple": config.region_length or 8,
        "tokens_per_batch": config.tokens_per_batch,
    }
    batches = text_batches(
        encoded_on_disk(texts, config.max_length),
        targets,
        shuffle=True,
        seed=config.seed,
        epoch=epochs_done,
        **batching,
    )
    validation_batches = text_batches(
        encoded_on_disk(validation_split.texts, config.max_length),
        np.eye(len(labels), dtype="float32")[validation_split.labels],
        **batching,
    )
    model.compile(
        optimizer=build_optimizer(
            config.optimizer,
            learning_rate=config.learning_rate,
            weight_decay=config.weight_decay,
        ),
        loss=keras.losses.CategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile=XLA[config.jit_compile],
    )
    return Prepared(
        config=config,
        facts=facts,
        model=model,
        batches=batches,
        validation_batches=validation_batches,
        monitor="val_accuracy",
        mode="max",
        summary=f"{len(texts)} reviews to train on, {len(validation_split.texts)} to validate ·"
        f" {model.count_params():,} parameters · {len(batches)} steps an epoch",
        parameters=model.count_params(),
        settings={"labels": labels},
        tokenizer=tokenizer.to_str(pretty=False),
        epochs_done=epochs_done,
    )


def main(flags: TrainFlags, config: Config) -> None:
    """Trains a sentiment model and leaves a run folder, scored on the validation split.

    Args:
        flags: Where the run stands, and how it begins.
        config: Settings of the model and its training.
    """
    from apps.sentiment.evaluate import evaluate_run, metrics_table
    from apps.sentiment.teachers import teacher_folders
    from common.fitting import fit_prepared, leave_scored

    earlier = {"--teachers": teacher_folders(config)}
    run = run_folder(flags.run, f"runs/sentiment/{config.cell}-s{config.seed}", earlier)
    with open_training(
        config,
        flags,
        run,
        task="sentiment",
        read_besides=read_labels,
        earlier=sum(earlier.values(), []),
    ) as config:
        console = open_console()
        aside(console, device_line())
        prepared = prepare(
            config, run=run, data_dir=flags.data_dir, resume=flags.resume, console=console
        )
        history = fit_prepared(prepared, flags, run=run, console=console)
        # From disk, so that the score is the saved model's.
        scores = evaluate_run(
            run, data="", data_dir=flags.data_dir, split="validation", baselines=False
        )
        leave_scored(run, scores, history, metric="accuracy")
        console.print(metrics_table({str(run): scores.metrics}, "sentiment, validation split"))
        console.print(f"Score it on the test split: make evaluate-sentiment RUN={run}")


if __name__ == "__main__":
    run_command(
        main,
        prog="python -m apps.sentiment.train",
        description="Trains a recurrent network that tells what a review thinks.",
    )
