import numpy as np
import pytest

from apps.export.graph import Graph
from apps.export.greatest import greatest
from apps.export.runtime import Network


# In blocks, with more wanted than there are blocks, too few numbers, and no blocks of equal size.
@pytest.mark.parametrize(("size", "count"), [(8000, 13), (1024, 40), (30, 7), (1009, 13)])
def test_the_greatest_numbers_are_those_of_a_sort(size, count, tmp_path):
    numbers = np.random.default_rng(0).permutation(6 * size).reshape(2, 3, size).astype("float32")
    graph = Graph()
    found = greatest(graph, graph.input("x", "float32", [2, 3, size]), [count], size=size)
    graph.output("values", found[0], "float32", [2, 3, count])
    graph.output("places", found[1], "int64", [2, 3, count])
    graph.save(tmp_path / "model.onnx", "greatest")
    outputs = Network(tmp_path / "model.onnx", {})(x=numbers)
    places = np.argsort(-numbers, axis=-1)[..., :count]
    np.testing.assert_array_equal(outputs["places"], places)
    expected = np.take_along_axis(numbers, places, axis=-1)
    np.testing.assert_array_equal(outputs["values"], expected)
