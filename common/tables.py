"""Tables of published rows in Markdown files: filled by a command, never written by hand.

`python -m common.tables FILE...` writes the tables of the files anew. A table stands between
two comments, and the first one says what it shows (`rows` is optional). Tables with a name instead,
such as `<!-- table: cells -->`, are written by `python -m apps.studies.cells`:

    <!-- table: apps/sentiment/results split=test metrics=accuracy,f1 rows=lstm,gru -->
    <!-- /table -->

`<!-- table: made apps/sentiment/pretrained -->` tells how a published model was made.
"""

import re
import statistics
import sys
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from rich.table import Table

from common.cli import new_table
from common.errors import UserError, in_one_line
from common.files import read_json, write_text
from common.run_folder import METRICS

# Name of the row of the model that comes with a task.
PRETRAINED = "pretrained"


_BLOCK = re.compile(r"(<!-- table: ([^\n]+) -->\n).*?(<!-- /table -->)", re.DOTALL)


class _Look(NamedTuple):
    """How a metric is shown: its title, what it is multiplied by, its digits, its better end."""

    title: str
    scale: float = 1
    digits: int = 2
    lower_is_better: bool = False


# By the pattern of the metric's name, whose groups the title names.
_LOOKS = {
    "accuracy": _Look("accuracy %", 100),
    "f1": _Look("F1 %", 100),
    "roc_auc": _Look("ROC AUC %", 100),
    "ece": _Look("calibration error %", 100),
    "bleu": _Look("BLEU"),
    "chrf": _Look("chrF"),
    "bleu_tok_lc": _Look("BLEU, tokenised lower case"),
    r"bleu_tok_lc_words_(\d+)_(\d+)": _Look("{} to {} words"),
    r"bleu_tok_lc_words_(\d+)": _Look("{} or more words"),
    # Of captions, as fractions.
    r"bleu_(\d)": _Look("BLEU-{}", 100, 1),
    "rouge_l": _Look("ROUGE-L", 100, 1),
    "cider": _Look("CIDEr", digits=3),
    "distinct": _Look("distinct captions %", 100, 0),
    "vocabulary": _Look("words used", digits=0),
    "length": _Look("words a caption", digits=1),
    # Of forecasts, some days ahead.
    r"crps_(\d+)": _Look("CRPS %, {} d", digits=4, lower_is_better=True),
    r"rel_mae_(\d+)": _Look("MAE / last value's, {} d", digits=4, lower_is_better=True),
    r"mase_(\d+)": _Look("MASE, {} d", digits=4, lower_is_better=True),
    r"coverage_(\d+)_(\d+)": _Look("in {} %, {} d", 100, 1),
    r"direction_(\d+)": _Look("direction %, {} d", 100, 1),
    r"dm_p_(\w+)_(\d+)": _Look("p against {}, {} d", digits=4),
}
# Another way to decode, by the end of the metric's name; its title, after that of the metric.
_DECODED = {
    r"_greedy": "{}, greedy",
    r"_without_mirror": "{} without the mirror image",
    r"_beam_1": "greedy",
    r"_beam_(\d+)": "beam {1}",
}


def _look(metric: str) -> _Look:
    """Returns how a metric is shown, whatever its name."""
    for ending, title in _DECODED.items():
        if match := re.fullmatch(rf"(\w+){ending}", metric):
            look = _look(match[1])
            return look._replace(title=title.format(look.title, *match.groups()[1:]))
    for pattern, look in _LOOKS.items():
        if match := re.fullmatch(pattern, metric):
            return look._replace(title=look.title.format(*match.groups()))
    return _Look(metric)


def _pretrained_row(folder: Path) -> list[dict]:
    """Returns the model that comes with a task as a row, if there is one beside the results."""
    path = folder.parent / "pretrained" / METRICS
    if not path.is_file():
        return []
    record = read_json(path)
    metrics = {
        split: {name: [value] for name, value in scores.items()}
        for split, scores in record["metrics"].items()
    }
    row = {"name": PRETRAINED, "parameters": record["parameters"], "metrics": metrics}
    return [{**row, "baselines": {}, "epochs": [record["epochs"]], "seeds": [1]}]


def rows_of(folder: Path, split: str, names: list[str] | None = None) -> list[dict]:
    """Returns the rows of a results folder, the pretrained model too, with `scores` of a split.

    Several names of one split are separated by commas; `names` are those of rows, or None for all.

    Raises:
        UserError: If the folder holds no such row of that split.
    """
    rows = [read_json(path) for path in sorted(folder.glob("*.json"))] + _pretrained_row(folder)
    for row in rows:
        scores = [row["metrics"][name] for name in split.split(",") if name in row["metrics"]]
        row["scores"] = scores[0] if scores else None
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

    The first metric sorts the rows. Baselines are always shown, if they have it. Below the table
    stands the `caveat` of rows that have one, marked by a dagger. See `rows_of` for the rest.
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
    baselines = {name: splits for row in rows for name, splits in row["baselines"].items()}
    for name, splits in baselines.items():
        # Some metrics are of models alone, for instance those of other beams.
        if metrics[0] in splits.get(split, {}):
            scores = {metric: [value] for metric, value in splits[split].items()}
            cells = [f"{name} (baseline)", *(show_metric(scores.get(m), m) for m in metrics)]
            lines.append((splits[split][metrics[0]], table_line([*cells, "", "", ""])))
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
        "commit": record["commit"]
        + (f", its bias by {record['bias']['commit']}" if "bias" in record else ""),
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
    if metric.startswith("dm_p_"):
        least = 10.0**-look.digits
        return f"{max(values):.{look.digits}f}" if max(values) >= least else f"< {least:g}"
    mean = f"{statistics.mean(values) * look.scale:.{look.digits}f}"
    if len(values) < 2:
        return mean
    return f"{mean} ± {statistics.stdev(values) * look.scale:.{look.digits}f}"


def metrics_table(
    title: str,
    rows: dict[str, dict[str, float]],
    metrics: Sequence[str],
    *,
    known: str = "",
    bold: str = "",
) -> Table:
    """Returns a table for the terminal that shows metrics as the tables of READMEs do.

    Args:
        title: Line above it.
        rows: The metrics of each system, in their order; `<metric>_ci` is half a confidence
            interval.
        metrics: The columns.
        known: What the titles of columns need not say again.
        bold: The system whose line stands out.
    """
    # Narrow columns fit in a terminal of 80 characters; a sign stays behind its word.
    titles = [
        textwrap.fill(one.removesuffix(known).replace(" %", "\u00a0%"), 8, break_long_words=False)
        for one in map(metric_title, metrics)
    ]
    table = new_table(title, [""], titles)
    for system, scores in rows.items():
        cells = []
        for metric in metrics:
            cells.append(show_metric([scores[metric]], metric) if metric in scores else "")
            if f"{metric}_ci" in scores:
                cells[-1] += f" ± {show_metric([scores[f'{metric}_ci']], metric)}"
        table.add_row(system, *cells, style="bold" if system == bold else "")
    return table


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
        raise UserError("usage: python -m common.tables FILE...")
    for file in map(Path, files):
        write_text(file, write_tables(file.read_text(encoding="utf-8"), Path()))


if __name__ == "__main__":
    with in_one_line():
        _main(sys.argv[1:])
