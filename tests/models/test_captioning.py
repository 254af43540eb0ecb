import keras
import numpy as np
import pytest
from scipy import special

from models.attention_decoder import build_attention_decoder
from models.captioning import VARIANTS, add_mirror_image, build_picture_encoder
from models.decode.generation import build_generator
from models.encoder_decoder import build_encoder_decoder
from models.ensemble import build_ensemble
from tests.helpers import outputs_of

VOCAB, START, END, REGIONS, CHANNELS = 14, 2, 3, 6, 7


def build(variant="attention", *, cell="gru", num_layers=1, units=8, vocab_size=VOCAB, **source):
    keras.utils.set_random_seed(3)
    encoder = build_picture_encoder(
        **(source or {"features": (REGIONS, CHANNELS)}),
        variant=variant,
        memory_dim=units,
        dropout=0.1,
        cell=cell,
        decoder_units=units,
        decoder_layers=num_layers,
    )
    decoder = build_attention_decoder(
        vocab_size=vocab_size,
        embed_dim=units,
        cell=cell,
        units=units,
        num_layers=num_layers,
        memory_dim=encoder.output["memory"].shape[-1],
    )
    return build_encoder_decoder(encoder, decoder)


def random_features(batch=3):
    features = np.random.default_rng(0).normal(size=(batch, REGIONS, CHANNELS))
    return features.astype("float16")


def random_tokens(batch=3, time=5):
    return np.random.default_rng(1).integers(4, VOCAB, (batch, time)).astype("int32")


def logits_of(model, picture, target_in):
    return outputs_of(model, {"picture": picture, "target_in": target_in})


def memory_of(model, picture):
    return outputs_of(model.get_layer("encoder"), picture)


def written_by(model, picture, max_length=6, **options):
    """What a generator writes with the parts that are found in a captioner."""
    generator = build_generator(
        model.get_layer("encoder"),
        model.get_layer("decoder"),
        start_id=START,
        end_id=END,
        max_length=max_length,
        **options,
    )
    limits = np.full(len(picture), max_length, "int32")
    return generator.predict_on_batch({"picture": picture, "length_limit": limits})


@pytest.mark.no_backend
def test_the_variants_differ_in_memory_and_states_alone():
    seen = {variant: memory_of(build(variant), random_features()) for variant in VARIANTS}
    shapes = {variant: outputs["memory"].shape for variant, outputs in seen.items()}
    assert shapes == {"attention": (3, REGIONS, 8), "initial_state": (3, 2, 1), "merge": (3, 2, 8)}
    real = {variant: outputs["memory_mask"].sum(axis=1) for variant, outputs in seen.items()}
    for variant, places in {"attention": REGIONS, "initial_state": 0, "merge": 1}.items():
        np.testing.assert_array_equal(real[variant], places)
    assert not np.any(seen["merge"]["states"][0])
    # The same seed, so the same weights: what `merge` shows is what all of the regions are on
    # average, and what `initial_state` starts from is where `attention` starts.
    regions = seen["attention"]["memory"]
    np.testing.assert_allclose(seen["merge"]["memory"][:, 0], regions.mean(axis=1), rtol=1e-5)
    np.testing.assert_allclose(
        seen["initial_state"]["states"][0], seen["attention"]["states"][0], rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize("variant", VARIANTS)
def test_padding_a_caption_changes_nothing(variant):
    model, features, target_in = build(variant), random_features(), random_tokens()
    padded = np.pad(target_in, ((0, 0), (0, 3)))
    np.testing.assert_allclose(
        logits_of(model, features, padded)[:, :5],
        logits_of(model, features, target_in),
        rtol=1e-4,
        atol=1e-6,
    )


def test_a_reloaded_captioner_writes_the_same_in_a_process_that_built_no_other(tmp_path):
    model = build(cell="lstm", num_layers=2)
    features, target_in = random_features(), random_tokens()
    logits = logits_of(model, features, target_in)
    options = {"beam_size": 2, "n_best": 2, "return_attention": True}
    before = written_by(model, features, **options)
    model.save(tmp_path / "model.keras")
    # From here on names are given as in a new process.
    keras.utils.clear_session(free_memory=False)
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    assert loaded.count_params() == model.count_params()
    np.testing.assert_allclose(logits_of(loaded, features, target_in), logits, rtol=1e-5, atol=1e-6)
    after = written_by(loaded, features, **options)
    np.testing.assert_array_equal(after["sequences"], before["sequences"])
    for name in ("scores", "attention"):
        np.testing.assert_allclose(after[name], before[name], rtol=1e-5, atol=1e-6)


# ---- Learning --------------------------------------------------------------------------------


def test_a_picture_and_its_mirror_image_write_one_caption():
    members = [build(features=(4, CHANNELS), cell=cell) for cell in ("gru", "lstm")]
    model = build_ensemble(members, name="captioning")
    pair = np.random.default_rng(5).normal(size=(3, 2, 4, CHANNELS)).astype("float16")
    target_in = random_tokens()

    def outputs(captioner, picture):
        memory = memory_of(captioner, picture)
        found = outputs_of(captioner.get_layer("decoder"), {"target_in": target_in, **memory})
        return special.softmax(found["logits"], axis=-1), found["attention"]

    probabilities, attention = outputs(add_mirror_image(model), pair)
    alone = [outputs(model, pair[:, place]) for place in (0, 1)]
    np.testing.assert_allclose(probabilities, (alone[0][0] + alone[1][0]) / 2, atol=1e-6)
    # Left and right of the two rows of two regions change places in the mirror.
    turned = alone[1][1][..., [1, 0, 3, 2]]
    np.testing.assert_allclose(attention, (alone[0][1] + turned) / 2, atol=1e-6)
    assert np.abs(alone[0][1] - turned).max() > 1e-3
