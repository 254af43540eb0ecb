"""The graph of a translator: a batch of sentences in, their best translations out."""

from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np

from apps.export.decoder import Member, members_of
from apps.export.graph import Graph, Precision
from apps.export.layers import dense, pool_last, recurrent_stack, rows, sequence_mask, values
from apps.export.reference import KerasSearch, searches
from apps.export.search import add_search
from apps.translation.predictor import Predictor
from data.text.padding import pad_tokens
from data.text.subwords import END_ID, START_ID


class TranslationSource:
    """A trained translator to be exported.

    Args:
        run: Run folder.

    Raises:
        UserError: If it cannot be loaded.
    """

    def __init__(self, run: Path):
        """See the class."""
        predictor = Predictor.load(run, runtime="keras")
        self.network = KerasSearch(predictor.network.model)
        self._vocab_size = predictor.tokenizer.get_vocab_size()

    def graph(self, precision: Precision) -> Graph:
        """Returns the graph."""
        return translation_graph(self.network.model, precision=precision)

    def examples(self) -> Iterator[dict[str, np.ndarray]]:
        """Yields sentences of random tokens and of many lengths."""
        for count, search in searches():
            yield {"source": random_sources(count, self._vocab_size), **search}


def translation_graph(model: keras.Model, *, precision: Precision = "auto") -> Graph:
    """Returns the graph of a translator, alone or joined of several.

    Args:
        model: From `build_encoder_decoder` or `build_ensemble`.
        precision: Of the weights.

    Returns:
        A graph from `source` `<int32>(batch, time)` and the settings of the search to what it
        wrote; see `add_search`.
    """
    graph = Graph(precision=precision)
    source = graph.input("source", "int32", ["batch", "time"])
    members = [_member(graph, source, *parts) for parts in members_of(model)]
    add_search(graph, members, start_id=START_ID, end_id=END_ID)
    return graph


def random_sources(count: int, vocab_size: int) -> np.ndarray:
    """Returns `<int32>(count, time)`, sentences of random tokens; the first is one token long."""
    generator = np.random.default_rng(count)
    sentences = [generator.integers(END_ID + 1, vocab_size, 1 + 3 * row) for row in range(count)]
    return pad_tokens(sentences, np.arange(count), max(2, len(sentences[-1])))


def _member(
    graph: Graph, source: str, encoder: keras.Model, decoder: keras.Model, share: float
) -> Member:
    """Adds one encoder."""
    mask, lengths = sequence_mask(graph, source)
    table = values(encoder.get_layer("embedding").embeddings)
    memory, last = recurrent_stack(graph, encoder, rows(graph, table, source), lengths)
    if last:
        summary = last[0]
    else:
        both = any(layer.name == "backward_1" for layer in encoder.layers)
        units = encoder.get_layer("forward_1").units
        summary = pool_last(
            graph,
            memory,
            lengths,
            features=encoder.output["memory"].shape[-1],
            backward_units=units if both else 0,
        )
    names = [tensor.name for tensor in decoder.input["states"]]
    states = [dense(graph, encoder.get_layer(f"initial_{name}"), summary) for name in names]
    return Member(
        decoder, share, memory, mask, states, table if "embeddings" in decoder.input else None
    )
