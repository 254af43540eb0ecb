import functools

import keras
import numpy as np
import pytest
from keras import ops

from apps.export.backbone import UnknownLayer, add_backbone
from apps.export.captioning import captioning_graph, random_pictures, reference
from apps.export.graph import Graph
from apps.export.reference import searches
from apps.export.runtime import Network
from models.attention_decoder import build_attention_decoder
from models.backbones import build_backbone, build_small_cnn
from models.captioning import VARIANTS, build_picture_encoder
from models.encoder_decoder import build_encoder_decoder
from models.ensemble import build_ensemble
from tests.apps.export.helpers import assert_same_search, sharpen

VOCAB, SIZE = 23, 16


def captioner(variant="attention", cell="lstm", *, features=None, layers=2):
    keras.utils.set_random_seed(layers)
    cnn = None if features else build_small_cnn(size=SIZE, filters=4, num_blocks=2)
    encoder = build_picture_encoder(
        features=features,
        cnn=cnn,
        variant=variant,
        memory_dim=8,
        cell=cell,
        decoder_units=8,
        decoder_layers=layers,
    )
    decoder = build_attention_decoder(
        vocab_size=VOCAB,
        embed_dim=8,
        cell=cell,
        units=8,
        num_layers=layers,
        memory_dim=encoder.output["memory"].shape[-1],
    )
    model = build_encoder_decoder(encoder, decoder, name="captioning")
    sharpen(model, 2)
    return model


def assert_same(model, folder, *, variant="attention", size=SIZE, backbone=None, **options):
    graph = captioning_graph(
        model, variant=variant, size=size, backbone=backbone, precision="float32"
    )
    graph.save(folder / "model.onnx", "captioning")
    network = Network(folder / "model.onnx", {}, threads=1)
    keras_search = reference(model, functools.partial(features_of, backbone))
    for (rows, search), views in zip(searches(), (2, 1), strict=True):
        inputs = {"picture": random_pictures(rows, size), "views": np.int32(views), **search}
        assert_same_search(keras_search, network, inputs, **options)


def features_of(backbone, views):
    if backbone is None:
        return views
    flat = backbone.predict_on_batch(views.reshape(-1, *views.shape[2:])).astype("float16")
    return flat.reshape(*views.shape[:2], *flat.shape[1:])


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_captions_alike(variant, tmp_path):
    assert_same(captioner(variant), tmp_path, variant=variant)


@pytest.mark.parametrize(("cell", "layers"), [("simple_rnn", 1), ("gru", 2), ("feedforward", 2)])
def test_every_cell_captions_alike(cell, layers, tmp_path):
    model = captioner(cell=cell, layers=layers)
    assert_same(model, tmp_path, ties=cell == "feedforward")


def test_an_ensemble_captions_alike(tmp_path):
    members = [captioner(), captioner(cell="gru", layers=1)]
    assert_same(build_ensemble(members, name="captioning"), tmp_path)


def test_a_backbone_is_part_of_the_graph(tmp_path):
    backbone = build_backbone("mobilenet_v2", size=64, weights=None)
    sharpen(backbone, 1.4)
    model = captioner(features=backbone.output.shape[1:])
    assert_same(model, tmp_path, size=64, backbone=backbone)


def test_another_backbone_makes_the_same_regions(tmp_path):
    keras.utils.set_random_seed(1)
    backbone = build_backbone("resnet50", size=64, weights=None)
    sharpen(backbone, 1.4)
    graph = Graph(precision="float32")
    picture = graph.input("picture", "uint8", ["batch", 64, 64, 3])
    shape = ["batch", *backbone.output.shape[1:]]
    graph.output("regions", add_backbone(graph, backbone, picture), "float32", shape)
    graph.save(tmp_path / "model.onnx", "backbone")
    pictures = random_pictures(2, 64)
    expected = ops.convert_to_numpy(backbone(pictures))
    found = Network(tmp_path / "model.onnx", {})(picture=pictures)["regions"]
    size = np.abs(expected).max()
    assert 1e-9 < size < 1e9
    np.testing.assert_allclose(found / size, expected / size, atol=1e-4)


def test_a_layer_that_cannot_be_exported_is_named():
    picture = keras.Input((8, 8, 3))
    scaled = keras.layers.Normalization(mean=0.0, variance=1.0, name="scaled")(picture)
    with pytest.raises(UnknownLayer, match="scaled"):
        add_backbone(Graph(), keras.Model(picture, scaled), "picture")
