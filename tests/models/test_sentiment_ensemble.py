import keras
import numpy as np
import pytest

from models.sentiment import build_encoder, build_sentiment_classifier
from models.sentiment_ensemble import join_sentiment_classifiers
from tests.helpers import on_one_backend

VOCAB = 30
TOKENS = np.array([[3, 7, 9, 2, 4, 8, 0, 0], [5, 6, 0, 0, 0, 0, 0, 0]], "int32")


def build(cell, units, *, pooling="max", region_length=0, vectors=True, classes=3, seed=1):
    keras.utils.set_random_seed(seed)
    encoder = build_encoder(
        vocab_size=VOCAB,
        embed_dim=units + 1,
        cell=cell,
        units=units,
        region_length=region_length,
        skip_connection=vectors,
    )
    model = build_sentiment_classifier(
        encoder,
        num_classes=classes,
        pooling=pooling,
        vector_features=units + 1 if vectors else 0,
        backward_units=units,
        region_length=region_length,
    )
    bias = model.get_layer("logits").bias
    bias.assign(np.random.default_rng(seed).normal(size=bias.shape))
    return model


def said(model):
    return keras.ops.convert_to_numpy(model(TOKENS))


@pytest.mark.parametrize(
    ("pooling", "region_length", "vectors"),
    [("max", 4, True), on_one_backend("mean", 0, False), on_one_backend("last", 0, True)],
)
def test_the_verdict_is_the_mean_of_the_members_also_after_a_reload(
    pooling, region_length, vectors, tmp_path
):
    sizes = (("lstm", 3), ("gru", 4))
    options = {"pooling": pooling, "region_length": region_length, "vectors": vectors}
    members = [build(*size, seed=seed, **options) for seed, size in enumerate(sizes)]
    joined = join_sentiment_classifiers(
        members,
        pooling=pooling,
        vector_features=[4, 5] if vectors else [0, 0],
        backward_units=[3, 4],
        region_length=region_length,
    )
    wanted = np.mean([said(member) for member in members], axis=0)
    np.testing.assert_allclose(said(joined), wanted, rtol=1e-4, atol=1e-5)
    joined.save(tmp_path / "model.keras")
    reloaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(said(reloaded), said(joined), rtol=1e-5, atol=1e-6)


@pytest.mark.no_backend
def test_what_cannot_be_joined_is_refused():
    one, other = build("gru", 3), build("gru", 3, classes=2, seed=2)
    sizes = {"vector_features": [4, 4], "backward_units": [3, 3]}
    with pytest.raises(ValueError, match="2 and 3 labels"):
        join_sentiment_classifiers([one, other], pooling="max", **sizes)
    with pytest.raises(ValueError, match="at least two"):
        join_sentiment_classifiers([one], pooling="max", **sizes)
    with pytest.raises(ValueError, match="Attention"):
        join_sentiment_classifiers([one, one], pooling="attention", **sizes)
