import keras
import numpy as np
import pytest

from apps.export.reference import KerasSearch, searches
from apps.export.runtime import Network
from apps.export.translation import random_sources, translation_graph
from models.attention_decoder import build_attention_decoder
from models.encoder_decoder import build_encoder_decoder
from models.ensemble import build_ensemble
from models.translation import build_encoder
from tests.apps.export.helpers import assert_same_search, sharpen

VOCAB = 23


def translator(
    cell="gru",
    *,
    num_layers=1,
    decoder_layers=2,
    units=6,
    decoder_units=8,
    seed=5,
):
    keras.utils.set_random_seed(seed)
    encoder = build_encoder(
        vocab_size=VOCAB,
        embed_dim=8,
        cell=cell,
        units=units,
        num_layers=num_layers,
        decoder_units=decoder_units,
        decoder_layers=decoder_layers,
    )
    decoder = build_attention_decoder(
        vocab_size=VOCAB,
        embed_dim=8,
        cell=cell,
        units=decoder_units,
        num_layers=decoder_layers,
        memory_dim=encoder.output["memory"].shape[-1],
        share_embedding=True,
    )
    model = build_encoder_decoder(encoder, decoder, name="translation_en_fr")
    sharpen(model, 2)
    return model


def exported(model, folder, precision="float32"):
    translation_graph(model, precision=precision).save(folder / "model.onnx", "translation")
    return Network(folder / "model.onnx", {}, threads=1)


def assert_same(model, folder, **options):
    network, keras_search = exported(model, folder), KerasSearch(model)
    for rows, search in searches():
        assert_same_search(
            keras_search, network, {"source": random_sources(rows, VOCAB), **search}, **options
        )


@pytest.mark.parametrize("cell", ["simple_rnn", "lstm", "gru", "feedforward"])
def test_every_cell_translates_alike(cell, tmp_path):
    # Without a recurrence the order of the same pairs of words makes no difference.
    ties = cell == "feedforward"
    assert_same(translator(cell), tmp_path, ties=ties)


@pytest.mark.parametrize(
    "settings",
    [
        {"num_layers": 3, "decoder_layers": 1},
        {"cell": "simple_rnn", "decoder_layers": 3},
        {"decoder_units": 5, "cell": "lstm"},
    ],
    ids=lambda settings: "-".join(f"{name}_{value}" for name, value in settings.items()),
)
def test_every_setting_translates_alike(settings, tmp_path):
    assert_same(translator(**settings), tmp_path)


def test_an_ensemble_translates_alike(tmp_path):
    members = [
        translator("gru", seed=1),
        translator("lstm", decoder_layers=1, seed=2),
    ]
    pair = build_ensemble(members, name="translation_en_fr")
    assert_same(pair, tmp_path)
    # One member in this has half of the words, the other two a quarter.
    assert_same(
        build_ensemble([pair, translator("simple_rnn", seed=3)], name="translation_en_fr"),
        tmp_path,
    )


def test_a_sentence_translates_alike_whoever_stands_beside_it(tmp_path):
    network = exported(translator(), tmp_path)
    rows, search = next(searches())
    source = random_sources(rows, VOCAB)
    together = network(source=source, **search)
    for row in range(rows):
        one = {**search, "length_limit": search["length_limit"][row : row + 1]}
        alone = network(source=source[row : row + 1], **one)
        time = alone["sequences"].shape[2]
        np.testing.assert_array_equal(alone["sequences"][0], together["sequences"][row, :, :time])
        np.testing.assert_allclose(alone["scores"][0], together["scores"][row], atol=1e-5)


def test_half_precision_halves_the_file_and_changes_little(tmp_path):
    keras.utils.set_random_seed(1)
    model = translator(units=32, decoder_units=32)
    sizes, scores = [], []
    rows, search = next(searches())
    for precision in ("float32", "float16"):
        network = exported(model, tmp_path, precision)
        sizes.append((tmp_path / "model.onnx").stat().st_size)
        scores.append(network(source=random_sources(rows, VOCAB), **search)["scores"])
    assert sizes[1] < 0.7 * sizes[0]
    np.testing.assert_allclose(*scores, atol=0.02)


def test_attention_is_computed_on_demand(tmp_path):
    network = exported(translator(), tmp_path)
    rows, search = next(searches())
    search["attention_wanted"] = np.bool_(False)
    assert not network(source=random_sources(rows, VOCAB), **search)["attention"].size
