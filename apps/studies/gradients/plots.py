"""Draws the pictures of the gradient study, each with its command."""

from pathlib import Path
from typing import Any

from matplotlib.axes import Axes

from apps.studies.gradients.long_memory import ERROR_WITHOUT_MEMORY
from common.plots import new_axes, save_figure
from common.result_tables import table_line

# Told apart by those who see no red or green, and in print.
_COLOURS = ("#d1495b", "#e08e2b", "#0b6e99", "#3a8f5c", "#6b4c9a", "#555555", "#b0a000")


_CLIPPINGS = {
    "none": "no clipping",
    "global_norm": "global norm {:g}",
    "norm": "norm {:g} of each variable",
    "value": "value {:g}",
    "adaptive": "adaptive, 10th percentile",
}


def write_plots(record: dict[str, Any], folder: Path) -> list[Path]:
    """Draws the parts that a record of the study holds.

    Args:
        record: What `apps.studies.gradients.study` wrote.
        folder: Where the pictures go.

    Returns:
        Their files.
    """
    draw = {
        "reach": (_reach, "vanishing.png"),
        "clipping": (_clipping, "exploding.png"),
        "truncation": (_truncation, "truncation.png"),
        "optimizers": (_optimizers, "optimizers.png"),
    }
    paths = []
    for part, (function, name) in draw.items():
        if part in record["parts"]:
            path = folder / name
            figure = function(record["parts"][part]["results"])
            figure.text(
                0.01,
                -0.06,
                f'make study-gradients ARGS="--parts {part}"',
                family="monospace",
                fontsize=8,
                color="#777777",
            )
            save_figure(figure, path)
            paths.append(path)
    return paths


def clipping_table(record: dict[str, Any]) -> str:
    """Returns a Markdown table of the last error of each way of clipping, a column a seed."""
    rows: dict[str, dict[int, str]] = {}
    for run in record["parts"]["clipping"]["results"]["runs"]:
        error = run["loss"][-1]
        shown = "not finite" if error is None else f"{error:.3f}"
        rows.setdefault(_clipping_label(run), {})[run["seed"]] = shown
    seeds = sorted({seed for errors in rows.values() for seed in errors})
    lines = [table_line(["clipping", *[f"seed {seed}" for seed in seeds]])]
    lines.append(table_line(["---", *["---:"] * len(seeds)]))
    lines += [table_line([way, *map(errors.get, seeds)]) for way, errors in rows.items()]
    return "\n".join(lines) + "\n"


def _clipping_label(run: dict[str, Any]) -> str:
    return _CLIPPINGS[run["mode"]].format(run["threshold"])


def _reach(found: dict[str, Any]):
    titles = {
        "adding": f"adding problem, {found['adding']['length']} steps",
        "imdb": f"IMDB, the last {found['imdb']['length']} words of a review",
    }
    figure, axes = new_axes(2, "How much a state some steps back still moves the loss")
    for axis, (task, title) in zip(axes, titles.items(), strict=True):
        for colour, (kind, curves) in zip(_COLOURS, found[task]["kinds"].items(), strict=False):
            for moment, line in (("start", ":"), ("trained", "-")):
                lengths = curves[moment]
                # As a share of the gradient at the last step; what is 0 or no number is left out.
                shares = [
                    length / lengths[0] if length and lengths[0] else None for length in lengths
                ]
                label = kind if moment == "trained" else None
                axis.plot(
                    range(len(shares)),
                    [float("nan") if share is None else share for share in shares],
                    line,
                    color=colour,
                    linewidth=1.8,
                    label=label,
                )
        axis.set(xlabel="steps back", ylabel="gradient, last step = 1", yscale="log", title=title)
        axis.set_ylim(bottom=1e-12)
        axis.title.set_fontsize(10)
    axes[0].legend(frameon=False, fontsize=8, title="dotted: at the start", title_fontsize=8)
    return figure


def _curve(axis: Axes, recorded: int, values: list[float | None], **look) -> None:
    """Draws one value for each `recorded` updates; a cross where the values stop being finite."""
    known = [value for value in values if value is not None]
    updates = [recorded * (index + 1) for index in range(len(known))]
    (line,) = axis.plot(updates, known, **{"linewidth": 1.6, **look})
    if len(known) < len(values):
        end = (updates[-1], known[-1]) if known else (recorded, 1.0)
        axis.plot(*end, "x", color=line.get_color(), markersize=11, markeredgewidth=3)


def _errors(axis: Axes) -> None:
    """Marks what a network without memory reaches, and names the axes."""
    axis.axhline(ERROR_WITHOUT_MEMORY, color="#999999", linewidth=1, linestyle="--")
    axis.set(xlabel="updates", ylabel="squared error on fresh sequences", yscale="log")


def _clipping(found: dict[str, Any]):
    seeds = len({run["seed"] for run in found["runs"]})
    figure, (errors, norms) = new_axes(
        2,
        f"A ReLU network over {found['length']} steps, with and without clipping"
        f" ({seeds} seeds, a curve each)",
    )
    colours: dict[str, str] = {}
    for run in found["runs"]:
        label = _clipping_label(run)
        first_seed = label not in colours
        colour = colours.setdefault(label, _COLOURS[len(colours) % len(_COLOURS)])
        # Thick and behind the others, which end beside it.
        look = {"color": colour, "linewidth": 4 if run["mode"] == "none" else 1.3}
        look["linestyle"] = ":" if run["mode"] == "adaptive" else "-"
        _curve(errors, found["recorded"], run["loss"], label=label if first_seed else None, **look)
        _curve(norms, found["recorded"], run["gradient_norm_max"], **look)
    _errors(errors)
    errors.legend(frameon=False, fontsize=8)
    norms.set(xlabel="updates", ylabel="greatest gradient norm before clipping", yscale="log")
    # All that tells them apart happens soon.
    for axis in (errors, norms):
        axis.set_xscale("log")
        axis.xaxis.set_major_formatter("{x:,.0f}")
    return figure


def _truncation(found: dict[str, Any]):
    figure, (errors, distances) = new_axes(
        2, f"An LSTM over {found['length']} steps whose gradient flows back only so far (one seed)"
    )
    edges = found["distances"]
    middles = [(low + high) / 2 for low, high in zip(edges, edges[1:], strict=False)]
    for colour, (piece, curve) in zip(_COLOURS, found["pieces"].items(), strict=False):
        _curve(errors, found["recorded"], curve["loss"], color=colour, label=f"{piece} steps")
        distances.plot(middles, curve["error_by_distance"], "o-", color=colour, markersize=4)
    _errors(errors)
    errors.legend(frameon=False, fontsize=8)
    without = ERROR_WITHOUT_MEMORY
    distances.axhline(without, color="#999999", linewidth=1, linestyle="--")
    distances.text(middles[0], without, "no memory", color="#777777", fontsize=8, va="bottom")
    distances.set(
        xlabel="steps between the two numbers to add", ylabel="squared error after all updates"
    )
    distances.set_ylim(0, 1.15 * without)
    return figure


def _optimizers(found: dict[str, Any]):
    figure, axes = new_axes(
        len(found["optimizers"]), f"An LSTM on the adding problem over {found['length']} steps"
    )
    for axis in axes[1:]:
        axis.sharey(axes[0])
    for axis, (name, rates) in zip(axes, found["optimizers"].items(), strict=True):
        for colour, (rate, curve) in zip(_COLOURS[1:], rates.items(), strict=False):
            _curve(axis, found["recorded"], curve["loss"], color=colour, label=f"rate {rate}")
        _errors(axis)
        axis.set_title({"sgd": "SGD", "rmsprop": "RMSprop", "adam": "Adam"}[name], fontsize=10)
        axis.legend(frameon=False, fontsize=8)
    return figure
