"""Reloads a run from disk and scores a split of the data beside the baselines.

python -m apps.sentiment.evaluate --run runs/sentiment/lstm-s1
"""

import dataclasses
import json as json_format
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from apps.export.runtime import Network, runtime_line
from apps.sentiment.config import BUCKETS, Config
from apps.sentiment.predictor import PRETRAINED, Predictor
from common.cache import cache_path, cached
from common.cli import aside, open_console, run_command
from common.device import device_line
from common.earlier_runs import recorded_data
from common.errors import UserError
from common.results import (
    Scores,
    check_baselines,
    record_scores,
    table_rows,
    why_not_recorded,
)
from common.run_folder import lock_run, read_config
from common.tables import metrics_table
from data.download import cache_directory, data_directory
from data.row_files import tokens_on_disk
from data.text.tokenization import encoded

if TYPE_CHECKING:
    from data.reviews.read import Reviews, SentimentData

TABLE_METRICS = ("accuracy", "f1", "roc_auc", "ece")


def load_split_reviews(
    config: Config, *, data: str, data_dir: str, log: Callable[[str], None] | None = None
) -> "SentimentData":
    """Loads reviews as the run's settings cut them.

    Args:
        config: Settings of the run.
        data: As the flag.
        data_dir: As the flag.
        log: As in `load_reviews`.
    """
    from data.reviews.read import load_reviews

    return load_reviews(
        data,
        data_dir=data_directory(data_dir),
        cache_dir=cache_directory(),
        validation_share=config.validation_share,
        split_seed=config.split_seed,
        log=log,
    )


def load_scored(config: Config, run: Path, *, data: str, data_dir: str) -> "SentimentData":
    """Loads what a run is scored on: its own data as it cut them, or others as they are.

    Args:
        config: Settings of the run.
        run: Run folder.
        data: As the flag; empty for the data that the run was trained on.
        data_dir: As the flag.
    """
    from data.reviews.read import load_labelled

    if data and data not in ("imdb", config.data):
        foreign = load_labelled(data, cache_dir=cache_directory())
        # The same file under another name holds what the run has learned.
        if set(foreign.hashes.values()) != set(recorded_data(run).values()):
            return foreign
    return load_split_reviews(config, data=data or config.data, data_dir=data_dir)


def predict_probabilities(predictor: Predictor, texts: Sequence[str]) -> np.ndarray:
    """Returns `(batch, classes)` probabilities of the texts, in their order."""
    import keras

    from data.text.batching import text_batches

    config = predictor.config
    sequences = encoded(predictor.tokenizer, texts, max_length=config.max_length)
    batches = text_batches(
        tokens_on_disk(sequences, cache_directory()),
        buckets=BUCKETS,
        multiple=config.region_length or 8,
        tokens_per_batch=config.tokens_per_batch,
    )
    network = predictor.network
    if isinstance(network, Network):
        each = (batches[index][0] for index in range(len(batches)))
        logits = np.concatenate([network("logits", tokens=one)["logits"] for one in each])
    else:
        logits = network.logits(batches)
    probabilities = keras.ops.convert_to_numpy(keras.ops.softmax(logits, axis=-1))
    restored = np.empty_like(probabilities)
    restored[np.concatenate(batches.batches)] = probabilities
    return restored


def cached_baselines(data: "SentimentData", split: "Reviews", cache_dir: Path) -> dict:
    """Returns the baselines' scores on a split, fitted once and kept in the cache.

    Args:
        data: Whose `train` split the baselines are fitted on.
        split: What they are scored on.
        cache_dir: Root of derived files.
    """
    from apps.sentiment.baselines import score_baselines

    train = data.splits["train"]
    path = cache_path(
        cache_dir / "sentiment_baselines",
        [train.texts, train.labels, split.texts, split.labels],
        modules=["apps.sentiment.baselines", "apps.sentiment.metrics"],
    )
    return cached(
        path, lambda: score_baselines(train.texts, train.labels, split.texts, split.labels)
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReviewScores(Scores):
    """What a saved model reached on one split of the reviews."""

    reviews: int
    reviews_per_second: float


def evaluate_run(
    run: Path,
    *,
    data: str,
    data_dir: str,
    split: str,
    baselines: bool,
    runtime: Literal["keras", "onnx"] = "keras",
) -> ReviewScores:
    """Scores the saved model of a run folder.

    Args:
        run: Run folder.
        data: As the flag; empty for the data that the run was trained on.
        data_dir: As the flag.
        split: `train`, `validation` or `test`.
        baselines: Whether to score them too.
        runtime: What computes.

    Raises:
        UserError: If the data has other labels than the model, or baselines are wanted of `train`.
    """
    from apps.sentiment.metrics import classification_metrics

    check_baselines(split, baselines=baselines)
    predictor = Predictor.load(run, runtime=runtime)
    config = predictor.config
    loaded = load_scored(config, run, data=data, data_dir=data_dir)
    if baselines and "train" not in loaded.splits:
        raise UserError(
            f"The baselines need a train split, but {data} has none: score the model alone with"
            " --no-baselines."
        )
    if split not in loaded.splits:
        raise UserError(
            f"{data} has no row of the {split} split, only of {', '.join(loaded.splits)}: name one"
            " with --split."
        )
    if list(loaded.label_names) != list(predictor.labels):
        raise UserError(
            f"{data or config.data} has the labels {', '.join(loaded.label_names)}, but the model"
            f" of {run} knows {', '.join(predictor.labels)}: evaluate on data with the same labels."
        )
    reviews = loaded.splits[split]
    begin = time.perf_counter()
    probabilities = predict_probabilities(predictor, reviews.texts)
    seconds = time.perf_counter() - begin
    return ReviewScores(
        split=split,
        metrics=classification_metrics(probabilities, reviews.labels),
        baselines=cached_baselines(loaded, reviews, cache_directory()) if baselines else {},
        reviews=len(reviews.texts),
        reviews_per_second=len(reviews.texts) / seconds,
        parameters=predictor.network.parameters,
        hashes=loaded.hashes,
    )


def main(
    run: Path = PRETRAINED,
    data: str = "",
    data_dir: str = "",
    split: str = "test",
    baselines: bool = True,
    json: bool = False,
    runtime: Literal["keras", "onnx"] = "keras",
) -> None:
    """Scores a saved model beside the baselines.

    Args:
        run: Run folder of the model.
        data: `imdb` or your own file, without a column split all of it; by default what the run
            was trained on.
        data_dir: Folder of downloads (default: $DATA_DIR or a cache folder of yours).
        split: validation, test, or, with --no-baselines, train.
        baselines: Score majority, TF-IDF + logistic regression and NB-SVM too.
        json: Print one line of JSON instead of a table.
        runtime: The Keras model, or the graph that `make export-sentiment` wrote.
    """
    if split not in ("train", "validation", "test"):
        raise UserError(f"--split {split} is unknown: choose train, validation or test.")
    console = open_console(stderr=json)
    # A mistake is answered before Keras starts.
    read_config(run, "sentiment")
    aside(console, device_line() if runtime == "keras" else runtime_line())
    with lock_run(run, shared=True):
        scores = evaluate_run(
            run, data=data, data_dir=data_dir, split=split, baselines=baselines, runtime=runtime
        )
        if runtime == "keras":
            record_scores(run, scores)
    if json:
        record = {"split": split, "metrics": scores.metrics, "baselines": scores.baselines}
        print(json_format.dumps(record))
    else:
        title = f"sentiment, {split} split, {scores.reviews:,} reviews"
        console.print(metrics_table(title, table_rows(run, scores), TABLE_METRICS))
        aside(console, f"{scores.reviews_per_second:.0f} reviews a second")
    if runtime == "onnx":
        aside(console, "not recorded: published scores are those of the Keras model")
    elif reason := why_not_recorded(run, scores.hashes):
        aside(console, f"not recorded: {reason}")


if __name__ == "__main__":
    run_command(
        main,
        prog="python -m apps.sentiment.evaluate",
        description="Scores a saved sentiment model on a split it was not trained on.",
    )
