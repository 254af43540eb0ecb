"""Compares the cells over all tasks, from the published rows: cost and quality of each.

    python -m apps.studies.cells    # fills both READMEs that quote it, draws docs/cells.png

All cells of a task had the same number of updates. `feedforward` has no recurrence and sees each
step alone.
"""

import dataclasses
import statistics
from pathlib import Path
from typing import Any

from apps.studies.export.study import export_table
from apps.studies.gradients.plots import clipping_table
from apps.studies.load import load_table
from apps.studies.speed import speed_table
from common.cli import run_command
from common.errors import UserError
from common.files import read_json, write_text
from common.plots import new_axes, save_figure
from common.tables import (
    PRETRAINED,
    count_label,
    fill_blocks,
    rows_of,
    show_metric,
    table_line,
)

CELLS = ("feedforward", "simple_rnn", "gru", "lstm")
# The label below a point and, as in the pictures of the gradient study, its colour.
_LOOKS = {
    "feedforward": ("no\nmemory", "#8a8f98"),
    "simple_rnn": ("simple\nRNN", "#d1495b"),
    "gru": ("GRU\n", "#3a8f5c"),
    "lstm": ("LSTM\n", "#0b6e99"),
}
# Least height of a panel, as a share of the mean of its limits.
_LEAST_SPAN = 0.03
_RESULTS = Path("apps/studies/results")
_README_FILES = ("README.md", "apps/studies/README.md")


@dataclasses.dataclass(frozen=True)
class Task:
    """How the cells are compared in a task."""

    name: str
    row: str
    """Name of a cell's row, with the cell in braces."""
    metric: str
    title: str
    scale: float
    digits: int
    lower_is_better: bool = False

    def values(self, row: dict[str, Any]) -> list[float]:
        """Returns the scaled test metric of each seed."""
        return [self.scale * value for value in row["metrics"]["test"][self.metric]]


STUDIED = (
    Task("forecasting", "{cell}", "crps_1", "CRPS %, 1 day", 1, 4, True),
    Task("sentiment", "{cell}", "accuracy", "accuracy %", 100, 2),
    Task("translation", "tatoeba_{cell}", "bleu_tok_lc", "BLEU on Tatoeba", 1, 2),
    Task("captioning", "{cell}", "cider", "CIDEr", 1, 3),
)


def read_cells(task: Task, root: Path) -> dict[str, dict[str, Any]]:
    """Returns the published rows of a task by cell; `root` is the folder that holds `apps`."""
    results = root / "apps" / task.name / "results"
    paths = {cell: results / f"{task.row.format(cell=cell)}.json" for cell in CELLS}
    return {cell: read_json(path) for cell, path in paths.items() if path.is_file()}


def _table(titles: list[str], words: int, lines: list[list[str]], rows: list[dict]) -> str:
    """Returns a Markdown table, its first `words` columns left-aligned, and the rows' caveats."""
    rule = ["---"] * words + ["---:"] * (len(titles) - words)
    caveats = dict.fromkeys(row["caveat"] for row in rows if "caveat" in row)
    notes = [f"\n† {caveat}" for caveat in caveats]
    return "\n".join([*map(table_line, (titles, rule, *lines)), *notes]) + "\n"


def _mark(row: dict[str, Any]) -> str:
    return " †" if "caveat" in row else ""


def cells_table(root: Path) -> str:
    """Returns the Markdown table of the cells in all tasks."""
    titles = ["task, on its test split", "cell", "quality", "parameters", "memory"]
    lines, rows = [], []
    for task in STUDIED:
        for cell, row in read_cells(task, root).items():
            rows.append(row)
            values = task.values(row)
            quality = f"{statistics.mean(values):.{task.digits}f}"
            if len(values) > 1:
                quality += f" ± {statistics.stdev(values):.{task.digits}f}"
            memory = f"{row['peak_memory_mb'] / 1000:.1f} GB"
            name = f"{task.name}, {task.title}"
            lines.append([name, f"`{cell}`{_mark(row)}", quality, f"{row['parameters']:,}", memory])
    return _table(titles, 2, lines, rows)


# Of the front page: task, measure, row, metric, baseline, and the published figure of a recurrent
# network on the same split and scale, with its source.
LINES = (
    (
        "translation",
        "BLEU, tokenised lower case, Multi30k `test_2016_flickr`",
        PRETRAINED,
        "bleu_tok_lc",
        "word_by_word",
        "59.02 (LIUM-CVC, WMT17, text only)",
    ),
    (
        "sentiment",
        "accuracy %, IMDB",
        PRETRAINED,
        "accuracy",
        "nb_svm",
        "92.61 (Miyato et al., 2017, LM-pretrained LSTM)",
    ),
    (
        "captioning",
        "BLEU-4, Flickr8k",
        "lstm",
        "bleu_4",
        "consensus_nearest",
        "21.3 (Xu et al., 2015, hard attention)",
    ),
    (
        "forecasting",
        "CRPS % of the next day, lower is better, 2017 and 2018",
        "lstm",
        "crps_1",
        "gjr_garch_t",
        "none on these data",
    ),
)


def front_table(root: Path) -> str:
    """Returns the Markdown table of `LINES`, from the published rows below `root`."""
    titles = ["task", "measure, test split", "recurrent network", "baseline"]
    titles.append("published, recurrent")
    lines, shown = [], []
    for task, measure, name, metric, baseline, published in LINES:
        rows = rows_of(root / "apps" / task / "results", "test,test_2016_flickr")
        row = next(row for row in rows if row["name"] == name)
        # The pretrained model has no baselines; those of Multi30k stand in the row `gru`.
        scored = next(row for row in rows if row["name"] in (name, "gru") and row["baselines"])
        score = f"**{show_metric(row['scores'][metric], metric)}**{_mark(row)} `{name}`"
        other = show_metric([scored["baselines"][baseline]["test"][metric]], metric)
        link = f"[{task}](apps/{task}/README.md)"
        lines.append([link, measure, score, f"{other} {baseline}", published])
        shown.append(row)
    return _table(titles, len(titles), lines, shown)


def fill_cells(text: str, root: Path) -> str:
    """Returns a Markdown text with up-to-date tables of the studies."""
    tables = {
        "clipping": lambda: clipping_table(read_json(root / _RESULTS / "gradients.json")),
        "cells": lambda: cells_table(root),
        "front": lambda: front_table(root),
        "export": lambda: export_table(root / _RESULTS / "export.json"),
        "load": lambda: load_table(root / _RESULTS / "load.json"),
        "speed": lambda: speed_table(sorted((root / _RESULTS).glob("speed*.json"))),
    }
    return fill_blocks(text, lambda name: tables[name]() if name in tables else None)


def plot_cells(root: Path, path: Path) -> None:
    """Draws the quality of each cell with its parameters: a panel a task, a point a seed."""
    figure, axes = new_axes(
        len(STUDIED), "What each cell gains, with as many updates (up is better)", width=3.4
    )
    for axis, task in zip(axes, STUDIED, strict=True):
        names = []
        for position, (cell, row) in enumerate(read_cells(task, root).items()):
            values = task.values(row)
            label, colour = _LOOKS[cell]
            axis.plot([position] * len(values), values, "o", color=colour, markersize=7)
            names.append(f"{label}\n{count_label(row['parameters'])}")
        axis.set_title(f"{task.name}: {task.title}", fontsize=10)
        axis.set_xticks(range(len(names)), names, fontsize=8)
        axis.margins(x=0.2, y=0.15)
        low, high = sorted(axis.get_ylim())
        # Without a least height, the noise between equal cells would look like a difference.
        margin = max(0.0, _LEAST_SPAN * (low + high) / 2 - (high - low)) / 2
        bottom, top = low - margin, high + margin
        axis.set_ylim(*((top, bottom) if task.lower_is_better else (bottom, top)))
    save_figure(figure, path)


def main(picture: Path = Path("docs/cells.png")) -> None:
    """Writes the tables and draws the picture.

    Args:
        picture: PNG file to write.
    """
    for readme in map(Path, _README_FILES):
        if not readme.is_file():
            raise UserError(f"{readme} does not exist: run in the folder of the project.")
        write_text(readme, fill_cells(readme.read_text(encoding="utf-8"), Path()))
    plot_cells(Path(), picture)


if __name__ == "__main__":
    run_command(
        main, prog="python -m apps.studies.cells", description="Compares the cells over all tasks."
    )
