"""Trains a sentiment model: reviews -> encoder -> classifier -> run folder.

python -m apps.sentiment.train                  # LSTM on IMDB
python -m apps.sentiment.train --cell gru
python -m apps.sentiment.train --data reviews.csv --run runs/sentiment/mine
"""

import functools
import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from tokenizers import Tokenizer

from apps.sentiment.config import BIGRAM_DIM, BUCKETS, Config, teacher_folders
from apps.sentiment.spans import refit_bias, sentence_spans
from common.cli import VERBOSITY, aside, open_console, run_command
from common.device import XLA, device_line
from common.devices import start_devices
from common.earlier_runs import run_folder
from common.fitting import TrainFlags, first_facts, open_training, training_callbacks
from common.run_folder import MODEL, TOKENIZER, save_model
from common.tables import metrics_table
from data.download import cache_directory
from data.row_files import RowFile, texts_on_disk, tokens_on_disk
from data.text.tokenization import encoded, load_tokenizer, train_tokenizer
from data.text.word_vectors import train_word_vectors

if TYPE_CHECKING:
    import keras


# Longer texts are cut for the word vectors too, far beyond any review.
MOST_TOKENS = 10_000
# Share of the vectors of pairs of words that are dropped.
BIGRAM_DROPOUT = 0.5


def build(config: Config, *, vocab_size: int, num_classes: int) -> "keras.Model":
    """Builds the model that `config` describes."""
    from apps.sentiment.network import feature_counts
    from models.sentiment import build_encoder, build_sentiment_classifier

    encoder = build_encoder(
        vocab_size=vocab_size,
        embed_dim=config.embed_dim,
        bigram_buckets=config.bigram_buckets,
        bigram_dim=BIGRAM_DIM,
        cell=config.cell,
        units=config.units,
        num_layers=config.num_layers,
        bidirectional=config.bidirectional,
        word_dropout=config.word_dropout,
        bigram_dropout=BIGRAM_DROPOUT,
        embedding_dropout=config.embedding_dropout,
        dropout=config.dropout,
        region_length=config.region_length,
        skip_connection=True,
    )
    return build_sentiment_classifier(
        encoder,
        num_classes=num_classes,
        pooling=config.pooling,
        **feature_counts(config),
        dropout=config.dropout,
        region_length=config.region_length,
    )


def initialize_encoder(
    encoder: "keras.Model",
    config: Config,
    texts: Sequence[str],
    tokenizer: Tokenizer,
    console: Console,
) -> None:
    """Starts the encoder from word vectors and a language model of `texts`, where asked for."""
    from apps.sentiment.pretraining import pretrain

    cache_dir = cache_directory()

    def encoded_texts(max_length: int) -> RowFile:
        return tokens_on_disk(encoded(tokenizer, texts, max_length=max_length), cache_dir)

    if config.embedding == "word2vec":
        vectors = train_word_vectors(
            encoded_texts(MOST_TOKENS),
            vocab_size=tokenizer.get_vocab_size(),
            embed_dim=config.embed_dim,
            cache_dir=cache_dir,
        )
        encoder.get_layer("embedding").embeddings.assign(vectors)
    if config.pretrain_epochs:
        aside(
            console,
            f"the encoder begins as a language model of {len(texts)} reviews, trained for"
            f" {config.pretrain_epochs} epochs or kept from an earlier run in {cache_dir}",
        )
        pretrain(encoder, config, encoded_texts(config.max_length), cache_dir=cache_dir)


def main(flags: TrainFlags, config: Config) -> None:
    """Trains a sentiment model and leaves a run folder, scored on the validation split.

    Args:
        flags: The run folder, and whether to resume or replace the run in it.
        config: Settings of the model and its training.
    """
    earlier = {"--teachers": teacher_folders(config)}
    run = run_folder(flags.run, f"runs/sentiment/{config.cell}-s{config.seed}", earlier)
    devices = start_devices(
        flags.devices,
        unfit={"--teachers": config.teachers, "--pretrain-epochs": config.pretrain_epochs},
    )
    run = devices.folder(run, resume=flags.resume)
    with open_training(
        config,
        flags,
        run,
        task="sentiment",
        earlier=sum(earlier.values(), []),
    ) as config:
        import keras

        from apps.export.after_training import export_trained
        from apps.sentiment.evaluate import TABLE_METRICS, evaluate_run, load_split_reviews
        from apps.sentiment.teachers import checked_teachers, span_targets, targets_of
        from common.fitting import first_epoch, record_training, run_written
        from common.optimization import build_optimizer
        from data.text.batching import text_batches

        console = open_console()
        log = functools.partial(aside, console)
        log(device_line())
        epochs_done = first_epoch(config, flags, run)
        cache_dir = cache_directory()

        data = load_split_reviews(config, data=config.data, data_dir=flags.data_dir, log=log)
        labels = list(data.label_names)
        train_split, validation_split = data.splits["train"], data.splits["validation"]
        unlabelled = data.splits.get("unlabelled")
        facts = first_facts(
            config, task="sentiment", hashes=data.hashes, run=run, resume=flags.resume
        )
        if config.teachers:
            facts["teacher"] = checked_teachers(config, data.hashes, run, resume=flags.resume)
        targets = targets_of(
            train_split, validation_split, unlabelled, config=config, labels=labels
        )
        everything = train_split.texts
        if unlabelled:
            chained = itertools.chain(everything, unlabelled.texts)
            everything = texts_on_disk(chained, cache_dir)
        texts = everything if config.teachers else train_split.texts
        if config.spans:
            drawn = sentence_spans(texts, count=config.spans, seed=config.seed)
            spans = texts_on_disk(drawn, cache_dir)
            of_spans = span_targets(spans, targets, config=config, labels=labels)
            texts = texts_on_disk(itertools.chain(texts, spans), cache_dir)
            targets = np.concatenate([targets, of_spans])
        if flags.resume:
            tokenizer = load_tokenizer(run / TOKENIZER)
        else:
            tokenizer = train_tokenizer(everything, vocab_size=config.vocab_size)

        # After the teachers, so that the student is the same whether they had to label or not.
        keras.utils.set_random_seed(config.seed)
        model = build(config, vocab_size=tokenizer.get_vocab_size(), num_classes=len(labels))
        # A saved state holds all weights.
        if not epochs_done:
            encoder = model.get_layer("encoder")
            initialize_encoder(encoder, config, everything, tokenizer, console)

        def batches_of(texts: Sequence[str], targets: np.ndarray, **options):
            tokens = encoded(tokenizer, texts, max_length=config.max_length)
            return text_batches(
                tokens_on_disk(tokens, cache_dir),
                targets,
                buckets=BUCKETS,
                multiple=config.region_length or 8,
                tokens_per_batch=config.tokens_per_batch,
                **options,
            )

        batches = batches_of(texts, targets, shuffle=True, seed=config.seed, epoch=epochs_done)
        validation_batches = batches_of(
            validation_split.texts, np.eye(len(labels), dtype="float32")[validation_split.labels]
        )
        model.compile(
            optimizer=build_optimizer(config.optimizer, learning_rate=config.learning_rate),
            loss=keras.losses.CategoricalCrossentropy(from_logits=True),
            weighted_metrics=["accuracy"],
            jit_compile=XLA[config.jit_compile],
        )
        callbacks = training_callbacks(
            config,
            run=run,
            steps=len(batches),
            monitor="val_accuracy",
            mode="max",
            save=lambda trained: save_model(trained, run / MODEL),
            tensorboard=flags.tensorboard,
            console=console,
        )
        console.print(
            f"{len(texts)} texts to train on, {len(validation_split.texts)} to validate ·"
            f" {model.count_params():,} parameters · {len(batches)} steps an epoch"
        )
        batches, validation_batches = devices.share(
            batches, validation_batches, epochs_done=epochs_done, unknown=None
        )
        with run_written(
            config,
            flags,
            run,
            facts=facts,
            parameters=model.count_params(),
            epochs_done=epochs_done,
            tokenizer=tokenizer.to_str(pretty=False),
            settings={"labels": labels},
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
        if config.spans:
            shift = refit_bias(run, validation_split, count=config.spans, seed=config.seed)
            log(f"bias shifted to fit spans of validation reviews: {np.round(shift, 3).tolist()}")
        # From disk, so that the score is the saved model's.
        scores = evaluate_run(
            run, data="", data_dir=flags.data_dir, split="validation", baselines=False
        )
        record_training(run, scores, metric="accuracy")
        console.print(
            metrics_table("sentiment, validation split", {str(run): scores.metrics}, TABLE_METRICS)
        )
        export_trained(run, task="sentiment", console=console)
        console.print(f"Score it on the test split: make evaluate-sentiment RUN={run}")


if __name__ == "__main__":
    run_command(
        main,
        prog="python -m apps.sentiment.train",
        description="Trains a recurrent network that tells what a review thinks.",
    )
