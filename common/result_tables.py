"""Tables of published rows in Markdown files: filled by a command, never written by hand.

`python -m common.result_tables FILE...` writes the tables of the files anew. A table stands between
two comments, and the first one says what it shows (`rows` is optional). Tables with a name instead,
such as `<!-- table: cells -->`, are written by `python -m apps.studies.cells`:

    <!-- table: apps/sentiment/results split=test metrics=accuracy,f1 rows=lstm,gru -->
    <!-- /table -->

`<!-- table: made apps/sentiment/pretrained -->` tells how a published model was made.
"""

import re
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from common.artifact import METRICS
from common.errors import UserError, in_one_line
from common.files import read_json, write_text

# Name of the row of the model that comes with a task.
PRETRAINED = "pretrained"
_BLOCK = re.compile(r"(<!-- table: ([^\n]+) -->\n).*?(<!-- /table -->)", re.DOTALL)


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


def _pretrained_row(folder: Path) -> list[dict]:
    """Returns the model that comes with a task as a row, if there is one beside the results."""
    path = folder.parent / "pretrained" / METRICS
    if not path.is_file():
        return []
    record = read_json(path)
    scores = {
        split: {name: [value] for name, value in found.items()}
        for split, found in record["metrics"].items()
    }
    return [
        {
            "name": PRETRAINED,
            "parameters": record["parameters"],
            "metrics": scores,
            "baselines": {},
            "epochs": [record["epochs"]],
            "seeds": [1],
        }
    ]


def rows_of(folder: Path, split: str, names: list[str] | None = None) -> list[dict]:
    """Returns the rows of a results folder, the pretrained model too, with `scores` of a split.

    Args:
        folder: Holds one JSON file a row.
        split: Name of the split; several names of one split are separated by commas.
        names: Which rows, or all.

    Raises:
        UserError: If the folder holds no such row of that split.
    """
    rows = [read_json(path) for path in sorted(folder.glob("*.json"))] + _pretrained_row(folder)
    for row in rows:
        found = [row["metrics"][name] for name in split.split(",") if name in row["metrics"]]
        row["scores"] = found[0] if found else None
    rows = [row for row in rows if row["scores"]]
    if names is not None:
        missing = set(names) - {row["name"] for row in rows}
        if missing:
            raise UserError(f"{folder} holds no row {', '.join(sorted(missing))}: gather it first.")
        rows = [row for row in rows if row["name"] in names]
    if not rows:
        raise UserError(f"{folder} holds no row with scores of {split}: gather one first.")
    return rows


def table(folder: Path, *, split: str, metrics: list[str], names: list[str] | None = None) -> str:
    """Returns the Markdown table of all rows in a results folder, best first, baselines among them.

    Args:
        folder: Holds one JSON file a row.
        split: Whose scores to show, as in `rows_of`.
        metrics: Which ones; the first sorts the rows, the best on top.
        names: Which rows, or all; baselines are always shown, if they have the first metric.

    Returns:
        The table, and below it the `caveat` of rows that have one, marked by a dagger.

    Raises:
        UserError: If the folder holds no such row of that split.
    """
    rows = rows_of(folder, split, names)
    split = split.split(",")[0]
    lines: list[tuple[float, str]] = []
    for row in rows:
        scores = row["scores"]
        epochs = statistics.mean(row["epochs"])
        cells = [
            f"`{row['name']}`{' †' if 'caveat' in row else ''}",
            *(show_metric(scores.get(metric), metric) for metric in metrics),
            count_label(row["parameters"]),
            f"{epochs:.0f}",
            f"{len(row['seeds'])}",
        ]
        lines.append((statistics.mean(scores[metrics[0]]), table_line(cells)))
    baselines = {name: found for row in rows for name, found in row["baselines"].items()}
    for name, found in baselines.items():
        # Some metrics are of models alone, for instance those of other beams.
        if metrics[0] in found.get(split, {}):
            scores = {metric: [value] for metric, value in found[split].items()}
            cells = [f"{name} (baseline)", *(show_metric(scores.get(m), m) for m in metrics)]
            lines.append((found[split][metrics[0]], table_line([*cells, "", "", ""])))
    titles = ["row", *(_look(metric).title for metric in metrics)]
    titles += ["parameters", "epochs", "seeds"]
    rule = table_line(["---", *["---:"] * (len(titles) - 1)])
    sign = 1 if _look(metrics[0]).lower_is_better else -1
    body = [line for _, line in sorted(lines, key=lambda item: sign * item[0])]
    caveats = dict.fromkeys(f"\n† {row['caveat']}" for row in rows if "caveat" in row)
    return "\n".join([table_line(titles), rule, *body, *caveats]) + "\n"


def made_table(record: dict) -> str:
    """Returns the Markdown table of how a published model was made, from its `metrics.json`."""
    versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    lines = {
        "command": f"`{record['command']}`",
        "commit": record["commit"],
        "date": record.get("date", "not recorded"),
        "training": f"{record['epochs']} epochs, {record['seconds'] / 60:.0f} minutes on"
        f" {record['device']}",
        "parameters": f"{record['parameters']:,}",
        "weights": record["published"]["weights"],
        "versions": versions,
        "files read": ", ".join(record["data"])
        if len(record["data"]) < 20
        else f"{len(record['data'])} files, named with their SHA-256 in {METRICS}",
    }
    body = [table_line([name, value]) for name, value in lines.items()]
    return (
        "\n".join([table_line(["", "how it was made"]), table_line(["---", "---"]), *body]) + "\n"
    )


def write_tables(text: str, root: Path) -> str:
    """Returns a Markdown text whose tables of rows are written again from the rows below `root`."""

    def rows_table(words: str) -> str | None:
        folder, *options = words.split()
        if folder == "made":
            return made_table(read_json(root / options[0] / METRICS))
        if not options:
            return None
        values = dict(option.split("=") for option in options)
        names = values["rows"].split(",") if "rows" in values else None
        metrics = values["metrics"].split(",")
        return table(root / folder, split=values["split"], metrics=metrics, names=names)

    return fill_blocks(text, rows_table)


def fill_blocks(text: str, content: Callable[[str], str | None]) -> str:
    """Replaces what stands between `<!-- table: WORDS -->` and `<!-- /table -->`.

    Args:
        text: A Markdown text.
        content: Returns the table for WORDS, or None to leave the block as it is.
    """

    def fill(match: re.Match) -> str:
        new = content(match[2])
        return match[0] if new is None else f"{match[1]}{new}{match[3]}"

    return _BLOCK.sub(fill, text)


def show_metric(values: list[float] | None, metric: str) -> str:
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


def metric_title(metric: str) -> str:
    """Returns the title of a metric's column."""
    return _look(metric).title


def count_label(number: int) -> str:
    """Returns a number of parameters in three digits, such as `2.23 M`."""
    return f"{number / 1e6:.2f} M" if number >= 1e5 else f"{number / 1e3:.0f} k"


def table_line(cells: list[str]) -> str:
    """Returns a line of a Markdown table."""
    return f"| {' | '.join(cells)} |"


def _main(files: list[str]) -> None:
    if not files:
        raise UserError("usage: python -m common.result_tables FILE...")
    for file in map(Path, files):
        write_text(file, write_tables(file.read_text(encoding="utf-8"), Path()))


if __name__ == "__main__":
    with in_one_line():
        _main(sys.argv[1:])
