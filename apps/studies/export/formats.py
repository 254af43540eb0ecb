"""The formats of a pretrained model that the study compares, each a run folder of its own."""

import collections
import importlib
import logging
import math
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from apps.export.runtime import FACTS, GRAPH, sha256
from common.files import write_json
from common.run_folder import EXPORT

# Title of each format, and how its weights are stored.
FORMATS = {"Keras": "", "ONNX float32": "float32", "ONNX float16": "float16", "ONNX int8": "int8"}
# Operators with weights that ONNX Runtime's dynamic quantization is asked to take.
_QUANTIZED = ["MatMul", "Gemm", "LSTM", "Gather"]
# Weights of fewer numbers, such as biases, decide neither size nor speed.
_SMALL = 1000


def load(task: str, folder: Path | None = None, **options: Any) -> Any:
    """Loads the `Predictor` of a run folder, or of the pretrained one."""
    module = importlib.import_module(f"apps.{task}.predictor")
    return module.Predictor.load(folder or module.PRETRAINED, **options)


def copy_run(task: str, title: str, folder: Path) -> dict[str, Any]:
    """Copies the pretrained run folder of a task, and exports it in a format.

    Returns:
        What `export.json` says, and of int8 `left`: kinds and numbers of operators whose weights
        stay float32. Nothing of Keras.
    """
    from apps.export.export import export_run

    pretrained = importlib.import_module(f"apps.{task}.predictor").PRETRAINED
    shutil.copytree(pretrained, folder, ignore=shutil.ignore_patterns(EXPORT))
    precision = FORMATS[title]
    if not precision:
        return {}
    facts = export_run(folder, task=task, precision="float32" if precision == "int8" else precision)
    if precision == "int8":
        path = folder / EXPORT / GRAPH
        facts["left"] = quantize(path)
        facts |= {"sha256": sha256(path), "bytes": path.stat().st_size}
        write_json(folder / EXPORT / FACTS, facts)
    return facts


def quantize(path: Path) -> dict[str, int]:
    """Stores the weights of a graph as int8, where ONNX Runtime has an operator that takes them.

    Returns:
        Kinds and numbers of the operators that are left with float32 weights.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    draft = path.with_name(f"int8-{path.name}")
    nodes = onnx.load(path).graph.node
    inner = [node for one in nodes for part in one.attribute for node in _nodes(part.g)]
    # ONNX Runtime does not find the weights of an LSTM in a loop.
    unfit = {"LSTM"} & {node.op_type for node in inner}
    # It recommends what is for pictures of a fixed size.
    logging.disable(logging.WARNING)
    try:
        quantize_dynamic(
            path,
            draft,
            op_types_to_quantize=[kind for kind in _QUANTIZED if kind not in unfit],
            weight_type=QuantType.QInt8,
            extra_options={"EnableSubgraph": True},
        )
    finally:
        logging.disable(logging.NOTSET)
    os.replace(draft, path)
    graph = onnx.load(path).graph
    weights = {
        one.name
        for one in graph.initializer
        if one.data_type == onnx.TensorProto.FLOAT and math.prod(one.dims) >= _SMALL
    }
    found = (node.op_type for node in _nodes(graph) if weights & set(node.input))
    # What is quantized keeps its biases.
    left = (kind for kind in found if not kind.startswith("DynamicQuantize"))
    return dict(sorted(collections.Counter(left).items()))


def _nodes(graph: Any) -> Iterator[Any]:
    """Yields all nodes of a graph, those of loops included."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            yield from _nodes(attribute.g)
