"""The graph of a captioner: pictures in, their best captions out; the backbone is part of it."""

import math
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np

from apps.captioning.predictor import Predictor
from apps.export.backbone import UnknownLayer, add_backbone
from apps.export.decoder import Member, members_of
from apps.export.graph import Graph, Precision
from apps.export.layers import dense, values
from apps.export.reference import KerasSearch, searches
from apps.export.search import add_search
from common.errors import UserError
from data.pictures.read import picture_views
from data.text.subwords import END_ID, START_ID
from models.captioning import add_mirror_image


class CaptioningSource:
    """A trained captioner to be exported.

    Args:
        run: Run folder.

    Raises:
        UserError: If it cannot be loaded.
    """

    def __init__(self, run: Path):
        """See the class."""
        predictor = Predictor.load(run, runtime="keras")
        self.config, self._inputs = predictor.config, predictor.inputs
        model = predictor.network.model
        self.network = reference(model, self._inputs.compute)

    def graph(self, precision: Precision) -> Graph:
        """Returns the graph.

        Raises:
            UserError: If the backbone cannot be exported.
        """
        try:
            return captioning_graph(
                self.network.model,
                variant=self.config.variant,
                size=self.config.picture_size,
                backbone=self._inputs.backbone,
                precision=precision,
            )
        except UnknownLayer as error:
            raise UserError(
                f"--backbone {self.config.backbone} cannot be exported, because of its layer"
                f" {error}: let Keras answer with --runtime keras."
            ) from None

    def examples(self) -> Iterator[dict[str, np.ndarray]]:
        """Yields random pictures, with their mirror images and without."""
        for views, (count, search) in enumerate(searches(), start=1):
            picture = random_pictures(count, self.config.picture_size)
            yield {"picture": picture, "views": np.int32(views), **search}


def reference(model: keras.Model, compute) -> KerasSearch:
    """Returns the search of a captioner on Keras, asked like its graph.

    Args:
        model: From `build_encoder_decoder` or `build_ensemble`.
        compute: Makes what the model takes of `<uint8>(batch, views, size, size, 3)`.
    """

    def prepare(*, picture: np.ndarray, views: int) -> tuple[keras.Model, dict[str, np.ndarray]]:
        seen = compute(np.stack([picture_views(one, int(views)) for one in picture]))
        if views == 1:
            return model, {"picture": seen[:, 0]}
        return add_mirror_image(model), {"picture": seen}

    return KerasSearch(model, prepare)


def captioning_graph(
    model: keras.Model,
    *,
    variant: str,
    size: int,
    backbone: keras.Model | None,
    precision: Precision = "auto",
) -> Graph:
    """Returns the graph of a captioner, alone or joined of several.

    Args:
        model: From `build_encoder_decoder` or `build_ensemble`.
        variant: `attention`, `initial_state` or `merge`.
        size: Height and width of the pictures.
        backbone: What makes regions of them; None if that is part of the model.
        precision: Of the weights.

    Returns:
        A graph from `picture` `<uint8>(batch, size, size, 3)`, `views` `<int32>()`, 2 to see the
        mirror image too, and the settings of the search to what it wrote; see `add_search`. The
        attention is the mean over both views, in the picture's places.

    Raises:
        UnknownLayer: If what sees the pictures cannot be exported.
    """
    graph = Graph(precision=precision)
    picture = graph.input("picture", "uint8", ["batch", size, size, 3])
    views = graph.Reshape(graph.cast(graph.input("views", "int32", []), "int64"), [1])
    mirror_image = graph.Slice(picture, [-1], [-size - 1], [2], [-1])
    both = graph.Concat(graph.Unsqueeze(picture, [1]), graph.Unsqueeze(mirror_image, [1]), axis=1)
    seen = graph.Reshape(graph.Slice(both, [0], views, [1]), [-1, size, size, 3])
    if backbone is not None:
        # As the features are kept for training.
        seen = graph.cast(graph.cast(add_backbone(graph, backbone, seen), "float16"), "float32")
    members = [_member(graph, seen, *parts, variant=variant) for parts in members_of(model)]
    encoder, _, _ = members_of(model)[0]
    add_search(
        graph,
        members,
        start_id=START_ID,
        end_id=END_ID,
        views=views,
        mirrored=mirrored_places(encoder.output["memory"].shape[1]),
    )
    return graph


def mirrored_places(places: int) -> np.ndarray | None:
    """Returns where a mirror image has each place of a square grid, as `add_mirror_image` does."""
    side = math.isqrt(places)
    if side * side != places:
        return None
    return np.arange(places).reshape(side, side)[:, ::-1].reshape(-1)


def random_pictures(count: int, size: int) -> np.ndarray:
    """Returns pictures of random pixels in random colours, `<uint8>(count, size, size, 3)`."""
    generator = np.random.default_rng(count)
    colours = generator.integers(0, 256, (count, 1, 1, 3))
    noise = generator.integers(-64, 65, (count, size, size, 3))
    return np.clip(colours + noise, 0, 255).astype(np.uint8)


def _member(
    graph: Graph,
    seen: str,
    encoder: keras.Model,
    decoder: keras.Model,
    share: float,
    *,
    variant: str,
) -> Member:
    """Adds one encoder, as `build_picture_encoder` explains it."""
    for layer in encoder.layers:
        if isinstance(layer, keras.Model):
            seen = add_backbone(graph, layer, seen)
    region, norm = encoder.get_layer("region"), encoder.get_layer("region_norm")
    regions = graph.MatMul(seen, graph.weight(values(region.kernel), "region"))
    regions = graph.Add(regions, graph.weight(values(region.bias), "region_bias"))
    scale, bias = (graph.weight(values(part), "region_norm") for part in (norm.gamma, norm.beta))
    regions = graph.LayerNormalization(regions, scale, bias, axis=-1, epsilon=norm.epsilon)
    memory = graph.Relu(regions)
    if variant != "attention":
        memory = graph.ReduceMean(memory, [1], keepdims=1)
    summary = graph.ReduceMean(memory, [1], keepdims=0)
    groups = graph.size(summary, 0)
    states = []
    for tensor in decoder.input["states"]:
        if variant == "merge":
            zeros = np.zeros((1, tensor.shape[-1]), np.float32)
            states.append(graph.Expand(zeros, graph.Concat(groups, [1], axis=0)))
        else:
            states.append(dense(graph, encoder.get_layer(f"initial_{tensor.name}"), summary))
    places, memory_dim = encoder.output["memory"].shape[1:]
    real = np.ones((1, places), bool)
    if variant == "initial_state":
        real[:] = False
        nothing = np.zeros((1, places, memory_dim), np.float32)
        memory = graph.Expand(nothing, graph.Concat(groups, [1, 1], axis=0))
    elif variant == "merge":
        real[:, 1] = False
        memory = graph.Pad(memory, [0, 0, 0, 0, 1, 0], np.float32(0))
    mask = graph.Expand(real, graph.Concat(groups, [1], axis=0))
    return Member(decoder, share, memory, mask, states)
