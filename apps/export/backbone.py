"""Networks of `keras.applications`, and the small one, as ONNX nodes: layer by layer.

Pictures stand as `(batch, channels, height, width)` in between, as ONNX wants them.
"""

import functools

import keras
import numpy as np
from keras import layers

from apps.export.graph import Graph
from apps.export.layers import activation, values


class UnknownLayer(ValueError):
    """A layer that cannot be exported."""


def add_backbone(graph: Graph, cnn: keras.Model, pictures: str) -> str:
    """Adds a network that makes regions of pictures.

    Args:
        graph: Where the nodes go.
        cnn: From `build_backbone` or `build_small_cnn`.
        pictures: `<uint8>(batch, size, size, 3)`.

    Returns:
        `(batch, regions, channels)`.

    Raises:
        UnknownLayer: If it holds a layer that has no translation here.
    """
    pixels = graph.Transpose(graph.cast(pictures, "float32"), perm=[0, 3, 1, 2])
    return _run(graph, cnn, pixels)


def _run(graph: Graph, model: keras.Model, tensor: str) -> str:
    # Keras walks along its own graph, with names of tensors in the place of tensors.
    return model._run_through_graph(
        tensor, operation_fn=lambda operation: functools.partial(_add, graph, operation)
    )


def _add(graph: Graph, operation: keras.Operation, tensor, *others, **options):
    """Adds what one layer or operation does."""
    if isinstance(operation, keras.Model):
        return _run(graph, operation, tensor)
    for kind, add in _LAYERS.items():
        if isinstance(operation, kind):
            return add(graph, operation, tensor)
    add = _OPERATIONS.get(type(operation).__name__)
    if add is None:
        raise UnknownLayer(f"{operation.name} ({type(operation).__name__})")
    return add(graph, tensor, *(_constant(other) for other in others))


def _constant(value):
    """Returns what stands beside pixels: a number, or one a channel."""
    if isinstance(value, (tuple, list, str)):
        return value
    value = np.asarray(value, np.float32)
    return value.reshape(-1, 1, 1) if value.ndim else value


def _convolution(graph: Graph, layer: layers.Conv2D, tensor: str) -> str:
    kernel = values(layer.kernel)
    group = 1
    if isinstance(layer, layers.DepthwiseConv2D):
        # (height, width, channels, multiplier) to one kernel a channel.
        group = kernel.shape[2]
        kernel = kernel.reshape(*kernel.shape[:2], 1, -1)
    weights = [graph.weight(kernel.transpose(3, 2, 0, 1), layer.name)]
    if layer.use_bias:
        weights.append(graph.weight(values(layer.bias), f"{layer.name}_bias"))
    result = graph.Conv(
        tensor,
        *weights,
        group=group,
        strides=list(layer.strides),
        dilations=list(layer.dilation_rate),
        auto_pad=_PADDING[layer.padding],
    )
    return activation(graph, layer, result)


def _batch_norm(graph: Graph, layer: layers.BatchNormalization, tensor: str) -> str:
    mean = values(layer.moving_mean)
    gamma = values(layer.gamma) if layer.scale else np.ones_like(mean)
    beta = values(layer.beta) if layer.center else np.zeros_like(mean)
    parts = [gamma, beta, mean, values(layer.moving_variance)]
    return graph.BatchNormalization(tensor, *parts, epsilon=layer.epsilon)


def _relu(graph: Graph, layer: layers.ReLU, tensor: str) -> str:
    if layer.negative_slope or layer.threshold:
        raise UnknownLayer(f"{layer.name} (ReLU with a slope or a threshold)")
    if layer.max_value is None:
        return graph.Relu(tensor)
    return graph.Clip(tensor, np.float32(0), np.float32(layer.max_value))


def _zero_padding(graph: Graph, layer: layers.ZeroPadding2D, tensor: str) -> str:
    (top, bottom), (left, right) = layer.padding
    return graph.Pad(tensor, [0, 0, top, left, 0, 0, bottom, right], np.float32(0))


def _pooling(graph: Graph, layer: keras.Layer, tensor: str) -> str:
    options = {
        "kernel_shape": list(layer.pool_size),
        "strides": list(layer.strides),
        "auto_pad": _PADDING[layer.padding],
    }
    if isinstance(layer, layers.MaxPooling2D):
        return graph.MaxPool(tensor, **options)
    return graph.AveragePool(tensor, **options)


def _regions(graph: Graph, layer: layers.Reshape, tensor: str) -> str:
    return graph.Reshape(
        graph.Transpose(tensor, perm=[0, 2, 3, 1]), [0, -1, layer.output.shape[-1]]
    )


_PADDING = {"same": "SAME_UPPER", "valid": "VALID"}
_LAYERS = {
    (layers.Conv2D, layers.DepthwiseConv2D): _convolution,
    layers.BatchNormalization: _batch_norm,
    layers.ReLU: _relu,
    layers.Activation: activation,
    layers.ZeroPadding2D: _zero_padding,
    (layers.MaxPooling2D, layers.AveragePooling2D): _pooling,
    layers.Add: lambda graph, layer, tensors: graph.Sum(*tensors),
    layers.Concatenate: lambda graph, layer, tensors: graph.Concat(*tensors, axis=1),
    layers.Dropout: lambda graph, layer, tensor: tensor,
    layers.Rescaling: lambda graph, layer, tensor: graph.Add(
        graph.Mul(tensor, np.float32(layer.scale)), np.float32(layer.offset)
    ),
    layers.Reshape: _regions,
}
_OPERATIONS = {
    "Cast": lambda graph, tensor: tensor,
    "TrueDivide": lambda graph, tensor, other: graph.Div(tensor, other),
    "Subtract": lambda graph, tensor, other: graph.Sub(tensor, other),
    "Add": lambda graph, tensor, other: graph.Add(tensor, other),
    # Of a channel, and of channels in another order.
    "GetItem": lambda graph, tensor, place: graph.Gather(tensor, place[-1], axis=1),
    "Stack": lambda graph, tensors: graph.Concat(
        *(graph.Unsqueeze(tensor, [1]) for tensor in tensors), axis=1
    ),
}
