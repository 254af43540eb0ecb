"""The greatest of many numbers as ONNX nodes, faster than TopK alone."""

from apps.export.graph import Graph

# Fewer numbers are searched at once.
_MANY = 1000
# Blocks that are searched faster than the whole: neither too many of them nor too long.
_BLOCKS = range(24, 129)


def greatest(graph: Graph, tensor: str, count: str, *, size: int) -> tuple[str, str]:
    """Finds the greatest numbers of the last axis: they lie in the blocks of the greatest maxima.

    Args:
        graph: Where the nodes go.
        tensor: `(batch, rows, size)`.
        count: `<int64>(1,)`, how many, at most `size`.
        size: Of the last axis.

    Returns:
        Values `(batch, rows, count)`, the greatest first, and their `<int64>` places.
    """
    block = next((length for length in _BLOCKS if size % length == 0), 0)
    if size < _MANY or not block:
        return tuple(graph.TopK(tensor, count, axis=-1, outputs=2))
    blocks = graph.Reshape(tensor, [0, 0, -1, block])
    maxima = graph.ReduceMax(blocks, [3], keepdims=0)
    some = graph.Min(count, [size // block])
    _, chosen = graph.TopK(maxima, some, axis=-1, outputs=2)
    members = graph.GatherND(blocks, graph.Unsqueeze(chosen, [3]), batch_dims=2)
    values, place = graph.TopK(graph.Reshape(members, [0, 0, -1]), count, axis=-1, outputs=2)
    first = graph.Mul(graph.GatherElements(chosen, graph.Div(place, block), axis=2), block)
    return values, graph.Add(first, graph.Mod(place, block))
