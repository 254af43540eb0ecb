"""A translator as a graph: a batch of sentences in, their best translations out."""

import keras
import numpy as np

from apps.export.decoder import Member, members_of
from apps.export.graph import Graph
from apps.export.layers import dense, recurrent_stack, rows, sequence_mask, values
from apps.export.search import add_search
from data.text.subwords import END_ID, START_ID


def add_translation(graph: Graph, model: keras.Model) -> None:
    """Adds `source` `<int32>(batch, time)` and all that follows; see `add_search`.

    Args:
        graph: An empty graph.
        model: From `build_encoder_decoder` or `build_ensemble`, of `build_encoder`s.
    """
    source = graph.input("source", "int32", ["batch", "time"])
    members = [_member(graph, source, *parts) for parts in members_of(model)]
    add_search(graph, members, start_id=START_ID, end_id=END_ID)


def _member(
    graph: Graph, source: str, encoder: keras.Model, decoder: keras.Model, share: float
) -> Member:
    """Adds one encoder."""
    mask, lengths = sequence_mask(graph, source)
    table = values(encoder.get_layer("embedding").embeddings)
    vectors = rows(graph, table, source)
    memory, last = recurrent_stack(graph, encoder, vectors, lengths)
    names = [tensor.name for tensor in decoder.input["states"]]
    states = [dense(graph, encoder.get_layer(f"initial_{name}"), last[0]) for name in names]
    shared = "embeddings" in decoder.input
    return Member(decoder, share, memory, mask, states, np.asarray(table) if shared else None)
