"""Draws the pictures of the gradient study, and its table of clipping."""

from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from apps.studies.gradients.adding import ERROR_WITHOUT_MEMORY
from common.plots import new_axes, save_figure
from common.tables import table_line

# Distinguishable in print and without red and green.
_COLOURS = ("#d1495b", "#e08e2b", "#0b6e99", "#3a8f5c", "#6b4c9a", "#555555", "#b0a000")
_CLIPPINGS = {
    "none": "no clipping",
    "global_norm": "global norm {:g}",
    "norm": "norm {:g} of each variable",
    "value": "value {:g}",
}


def clipping_table(record: dict[str, Any]) -> str:
    """Returns a Markdown table of the last error of each way of clipping, a column a seed."""
    errors: dict[str, list[str]] = {}
    runs = record["parts"]["clipping"]["results"]["runs"]
    for run in sorted(runs, key=lambda run: run["seed"]):
        error = "not finite" if run["loss"][-1] is None else f"{run['loss'][-1]:.3f}"
        errors.setdefault(_clipping_label(run), []).append(error)
    seeds = sorted({run["seed"] for run in runs})
    lines = [["clipping", *(f"seed {seed}" for seed in seeds)], ["---", *["---:"] * len(seeds)]]
    lines += [[label, *row] for label, row in errors.items()]
    return "\n".join(map(table_line, lines)) + "\n"


def _clipping_label(run: dict[str, Any]) -> str:
    return _CLIPPINGS[run["mode"]].format(run["threshold"])


def _draw_reach(results: dict[str, Any]) -> Figure:
    titles = {
        "adding": f"adding problem, {results['adding']['length']} steps",
        "imdb": f"IMDB, the last {results['imdb']['length']} words of a review",
    }
    figure, axes = new_axes(2, "How much a state some steps back still moves the loss")
    for axis, (task, title) in zip(axes, titles.items(), strict=True):
        for colour, (kind, curves) in zip(_COLOURS, results[task]["kinds"].items(), strict=False):
            for moment, style, label in (("start", ":", None), ("trained", "-", kind)):
                last, *_ = norms = curves[moment]
                # Shares of the gradient at the last step; 0 and None leave a gap.
                shares = [norm / last if norm and last else float("nan") for norm in norms]
                axis.plot(shares, style, color=colour, linewidth=1.8, label=label)
        axis.set(xlabel="steps back", ylabel="gradient, last step = 1", yscale="log", title=title)
        axis.set_ylim(bottom=1e-12)
        axis.title.set_fontsize(10)
    axes[0].legend(frameon=False, fontsize=8, title="dotted: at the start", title_fontsize=8)
    return figure


def _draw_curve(axis: Axes, recorded: int, values: list[float | None], **options) -> None:
    """Draws one value for each `recorded` updates; a cross where the values stop being finite."""
    finite = [value for value in values if value is not None]
    updates = [recorded * (index + 1) for index in range(len(finite))]
    (line,) = axis.plot(updates, finite, **{"linewidth": 1.6, **options})
    if len(finite) < len(values):
        end = (updates[-1], finite[-1]) if finite else (recorded, 1.0)
        axis.plot(*end, "x", color=line.get_color(), markersize=11, markeredgewidth=3)


def _finish_errors(axis: Axes) -> None:
    """Marks the error of a network without memory, and names the axes."""
    axis.axhline(ERROR_WITHOUT_MEMORY, color="#999999", linewidth=1, linestyle="--")
    axis.set(xlabel="updates", ylabel="squared error on fresh sequences", yscale="log")
    axis.legend(frameon=False, fontsize=8)


def _draw_clipping(results: dict[str, Any]) -> Figure:
    seeds = len({run["seed"] for run in results["runs"]})
    figure, (errors, norms) = new_axes(
        2,
        f"A ReLU network over {results['length']} steps, with and without clipping"
        f" ({seeds} seeds, a curve each)",
    )
    names = list(dict.fromkeys(map(_clipping_label, results["runs"])))
    for run in results["runs"]:
        name = _clipping_label(run)
        # Without clipping: thick and behind the others, which end beside it.
        width = 4 if run["mode"] == "none" else 1.3
        options = {"color": _COLOURS[names.index(name)], "linewidth": width}
        label = name if run["seed"] == 1 else None
        _draw_curve(errors, results["recorded"], run["loss"], label=label, **options)
        _draw_curve(norms, results["recorded"], run["gradient_norm_max"], **options)
    _finish_errors(errors)
    norms.set(xlabel="updates", ylabel="greatest gradient norm before clipping", yscale="log")
    # The curves differ most in the first updates.
    for axis in (errors, norms):
        axis.set_xscale("log")
        axis.xaxis.set_major_formatter("{x:,.0f}")
    return figure


def _draw_truncation(results: dict[str, Any]) -> Figure:
    title = (
        f"An LSTM over {results['length']} steps whose gradient flows back only so far (one seed)"
    )
    figure, (errors, distances) = new_axes(2, title)
    edges = results["distances"]
    middles = [(low + high) / 2 for low, high in zip(edges, edges[1:], strict=False)]
    for colour, (piece, curve) in zip(_COLOURS, results["pieces"].items(), strict=False):
        label = f"{piece} steps"
        _draw_curve(errors, results["recorded"], curve["loss"], color=colour, label=label)
        distances.plot(middles, curve["error_by_distance"], "o-", color=colour, markersize=4)
    _finish_errors(errors)
    distances.axhline(ERROR_WITHOUT_MEMORY, color="#999999", linewidth=1, linestyle="--")
    distances.set(
        xlabel="steps between the two numbers to add",
        ylabel="squared error after all updates",
        ylim=(0, 1.15 * ERROR_WITHOUT_MEMORY),
    )
    return figure


def _draw_optimizers(results: dict[str, Any]) -> Figure:
    curves = results["optimizers"]
    title = f"An LSTM on the adding problem over {results['length']} steps"
    figure, axes = new_axes(len(curves), title)
    for axis in axes[1:]:
        axis.sharey(axes[0])
    for axis, (name, rates) in zip(axes, curves.items(), strict=True):
        for colour, (rate, curve) in zip(_COLOURS[1:], rates.items(), strict=False):
            label = f"rate {rate}"
            _draw_curve(axis, results["recorded"], curve["loss"], color=colour, label=label)
        _finish_errors(axis)
        axis.set_title({"sgd": "SGD", "rmsprop": "RMSprop", "adam": "Adam"}[name], fontsize=10)
    return figure


PARTS = {
    "reach": (_draw_reach, "vanishing.png"),
    "clipping": (_draw_clipping, "exploding.png"),
    "truncation": (_draw_truncation, "truncation.png"),
    "optimizers": (_draw_optimizers, "optimizers.png"),
}


def write_plots(record: dict[str, Any], folder: Path) -> None:
    """Draws the parts that a record of the study holds into a folder."""
    for part, (draw, name) in PARTS.items():
        if part in record["parts"]:
            figure = draw(record["parts"][part]["results"])
            save_figure(figure, folder / name)
            print(f"drawn: {folder / name}")
