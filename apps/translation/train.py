"""Trains a translation model: sentence pairs -> subwords -> encoder, decoder -> run folder.

python -m apps.translation.train                                   # English to French, Multi30k
python -m apps.translation.train --data tatoeba --cell lstm
python -m apps.translation.train --data pairs.tsv --source-language en --target-language de
"""

import functools
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from tokenizers import Tokenizer

from apps.translation.config import SHAPE, Config
from apps.translation.decoding import SequenceTranslator
from apps.translation.predictor import Predictor
from common.artifact import STATE, TOKENIZER
from common.config import run_command, split_list
from common.console import aside, open_console, warn
from common.device import device_line, xla_beside_products
from common.earlier_runs import resumed_facts, run_folder, with_shape_of
from common.errors import UserError
from common.training import TrainFlags, first_facts, open_training
from data.text.subwords import (
    END_ID,
    START_ID,
    encode_pairs,
    load_subword_tokenizer,
    pair_sampler,
    train_subword_tokenizer,
)

if TYPE_CHECKING:
    import keras

    from common.fitting import Prepared
    from data.pairs.sources import Pairs
    from data.pairs.splits import PairSplit


def build(config: Config, *, vocab_size: int) -> "tuple[keras.Model, keras.Model]":
    """Builds the encoder and the decoder that `config` describes."""
    from models.attention_decoder import build_attention_decoder
    from models.translation import build_encoder

    shared = {
        "vocab_size": vocab_size,
        "embed_dim": config.embed_dim,
        "share_embedding": config.share_embedding,
        "cell": config.cell,
        "activation": config.activation,
        "word_dropout": config.word_dropout,
        "embedding_dropout": config.embedding_dropout,
        "dropout": config.dropout,
        "recurrent_dropout": config.recurrent_dropout,
    }
    encoder = build_encoder(
        units=config.units,
        num_layers=config.num_layers,
        bidirectional=config.bidirectional,
        decoder_units=config.decoder_units,
        decoder_layers=config.decoder_layers,
        **shared,
    )
    decoder = build_attention_decoder(
        units=config.decoder_units,
        num_layers=config.decoder_layers,
        memory_dim=config.units * (2 if config.bidirectional else 1),
        attention=config.attention,
        tie_embeddings=config.tie_embeddings,
        **shared,
    )
    return encoder, decoder


def learn_subwords(config: Config, pairs: "Pairs", *, data_dir: str, log) -> Tokenizer:
    """Trains the subwords on the training sentences of the data, and of those named besides."""
    from apps.translation.evaluate import load_split_pairs

    corpora = [pairs]
    for name in split_list(config.vocabulary_data):
        corpora.append(load_split_pairs(config, data=(name,), data_dir=data_dir, log=log))
    texts = []
    for corpus in corpora:
        train = corpus.splits["train"]
        texts += [*train.source, *train.target]
    return train_subword_tokenizer(texts, vocab_size=config.vocab_size)


def prepare(
    config: Config,
    *,
    run: Path,
    data_dir: str,
    resume: bool,
    given: frozenset[str] = frozenset(),
    console: Console,
) -> "Prepared":
    """Loads the data and builds the model; writes nothing.

    Args:
        config: Settings.
        run: Run folder, of which nothing is read unless `resume`.
        data_dir: Folder of downloads, or empty.
        resume: Whether the run goes on after its last finished epoch.
        given: Names of the flags that were typed.
        console: Where to say what was loaded.
    """
    import keras

    from apps.translation.evaluate import load_split_pairs
    from apps.translation.network import KerasNetwork, ValidationBleu
    from apps.translation.second_stage import check_start, origin_facts
    from apps.translation.teacher import load_teacher, taught_pairs
    from common.fitting import Prepared
    from common.optimizers import build_optimizer
    from common.training_state import saved_epoch
    from data.pairs.batches import pair_batches
    from data.pairs.mixture import joined, with_typed_copies
    from models.encoder_decoder import build_encoder_decoder, smoothed_cross_entropy
    from models.ensemble import is_ensemble
    from models.translation import model_name

    log = functools.partial(aside, console)

    # Also for a run that was stopped before there was a state to go on from.
    begun = resume and (run / STATE).exists()
    start = None
    if config.init_from and not begun:
        start = Predictor.load(config.init_from, runtime="keras")
    if start:
        check_start(config, start)
        if is_ensemble(start.network.model):
            raise UserError(
                f"--init-from {config.init_from} is an ensemble: go on from one of its members."
            )
        config = with_shape_of(config, start.config, SHAPE, given=given)
    teacher = load_teacher(config) if config.teacher else None
    if teacher:
        config = with_shape_of(config, teacher.config, ["vocab_size"], of="teacher", given=given)
    pairs = load_split_pairs(config, data=config.data, data_dir=data_dir, log=log)
    for line in pairs.warnings:
        warn(console, line)
    facts = first_facts(config, task="translation", hashes=pairs.hashes, run=run, resume=resume)
    if resume:
        facts |= resumed_facts(run)
    elif start:
        facts["init_from"] = origin_facts(config, start, pairs, data_dir=data_dir, console=console)
    train_split, validation_split = pairs.splits["train"], pairs.splits["validation"]
    train_split = with_typed_copies(train_split, config.typed_copies, seed=config.seed)
    if teacher:
        taught = taught_pairs(config, teacher, pairs, data_dir=data_dir, log=log, console=console)
        held = facts.setdefault("teacher", taught.facts)
        if held.get("pairs") != taught.facts["pairs"]:
            raise UserError(
                f"{run} was begun with other sentences or another teacher: restore them, or"
                " train anew with --overwrite."
            )
        train_split = joined(train_split, taught.pairs)
    keras.utils.set_random_seed(config.seed)

    if resume:
        tokenizer = load_subword_tokenizer(run / TOKENIZER)
    elif start or teacher:
        tokenizer = (start or teacher).tokenizer
    else:
        tokenizer = learn_subwords(config, pairs, data_dir=data_dir, log=log)
    batching = {
        "start_id": START_ID,
        "end_id": END_ID,
        "buckets": config.buckets,
        "multiple": 4,
        "tokens_per_batch": config.tokens_per_batch,
    }
    epochs_done = saved_epoch(run / STATE) if resume else 0

    def batches_of(split: "PairSplit", **options):
        sources, targets, kept = encode_pairs(
            tokenizer, split.source, split.target, max_length=config.max_length
        )
        if not len(kept):
            raise UserError(
                f"No pair of {' '.join(config.data)} has at most {config.max_length} subwords a"
                " side: raise --max-length."
            )
        if left_out := len(split.source) - len(kept):
            log(f"{left_out} pairs have a side of more than {config.max_length} subwords: left out")
        if "shuffle" in options and config.bpe_dropout:
            options["resample"] = pair_sampler(
                tokenizer,
                [split.source[row] for row in kept],
                [split.target[row] for row in kept],
                dropout=config.bpe_dropout,
            )
        return len(kept), pair_batches(sources, targets, **batching, **options)

    rows, batches = batches_of(train_split, shuffle=True, seed=config.seed, epoch=epochs_done)
    validation_rows, validation_batches = batches_of(validation_split)

    encoder, decoder = build(config, vocab_size=tokenizer.get_vocab_size())
    name = model_name(config.source_language, config.target_language)
    # This one is saved; what trains may be fed its own words besides.
    translator = build_encoder_decoder(encoder, decoder, name=name)
    if start:
        translator.set_weights(start.network.model.get_weights())
    model = translator
    if config.scheduled_sampling:
        model = build_encoder_decoder(
            encoder,
            decoder,
            own_words=config.scheduled_sampling,
            ramp_steps=config.epochs * len(batches),
            name=name,
        )
    model.compile(
        optimizer=build_optimizer(
            config.optimizer,
            learning_rate=config.learning_rate,
            weight_decay=config.weight_decay,
        ),
        loss=smoothed_cross_entropy(config.label_smoothing),
        jit_compile=xla_beside_products(config.jit_compile),
    )
    network = KerasNetwork(translator, max_length=config.max_length)
    translate_ids = SequenceTranslator(network, max_length=config.max_length)
    return Prepared(
        config=config,
        facts=facts,
        model=model,
        batches=batches,
        validation_batches=validation_batches,
        monitor="val_bleu",
        mode="max",
        summary=f"{rows} pairs to train on, {validation_rows} to validate ·"
        f" {translator.count_params():,} parameters · {len(batches)} steps an epoch",
        parameters=translator.count_params(),
        to_save=lambda _: translator,
        tokenizer=tokenizer.to_str(pretty=False),
        epochs_done=epochs_done,
        scores=(ValidationBleu(translate_ids, tokenizer, validation_split, config),),
    )


def main(flags: TrainFlags, config: Config) -> None:
    """Trains a translation model and leaves a run folder, scored on the validation split.

    Args:
        flags: Where the run stands, and how it begins.
        config: Settings of the model and its training.
    """
    from apps.translation.evaluate import evaluate_run, metrics_table
    from common.fitting import fit_prepared, leave_scored

    earlier = {"--init-from": config.init_from, "--teacher": config.teacher}
    earlier = {name: [other] for name, other in earlier.items() if other}
    run = run_folder(flags.run, f"runs/translation/{config.cell}-s{config.seed}", earlier)
    with open_training(
        config, flags, run, task="translation", earlier=sum(earlier.values(), [])
    ) as config:
        console = open_console()
        aside(console, device_line())
        prepared = prepare(
            config,
            run=run,
            data_dir=flags.data_dir,
            resume=flags.resume,
            given=flags.given,
            console=console,
        )
        history = fit_prepared(prepared, flags, run=run, console=console)
        # From disk, so that the score is the saved model's.
        scores = evaluate_run(
            run, data=(), data_dir=flags.data_dir, split="validation", baselines=False
        )
        leave_scored(run, scores, history, metric="bleu")
        console.print(metrics_table(scores, {str(run): scores.metrics}))
        console.print(f"Score it on the test split: make evaluate-translation RUN={run}")


if __name__ == "__main__":
    run_command(
        main,
        prog="python -m apps.translation.train",
        description="Trains a recurrent network that translates.",
    )
