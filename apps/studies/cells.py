"""Sets the cells side by side over all tasks: what each costs and gains, from the published rows.

    python -m apps.studies.cells    # fills both READMEs that quote it, draws docs/cells.png

In a task all cells were trained with the same number of updates. `feedforward` is the network
without recurrence, which sees each step alone. What an epoch takes is measured apart, where the
cells take turns: `make study-cell-speed`.
"""

import dataclasses
import statistics
from pathlib import Path
from typing import Any

from apps.studies.speed import speed_table
from common.config import run_command
from common.errors import UserError
from common.files import read_json, write_text
from common.result_tables import count_label, fill_blocks, show_metric, table_line

CELLS = ("feedforward", "simple_rnn", "gru", "lstm")
_LABELS = {
    "feedforward": "no\nmemory",
    "simple_rnn": "simple\nRNN",
    "gru": "GRU\n",
    "lstm": "LSTM\n",
}
# Least height of a panel, as a share of what it shows.
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
    watched: str
    """Column of the curves that tells how well the model is after each epoch."""
    lower_is_better: bool = False


STUDIED = (
    Task("forecasting", "{cell}", "crps_1", "CRPS %, 1 day", 1, 4, "val_loss", True),
    Task("sentiment", "{cell}", "accuracy", "accuracy %", 100, 2, "val_accuracy"),
    Task("translation", "tatoeba_{cell}", "bleu_tok_lc", "BLEU on Tatoeba", 1, 2, "val_bleu"),
    Task("captioning", "{cell}", "cider", "CIDEr", 1, 3, "val_cider"),
)


def read_cells(task: Task, root: Path) -> dict[str, dict[str, Any]]:
    """Returns the published rows of a task by their cells; one that is not published is missing.

    Args:
        task: Which one.
        root: Folder that holds `apps`.
    """
    found = {}
    for cell in CELLS:
        path = root / "apps" / task.name / "results" / f"{task.row.format(cell=cell)}.json"
        if path.is_file():
            found[cell] = read_json(path)
    return found


def epochs_to(task: Task, rows: dict[str, dict[str, Any]]) -> dict[str, float]:
    """Returns after how many epochs each cell is as good as the simple one ever is, on validation.

    Between two epochs the curve is taken for a straight line. The first seed alone, since it is
    the one that all cells have; a cell that never gets there is left out.
    """
    curves = {
        cell: [value for value in row["curves"][0][task.watched] if value is not None]
        for cell, row in rows.items()
        if "curves" in row
    }
    if "simple_rnn" not in curves:
        return {}
    sign = -1 if task.lower_is_better else 1
    goal = max(sign * value for value in curves["simple_rnn"])
    found = {}
    for cell, values in curves.items():
        before = None
        for epoch, value in enumerate((sign * value for value in values), start=1):
            if value >= goal:
                step = 1.0 if before is None else (goal - before) / (value - before)
                found[cell] = epoch - 1 + step
                break
            before = value
    return found


def cells_table(root: Path) -> str:
    """Returns the Markdown table of all tasks."""
    titles = ["task, on its test split", "cell", "quality", "parameters", "training an epoch"]
    titles += ["memory", "epochs to the best of simple_rnn"]
    lines = [table_line(titles), table_line(["---", "---", *["---:"] * (len(titles) - 2)])]
    # Of `make study-cell-speed`.
    speed = root / _RESULTS / "cell_speed.json"
    parts = read_json(speed)["parts"] if speed.is_file() else {}
    timed = {name: part["results"] for name, part in parts.items()}
    caveats: dict[str, None] = {}
    for task in STUDIED:
        rows = read_cells(task, root)
        reached = epochs_to(task, rows)
        for cell, row in rows.items():
            if "caveat" in row:
                caveats[f"\n† {row['caveat']}"] = None
            values = [task.scale * value for value in row["metrics"]["test"][task.metric]]
            quality = f"{statistics.mean(values):.{task.digits}f}"
            if len(values) > 1:
                quality += f" ± {statistics.stdev(values):.{task.digits}f}"
            lines.append(
                table_line(
                    [
                        f"{task.name}, {task.title}",
                        f"`{cell}`{' †' if 'caveat' in row else ''}",
                        quality,
                        f"{row['parameters']:,}",
                        _epoch_label(timed.get(task.name, {}).get(cell)),
                        f"{row['peak_memory_mb'] / 1000:.1f} GB",
                        f"{reached[cell]:.1f}" if cell in reached else "",
                    ]
                )
            )
    return "\n".join([*lines, *caveats]) + "\n"


def _epoch_label(timed: dict[str, Any] | None) -> str:
    return f"{timed['seconds_an_epoch']:.0f} s ({timed['ratio']:.2f})" if timed else ""


@dataclasses.dataclass(frozen=True)
class Line:
    """One task in the table of the front page."""

    task: str
    measure: str
    row: str
    metric: str
    baseline: str
    published: str
    """Figure of a recurrent network on the same split and scale, with its source."""


LINES = (
    Line(
        "translation",
        "BLEU, tokenised lower case, Multi30k `test_2016_flickr`",
        "gru_self_trained",
        "bleu_tok_lc",
        "word_by_word",
        "59.02 (LIUM-CVC, WMT17, text only)",
    ),
    Line(
        "sentiment",
        "accuracy %, IMDB",
        "pretrained_self_trained",
        "accuracy",
        "nb_svm",
        "92.61 (Miyato et al., 2017, LM-pretrained LSTM)",
    ),
    Line(
        "captioning",
        "BLEU-4, Flickr8k",
        "lstm",
        "bleu_4",
        "consensus_nearest",
        "21.3 (Xu et al., 2015, hard attention)",
    ),
    Line(
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
    titles = [
        "task",
        "measure, test split",
        "recurrent network",
        "baseline",
        "published, recurrent",
    ]
    lines = [table_line(titles), table_line(["---"] * len(titles))]
    caveats = {}
    for line in LINES:
        row = read_json(root / "apps" / line.task / "results" / f"{line.row}.json")
        mark = " †" if "caveat" in row else ""
        if mark:
            caveats[line.task] = row["caveat"]
        ours = show_metric(row["metrics"]["test"][line.metric], line.metric)
        theirs = show_metric([row["baselines"][line.baseline]["test"][line.metric]], line.metric)
        lines.append(
            table_line(
                [
                    f"[{line.task}](apps/{line.task}/README.md)",
                    line.measure,
                    f"**{ours}**{mark} `{line.row}`",
                    f"{theirs} {line.baseline}",
                    line.published,
                ]
            )
        )
    notes = [f"\n† {caveat}" for caveat in dict.fromkeys(caveats.values())]
    return "\n".join([*lines, *notes]) + "\n"


def fill_cells(text: str, root: Path) -> str:
    """Returns a Markdown text with the tables of cells, speed and clipping written again."""
    from apps.studies.gradients.plots import clipping_table

    tables = {
        "clipping": lambda: clipping_table(read_json(root / _RESULTS / "gradients.json")),
        "cells": lambda: cells_table(root),
        "front": lambda: front_table(root),
        "speed": lambda: speed_table(sorted((root / _RESULTS).glob("speed*.json"))),
    }
    return fill_blocks(text, lambda name: tables[name]() if name in tables else None)


def plot_cells(root: Path, path: Path) -> None:
    """Draws quality over the cells, with their parameters: a panel a task and a point a seed."""
    from common.plots import new_axes, save_figure

    figure, axes = new_axes(
        len(STUDIED), "What each cell gains, with as many updates (up is better)", width=3.4
    )
    # As in the pictures of the gradient study.
    colours = dict(zip(CELLS, ("#8a8f98", "#d1495b", "#3a8f5c", "#0b6e99"), strict=True))
    for axis, task in zip(axes, STUDIED, strict=True):
        names = []
        for place, (cell, row) in enumerate(read_cells(task, root).items()):
            values = [task.scale * value for value in row["metrics"]["test"][task.metric]]
            axis.plot([place] * len(values), values, "o", color=colours[cell], markersize=7)
            names.append(f"{_LABELS[cell]}\n{count_label(row['parameters'])}")
        axis.set_title(f"{task.name}: {task.title}", fontsize=10)
        axis.set_xticks(range(len(names)), names, fontsize=8)
        axis.margins(x=0.2, y=0.15)
        low, high = sorted(axis.get_ylim())
        # Cells that are level look level.
        lacking = max(0.0, _LEAST_SPAN * (low + high) / 2 - (high - low)) / 2
        bottom, top = low - lacking, high + lacking
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
        main,
        prog="python -m apps.studies.cells",
        description="Sets the cells side by side over all tasks.",
    )
