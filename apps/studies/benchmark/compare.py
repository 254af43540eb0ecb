"""Compares retrained rows with the published ones, by the spread between the seeds."""

import dataclasses
import math
import statistics
from typing import Any

from rich.table import Table
from rich.text import Text

from common.cli import new_table

# Metrics that a row is judged by; the others correlate with these.
JUDGED = {
    "forecasting": ("crps_1", "crps_20"),
    "sentiment": ("accuracy", "roc_auc"),
    "translation": ("bleu_tok_lc", "chrf"),
    "captioning": ("bleu_4", "cider"),
}
# Share of rows whose verdict is "moved" by chance alone.
_FALSE_ALARMS = 0.01
# With equal values of these, a seed repeats bit for bit on a CPU.
_CONDITIONS = ("backend", "device", "processor", "versions", "data")
# Rows with one of these depend on other runs, whose conditions they do not record.
_ORIGINS = ("init_from", "teacher", "members")
_COLOURS = {"moved": "red", "identical": "green", "within chance": "green"}


@dataclasses.dataclass(frozen=True)
class Comparison:
    """One metric of one row on one split, published and retrained: means over the seeds.

    `bound` is the greatest difference that chance explains, None where no row has two seeds;
    `verdict` is `identical`, `within chance`, `moved`, or `no spread is published`.
    """

    row: str
    split: str
    metric: str
    published: float
    again: float
    bound: float | None
    verdict: str


def why_it_may_differ(published: dict[str, Any], again: dict[str, Any]) -> str:
    """Returns why a retrained row need not repeat bit for bit; empty if it must."""
    if any(key in published for key in _ORIGINS):
        return "it depends on other runs, whose machine the row does not record"
    for name in _CONDITIONS:
        if name not in published:
            return f"the published row does not record its {name}"
        if published[name] != again[name]:
            return f"its {name} was {published[name]} and is {again[name]}"
    # A GPU adds up in any order.
    return "" if published["device"].startswith("CPU") else f"{published['device']} may not repeat"


def seed_spread(rows: list[dict[str, Any]], split: str, metric: str) -> tuple[float, int]:
    """Returns the standard deviation between seeds, pooled over rows, and its degrees of freedom.

    Two or three seeds of a row tell little of their own spread.
    """
    rows_values = [row["metrics"].get(split, {}).get(metric, []) for row in rows]
    repeated = [values for values in rows_values if len(values) > 1]
    freedom = sum(len(values) - 1 for values in repeated)
    squares = sum((len(values) - 1) * statistics.variance(values) for values in repeated)
    return (math.sqrt(squares / freedom) if freedom else 0.0), freedom


def compare_row(
    published: dict[str, Any], again: dict[str, Any], rows: list[dict[str, Any]]
) -> list[Comparison]:
    """Returns the judged metrics of a retrained row, and all others that had to repeat and did not.

    Where the row must repeat, each metric must be equal. Elsewhere the judged metrics take a t-test
    with the spread of the task's rows. The rate of false alarms is divided by the number of these
    tests (Bonferroni), so that it is that of the row.

    Args:
        published: The row as published.
        again: The same row, retrained with some of its seeds.
        rows: All published rows of the task.
    """
    from scipy.stats import t as student_t

    must_repeat = not why_it_may_differ(published, again)
    positions = [published["seeds"].index(s) for s in again["seeds"] if s in published["seeds"]]
    pairs = [
        (split, metric, published["metrics"][split][metric], values)
        for split, metrics in again["metrics"].items()
        for metric, values in metrics.items()
        if metric in published["metrics"].get(split, {})
    ]
    judged = JUDGED[again["task"]]
    tests = sum(metric in judged for _, metric, *_ in pairs)
    comparisons = []
    for split, metric, old, new in pairs:
        same_seeds = [old[position] for position in positions]
        identical = same_seeds == new
        if metric not in judged and (identical or not must_repeat):
            continue
        deviation, freedom = seed_spread(rows, split, metric)
        bound = None
        if freedom:
            quantile = student_t.ppf(1 - _FALSE_ALARMS / max(tests, 1) / 2, freedom)
            bound = quantile * deviation * math.sqrt(1 / len(old) + 1 / len(new))
        before = statistics.mean(same_seeds if identical or must_repeat else old)
        after = statistics.mean(new)
        if identical:
            verdict = "identical"
        elif must_repeat or (bound is not None and abs(after - before) > bound):
            verdict = "moved"
        else:
            verdict = "no spread is published" if bound is None else "within chance"
        comparisons.append(Comparison(again["name"], split, metric, before, after, bound, verdict))
    return comparisons


def comparison_table(task: str, comparisons: list[Comparison]) -> Table:
    """Returns a table with one line a metric."""
    figures = ("published", "again", "difference", "chance explains")
    table = new_table(f"{task}, retrained", ("row", "split", "metric"), figures)
    table.add_column("")
    for line in comparisons:
        table.add_row(
            line.row,
            line.split,
            line.metric,
            f"{line.published:.4f}",
            f"{line.again:.4f}",
            f"{line.again - line.published:+.4f}",
            "" if line.bound is None else f"± {line.bound:.4f}",
            Text(line.verdict, _COLOURS.get(line.verdict, "dim")),
        )
    return table


def explanation(published: dict[str, Any], again: dict[str, Any]) -> str:
    """Returns one line: how a row was judged, and which commits it compares."""
    reason = why_it_may_differ(published, again)
    judged = f"judged by chance, because {reason}" if reason else "must repeat value for value"
    commits = f"commit {published['commit']} published it, {again['commit']} retrained it"
    return f"{again['name']}: {judged}; {commits}."
