"""Compares rows that were made again with the published ones, by the spread of the seeds."""

import dataclasses
import math
import statistics
from typing import Any

from rich.table import Table
from rich.text import Text

from common.results import SAME
from common.tables import new_table

# What a row is judged by; the rest of its metrics hangs together with these.
JUDGED = {
    "forecasting": ("crps_1", "crps_20"),
    "sentiment": ("accuracy", "roc_auc"),
    "translation": ("bleu_tok_lc", "chrf"),
    "captioning": ("bleu_4", "cider"),
}
# Share of rows that are called moved although nothing but chance moved one of their metrics.
_FALSE_ALARMS = 0.01
# What must be the same for a seed to give the same figures, bit for bit.
_CONDITIONS = ("backend", "device", "processor", "versions", "data")
# Rows that come after other runs do not hold the conditions of those.
_AFTER_OTHERS = ("init_from", "teacher", "members")


@dataclasses.dataclass(frozen=True)
class Comparison:
    """One metric of one row on one split, published and made again."""

    row: str
    split: str
    metric: str
    published: float
    """Mean over the published seeds; of the remade ones alone where equality decides."""
    again: float
    """Mean over the seeds made again."""
    bound: float | None
    """Greatest difference that chance explains; None where no row has two seeds."""
    identical: bool
    """Whether each remade seed has exactly the published value."""
    must_repeat: bool
    """Whether it must: code, machine, versions and data are to give the same figures."""

    @property
    def verdict(self) -> str:
        """`identical`, `within chance`, `moved`, or that there is no spread to judge by."""
        if self.identical:
            return "identical"
        if self.must_repeat:
            return "moved"
        if self.bound is None:
            return "no spread is published"
        return "moved" if abs(self.again - self.published) > self.bound else "within chance"


def why_it_may_differ(published: dict[str, Any], again: dict[str, Any]) -> str:
    """Returns why a row need not repeat bit for bit; nothing if it must.

    Args:
        published: The row as published.
        again: The same row, made again.
    """
    if any(key in published for key in _AFTER_OTHERS):
        return "it comes after other runs, whose machine the row does not tell"
    for name in _CONDITIONS:
        if name not in published:
            return f"the published row does not tell its {name}"
        if published[name] != again[name]:
            return f"its {name} was {published[name]} and is {again[name]}"
    # Many threads of a GPU add up in any order.
    return "" if published["device"].startswith("CPU") else f"{published['device']} may not repeat"


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
    """Compares a row with its published figures, seed by seed, or by chance where it must be.

    Where the row has to repeat, each of its metrics has to be equal. Elsewhere the metrics that it
    is judged by take a t-test with the spread of the task's rows. The rate of false alarms is
    divided by the number of these tests (Bonferroni), so that it is that of the row.

    Args:
        published: The row as published.
        again: The same row, made again with some of its seeds.
        rows: All published rows of the task.

    Returns:
        The metrics that the row is judged by, and all others that had to repeat and did not.
    """
    from scipy.stats import t as student_t

    must_repeat = not why_it_may_differ(published, again)
    places = {seed: place for place, seed in enumerate(published["seeds"])}
    pairs = [
        (split, metric, published["metrics"][split][metric], new)
        for split, metrics in again["metrics"].items()
        for metric, new in metrics.items()
        if metric in published["metrics"].get(split, {})
    ]
    judged = JUDGED[again["task"]]
    tests = sum(metric in judged for _, metric, *_ in pairs)
    compared = []
    for split, metric, old, new in pairs:
        same_seeds = [old[places[seed]] for seed in again["seeds"] if seed in places]
        identical = same_seeds == new
        if metric not in judged and (identical or not must_repeat):
            continue
        deviation, freedom = seed_spread(rows, split, metric)
        bound = None
        if freedom:
            # Of a metric that is not judged, too, for comparison.
            width = student_t.ppf(1 - _FALSE_ALARMS / max(tests, 1) / 2, freedom)
            bound = width * deviation * math.sqrt(1 / len(old) + 1 / len(new))
        before = same_seeds if identical or must_repeat else old
        means = statistics.mean(before), statistics.mean(new)
        compared.append(
            Comparison(again["name"], split, metric, *means, bound, identical, must_repeat)
        )
    return compared


def comparison_table(task: str, compared: list[Comparison]) -> Table:
    """Returns a table with one line a metric."""
    figures = ("published", "again", "difference", "chance explains")
    table = new_table(f"{task}, made again", ("row", "split", "metric"), figures)
    table.add_column("")
    colours = {"moved": "red", "identical": "green", "within chance": "green"}
    for one in compared:
        colour = colours.get(one.verdict, "dim")
        table.add_row(
            one.row,
            one.split,
            one.metric,
            f"{one.published:.4f}",
            f"{one.again:.4f}",
            f"{one.again - one.published:+.4f}",
            "" if one.bound is None else f"± {one.bound:.4f}",
            Text(one.verdict, colour),
        )
    return table


def explanation(
    published: dict[str, Any], again: dict[str, Any], compared: list[Comparison]
) -> str:
    """Returns, in one line, by what a row was judged, and what a difference may come from."""
    verdicts = {one.verdict for one in compared}
    if verdicts == {"identical"}:
        return f"{again['name']}: all that it is judged by repeats value for value."
    reason = why_it_may_differ(published, again)
    line = f"{again['name']}: " + (
        f"judged by chance, since {reason}."
        if reason
        else "had to repeat value for value on this machine and did not."
    )
    if "moved" in verdicts:
        line += f" Published by commit {published['commit']}, made again by {again['commit']}"
        line += ": if a change between them is meant to move it, publish the row again."
    return line


def changed_scores(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Returns a line for each score of a row that stands in both and differs in four digits.

    Args:
        before: The row as it was published.
        after: The row that replaces it.
    """
    seeds = [seed for seed in before["seeds"] if seed in after["seeds"]]

    def values(row: dict[str, Any]) -> dict[str, float]:
        places = [(f"seed {seed}", row["seeds"].index(seed)) for seed in seeds]
        found = {
            f"{split} {metric}, {label}": numbers[place]
            for split, metrics in row["metrics"].items()
            for metric, numbers in metrics.items()
            for label, place in places
        }
        for name, splits in row["baselines"].items():
            for split, metrics in splits.items():
                found |= {f"{split} {metric}, {name}": value for metric, value in metrics.items()}
        return found

    old, new = values(before), values(after)
    return [
        f"{name}: {old[name]:.6g} -> {new[name]:.6g}"
        for name in old
        if name in new and not abs(new[name] - old[name]) < SAME
    ]
