import itertools

import keras
import numpy as np
import pytest

from models.attention_decoder import build_attention_decoder
from models.decode.generation import build_generator, set_seed
from models.translation import build_encoder
from tests.helpers import outputs_of, sequence_scores

PAD, START, END, VOCAB = 0, 2, 3, 8
MAX_LENGTH = 7
LIMITS = np.array([7, 2, 5, 1, 6], "int32")
PARTS = [("simple_rnn", 1), ("lstm", 2), ("gru", 1)]


def build_parts(cell="gru", num_layers=1, *, vocab_size=VOCAB):
    encoder = build_encoder(
        vocab_size=vocab_size,
        embed_dim=4,
        cell=cell,
        units=3,
        decoder_units=5,
        decoder_layers=num_layers,
    )
    decoder = build_attention_decoder(
        vocab_size=vocab_size,
        embed_dim=4,
        cell=cell,
        units=5,
        num_layers=num_layers,
        memory_dim=6,
        share_embedding=True,
    )
    # Weights as large as those of a trained model.
    generator = np.random.default_rng(5)
    for weight in encoder.trainable_weights + decoder.trainable_weights:
        weight.assign(generator.normal(0.0, 1.2, weight.shape))
    return encoder, decoder


def generator_of(parts, max_length=MAX_LENGTH, **options):
    return build_generator(*parts, start_id=START, end_id=END, max_length=max_length, **options)


def random_source(lengths=(6, 3, 5, 2, 4), time=6, vocab_size=VOCAB):
    tokens = np.random.default_rng(2).integers(4, vocab_size, (len(lengths), time))
    return np.where(np.arange(time) < np.array(lengths)[:, None], tokens, PAD).astype("int32")


def lengths_of(sequences):
    return (sequences != PAD).sum(axis=-1)


def forcing_model(parts):
    """Teacher forcing of both parts."""
    encoder, decoder = parts
    source = keras.Input((None,), dtype="int32", name="source")
    target_in = keras.Input((None,), dtype="int32", name="target_in")
    outputs = decoder({"target_in": target_in, **encoder(source)})
    return keras.Model({"source": source, "target_in": target_in}, outputs)


def forced(model, source, target_out):
    """The decoder's outputs for one given target a row, all steps at once."""
    target_in = np.pad(target_out[:, :-1], ((0, 0), (1, 0)), constant_values=START)
    return outputs_of(model, {"source": source, "target_in": target_in})


def log_probabilities(model, source, target_out):
    return sequence_scores(forced(model, source, target_out)["logits"], target_out)


def written_greedily(model, source, limits):
    """What `greedy` has to write, word by word in plain Python."""
    sequences = np.zeros((len(source), MAX_LENGTH), "int32")
    for step in range(MAX_LENGTH):
        logits = forced(model, source, sequences)["logits"][:, step]
        for row, limit in enumerate(limits):
            words = list(sequences[row, :step])
            if END in words:
                continue
            allowed = [END] if step == limit - 1 else range(END, VOCAB)
            sequences[row, step] = max(allowed, key=lambda word: logits[row, word])
    return sequences


@pytest.fixture(scope="module", params=PARTS, ids=lambda part: part[0])
def beam(request):
    """A decoder of each cell under teacher forcing and what a beam of four writes with it."""
    parts = build_parts(*request.param)
    model = generator_of(parts, beam_size=4, n_best=2, length_penalty=0.6, return_attention=True)
    source = random_source()
    written = model.predict_on_batch({"source": source, "length_limit": LIMITS})
    return forcing_model(parts), model, source, written


def test_a_score_is_the_log_probability_under_teacher_forcing_over_the_length(beam):
    forcing, _, source, written = beam
    for rank in range(2):
        sequences = written["sequences"][:, rank]
        lengths = lengths_of(sequences)
        totals = log_probabilities(forcing, source, sequences)
        expected = np.where(lengths, totals / np.maximum(lengths, 1) ** 0.6, -1e9)
        np.testing.assert_allclose(written["scores"][:, rank], expected, rtol=1e-4, atol=1e-5)
    assert np.all(written["scores"][:, 0] >= written["scores"][:, 1])


def test_a_sequence_ends_once_within_its_limit_and_holds_nothing_forbidden(beam):
    _, _, _, written = beam
    sequences = written["sequences"]
    lengths = lengths_of(sequences)
    assert np.all(lengths <= LIMITS[:, None])
    # A limit of one leaves room for one sequence alone, the end.
    assert np.argwhere(lengths == 0).tolist() == [[3, 1]]
    for sequence, length in zip(sequences.reshape(-1, MAX_LENGTH), lengths.ravel(), strict=True):
        assert np.all(sequence[length:] == PAD)
        assert np.all(sequence[: max(length - 1, 0)] > END)
        assert not length or sequence[length - 1] == END


def test_attention_is_that_of_teacher_forcing_and_lies_on_real_words_alone(beam):
    forcing, _, source, written = beam
    for rank in range(2):
        sequences, attention = written["sequences"][:, rank], written["attention"][:, rank]
        real = sequences != PAD
        np.testing.assert_allclose(attention.sum(axis=-1), real, rtol=1e-5)
        assert np.all(attention.transpose(0, 2, 1)[source == PAD] == 0)
        expected = forced(forcing, source, sequences)["attention"]
        np.testing.assert_allclose(attention[real], expected[real], rtol=1e-4, atol=1e-5)


def test_neighbours_in_the_batch_and_padding_change_no_sequence(beam):
    _, model, source, together = beam
    for row in (0, 2):
        padded = np.pad(source[row : row + 1], ((0, 0), (0, 3)))
        alone = model.predict_on_batch({"source": padded, "length_limit": LIMITS[row : row + 1]})
        np.testing.assert_array_equal(alone["sequences"][0], together["sequences"][row])
        np.testing.assert_allclose(
            alone["scores"][0], together["scores"][row], rtol=1e-4, atol=1e-5
        )


@pytest.mark.parametrize("length_penalty", [0.0, 1.0])
def test_a_wide_beam_finds_the_best_of_all_sequences(length_penalty):
    words, limit = [4, 5, 6], 4
    parts = build_parts("gru", 2, vocab_size=7)
    source = random_source((4,), 4, vocab_size=7)
    every = [
        [*beginning, END] + [PAD] * (limit - 1 - length)
        for length in range(limit)
        for beginning in itertools.product(words, repeat=length)
    ]
    every = np.array(every, "int32")
    sources = np.repeat(source, len(every), axis=0)
    totals = log_probabilities(forcing_model(parts), sources, every)
    scores = totals / lengths_of(every) ** length_penalty
    model = generator_of(
        parts, limit, beam_size=len(every), n_best=5, length_penalty=length_penalty
    )
    written = model.predict_on_batch({"source": source, "length_limit": np.array([limit])})
    best = np.argsort(-scores)[:5]
    np.testing.assert_array_equal(written["sequences"][0], every[best])
    np.testing.assert_allclose(written["scores"][0], scores[best], rtol=1e-4)


def test_a_beam_of_one_is_greedy():
    parts, source = build_parts(), random_source()
    inputs = {"source": source, "length_limit": LIMITS}
    greedy = generator_of(parts, method="greedy").predict_on_batch(inputs)["sequences"]
    beam_of_one = generator_of(parts, beam_size=1).predict_on_batch(inputs)["sequences"]
    np.testing.assert_array_equal(beam_of_one, greedy)
    expected = written_greedily(forcing_model(parts), source, LIMITS)
    np.testing.assert_array_equal(greedy[:, 0], expected)


def test_samples_are_as_frequent_as_they_are_probable_and_repeat_with_their_seed():
    parts, source = build_parts(), random_source((4,), 4)
    inputs = {"source": source, "length_limit": np.array([3])}
    options = {"method": "sample", "n_best": 4000, "temperature": 1.5, "top_k": 3}
    model = generator_of(parts, 3, length_penalty=0.0, **options)
    set_seed(model, 1)
    written = model.predict_on_batch(inputs)
    samples, sources = written["sequences"][0], np.repeat(source, 4000, axis=0)

    outputs = forced(forcing_model(parts), sources, samples)
    logits = np.where(np.arange(VOCAB) < END, -np.inf, outputs["logits"][0, 0]) / 1.5
    weights = np.where(logits >= np.sort(logits)[-3], np.exp(logits), 0.0)
    probabilities = weights / weights.sum()
    shares = np.bincount(samples[:, 0], minlength=VOCAB) / len(samples)
    # Five standard deviations of a share of 4,000 draws.
    deviations = np.sqrt(probabilities * (1 - probabilities) / len(samples))
    assert np.all(np.abs(shares - probabilities) <= 5 * deviations)

    totals = sequence_scores(outputs["logits"], samples)
    np.testing.assert_allclose(written["scores"][0], totals, rtol=1e-4, atol=1e-5)
    assert np.any(model.predict_on_batch(inputs)["sequences"][0] != samples)
    again = generator_of(parts, 3, **options)
    set_seed(again, 1)
    np.testing.assert_array_equal(again.predict_on_batch(inputs)["sequences"][0], samples)
