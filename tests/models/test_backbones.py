import keras
import numpy as np
import pytest

from models.backbones import BACKBONES, build_backbone, build_small_cnn


def random_pictures(size=32):
    return np.random.default_rng(0).integers(0, 256, (2, size, size, 3)).astype("uint8")


def test_a_small_cnn_makes_a_grid_of_regions_that_sees_its_picture():
    cnn = build_small_cnn(size=32, filters=4, num_blocks=2)
    pictures = random_pictures()
    regions = cnn.predict_on_batch(pictures)
    assert regions.shape == (2, 8 * 8, 8)
    # A change at the lower right corner changes the last region, and none far away.
    pictures[:, -1, -1] = 255 - pictures[:, -1, -1]
    changed = np.abs(cnn.predict_on_batch(pictures) - regions).max(axis=(0, 2)).reshape(8, 8)
    assert changed[-1, -1] > 1e-4
    np.testing.assert_allclose(changed[:4, :4], 0.0, atol=1e-6)


@pytest.mark.slow
@pytest.mark.no_backend
def test_a_backbone_gives_the_regions_of_its_grid_row_by_row():
    backbone = build_backbone("mobilenet_v2", size=64, weights=None)
    pictures = random_pictures(size=64)
    regions = backbone.predict_on_batch(pictures)
    assert regions.shape == (2, 2 * 2, 1280)
    cnn = next(layer for layer in backbone.layers if isinstance(layer, keras.Model))
    scaled = keras.applications.mobilenet_v2.preprocess_input(pictures.astype("float32"))
    grid = cnn.predict_on_batch(scaled)
    for row in range(2):
        for column in range(2):
            np.testing.assert_allclose(
                regions[:, 2 * row + column], grid[:, row, column], rtol=1e-4, atol=1e-6
            )


@pytest.mark.slow
@pytest.mark.no_backend
@pytest.mark.parametrize("name", ["efficientnet_v2_b0", "resnet50"])
def test_pixels_are_scaled_as_the_network_was_trained(name):
    _, preprocess = BACKBONES[name]
    model = build_backbone(name, size=32, weights=None)
    cnn = next(layer for layer in model.layers if isinstance(layer, keras.Model))
    assert cnn.name.lower().replace("_", "").startswith(name.replace("_", "")[:9])
    pictures = random_pictures().astype("float32")
    scaled = preprocess(pictures.copy()) if preprocess else pictures
    if name == "resnet50":
        # Blue first, and the mean of ImageNet taken away.
        expected = pictures[..., ::-1] - np.array([103.939, 116.779, 123.68])
        np.testing.assert_allclose(scaled, expected, rtol=1e-4, atol=1e-3)
    grid = cnn.predict_on_batch(scaled)
    np.testing.assert_allclose(
        model.predict_on_batch(random_pictures()),
        grid.reshape(2, -1, grid.shape[-1]),
        rtol=1e-3,
        atol=1e-5,
    )


@pytest.mark.no_backend
def test_a_backbone_that_cannot_be_is_refused_in_one_line(tmp_path, monkeypatch):
    def refusal(error, name, weights=None, size=32):
        with pytest.raises(error) as caught:
            build_backbone(name, size=size, weights=weights)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "no backbone 'lenet', only mobilenet_v2, " in refusal(ValueError, "lenet")
    assert "at least 32 pixels, not 31" in refusal(ValueError, "resnet50", size=31)
    file = tmp_path / "own.h5"
    assert f"{file} does not exist" in refusal(OSError, "mobilenet_v2", str(file))
    file.write_text("no weights")
    assert f"Cannot use {file} as weights of" in refusal(OSError, "mobilenet_v2", str(file))

    def no_network(*arguments, **options):
        raise Exception("URL fetch failure on a server: None -- \n [Errno -2] unknown")

    monkeypatch.setitem(BACKBONES, "resnet50", (no_network, None))
    line = refusal(OSError, "resnet50", "imagenet")
    assert "the imagenet weights of resnet50 (URL fetch failure on a server: None" in line
