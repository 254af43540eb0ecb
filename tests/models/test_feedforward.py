import keras
import numpy as np
from keras import ops

from common.run_folder import save_model
from models.attention_decoder import build_attention_decoder
from models.encoder_decoder import build_encoder_decoder
from models.recurrent import recurrent_layer, recurrent_stack, sequence_mask
from models.translation import build_encoder

VOCAB = 9


def with_large_weights(model):
    generator = np.random.default_rng(5)
    for weight in model.trainable_weights:
        weight.assign(generator.normal(0.0, 1.0, weight.shape))
    return model


def test_a_step_sees_itself_alone_in_both_directions():
    tokens = keras.Input((None,), dtype="int32")
    vectors = keras.layers.Embedding(VOCAB, 4)(tokens)
    states = recurrent_stack(
        vectors,
        sequence_mask(tokens),
        cell="feedforward",
        units=3,
        num_layers=2,
        bidirectional=True,
    )
    model = with_large_weights(keras.Model(tokens, states))
    one, other = np.array([[4, 5, 6, 7, 0]], "int32"), np.array([[8, 5, 4, 7, 0]], "int32")
    found = [ops.convert_to_numpy(model.predict_on_batch(batch))[0] for batch in (one, other)]
    same = np.abs(found[0] - found[1]).max(axis=-1) < 1e-6
    np.testing.assert_array_equal(same[:4], [False, True, False, True])


def test_it_is_the_simple_cell_without_what_it_remembers():
    sequence = np.random.default_rng(1).normal(size=(2, 5, 3)).astype("float32")
    simple = recurrent_layer("simple_rnn", 4, name="simple")
    plain = recurrent_layer("feedforward", 4, name="plain")
    simple(sequence), plain(sequence)
    simple.cell.recurrent_kernel.assign(np.zeros((4, 4)))
    plain.set_weights([simple.get_weights()[0], simple.get_weights()[2]])
    np.testing.assert_allclose(
        ops.convert_to_numpy(plain(sequence)), ops.convert_to_numpy(simple(sequence)), atol=1e-6
    )


def translator():
    encoder = build_encoder(
        vocab_size=VOCAB,
        embed_dim=5,
        cell="feedforward",
        units=4,
        decoder_units=6,
        decoder_layers=2,
    )
    decoder = build_attention_decoder(
        vocab_size=VOCAB,
        embed_dim=5,
        cell="feedforward",
        units=6,
        num_layers=2,
        memory_dim=8,
        share_embedding=True,
    )
    return with_large_weights(build_encoder_decoder(encoder, decoder))


def test_a_decoder_without_memory_knows_its_last_word_alone_and_is_reloaded(tmp_path):
    save_model(translator(), tmp_path / "model.keras")
    model = keras.saving.load_model(tmp_path / "model.keras", compile=False, safe_mode=True)
    batch = {
        "target_in": np.array([[2, 5, 6, 7], [2, 8, 4, 7]], "int32"),
        "source": np.array([[5, 6, 7]] * 2, "int32"),
    }
    logits = ops.convert_to_numpy(model.predict_on_batch(batch))
    same = np.abs(logits[0] - logits[1]).max(axis=-1) < 1e-5
    np.testing.assert_array_equal(same, [True, False, False, True])
    # It trains: every weight has a gradient.
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    before = [weight.copy() for weight in model.get_weights()]
    model.train_on_batch(batch, np.array([[5, 6, 7, 3], [8, 4, 7, 3]], "int32"))
    moved = zip(before, model.get_weights(), strict=True)
    assert all(np.any(old != new) for old, new in moved)
