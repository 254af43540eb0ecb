"""A small builder of ONNX graphs: every operator is a method, every result the name of a tensor."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from onnx import helper, numpy_helper

from common.files import atomic_path

# ONNX Runtime 1.14 and all that came after it read this version.
OPSET, IR_VERSION = 18, 8

Precision = Literal["auto", "float16", "float32", "int8"]
# Constants of fewer numbers stay as they are: a Cast would cost more than it saves.
_SMALL = 64
# What a weight may change by without a trace in what is computed.
_NOTHING = 1e-7


class Graph:
    """Collects the nodes of a graph, or of a loop's body within another one.

    `graph.MatMul(x, kernel)` adds a node and returns the name of what comes out, or a list of names
    with `outputs=2` or more. Inputs are names of tensors, None for one that is left out, or values
    that become constants: integers are `int64` and other numbers `float32` unless they are arrays.

    Args:
        precision: How weights are stored: `float16`, `float32`, or `auto`, which is float16 for
            those that it holds to 1e-7, such as published ones. All are computed with in float32.
        outer: The graph that this one is a loop's body of; its tensors may be read here.
    """

    def __init__(self, *, precision: Precision = "auto", outer: "Graph | None" = None):
        """See the class."""
        self.root = outer.root if outer else self
        self.is_body = outer is not None
        self.nodes, self.inputs, self.outputs = [], [], []
        if not outer:
            self.precision = precision
            self.casts, self.initializers, self.names, self.stored = [], [], {}, {}

    def body(self) -> "Graph":
        """Returns an empty graph for the body of a Loop of this one."""
        return Graph(outer=self)

    def __getattr__(self, operator: str):
        """Returns the function that adds a node of an operator."""
        if not operator[:1].isupper():
            raise AttributeError(operator)

        def add(*inputs: Any, outputs: int = 1, **attributes: Any) -> str | list[str]:
            tensors = ["" if value is None else self.tensor(value) for value in inputs]
            attributes = {
                name: value.proto(f"{operator}_body") if isinstance(value, Graph) else value
                for name, value in attributes.items()
            }
            names = [self.new_name(operator) for _ in range(outputs)]
            self.nodes.append(helper.make_node(operator, tensors, names, **attributes))
            return names[0] if outputs == 1 else names

        return add

    def new_name(self, word: str) -> str:
        """Returns a name that no other tensor has."""
        count = self.root.names[word] = self.root.names.get(word, 0) + 1
        return f"{word}_{count}"

    def tensor(self, value: Any) -> str:
        """Returns the name of a tensor, or of a constant with the value."""
        if isinstance(value, str):
            return value
        array = np.asarray(value)
        if array.dtype == np.float64:
            array = array.astype(np.float32)
        return self._store(array, "constant")

    def weight(self, array: np.ndarray, name: str) -> str:
        """Returns the name of a float32 tensor with these weights, which are stored once."""
        stored = self.stored_weight(array, name)
        if self.dtype_stored(array) == np.float32:
            return stored
        casts = self.root.casts
        for node in casts:
            if node.input[0] == stored:
                return node.output[0]
        # In front of all other nodes, so that loops do not cast again and again.
        cast = self.new_name(name)
        casts.append(helper.make_node("Cast", [stored], [cast], to=onnx.TensorProto.FLOAT))
        return cast

    def stored_weight(self, array: np.ndarray, name: str) -> str:
        """Returns the name of the weights as they are stored, in float16 or float32."""
        array = np.asarray(array, np.float32)
        return self._store(array.astype(self.dtype_stored(array)), name)

    def dtype_stored(self, array: np.ndarray) -> type:
        """Returns the type that weights are stored in."""
        if self.root.precision == "float32" or array.size < _SMALL:
            return np.float32
        with np.errstate(over="ignore"):
            half = array.astype(np.float16)
        same = np.abs(half.astype(np.float32) - array).max() <= _NOTHING
        fits = self.root.precision == "float16" and np.isfinite(half).all()
        return np.float16 if same or fits else np.float32

    def _store(self, array: np.ndarray, word: str) -> str:
        array = np.asarray(array, order="C")
        key = array.dtype.str, array.shape, hashlib.sha256(array.tobytes()).digest()
        if key not in self.root.stored:
            name = self.new_name(word)
            self.root.stored[key] = name
            self.root.initializers.append(numpy_helper.from_array(array, name))
        return self.root.stored[key]

    def input(self, name: str, dtype: str, shape: Sequence[int | str]) -> str:
        """Declares an input; sizes that vary have names."""
        self.inputs.append(_value_info(name, dtype, shape))
        return name

    def output(self, name: str, tensor: str, dtype: str, shape: Sequence[int | str]) -> None:
        """Declares an output and what it is."""
        self.nodes.append(helper.make_node("Identity", [tensor], [name]))
        self.outputs.append(_value_info(name, dtype, shape))

    def cast(self, tensor: str, dtype: str) -> str:
        """Returns a tensor in another type."""
        return self.Cast(tensor, to=_element_type(dtype))

    def size(self, tensor: str, axis: int) -> str:
        """Returns the size of an axis, `<int64>(1,)`."""
        return self.Shape(tensor, start=axis, end=axis + 1)

    def range(self, count: str) -> str:
        """Returns `0, 1, ... count - 1`, `<int64>(count,)`, of a size `(1,)`."""
        return self.Range(0, self.Squeeze(count, [0]), 1)

    def part(self, tensor: str, start: int, stop: int, axis: int = -1) -> str:
        """Returns the places from `start` to before `stop` of an axis."""
        return self.Slice(tensor, [start], [stop], [axis])

    def proto(self, name: str) -> onnx.GraphProto:
        """Returns the graph as ONNX has it."""
        if self.is_body:
            return helper.make_graph(self.nodes, name, self.inputs, self.outputs)
        nodes = self.casts + self.nodes
        return helper.make_graph(nodes, name, self.inputs, self.outputs, self.initializers)

    def save(self, path: Path, name: str) -> None:
        """Checks the graph and writes it atomically.

        Raises:
            OSError: If it cannot be written.
        """
        model = helper.make_model(
            self.proto(name),
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="recurrent-apps",
        )
        onnx.checker.check_model(model, full_check=True)
        with atomic_path(path) as temporary:
            onnx.save(model, temporary)


def _element_type(dtype: str) -> int:
    return helper.np_dtype_to_tensor_dtype(np.dtype(dtype))


def _value_info(name: str, dtype: str, shape: Sequence[int | str]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, _element_type(dtype), shape)
