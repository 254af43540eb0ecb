import keras
import numpy as np
import pytest

from models.sentiment import build_encoder, build_sentiment_classifier
from models.sentiment_ensemble import ensemble_members, join_sentiment_classifiers

TOKENS = np.array([[3, 7, 9, 2, 4, 8, 0, 0], [5, 6, 0, 0, 0, 0, 0, 0]], "int32")


def build(cell, units, *, pooling="max", classes=3):
    encoder = build_encoder(
        vocab_size=30, embed_dim=units + 1, cell=cell, units=units, region_length=4
    )
    return build_sentiment_classifier(
        encoder, num_classes=classes, pooling=pooling, backward_units=units, region_length=4
    )


def logits_of(model):
    return keras.ops.convert_to_numpy(model(TOKENS))


def test_the_logits_are_the_mean_of_the_members_also_after_a_reload(tmp_path):
    members = [build("lstm", 3), build("gru", 4, pooling="attention")]
    model = join_sentiment_classifiers(members)
    mean = np.mean([logits_of(member) for member in members], axis=0)
    np.testing.assert_allclose(logits_of(model), mean, rtol=1e-5, atol=1e-6)
    model.save(tmp_path / "model.keras")
    reloaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(logits_of(reloaded), mean, rtol=1e-5, atol=1e-6)
    for member, copy in zip(members, ensemble_members(reloaded), strict=True):
        np.testing.assert_allclose(logits_of(copy), logits_of(member), rtol=1e-5, atol=1e-6)


@pytest.mark.no_backend
def test_a_classifier_alone_is_its_only_member_and_joins_none_of_other_labels():
    first, other = build("gru", 3), build("gru", 3, classes=2)
    assert ensemble_members(first) == [first]
    with pytest.raises(ValueError, match="2 and 3 labels"):
        join_sentiment_classifiers([first, other])
