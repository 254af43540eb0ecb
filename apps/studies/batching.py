"""Measures what length buckets gain over padding every review to one length, on real IMDB.

    python -m apps.studies.batching            # about two minutes on two cores

Both ways train the default sentiment model on the same reviews, cut at the same length, with the
same number of tokens in a step; only the padding differs. The rounds take turns, so that whatever
else the machine does meets both.
"""

import time
from pathlib import Path

import keras
import numpy as np

from apps.sentiment.config import Config
from apps.sentiment.evaluate import load_split_reviews
from apps.sentiment.train import build
from common.artifact import write_json
from common.config import run_command
from common.device import XLA, device_line
from common.errors import UserError
from common.optimizers import build_optimizer
from common.provenance import provenance
from data.batching import LengthBuckets, text_batches
from data.errors import DataError
from data.tokenization import encode, train_tokenizer


def real_tokens_per_second(
    model: keras.Model, batches: LengthBuckets, lengths: np.ndarray
) -> float:
    """Trains on every batch once and returns how many tokens, without padding, a second took.

    Args:
        model: Compiled; every shape in `batches` has been trained on before.
        batches: Of `lengths` rows.
        lengths: `(rows,)`, real tokens of each text.
    """
    begin = time.perf_counter()
    for index in range(len(batches)):
        model.train_on_batch(*batches[index])
    return float(lengths.sum() / (time.perf_counter() - begin))


def main(
    data_dir: str = "",
    max_length: int = Config.max_length,
    reviews: int = 2000,
    rounds: int = 3,
    output: Path = Path("apps/studies/results/batching.json"),
) -> None:
    """Compares length buckets with one length.

    Args:
        data_dir: Folder of downloads (default: $DATA_DIR or a cache folder of yours).
        max_length: Tokens read of a review, and the one length.
        reviews: Reviews to train on in a round.
        rounds: Times that both ways take turns.
        output: JSON file to write.
    """
    if min(reviews, rounds) < 1:
        raise UserError("--reviews and --rounds are at least 1.")
    print(device_line())
    config = Config(max_length=max_length)
    data = load_split_reviews(config, data=config.data, data_dir=data_dir)
    texts = data.splits["train"].texts[:reviews]
    targets = np.eye(2, dtype="float32")[data.splits["train"].labels[:reviews]]
    tokenizer = train_tokenizer(texts, kind=config.tokenizer, vocab_size=config.vocab_size)
    sequences = encode(tokenizer, texts, max_length=max_length)
    lengths = np.array([len(sequence) for sequence in sequences])
    multiple = config.region_length or 8
    ways = {
        "buckets": text_batches(
            sequences,
            targets,
            buckets=config.buckets,
            multiple=multiple,
            tokens_per_batch=config.tokens_per_batch,
        ),
        # A multiple as long as the longest review leaves one length.
        "one_length": text_batches(
            sequences,
            targets,
            buckets=1,
            multiple=-(-max_length // multiple) * multiple,
            tokens_per_batch=config.tokens_per_batch,
        ),
    }
    keras.utils.set_random_seed(config.seed)
    model = build(config, vocab_size=tokenizer.get_vocab_size(), num_classes=2)
    model.compile(
        optimizer=build_optimizer(config.optimizer, learning_rate=config.learning_rate),
        loss=keras.losses.CategoricalCrossentropy(from_logits=True),
        jit_compile=XLA[config.jit_compile],
    )
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds + 1):
        for name, batches in ways.items():
            rate = real_tokens_per_second(model, batches, lengths)
            # The first round compiles and is not counted.
            if turn:
                rates[name].append(rate)
                print(f"{name}: {rate:,.0f} tokens a second, {batches.padding_share:.0%} padding")
    ratio = float(np.median(rates["buckets"]) / np.median(rates["one_length"]))
    print(f"buckets train {ratio:.2f} times as fast")
    command = f"python -m apps.studies.batching --max-length {max_length}"
    record = {
        "study": "batching",
        **provenance(command, data=data.hashes),
        "ratio": ratio,
        "tokens_per_second": rates,
        "padding_share": {name: batches.padding_share for name, batches in ways.items()},
        "max_length": max_length,
        "reviews": reviews,
    }
    write_json(output, record)


if __name__ == "__main__":
    run_command(
        main,
        prog="python -m apps.studies.batching",
        description="Measures what length buckets gain over padding to one length.",
        errors=(DataError,),
    )
