"""Trains a translation model: sentence pairs -> subwords -> encoder, decoder -> run folder.

python -m apps.translation.train                                   # English to French, Multi30k
python -m apps.translation.train --data tatoeba --cell lstm
python -m apps.translation.train --data pairs.tsv --source-language en --target-language de
"""

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING

from tokenizers import Tokenizer

from apps.translation.config import BUCKETS, LABEL_SMOOTHING, SHAPE, Config
from common.cli import VERBOSITY, aside, open_console, run_command, split_list, warn
from common.device import device_line, xla_beside_products
from common.devices import start_devices
from common.earlier_runs import run_folder, with_shape_of
from common.errors import UserError
from common.fitting import TrainFlags, first_facts, open_training, training_callbacks
from common.run_folder import MODEL, TOKENIZER, save_model
from common.tables import metrics_table
from data.pairs.mixture import with_typed_copies
from data.pairs.sources import Pairs
from data.pairs.splits import PairSplit
from data.text.subwords import (
    END_ID,
    START_ID,
    encode_pairs,
    load_subword_tokenizer,
    train_subword_tokenizer,
)
from data.text.tokenization import PAD_ID

if TYPE_CHECKING:
    import keras


def build(config: Config, *, vocab_size: int) -> "tuple[keras.Model, keras.Model]":
    """Builds the encoder and the decoder that `config` describes."""
    from models.attention_decoder import build_attention_decoder
    from models.translation import build_encoder

    shared = {
        "vocab_size": vocab_size,
        "embed_dim": config.embed_dim,
        "cell": config.cell,
        "embedding_dropout": config.embedding_dropout,
        "dropout": config.dropout,
    }
    encoder = build_encoder(
        units=config.units,
        num_layers=config.num_layers,
        decoder_units=config.decoder_units,
        decoder_layers=config.decoder_layers,
        **shared,
    )
    decoder = build_attention_decoder(
        units=config.decoder_units,
        num_layers=config.decoder_layers,
        memory_dim=2 * config.units,
        share_embedding=True,
        **shared,
    )
    return encoder, decoder


def learn_subwords(config: Config, pairs: Pairs, *, data_dir: str, log) -> Tokenizer:
    """Trains the subwords on the training sentences of `pairs` and of --vocabulary-data."""
    from apps.translation.evaluate import load_split_pairs

    corpora = [pairs]
    for name in split_list(config.vocabulary_data):
        corpora.append(load_split_pairs(config, data=(name,), data_dir=data_dir, log=log))
    texts = []
    for corpus in corpora:
        train = corpus.splits["train"]
        texts += [*train.source, *train.target]
    return train_subword_tokenizer(texts, vocab_size=config.vocab_size)


def batches_of(
    config: Config, tokenizer: Tokenizer, split: PairSplit, *, log: Callable[[str], None], **options
) -> "tuple[int, keras.utils.PyDataset]":
    """Returns the number of pairs that are short enough, and batches of them.

    Raises:
        UserError: If there are none.
    """
    from data.pairs.batches import pair_batches

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
    batches = pair_batches(
        sources,
        targets,
        start_id=START_ID,
        end_id=END_ID,
        buckets=BUCKETS,
        multiple=4,
        tokens_per_batch=config.tokens_per_batch,
        **options,
    )
    return len(kept), batches


def main(flags: TrainFlags, config: Config) -> None:
    """Trains a translation model and leaves a run folder, scored on the validation split.

    Args:
        flags: The run folder, and whether to resume or replace the run in it.
        config: Settings of the model and its training.
    """
    earlier = [config.init_from] if config.init_from else []
    run = run_folder(
        flags.run, f"runs/translation/{config.cell}-s{config.seed}", {"--init-from": earlier}
    )
    devices = start_devices(flags.devices, unfit={"--init-from": config.init_from})
    run = devices.folder(run, resume=flags.resume)
    with open_training(config, flags, run, task="translation", earlier=earlier) as config:
        import keras

        from apps.export.after_training import export_trained
        from apps.translation.decoding import SequenceTranslator
        from apps.translation.evaluate import TABLE_METRICS, evaluate_run, load_split_pairs
        from apps.translation.network import KerasNetwork, ValidationBleu
        from apps.translation.second_stage import load_start, origin_facts
        from common.fitting import first_epoch, record_training, run_written
        from common.optimization import build_optimizer
        from models.encoder_decoder import build_encoder_decoder, smoothed_cross_entropy
        from models.translation import model_name

        console = open_console()
        log = functools.partial(aside, console)
        log(device_line())
        epochs_done = first_epoch(config, flags, run)

        # A saved state holds all weights.
        start = load_start(config) if config.init_from and not epochs_done else None
        if start:
            config = with_shape_of(config, start.config, SHAPE, given=flags.given)
        pairs = load_split_pairs(config, data=config.data, data_dir=flags.data_dir, log=log)
        for line in pairs.warnings:
            warn(console, line)
        facts = first_facts(
            config, task="translation", hashes=pairs.hashes, run=run, resume=flags.resume
        )
        if start and not flags.resume:
            facts["init_from"] = origin_facts(
                config, start, pairs, data_dir=flags.data_dir, console=console
            )
        if flags.resume:
            tokenizer = load_subword_tokenizer(run / TOKENIZER)
        elif start:
            tokenizer = start.tokenizer
        else:
            tokenizer = learn_subwords(config, pairs, data_dir=flags.data_dir, log=log)
        train_split = with_typed_copies(
            pairs.splits["train"], config.typed_copies, seed=config.seed
        )
        train_rows, batches = batches_of(
            config,
            tokenizer,
            train_split,
            log=log,
            shuffle=True,
            seed=config.seed,
            epoch=epochs_done,
        )
        validation_split = pairs.splits["validation"]
        validation_rows, validation_batches = batches_of(
            config, tokenizer, validation_split, log=log
        )

        keras.utils.set_random_seed(config.seed)
        encoder, decoder = build(config, vocab_size=tokenizer.get_vocab_size())
        name = model_name(config.source_language, config.target_language)
        model = build_encoder_decoder(encoder, decoder, name=name)
        if start:
            model.set_weights(start.network.model.get_weights())
        model.compile(
            optimizer=build_optimizer(config.optimizer, learning_rate=config.learning_rate),
            loss=smoothed_cross_entropy(LABEL_SMOOTHING),
            jit_compile=xla_beside_products(config.jit_compile),
        )
        network = KerasNetwork(model, max_length=config.max_length)
        translate = SequenceTranslator(network, max_length=config.max_length)
        callbacks = training_callbacks(
            config,
            run=run,
            steps=len(batches),
            monitor="val_bleu",
            mode="max",
            save=lambda trained: save_model(trained, run / MODEL),
            scores=[ValidationBleu(translate, tokenizer, validation_split, config)],
            tensorboard=flags.tensorboard,
            console=console,
        )
        console.print(
            f"{train_rows} pairs to train on, {validation_rows} to validate ·"
            f" {model.count_params():,} parameters · {len(batches)} steps an epoch"
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
            run, data=(), data_dir=flags.data_dir, split="validation", baselines=False
        )
        record_training(run, scores, metric="bleu")
        rows = {str(run): scores.metrics}
        console.print(metrics_table("translation, validation split", rows, TABLE_METRICS))
        export_trained(run, task="translation", console=console)
        console.print(f"Score it on the test split: make evaluate-translation RUN={run}")


if __name__ == "__main__":
    run_command(
        main,
        prog="python -m apps.translation.train",
        description="Trains a recurrent network that translates.",
    )
