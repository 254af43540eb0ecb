"""Stores the weights of a graph as int8, by ONNX Runtime's dynamic quantization."""

import collections
import logging
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# Operators with weights that the quantization is asked to take.
_QUANTIZED = ["MatMul", "Gemm", "LSTM", "Gather"]
# Weights of fewer numbers, such as biases, decide neither size nor speed.
_SMALL = 1000


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
