import keras
import numpy as np
import pytest
from keras import ops

from common.run_folder import save_model
from models.attention_decoder import build_attention_decoder
from models.decode.generation import build_generator
from models.encoder_decoder import build_encoder_decoder
from models.ensemble import build_ensemble
from models.translation import build_encoder
from tests.helpers import outputs_of, sequence_scores

PAD, START, END, VOCAB = 0, 2, 3, 9


def with_large_weights(model, seed):
    """Untrained words are all alike: weights of a trained model's size tell members apart."""
    generator = np.random.default_rng(seed)
    for weight in model.trainable_weights:
        weight.assign(generator.normal(0.0, 1.0, weight.shape))
    return model


def translator(seed, cell="gru", units=4, vocab_size=VOCAB):
    encoder = build_encoder(
        vocab_size=vocab_size,
        embed_dim=5,
        cell=cell,
        units=units,
        decoder_units=6,
    )
    decoder = build_attention_decoder(
        vocab_size=vocab_size,
        embed_dim=5,
        cell=cell,
        units=6,
        memory_dim=2 * units,
        share_embedding=True,
    )
    return with_large_weights(build_encoder_decoder(encoder, decoder), seed)


def probabilities(model, batch):
    return ops.convert_to_numpy(ops.softmax(outputs_of(model, batch)))


def test_a_word_has_the_mean_of_the_members_probabilities_also_after_a_reload(tmp_path):
    members = [translator(1), translator(2, cell="lstm", units=3)]
    ensemble = build_ensemble(members, name="together")
    words = np.random.default_rng(3).integers(4, VOCAB, (2, 5)).astype("int32")
    batch = {"target_in": words, "source": np.array([[5, 6, 7, 4], [8, 4, 0, 0]], "int32")}
    mean = np.mean([probabilities(member, batch) for member in members], axis=0)
    np.testing.assert_allclose(probabilities(ensemble, batch), mean, atol=1e-6)

    save_model(ensemble, tmp_path / "model.keras")
    reloaded = keras.saving.load_model(tmp_path / "model.keras", compile=False, safe_mode=True)
    assert reloaded.name == "together"
    np.testing.assert_allclose(probabilities(reloaded, batch), mean, atol=1e-6)


def written_by(model, source):
    generator = build_generator(
        model.get_layer("encoder"),
        model.get_layer("decoder"),
        start_id=START,
        end_id=END,
        max_length=6,
        beam_size=3,
        length_penalty=0.0,
        return_attention=True,
    )
    limits = np.full(len(source), 6, "int32")
    outputs = generator.predict_on_batch({"source": source, "length_limit": limits})
    return {name: ops.convert_to_numpy(output) for name, output in outputs.items()}


@pytest.mark.no_backend
def test_the_search_runs_over_all_members_at_once():
    members = [translator(1), translator(2, cell="lstm", units=3)]
    ensemble = build_ensemble(members, name="together")
    source = np.array([[5, 6, 7, 4], [8, 4, 0, 0], [4, 4, 6, 0]], "int32")
    found = written_by(ensemble, source)
    sequences = found["sequences"][:, 0]
    alone = [written_by(member, source)["sequences"][:, 0] for member in members]
    assert any((sequences != one).any() for one in alone)
    # The score is the log-probability of the members' mean, step after step.
    target_in = np.pad(sequences[:, :-1], ((0, 0), (1, 0)), constant_values=START)
    batch = {"source": source, "target_in": target_in}
    mean = np.mean([probabilities(member, batch) for member in members], axis=0)
    scores = sequence_scores(np.log(mean), sequences)
    np.testing.assert_allclose(found["scores"][:, 0], scores, rtol=1e-4)
    weights = found["attention"][:, 0].sum(axis=-1)
    np.testing.assert_allclose(weights, sequences != PAD, atol=1e-5)
