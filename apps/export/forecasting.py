"""The graph of a forecaster: days in; the parameters of the distribution of the next days out."""

from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np

from apps.export.graph import Graph, Precision
from apps.export.layers import dense, recurrent_stack, values
from apps.forecasting.predictor import Predictor
from models import forecasting as builder


class ForecastingSource:
    """A trained forecaster to be exported.

    Args:
        run: Its run folder.

    Raises:
        UserError: If it cannot be loaded.
    """

    def __init__(self, run: Path):
        """See the class."""
        predictor = Predictor.load(run, runtime="keras")
        self.config, self.network = predictor.config, predictor.network

    def graph(self, precision: Precision) -> Graph:
        """Returns the graph of the model."""
        return forecasting_graph(
            self.network.model, distribution=self.config.distribution, precision=precision
        )

    def examples(self) -> Iterator[dict[str, np.ndarray]]:
        """Yields windows like those of `predict`: one and seven of them, some days unknown."""
        generator = np.random.default_rng(0)
        size = self.network.model.input["features"].shape[-1]
        for batch, time in ((1, self.config.lookback), (7, 31)):
            features = generator.normal(size=(batch, time, size)).astype("float32")
            features[generator.random(features.shape) < 0.1] = np.nan
            log_scale = generator.normal(-4.5, 0.3, (batch, time)).astype("float32")
            yield {"features": features, "log_scale": log_scale}


def forecasting_graph(
    model: keras.Model, *, distribution: str, precision: Precision = "auto"
) -> Graph:
    """Returns the graph of a model of `models.forecasting.build_forecaster`.

    Args:
        model: The forecaster, without carried states.
        distribution: `mixture`, `student_t` or `quantiles`.
        precision: Of the weights.

    Returns:
        A graph from `features` `(batch, time, features)`, NaN where unknown, and `log_scale`
        `(batch, time)` to `parameters` `(batch, time, horizon, parameters)`, in per cent of log
        return, and to its parts by name: `weights`, `location` and `scales` of a mixture;
        `location`, `scale` and `df` of a Student-t.
    """
    graph = Graph(precision=precision)
    size = model.input["features"].shape[-1]
    features = graph.input("features", "float32", ["batch", "time", size])
    log_scale = graph.input("log_scale", "float32", ["batch", "time"])
    norm = model.get_layer("normalised")
    mean, deviation = values(norm.mean), np.maximum(np.sqrt(values(norm.variance)), 1e-7)
    normalised = graph.Div(graph.Sub(features, mean), deviation)
    clipped = graph.Clip(normalised, np.float32(-6), np.float32(6))
    seen = graph.Where(graph.IsNaN(features), np.float32(0), clipped)
    states, _ = recurrent_stack(graph, model, seen)
    states = graph.Concat(states, seen, axis=-1)

    horizon = model.output.shape[-2]
    growth = np.sqrt(np.arange(1, horizon + 1, dtype="float32"))[:, None]
    spread = graph.Mul(graph.Unsqueeze(graph.Exp(log_scale), [2, 3]), 100 * growth)

    def by_day(name: str) -> str:
        return graph.Reshape(dense(graph, model.get_layer(name), states), [0, 0, horizon, -1])

    location = model.get_layer("location")
    # A learned number for each day ahead, if no state decides it.
    premium = not location.use_bias
    middle = values(location.kernel).reshape(horizon, 1) if premium else by_day("location")
    make = {"mixture": _mixture, "student_t": _student_t, "quantiles": _quantiles}
    parts = make[distribution](graph, by_day("parameters"), middle, spread)
    count = model.output.shape[-1]
    shape = ["batch", "time", horizon]
    whole = graph.Concat(*parts.values(), axis=-1) if len(parts) > 1 else parts["parameters"]
    graph.output("parameters", whole, "float32", [*shape, count])
    for name, part in parts.items() if len(parts) > 1 else ():
        wide = name in ("weights", "scales")
        graph.output(name, part, "float32", [*shape, count // 2 if wide else 1])
    return graph


def _mixture(graph: Graph, raw: str, middle: str | np.ndarray, spread: str) -> dict[str, str]:
    count = builder._COMPONENTS
    start = np.geomspace(builder._NARROWEST, builder._WIDEST, count, dtype="float32")
    weights = graph.Softmax(graph.Sub(graph.part(raw, 0, count), np.log(start)), axis=-1)
    widths = graph.Mul(spread, start)
    scales = graph.Mul(widths, _factor(graph, graph.part(raw, count, 2 * count)))
    mean_scale = graph.ReduceSum(graph.Mul(weights, scales), [-1], keepdims=1)
    return {"weights": weights, "location": graph.Mul(middle, mean_scale), "scales": scales}


def _student_t(graph: Graph, raw: str, middle: str | np.ndarray, spread: str) -> dict[str, str]:
    start = graph.Mul(spread, np.float32(builder._STUDENT_SCALE))
    scale = graph.Mul(start, _factor(graph, graph.part(raw, 0, 1)))
    offset = np.float32(np.log(np.expm1(builder._STUDENT_DF - builder._LEAST_DF)))
    above = graph.Softplus(graph.Add(graph.part(raw, 1, 2), offset))
    df = graph.Add(above, np.float32(builder._LEAST_DF))
    return {"location": graph.Mul(middle, scale), "scale": scale, "df": df}


def _quantiles(graph: Graph, raw: str, middle: str | np.ndarray, spread: str) -> dict[str, str]:
    start = builder._gaussian_quantiles()
    half = len(start) // 2
    gaps = np.insert(np.diff(start), half, 1.0)
    steps = graph.Softplus(graph.Add(raw, np.log(np.expm1(gaps)).astype("float32")))
    # The sums of steps away from the middle, as products with triangles of ones.
    triangle = np.triu(np.ones((half, half), "float32"))
    above = graph.MatMul(graph.part(steps, half + 1, 2 * half + 1), triangle)
    below = graph.MatMul(graph.part(steps, 0, half), triangle.T)
    size = graph.part(steps, half, half + 1)
    nothing = graph.Mul(size, np.float32(0))
    centred = graph.Mul(graph.Concat(graph.Neg(below), nothing, above, axis=-1), size)
    return {"parameters": graph.Mul(spread, graph.Add(centred, middle))}


def _factor(graph: Graph, raw: str) -> str:
    """Returns by how much a scale differs from its start."""
    return graph.Exp(graph.Clip(raw, np.float32(-builder._MOST), np.float32(builder._MOST)))
