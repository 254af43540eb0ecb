import keras
import numpy as np
import pytest
from keras import ops

from models.attention_decoder import build_attention_decoder
from models.decode.generation import build_generator
from models.encoder_decoder import build_encoder_decoder, smoothed_cross_entropy
from models.translation import build_encoder
from tests.helpers import on_one_backend, outputs_of

VOCAB, EMBED_DIM, START, END = 14, 6, 2, 3


def build(cell="gru", *, num_layers=1, units=4, **options):
    keras.utils.set_random_seed(3)
    encoder = build_encoder(
        vocab_size=VOCAB,
        embed_dim=EMBED_DIM,
        cell=cell,
        units=units,
        decoder_units=2 * units,
        decoder_layers=num_layers,
        num_layers=num_layers,
        **options,
    )
    decoder = build_attention_decoder(
        vocab_size=VOCAB,
        embed_dim=EMBED_DIM,
        cell=cell,
        units=2 * units,
        num_layers=num_layers,
        memory_dim=2 * units,
        share_embedding=True,
    )
    return build_encoder_decoder(encoder, decoder)


def random_tokens(lengths, time):
    tokens = np.random.default_rng(0).integers(4, VOCAB, (len(lengths), time))
    return np.where(np.arange(time) < np.array(lengths)[:, None], tokens, 0).astype("int32")


def logits_of(model, source, target_in):
    return outputs_of(model, {"source": source, "target_in": target_in})


@pytest.mark.parametrize("cell", [on_one_backend("simple_rnn"), "lstm", "gru"])
def test_padding_and_neighbours_of_the_source_change_nothing(cell):
    model = build(cell, num_layers=2)
    source, target_in = random_tokens([6, 2, 4], 6), random_tokens([5, 5, 5], 5)
    logits = logits_of(model, source, target_in)
    # Alone, once with less padding and once with more.
    for row, time in ((1, 2), (2, 9)):
        alone = np.zeros((1, time), "int32")
        alone[0, : min(time, 6)] = source[row, : min(time, 6)]
        np.testing.assert_allclose(
            logits_of(model, alone, target_in[row : row + 1])[0], logits[row], rtol=1e-4, atol=1e-6
        )


def test_the_decoder_starts_from_where_both_directions_of_the_encoder_end():
    encoder = build("gru").get_layer("encoder")
    source = random_tokens([5, 3], 5)
    states = ops.convert_to_numpy(encoder(source)["states"][0])
    vectors = ops.convert_to_numpy(encoder.get_layer("embedding").embeddings)
    kernel, bias = encoder.get_layer("initial_state_1_h").get_weights()
    for row, length in enumerate([5, 3]):
        sentence = vectors[source[row, :length]][None]
        ends = [
            ops.convert_to_numpy(encoder.get_layer(name)(direction))[0, -1]
            for name, direction in (("forward_1", sentence), ("backward_1", sentence[:, ::-1]))
        ]
        expected = np.tanh(np.concatenate(ends) @ kernel + bias)
        np.testing.assert_allclose(states[row], expected, rtol=1e-4, atol=1e-6)


def written_by(translator, source, **options):
    """What a generator writes with the parts that are found in a translator."""
    generator = build_generator(
        translator.get_layer("encoder"),
        translator.get_layer("decoder"),
        start_id=START,
        end_id=END,
        max_length=6,
        **options,
    )
    limits = np.full(len(source), 6, "int32")
    return generator.predict_on_batch({"source": source, "length_limit": limits})


def test_a_reloaded_translator_writes_the_same_in_a_process_that_built_no_other(tmp_path):
    source, target_in = random_tokens([6, 2], 6), random_tokens([4, 4], 4)
    model = build("lstm", num_layers=2, dropout=0.2)
    logits = logits_of(model, source, target_in)
    options = {"beam_size": 2, "n_best": 2, "return_attention": True}
    before = written_by(model, source, **options)
    model.save(tmp_path / "model.keras")
    # From here on names are given as in a new process.
    keras.utils.clear_session(free_memory=False)
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    # The table that both parts share is stored once.
    assert loaded.count_params() == model.count_params()
    np.testing.assert_allclose(logits_of(loaded, source, target_in), logits, rtol=1e-5, atol=1e-6)
    after = written_by(loaded, source, **options)
    np.testing.assert_array_equal(after["sequences"], before["sequences"])
    for name in ("scores", "attention"):
        np.testing.assert_allclose(after[name], before[name], rtol=1e-5, atol=1e-6)


@pytest.mark.no_backend
def test_no_two_weights_share_a_path():
    # On PyTorch, Keras finds the gradients to clear by the paths of the weights.
    paths = [weight.path for weight in build(num_layers=2).trainable_weights]
    assert sorted(set(paths)) == sorted(paths)


def test_the_loss_is_the_mean_cross_entropy_of_the_real_tokens():
    label_smoothing = 0.1
    generator = np.random.default_rng(0)
    logits = generator.normal(0, 2, (2, 3, 4)).astype("float32")
    targets = np.array([[3, 1, 2], [2, 0, 0]], "int32")
    total = 0.0
    for row, step in [(0, 0), (0, 1), (0, 2), (1, 0)]:
        probabilities = np.exp(logits[row, step]) / np.exp(logits[row, step]).sum()
        wanted = np.full(4, label_smoothing / 4)
        wanted[targets[row, step]] += 1 - label_smoothing
        total -= (wanted * np.log(probabilities)).sum()
    loss = smoothed_cross_entropy(label_smoothing)
    np.testing.assert_allclose(float(loss(targets, logits)), total / 4, rtol=1e-5)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_the_gradient_of_the_loss_is_softmax_less_target_over_the_real_tokens(label_smoothing):
    targets = np.array([[3, 1, 2], [2, 0, 0]], "int32")
    places = np.arange(6).reshape(2, 3)
    # The logits are weights, and a step of the rate 1 takes away the gradient itself.
    table = keras.layers.Embedding(6, 4, embeddings_initializer="normal")
    model = keras.Sequential([keras.Input((None,), dtype="int32"), table])
    logits = np.random.default_rng(0).normal(0, 2, (6, 4)).astype("float32")
    table.set_weights([logits])
    model.compile(optimizer=keras.optimizers.SGD(1.0), loss=smoothed_cross_entropy(label_smoothing))
    model.train_on_batch(places, targets)
    expected = np.zeros((6, 4))
    for place in (0, 1, 2, 3):
        expected[place] = np.exp(logits[place]) / np.exp(logits[place]).sum()
        expected[place] -= label_smoothing / 4
        expected[place, targets.ravel()[place]] -= 1 - label_smoothing
    np.testing.assert_allclose(logits - table.get_weights()[0], expected / 4, rtol=1e-4, atol=1e-6)
