"""Scores a saved run on a split of the data, beside the baselines.

python -m apps.captioning.evaluate --run runs/captioning/lstm-s1
"""

import dataclasses
import json as json_format
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
from rich.console import Console

from apps.captioning.config import Config
from apps.captioning.metrics import caption_metrics, caption_statistics, signature
from apps.captioning.predictor import PRETRAINED, Predictor
from apps.export.runtime import Runtime, runtime_line
from common.cache import cache_path, cached
from common.cli import aside, open_console, run_command, warn
from common.device import device_line
from common.errors import UserError
from common.results import (
    DecodedScores,
    check_baselines,
    data_label,
    decode_with_beams,
    evaluation_folder,
    record_scores,
    table_rows,
    why_not_recorded,
    write_hypotheses,
)
from common.run_folder import lock_run, read_config
from common.settings import Search, parse_beam_sizes
from common.tables import metrics_table
from data.download import cache_directory, data_directory
from data.pictures.captions import load_captions
from data.pictures.splits import Captions, CaptionSplit

# Metrics recorded for greedy decoding and for every beam size.
_BRIEF = ("bleu_4", "cider")
TABLE_METRICS = ("bleu_1", "bleu_4", "rouge_l", "cider", "distinct")


def load_split_captions(
    config: Config,
    *,
    data: str,
    data_dir: str,
    log: Callable[[str], None] | None = None,
) -> Captions:
    """Loads captions as the run's settings cut them; `data`, `data_dir` as the flags."""
    return load_captions(
        data,
        data_dir=data_directory(data_dir),
        validation_share=config.validation_share,
        split_seed=config.split_seed,
        log=log,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class CaptioningScores(DecodedScores):
    """Scores of a saved model on one split of pictures."""

    names: list[str]
    """Of the pictures."""


def evaluate_run(
    run: Path,
    *,
    data: str,
    data_dir: str,
    split: str,
    baselines: bool,
    beam_sizes: tuple[int, ...] = (),
    runtime: Runtime = "keras",
    console: Console,
) -> CaptioningScores:
    """Scores the saved model of a run folder on captions that it decodes freely.

    Args:
        run: Run folder.
        data: As the flag; empty for the data of the training.
        data_dir: As the flag.
        split: Name of a split.
        baselines: Whether to score the baselines too.
        beam_sizes: Further beam sizes to score, beside greedy decoding and the run's own beam.
        runtime: As the flag.
        console: Where to show progress.

    Returns:
        Metrics of the run's own beam by their plain names; BLEU-4 and CIDEr of greedy decoding with
        the suffix `_greedy`, of each beam with `_beam_<size>`, and of the run's own beam without
        the mirror image with `_without_mirror`.

    Raises:
        UserError: If the data cannot be used, lack the split, or lack a train split for baselines.
    """
    check_baselines(split, baselines=baselines)
    predictor = Predictor.load(run, runtime=runtime)
    config = predictor.config
    captions = load_split_captions(config, data=data or config.data, data_dir=data_dir)
    if baselines and "train" not in captions.splits:
        raise UserError(
            f"The baselines need a train split, but these data have only"
            f" {', '.join(captions.splits)}: score the model alone with --no-baselines."
        )
    for line in captions.warnings:
        warn(console, line)
    chosen = captions.split(split)
    inputs = predictor.inputs.stored(captions, chosen.names, views=predictor.views, console=console)

    def decode(search: Search, views: int = predictor.views) -> list[str]:
        described = predictor.describe(inputs[:, :views], search)
        return [candidates[0].text for candidates in described]

    hypotheses, seconds = decode_with_beams(decode, config, beam_sizes)
    metrics = {}
    for beam_size, texts in hypotheses.items():
        scores = caption_metrics(texts, chosen.captions)
        if beam_size == config.beam_size:
            metrics |= scores | caption_statistics(texts)
        if beam_size == 1:
            metrics |= {f"{name}_greedy": scores[name] for name in _BRIEF}
        metrics |= {f"{name}_beam_{beam_size}": scores[name] for name in _BRIEF}
    if predictor.views > 1:
        scores = caption_metrics(decode(Search.of(config), views=1), chosen.captions)
        metrics |= {f"{name}_without_mirror": scores[name] for name in _BRIEF}
    baseline_scores = {}
    if baselines:
        baseline_scores = _cached_baselines(predictor, captions, chosen, inputs[:, 0], console)
    return CaptioningScores(
        split=split,
        metrics=metrics,
        baselines=baseline_scores,
        parameters=predictor.network.parameters,
        hashes=captions.hashes,
        names=chosen.names,
        hypotheses=hypotheses,
        seconds=seconds,
    )


def pooled(inputs: np.ndarray) -> np.ndarray:
    """Returns one vector a picture: the mean of its regions, or its mean colours on an 8 x 8 grid.

    Args:
        inputs: `(pictures, regions, channels)`, or pixels `(pictures, size, size, 3)`.
    """
    if inputs.ndim == 3:
        return np.stack([np.mean(regions, axis=0, dtype="float32") for regions in inputs])
    side = inputs.shape[1] // 8
    grids = [
        picture[: 8 * side, : 8 * side].reshape(8, side, 8, side, 3).mean(axis=(1, 3)).ravel()
        for picture in inputs
    ]
    return np.stack(grids).astype("float32")


def _cached_baselines(
    predictor: Predictor,
    captions: Captions,
    split: CaptionSplit,
    inputs: np.ndarray,
    console: Console,
) -> dict:
    """Returns the baselines' scores on a split, computed once and kept in the cache."""
    from apps.captioning.baselines import score_baselines

    train = captions.split("train")
    # As many views as training used, so that its stored features serve here too.
    train_inputs = predictor.inputs.stored(
        captions, train.names, views=predictor.config.views, console=console
    )
    train_vectors, vectors = pooled(train_inputs[:, 0]), pooled(inputs)
    path = cache_path(
        cache_directory() / "captioning_baselines",
        [train.captions, split.captions, train_vectors, vectors],
        modules=["apps.captioning.baselines", "apps.captioning.metrics"],
    )
    return cached(
        path,
        lambda: score_baselines(train, split, train_features=train_vectors, features=vectors),
    )


def main(
    run: Path = PRETRAINED,
    data: str = "",
    data_dir: str = "",
    split: str = "test",
    beam_sizes: str = "",
    baselines: bool = True,
    runtime: Literal["keras", "onnx"] = "keras",
    json: bool = False,
) -> None:
    """Scores a saved model beside the baselines.

    Args:
        run: Run folder of the model.
        data: `flickr8k` or a folder of your own (default: the data of the training).
        data_dir: Folder of downloads (default: $DATA_DIR or a cache folder of yours).
        split: validation, test, or any other split of the data; train with --no-baselines.
        beam_sizes: Further beam sizes to score, separated by commas.
        baselines: Score the most frequent caption and captions of similar training pictures too.
        runtime: The Keras model, or the exported graph, whose scores are not recorded.
        json: Print one line of JSON instead of a table.
    """
    sizes = parse_beam_sizes(beam_sizes)
    console = open_console(stderr=json)
    # A mistake is answered before Keras starts.
    read_config(run, "captioning")
    aside(console, device_line() if runtime == "keras" else runtime_line())
    if runtime == "onnx" and baselines:
        baselines = False
        aside(console, "baselines compare what Keras makes of the pictures: they are left out")
    with lock_run(run, shared=True):
        scores = evaluate_run(
            run,
            data=data,
            data_dir=data_dir,
            split=split,
            baselines=baselines,
            beam_sizes=sizes,
            runtime=runtime,
            console=console,
        )
        recorded = runtime == "keras" and record_scores(run, scores)
        folder = run
        if not recorded:
            folder = evaluation_folder(run, task="captioning", what=data_label(data))
        paths = write_hypotheses(folder, scores, names=scores.names)
    if json:
        record = {
            "split": split,
            "metrics": scores.metrics,
            "baselines": scores.baselines,
            "signature": signature(),
        }
        print(json_format.dumps(record))
    else:
        console.print(
            metrics_table(f"captioning, {split} split", table_rows(run, scores), TABLE_METRICS)
        )
        aside(console, signature())
        for beam_size, seconds in scores.seconds.items():
            values = [scores.metrics[f"{name}_beam_{beam_size}"] for name in _BRIEF]
            console.print(
                f"beam {beam_size}: BLEU-4 {100 * values[0]:.1f}, CIDEr {values[1]:.3f},"
                f" {len(scores.names) / seconds:.0f} pictures a second"
            )
        aside(console, f"captions: {', '.join(str(path) for path in paths)}")
    if runtime == "onnx":
        aside(console, "not recorded: published scores are those of the Keras model")
    elif not recorded:
        aside(console, f"not recorded: {why_not_recorded(run, scores.hashes)}")


if __name__ == "__main__":
    run_command(
        main,
        prog="python -m apps.captioning.evaluate",
        description="Scores a saved captioning model on a split it was not trained on.",
    )
