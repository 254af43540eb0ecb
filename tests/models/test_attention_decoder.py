import keras
import numpy as np
import pytest
from keras import ops

from models.attention_decoder import build_attention_decoder, state_names

VOCAB, UNITS, MEMORY_DIM = 9, 5, 5
CONFIGURATIONS = [("simple_rnn", 1), ("lstm", 2), ("gru", 1)]


def build(cell="gru", num_layers=1, **options):
    settings = {"embed_dim": 4, "units": UNITS, "memory_dim": MEMORY_DIM, **options}
    decoder = build_attention_decoder(
        vocab_size=VOCAB, cell=cell, num_layers=num_layers, **settings
    )
    # Weights as large as those of a trained model.
    generator = np.random.default_rng(0)
    for weight in decoder.trainable_weights:
        weight.assign(generator.normal(0.0, 0.7, weight.shape))
    return decoder


def random_inputs(cell="gru", num_layers=1, *, memory_lengths=(4, 2), memory_dim=MEMORY_DIM):
    generator = np.random.default_rng(1)
    batch, memory_length = len(memory_lengths), max(memory_lengths)
    return {
        "target_in": generator.integers(2, VOCAB, (batch, 3)).astype("int32"),
        "memory": generator.normal(size=(batch, memory_length, memory_dim)).astype("float32"),
        "memory_mask": np.arange(memory_length) < np.array(memory_lengths)[:, None],
        "states": [
            generator.normal(size=(batch, UNITS)).astype("float32")
            for _ in state_names(cell=cell, num_layers=num_layers)
        ],
    }


def outputs_of(decoder, inputs):
    return keras.tree.map_structure(ops.convert_to_numpy, decoder(inputs))


def weights_of(decoder, name):
    return ops.convert_to_numpy(decoder.get_layer(name).kernel)


@pytest.mark.parametrize(("cell", "num_layers"), CONFIGURATIONS)
def test_one_token_at_a_time_equals_teacher_forcing(cell, num_layers):
    decoder = build(cell, num_layers)
    inputs = random_inputs(cell, num_layers)
    at_once = outputs_of(decoder, inputs)
    states = inputs["states"]
    for step in range(3):
        token = inputs["target_in"][:, step : step + 1]
        one = outputs_of(decoder, {**inputs, "target_in": token, "states": states})
        states = one["states"]
        for name in ("logits", "attention"):
            np.testing.assert_allclose(
                one[name][:, 0], at_once[name][:, step], rtol=1e-4, atol=1e-5
            )
    for after, expected in zip(states, at_once["states"], strict=True):
        np.testing.assert_allclose(after, expected, rtol=1e-4, atol=1e-5)


def test_attention_weighs_the_memory_by_its_formula():
    decoder = build()
    inputs = random_inputs(memory_lengths=(4, 4))
    recurrent = keras.Model(decoder.input, decoder.get_layer("decoder_1").output[0])
    states, memory = ops.convert_to_numpy(recurrent(inputs)), inputs["memory"]
    scores = states @ weights_of(decoder, "attention_query") @ memory.transpose(0, 2, 1)
    expected = np.exp(scores) / np.exp(scores).sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(
        outputs_of(decoder, inputs)["attention"], expected, rtol=1e-4, atol=1e-5
    )


def test_what_stands_in_padded_memory_changes_nothing():
    decoder = build()
    inputs = random_inputs()
    real = inputs["memory_mask"][..., None]
    other = {**inputs, "memory": np.where(real, inputs["memory"], 1000.0).astype("float32")}
    np.testing.assert_array_equal(
        outputs_of(decoder, other)["logits"], outputs_of(decoder, inputs)["logits"]
    )


def test_half_precision_stays_finite_and_ends_in_full_precision_logits():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        decoder = build()
    finally:
        keras.config.set_dtype_policy("float32")
    inputs = random_inputs()
    inputs["memory_mask"] = np.array([[True, False, False, False], [False] * 4])
    outputs = outputs_of(decoder, inputs)
    assert outputs["logits"].dtype == outputs["attention"].dtype == np.float32
    assert np.all(np.isfinite(outputs["logits"]))
    np.testing.assert_allclose(outputs["attention"][0, :, 0], 1.0)
    assert np.all(outputs["attention"][1] == 0)


def test_a_tied_decoder_predicts_a_word_by_the_vector_that_it_reads_it_by():
    decoder = build()
    table = decoder.get_layer("decoder_embedding").embeddings
    vectors = ops.convert_to_numpy(table).copy()
    vectors[7], vectors[8] = 0.0, 2 * vectors[6]
    table.assign(vectors)
    logits = outputs_of(decoder, random_inputs())["logits"]
    assert np.all(logits[..., 7] == 0)
    np.testing.assert_allclose(logits[..., 8], 2 * logits[..., 6], rtol=1e-4)


def test_a_saved_decoder_reloads_to_the_same_outputs(tmp_path):
    decoder = build("lstm", 2, dropout=0.1, word_dropout=0.1)
    decoder.save(tmp_path / "decoder.keras")
    loaded = keras.saving.load_model(tmp_path / "decoder.keras", safe_mode=True)
    inputs = random_inputs("lstm", 2)
    keras.tree.map_structure(
        np.testing.assert_array_equal, outputs_of(loaded, inputs), outputs_of(decoder, inputs)
    )
