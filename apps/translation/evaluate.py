"""Reloads a run from disk and scores a split of the data beside the baselines.

python -m apps.translation.evaluate --run runs/translation/gru-s1 --split test_2017_flickr
"""

import dataclasses
import json as json_format
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from apps.export.runtime import Runtime, runtime_line
from apps.translation.config import Config
from apps.translation.metrics import signatures
from apps.translation.predictor import PRETRAINED, Predictor
from common.cache import cache_path, cached
from common.cli import aside, open_console, run_command
from common.device import device_line
from common.files import write_json
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
from common.run_folder import OUTPUTS, lock_run, read_config
from common.settings import Search, parse_beam_sizes
from common.tables import metrics_table
from data.download import cache_directory, data_directory

if TYPE_CHECKING:
    from data.pairs.sources import Pairs
    from data.pairs.splits import PairSplit


# Draws of sacreBLEU's bootstrap.
BOOTSTRAP = 1000
TABLE_METRICS = ("bleu", "chrf", "bleu_tok_lc")


def load_split_pairs(
    config: Config,
    *,
    data: tuple[str, ...],
    data_dir: str,
    training: bool = True,
    log: Callable[[str], None] | None = None,
) -> "Pairs":
    """Loads data as the run's settings cut them; other arguments as the flags and `load_sets`."""
    from data.pairs.mixture import load_sets

    return load_sets(
        data,
        repeats=config.repeats if data == config.data else (),
        training=training,
        data_dir=data_directory(data_dir),
        source_language=config.source_language,
        target_language=config.target_language,
        log=log,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class TranslationScores(DecodedScores):
    """What a saved model reached on one split of sentence pairs."""

    signatures: dict[str, str]
    """Metric to what makes its figure comparable."""


def evaluate_run(
    run: Path,
    *,
    data: tuple[str, ...],
    data_dir: str,
    split: str,
    baselines: bool,
    beam_sizes: tuple[int, ...] = (),
    runtime: Runtime = "keras",
    bootstrap: int = 0,
) -> TranslationScores:
    """Scores the saved model of a run folder.

    Args:
        run: Run folder.
        data: As the flag; empty for the data that the run was trained on.
        data_dir: As the flag.
        split: Name of a split; `test` is also Multi30k's `test_2016_flickr`.
        baselines: Whether to score them too.
        beam_sizes: More beams to score, besides greedy search and the run's own beam.
        runtime: As the flag.
        bootstrap: Draws for confidence intervals; 0 leaves them out.

    Returns:
        Metrics of the run's own beam by their plain names, of greedy search with `_greedy` behind
        them, and `bleu_tok_lc_beam_<size>` of every beam.

    Raises:
        UserError: If the data cannot be used or lack the split.
        UserError: If baselines are wanted of `train`.
    """
    from apps.translation.metrics import length_metrics, translation_metrics

    check_baselines(split, baselines=baselines)
    predictor = Predictor.load(run, runtime=runtime)
    config = predictor.config
    pairs = load_split_pairs(config, data=data or config.data, data_dir=data_dir, training=False)
    chosen = pairs.split(split)
    language, own = config.target_language, config.beam_size

    def decode(search: Search) -> list[str]:
        return [translation.text for translation in predictor.predict(chosen.source, search)]

    hypotheses, seconds = decode_with_beams(decode, config, beam_sizes)
    metrics = {}
    for beam_size, texts in hypotheses.items():
        scores = translation_metrics(
            texts,
            chosen.references,
            target_language=language,
            bootstrap=bootstrap if beam_size == own else 0,
        )
        if beam_size == own:
            metrics |= scores
        if beam_size == 1:
            metrics |= {f"{name}_greedy": scores[name] for name in ("bleu", "chrf", "bleu_tok_lc")}
        metrics[f"bleu_tok_lc_beam_{beam_size}"] = scores["bleu_tok_lc"]
    metrics |= length_metrics(
        chosen.source, hypotheses[own], chosen.references, target_language=language
    )
    return TranslationScores(
        split=split,
        metrics=metrics,
        baselines=_cached_baselines(pairs, chosen) if baselines else {},
        parameters=predictor.network.parameters,
        hashes=pairs.hashes,
        hypotheses=hypotheses,
        seconds=seconds,
        signatures=signatures(chosen.references, target_language=language, bootstrap=bootstrap),
    )


def _cached_baselines(pairs: "Pairs", split: "PairSplit") -> dict:
    """Returns the baselines' scores on a split, fitted once and kept in the cache."""
    from apps.translation.baselines import score_baselines

    train = pairs.splits["train"]
    source_language, target_language = pairs.languages
    path = cache_path(
        cache_directory() / "translation_baselines",
        [pairs.languages, train.source, train.target, split.source, split.references],
        modules=["apps.translation.baselines", "apps.translation.metrics"],
    )
    return cached(
        path,
        lambda: score_baselines(
            train, split, source_language=source_language, target_language=target_language
        ),
    )


def main(
    run: Path = PRETRAINED,
    data: tuple[str, ...] = (),
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
        data: Sets, as `train` takes them (default: those that the run was trained on).
        data_dir: Folder of downloads (default: $DATA_DIR or a cache folder of yours).
        split: validation, test, or any other split of the data, such as test_2017_flickr; train
            with --no-baselines.
        beam_sizes: More beams to score, separated by commas, besides greedy and the run's own.
        baselines: Score copying the source, IBM model 1 word by word, and the translation of the
            nearest training sentence too.
        runtime: What computes: the run's Keras model, or its exported graph, whose scores are not
            recorded.
        json: Print one line of JSON instead of tables.
    """
    sizes = parse_beam_sizes(beam_sizes)
    console = open_console(stderr=json)
    # A mistake is answered before Keras starts.
    read_config(run, "translation")
    aside(console, device_line() if runtime == "keras" else runtime_line())
    with lock_run(run, shared=True):
        scores = evaluate_run(
            run,
            data=data,
            data_dir=data_dir,
            split=split,
            baselines=baselines,
            beam_sizes=sizes,
            runtime=runtime,
            bootstrap=BOOTSTRAP,
        )
        recorded = runtime == "keras" and record_scores(run, scores)
        folder = run
        if not recorded:
            folder = evaluation_folder(run, task="translation", what=data_label(" ".join(data)))
        paths = write_hypotheses(folder, scores)
        write_json(folder / OUTPUTS / f"{split}.signatures.json", scores.signatures)
    if json:
        record = {
            "split": split,
            "metrics": scores.metrics,
            "baselines": scores.baselines,
            "signatures": scores.signatures,
        }
        print(json_format.dumps(record))
    else:
        title, rows = f"translation, {split} split", table_rows(run, scores)
        console.print(metrics_table(title, rows, TABLE_METRICS))
        for name, signature in scores.signatures.items():
            aside(console, f"{name}: {signature}")
        for beam_size, seconds in scores.seconds.items():
            value = scores.metrics[f"bleu_tok_lc_beam_{beam_size}"]
            console.print(
                f"beam {beam_size}: {value:.2f} tokenised lower case,"
                f" {len(scores.hypotheses[beam_size]) / seconds:.0f} sentences a second"
            )
        aside(console, f"translations: {', '.join(str(path) for path in paths)}")
    if runtime == "onnx":
        aside(console, "not recorded: published scores are those of the Keras model")
    elif not recorded:
        aside(console, f"not recorded: {why_not_recorded(run, scores.hashes)}")


if __name__ == "__main__":
    run_command(
        main,
        prog="python -m apps.translation.evaluate",
        description="Scores a saved translation model on a split it was not trained on.",
    )
