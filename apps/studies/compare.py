"""Compares rows that were made again with the published ones, by the spread of the seeds."""

import dataclasses
import math
import statistics
from typing import Any

from rich.table import Table
from rich.text import Text
from scipy.stats import t as student_t

from common.tables import new_table

# What a row is judged by; the rest of its metrics hangs together with these.
JUDGED = {
    "forecasting": ("crps_1", "crps_20"),
    "sentiment": ("accuracy", "roc_auc"),
    "translation": ("bleu_tok_lc", "chrf"),
    "captioning": ("bleu_4", "cider"),
}
# Share of rows that are called moved although nothing but chance moved them.
_FALSE_ALARMS = 0.01


@dataclasses.dataclass(frozen=True)
class Comparison:
    """One metric of one row on one split, published and made again."""

    row: str
    split: str
    metric: str
    published: float
    """Mean over the published seeds."""
    again: float
    """Mean over the seeds made again."""
    bound: float | None
    """Greatest difference that chance explains; None where no row has two seeds."""

    @property
    def moved(self) -> bool:
        """Whether the difference is more than chance explains."""
        return self.bound is not None and abs(self.again - self.published) > self.bound


def seed_spread(rows: list[dict[str, Any]], split: str, metric: str) -> tuple[float, int]:
    """Returns the standard deviation between seeds, and its degrees of freedom.

    Two or three seeds tell little of their own spread, so all rows of a task are taken together:
    each lends the squares of its differences from its mean.

    Args:
        rows: Published rows of one task.
        split: Name of a split.
        metric: Name of a metric.
    """
    squares, freedom = 0.0, 0
    for row in rows:
        values = row["metrics"].get(split, {}).get(metric, [])
        if len(values) > 1:
            squares += (len(values) - 1) * statistics.variance(values)
            freedom += len(values) - 1
    return (math.sqrt(squares / freedom) if freedom else 0.0), freedom


def compare_row(
    published: dict[str, Any], again: dict[str, Any], rows: list[dict[str, Any]]
) -> list[Comparison]:
    """Compares a row with its published figures: a t-test with the spread of the task's rows.

    Args:
        published: The row as published.
        again: The same row, made again with some of its seeds.
        rows: All published rows of the task.
    """
    found = []
    for split, metrics in again["metrics"].items():
        for metric in JUDGED[again["task"]]:
            old = published["metrics"].get(split, {}).get(metric)
            if not old or metric not in metrics:
                continue
            deviation, freedom = seed_spread(rows, split, metric)
            bound = None
            if freedom:
                width = student_t.ppf(1 - _FALSE_ALARMS / 2, freedom)
                bound = width * deviation * math.sqrt(1 / len(old) + 1 / len(metrics[metric]))
            means = statistics.mean(old), statistics.mean(metrics[metric])
            found.append(Comparison(again["name"], split, metric, *means, bound))
    return found


def comparison_table(task: str, found: list[Comparison]) -> Table:
    """Returns a table with one line a metric."""
    figures = ("published", "again", "difference", "chance explains")
    table = new_table(f"{task}, made again", ("row", "split", "metric"), figures)
    table.add_column("")
    for one in found:
        verdict = Text("moved", "red") if one.moved else Text("holds", "green")
        table.add_row(
            one.row,
            one.split,
            one.metric,
            f"{one.published:.4f}",
            f"{one.again:.4f}",
            f"{one.again - one.published:+.4f}",
            "" if one.bound is None else f"± {one.bound:.4f}",
            verdict if one.bound is not None else "no spread is published",
        )
    return table
