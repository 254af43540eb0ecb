"""Published rows and tables: gathered from run folders by commands, never written by hand.

`python -m common.results gather RESULTS_FOLDER NAME RUN...` makes one row of the runs of its seeds;
`python -m common.results tables FILE...` writes the tables of Markdown files anew. A table stands
between two comments, the first of which says what it holds (`rows` may be left out):

    <!-- table: apps/sentiment/results split=test metrics=accuracy,f1 rows=lstm,gru -->
    <!-- /table -->
"""

import csv
import dataclasses
import math
import re
import statistics
import sys
from pathlib import Path
from typing import Any, NamedTuple

from common.artifact import CONFIG, HISTORY, METRICS, read_json, write_json, write_text
from common.errors import UserError

_TABLE = re.compile(
    r"(<!-- table: (?P<folder>\S+) split=(?P<split>\w+) metrics=(?P<metrics>[\w,]+)"
    r"(?: rows=(?P<rows>[\w,]+))? -->\n)"
    r".*?(?P<end><!-- /table -->)",
    re.DOTALL,
)


class _Look(NamedTuple):
    """How a metric is shown: its title, what it is multiplied by, its digits, its better end."""

    title: str
    scale: float = 1
    digits: int = 2
    lower_is_better: bool = False


_LOOKS = {
    "accuracy": _Look("accuracy %", 100),
    "f1": _Look("F1 %", 100),
    "roc_auc": _Look("ROC AUC %", 100),
    "ece": _Look("calibration error %", 100),
    "bleu": _Look("BLEU"),
    "chrf": _Look("chrF"),
    "bleu_tok_lc": _Look("BLEU, tokenised lower case"),
    # Of captions, as fractions.
    **{f"bleu_{order}": _Look(f"BLEU-{order}", 100, 1) for order in range(1, 5)},
    "rouge_l": _Look("ROUGE-L", 100, 1),
    "cider": _Look("CIDEr", digits=3),
    "meteor": _Look("METEOR", 100, 1),
    "distinct": _Look("distinct captions %", 100, 0),
    "vocabulary": _Look("words used", digits=0),
    "length": _Look("words a caption", digits=1),
}
# Of forecasts; the number of days follows.
_LOOKS_AHEAD = {
    "crps": _Look("CRPS %", digits=4, lower_is_better=True),
    "rel_mae": _Look("MAE / last value's", digits=4, lower_is_better=True),
    "mase": _Look("MASE", digits=3, lower_is_better=True),
    "coverage_50": _Look("in 50 %", 100, 1),
    "coverage_80": _Look("in 80 %", 100, 1),
    "coverage_95": _Look("in 95 %", 100, 1),
    "direction": _Look("direction %", 100, 1),
}
_P_VALUE = re.compile(r"dm_p_(?P<baseline>\w+)_(?P<days>\d+)$")
# Of translations: greedy search, a beam of some size, sentences of some length.
_GREEDY = re.compile(r"(?P<metric>\w+)_greedy$")
_BEAM = re.compile(r"(?P<metric>\w+)_beam_(?P<size>\d+)$")
# Of captions that are written from the picture alone.
_ALONE = re.compile(r"(?P<metric>\w+)_without_mirror$")
_WORDS = re.compile(r"\w+_words_(?P<least>\d+)(?:_(?P<most>\d+))?$")


def _look(metric: str) -> _Look:
    """Returns how a metric is shown, whatever its name."""
    if found := _P_VALUE.match(metric):
        return _Look(f"p against {found['baseline']}, {found['days']} d", digits=4)
    if found := _GREEDY.match(metric):
        look = _look(found["metric"])
        return look._replace(title=f"{look.title}, greedy")
    if found := _BEAM.match(metric):
        search = f"beam {found['size']}" if found["size"] != "1" else "greedy"
        return _look(found["metric"])._replace(title=search)
    if found := _ALONE.match(metric):
        look = _look(found["metric"])
        return look._replace(title=f"{look.title} without the mirror image")
    if found := _WORDS.match(metric):
        last = f" to {found['most']}" if found["most"] else " or more"
        return _Look(f"{found['least']}{last} words")
    name, _, days = metric.rpartition("_")
    if days.isdigit() and name in _LOOKS_AHEAD:
        look = _LOOKS_AHEAD[name]
        return look._replace(title=f"{look.title}, {days} d")
    return _LOOKS.get(metric, _Look(metric))


_SAME_IN_ALL_SEEDS = ("task", "command", "parameters", "backend", "device", "versions", "data")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scores:
    """What a saved model reached on one split."""

    split: str
    metrics: dict[str, float]
    baselines: dict[str, dict[str, float]]
    """Name to metrics; empty if they were not wanted."""
    parameters: int
    hashes: dict[str, str]
    """Of the data."""


def record_scores(run: Path, scores: Scores, *, task: str) -> bool:
    """Adds scores to the run's `metrics.json`, if they are of the data that it was trained on.

    Scores that stand there already stay if they are the same to four digits, so that evaluating
    on another machine does not change a published file.

    Args:
        run: Run folder.
        scores: What `evaluate` found.
        task: Task of the run.

    Returns:
        Whether the scores stand in the file now.
    """
    path = run / METRICS
    record = read_json(path) if path.is_file() else {"task": task}
    if record.setdefault("data", scores.hashes) != scores.hashes:
        return False
    record.setdefault("parameters", scores.parameters)
    known = record.setdefault("metrics", {}).get(scores.split, {})
    baselines = record.setdefault("baselines", {})
    news = [name for name in scores.baselines if scores.split not in baselines.get(name, {})]
    same = all(
        name in known and abs(known[name] - value) < 5e-5 for name, value in scores.metrics.items()
    )
    if same and not news:
        return True
    # A metric that was asked for another time stays.
    record["metrics"][scores.split] = {**known, **scores.metrics}
    for name in scores.baselines:
        baselines.setdefault(name, {})[scores.split] = scores.baselines[name]
    write_json(path, record)
    return True


def gather_row(runs: list[Path], name: str) -> dict[str, Any]:
    """Gathers the metrics of one configuration trained with several seeds.

    Args:
        runs: Run folders that differ in their seed alone.
        name: Name of the row.

    Returns:
        The row, with one value a seed in every list.

    Raises:
        UserError: If a run is missing, was not scored, or differs in more than the seed.
    """
    metrics = [read_json(run / METRICS) for run in runs]
    configs = [read_json(run / CONFIG) for run in runs]
    seeds = [config.pop("seed") for config in configs]
    for run, config in zip(runs, configs, strict=True):
        # A setting that only one of them knows is newer than the other, and at its default there.
        common = config.keys() & configs[0].keys()
        differing = sorted(key for key in common if config[key] != configs[0][key])
        if differing:
            raise UserError(f"{run} differs from {runs[0]} in {', '.join(differing)}: not one row.")
    for run, found in zip(runs, metrics, strict=True):
        if missing := {"metrics", "seconds"} - found.keys():
            raise UserError(f"{run} has no {min(missing)} yet: let it end, and evaluate it.")
        for key in ("data", "backend"):
            if found[key] != metrics[0][key]:
                raise UserError(f"{run} has another {key} than {runs[0]}: not one row.")
    splits = {split for found in metrics for split in found["metrics"]}
    for run, found in zip(runs, metrics, strict=True):
        missing = splits - set(found["metrics"])
        if missing:
            raise UserError(f"{run} was not scored on {', '.join(missing)}: evaluate it first.")
    for split in splits:
        kinds = [found["metrics"][split].keys() for found in metrics]
        for run, kind in zip(runs, kinds, strict=True):
            if missing := set().union(*kinds) - kind:
                raise UserError(
                    f"{run} lacks {', '.join(sorted(missing))} of the {split} split, which another"
                    " seed has: evaluate them with the same flags."
                )
    first, histories = metrics[0], [_read_history(run) for run in runs]
    return {
        "name": name,
        **{key: first[key] for key in _SAME_IN_ALL_SEEDS},
        "config": configs[0],
        "seeds": seeds,
        "metrics": {
            split: {
                metric: [found["metrics"][split][metric] for found in metrics]
                for metric in first["metrics"][split]
            }
            for split in sorted(splits)
        },
        "baselines": first["baselines"],
        "seconds": [found["seconds"] for found in metrics],
        "seconds_per_epoch": [statistics.mean(history["seconds"]) for history in histories],
        # Members of an ensemble were trained each for itself.
        **({} if "members" in first else {"curves": [_curves(history) for history in histories]}),
        "epochs": [found["epochs"] for found in metrics],
        "peak_memory_mb": max(found["peak_memory_mb"] for found in metrics),
        "commit": first["commit"],
    }


def table(folder: Path, *, split: str, metrics: list[str], names: list[str] | None = None) -> str:
    """Returns the Markdown table of all rows in a results folder, best first, baselines among them.

    Args:
        folder: Holds one JSON file a row.
        split: Whose scores to show.
        metrics: Which ones; the first sorts the rows, the best on top.
        names: Which rows, or all; baselines are always shown, if they have the first metric.

    Raises:
        UserError: If the folder holds no such row of that split.
    """
    rows = [read_json(path) for path in sorted(folder.glob("*.json"))]
    rows = [row for row in rows if split in row["metrics"]]
    if names is not None:
        missing = set(names) - {row["name"] for row in rows}
        if missing:
            raise UserError(f"{folder} holds no row {', '.join(sorted(missing))}: gather it first.")
        rows = [row for row in rows if row["name"] in names]
    if not rows:
        raise UserError(f"{folder} holds no row with scores of {split}: gather one first.")
    lines: list[tuple[float, str]] = []
    for row in rows:
        scores = row["metrics"][split]
        epochs = statistics.mean(row["epochs"])
        cells = [
            f"`{row['name']}`",
            *(_spread(scores.get(metric), metric) for metric in metrics),
            _count(row["parameters"]),
            f"{epochs:.0f}",
            f"{statistics.mean(row['seconds_per_epoch']):.0f} s",
            f"{statistics.mean(row['seconds']) / 60:.1f} min",
            f"{len(row['seeds'])}",
        ]
        lines.append((statistics.mean(scores[metrics[0]]), _line(cells)))
    baselines = {name: found for row in rows for name, found in row["baselines"].items()}
    for name, found in baselines.items():
        # Some metrics are of models alone, for instance those of other beams.
        if metrics[0] in found.get(split, {}):
            scores = {metric: [value] for metric, value in found[split].items()}
            cells = [f"{name} (baseline)", *(_spread(scores.get(m), m) for m in metrics)]
            lines.append((found[split][metrics[0]], _line([*cells, "", "", "", "", ""])))
    titles = ["row", *(_look(metric).title for metric in metrics)]
    titles += ["parameters", "epochs", "an epoch", "training", "seeds"]
    rule = _line(["---", *["---:"] * (len(titles) - 1)])
    sign = 1 if _look(metrics[0]).lower_is_better else -1
    body = [line for _, line in sorted(lines, key=lambda item: sign * item[0])]
    return "\n".join([_line(titles), rule, *body]) + "\n"


def write_tables(text: str, root: Path) -> str:
    """Returns a Markdown text with each of its tables made anew from the rows below `root`."""

    def fill(match: re.Match) -> str:
        found = table(
            root / match["folder"],
            split=match["split"],
            metrics=match["metrics"].split(","),
            names=match["rows"].split(",") if match["rows"] else None,
        )
        return f"{match[1]}{found}{match['end']}"

    return _TABLE.sub(fill, text)


def _read_history(run: Path) -> dict[str, list[float]]:
    """Returns the columns of a run's history, one value an epoch."""
    # Not by the callbacks' own reader, which would start Keras for a table.
    with open(run / HISTORY, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    if not rows:
        raise UserError(f"{run / HISTORY} holds no epoch: restore it or train again.")
    return {name: [float(row[name] or "nan") for row in rows] for name in rows[0]}


def _curves(history: dict[str, list[float]]) -> dict[str, list[float | None]]:
    """Returns how well the model was after each epoch, and what that took, in six digits."""
    return {
        name: [float(f"{value:.6g}") if math.isfinite(value) else None for value in values]
        for name, values in history.items()
        if name in ("seconds", "loss") or name.startswith("val_")
    }


def _spread(values: list[float] | None, metric: str) -> str:
    """Returns `91.2 ± 0.1`: mean and standard deviation over the seeds; of p the greatest."""
    if values is None:
        return ""
    look = _look(metric)
    if _P_VALUE.match(metric):
        least = 10.0**-look.digits
        return f"{max(values):.{look.digits}f}" if max(values) >= least else f"< {least:g}"
    mean = f"{statistics.mean(values) * look.scale:.{look.digits}f}"
    if len(values) < 2:
        return mean
    return f"{mean} ± {statistics.stdev(values) * look.scale:.{look.digits}f}"


def _count(number: int) -> str:
    return f"{number / 1e6:.2f} M" if number >= 1e5 else f"{number / 1e3:.0f} k"


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _main(arguments: list[str]) -> None:
    verb, *rest = arguments or [""]
    if verb == "gather" and len(rest) >= 3:
        folder, name, *runs = rest
        write_json(Path(folder) / f"{name}.json", gather_row([Path(run) for run in runs], name))
    elif verb == "tables" and rest:
        for file in map(Path, rest):
            write_text(file, write_tables(file.read_text(encoding="utf-8"), Path()))
    else:
        raise UserError(
            "usage: python -m common.results gather RESULTS_FOLDER NAME RUN... | tables FILE..."
        )


if __name__ == "__main__":
    try:
        _main(sys.argv[1:])
    except UserError as user_error:
        print(user_error, file=sys.stderr)
        sys.exit(2)
