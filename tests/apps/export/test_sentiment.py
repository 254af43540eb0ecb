import itertools

import numpy as np
import pytest
from keras import ops

from apps.export.runtime import Network
from apps.export.sentiment import sentiment_graph
from models.sentiment import (
    build_encoder,
    build_explainer,
    build_sentiment_classifier,
    token_contributions,
)
from models.sentiment_ensemble import join_sentiment_classifiers

CELLS = ("simple_rnn", "lstm", "gru", "feedforward")
TIME = 10


def build(cell="lstm", *, bidirectional, skips, pooling, region=0, buckets=0, layers=1, **options):
    """A tiny classifier with random weights, and its vector features and backward units."""
    encoder = build_encoder(
        vocab_size=40,
        embed_dim=6,
        bigram_buckets=buckets,
        bigram_dim=3,
        cell=cell,
        units=5,
        num_layers=layers,
        bidirectional=bidirectional,
        region_length=region,
        skip_connection=skips,
        **options,
    )
    counts = {
        "vector_features": (6 + (3 if buckets else 0)) * skips,
        "backward_units": 5 * bidirectional,
    }
    model = build_sentiment_classifier(
        encoder, num_classes=3, pooling=pooling, region_length=region, **counts
    )
    generator = np.random.default_rng(0)
    for weight in model.weights:
        weight.assign(generator.normal(size=weight.shape) * 0.5)
    return model, counts


def compare(model, counts, folder, *, pooling, region=0):
    """Compares logits and contributions of Keras and the graph, of one and of seven texts."""
    path = folder / "model.onnx"
    sentiment_graph(model, pooling=pooling, region_length=region).save(path, "sentiment")
    network, explainer = Network(path, {}), build_explainer(model)
    generator = np.random.default_rng(1)
    for batch in (1, 7):
        lengths = generator.integers(1, TIME + 1, batch)
        tokens = generator.integers(1, 40, (batch, TIME)).astype("int32")
        tokens[np.arange(TIME) >= lengths[:, None]] = 0
        found = network(tokens=tokens)
        outputs = {name: ops.convert_to_numpy(value) for name, value in explainer(tokens).items()}
        shares = token_contributions(
            outputs["states"],
            ops.convert_to_numpy(model.get_layer("logits").kernel),
            lengths,
            pooling=pooling,
            weights=outputs.get("weights"),
            **counts,
        )
        np.testing.assert_allclose(found["logits"], outputs["logits"], atol=1e-5)
        np.testing.assert_allclose(found["contributions"], shares, atol=1e-5)


@pytest.mark.parametrize(
    ("cell", "pooling"),
    [*itertools.product(CELLS, ("max", "last")), ("lstm", "mean"), ("gru", "attention")],
)
def test_a_graph_equals_its_classifier(cell, pooling, tmp_path):
    for bidirectional, skips in itertools.product((False, True), (False, True)):
        model, counts = build(cell, bidirectional=bidirectional, skips=skips, pooling=pooling)
        compare(model, counts, tmp_path, pooling=pooling)


@pytest.mark.parametrize("pooling", ["max", "mean", "attention"])
def test_regions_and_pairs_of_words_are_those_of_the_classifier(pooling, tmp_path):
    model, counts = build(
        bidirectional=True, skips=True, pooling=pooling, region=5, buckets=20, layers=2
    )
    compare(model, counts, tmp_path, pooling=pooling, region=5)


def test_an_ensemble_of_other_cells_is_one_graph(tmp_path):
    options = {"bidirectional": True, "skips": True, "pooling": "max", "region": 5}
    members = [build("lstm", buckets=20, **options), build("gru", **options)]
    joined = join_sentiment_classifiers([member for member, _ in members])
    graphs = {}
    for name, model in (("both", joined), ("one", members[0][0]), ("other", members[1][0])):
        path = tmp_path / f"{name}.onnx"
        sentiment_graph(model, pooling="max", region_length=5).save(path, "sentiment")
        graphs[name] = Network(path, {})
    tokens = np.random.default_rng(1).integers(1, 40, (7, TIME)).astype("int32")
    found = {name: graph(tokens=tokens) for name, graph in graphs.items()}
    for output in ("logits", "contributions"):
        mean = (found["one"][output] + found["other"][output]) / 2
        np.testing.assert_allclose(found["both"][output], mean, atol=1e-5)
    np.testing.assert_allclose(
        found["both"]["logits"], ops.convert_to_numpy(joined(tokens)), atol=1e-5
    )
