"""Networks from pictures to regions: trained ones without their classifier, and a small one.

A region is one place of the network's last grid, a vector of `channels`; regions are in row order.
"""

import hashlib
from pathlib import Path

import keras
import numpy as np
from keras import applications, layers, ops

# The function scales pixels as in the network's training; where it is None, the network does so.
BACKBONES = {
    "mobilenet_v2": (applications.MobileNetV2, applications.mobilenet_v2.preprocess_input),
    "efficientnet_v2_b0": (applications.EfficientNetV2B0, None),
    "resnet50": (applications.ResNet50, applications.resnet50.preprocess_input),
}
# Smallest height and width of the pictures.
_SMALLEST = 32

# `mobilenet_fingerprint` of the weights that the published figures were made with.
MOBILENET_FINGERPRINT = (0.3657, 0.2999, 0.3340, 0.3271, 0.2430, 0.3116, 0.3414, 0.3501)


def build_backbone(name: str, *, size: int, weights: str | None = "imagenet") -> keras.Model:
    """Builds a frozen network of `keras.applications` without its classifier.

    Args:
        name: One of `BACKBONES`.
        size: Height and width of the pictures.
        weights: `"imagenet"` for those that Keras downloads once into `KERAS_HOME`, the path of an
            `.h5` file of them without the classifier, or None for random ones. Keras checks the
            hash of its downloads, except for MobileNetV2, which is checked by its features here;
            its weights for 224 pixels serve all sizes.

    Returns:
        A model named `backbone`, from `picture` `<uint8>(batch, size, size, 3)`, RGB, to regions
        `(batch, regions, channels)`.

    Raises:
        ValueError: If the backbone is unknown, pictures are too small, or the file holds other
            weights.
        OSError: If the weights cannot be read or downloaded.
    """
    if name not in BACKBONES:
        raise ValueError(f"There is no backbone {name!r}, only {', '.join(BACKBONES)}.")
    network, preprocess = BACKBONES[name]
    if size < _SMALLEST:
        raise ValueError(f"{name} needs pictures of at least {_SMALLEST} pixels, not {size}.")
    if weights not in (None, "imagenet") and not Path(weights).is_file():
        raise FileNotFoundError(f"{weights} does not exist: check the path of the weights.")
    with _OneLine(name, weights):
        shape = (size, size, 3)
        if weights == "imagenet" and name != "mobilenet_v2":
            cnn = network(include_top=False, weights="imagenet", input_shape=shape)
        else:
            cnn = network(include_top=False, weights=None, input_shape=shape)
            if weights == "imagenet":
                cnn.set_weights(_checked_mobilenet().get_weights())
            elif weights:
                cnn.load_weights(weights)
    picture = keras.Input((size, size, 3), dtype="uint8", name="picture")
    pixels = ops.cast(picture, "float32")
    grid = cnn(preprocess(pixels) if preprocess else pixels)
    regions = layers.Reshape((-1, grid.shape[-1]), name="regions")(grid)
    model = keras.Model(picture, regions, name="backbone")
    model.trainable = False
    return model


def mobilenet_fingerprint(mobilenet: keras.Model) -> np.ndarray:
    """Returns the mean features of a drawn picture, the same whether batch norms are folded or not.

    Args:
        mobilenet: MobileNetV2 of 224 pixels without its classifier.

    Returns:
        The mean of each group of channels, one for each number of `MOBILENET_FINGERPRINT`.
    """
    rows, columns = np.mgrid[0:224, 0:224]
    picture = np.stack([rows, columns, (rows * columns) % 224], axis=-1) / 111.5 - 1
    features = ops.convert_to_numpy(mobilenet(picture[None].astype("float32"), training=False))
    return features.mean(axis=(0, 1, 2)).reshape(len(MOBILENET_FINGERPRINT), -1).mean(axis=1)


def _checked_mobilenet() -> keras.Model:
    """Returns MobileNetV2 of 224 pixels with downloaded weights; ValueError if they are others."""
    mobilenet = applications.MobileNetV2(include_top=False, input_shape=(224, 224, 3))
    if not np.allclose(mobilenet_fingerprint(mobilenet), MOBILENET_FINGERPRINT, atol=2e-3):
        raise ValueError("they are not those of the published figures")
    return mobilenet


class _OneLine:
    """Turns the errors that Keras raises for weights into one line that names the weights.

    A class can tell the bare `Exception` of a failed download from other exceptions.
    """

    def __init__(self, name: str, weights: str | None):
        self._what = f"the {weights} weights of {name}"
        self._remedy = "connect once, or name a file of them as weights"
        if weights != "imagenet":
            self._what = f"{weights} as weights of {name}"
            self._remedy = "name the .h5 file that Keras has of it without the classifier"

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind, error, traceback) -> None:
        if kind is Exception or (kind is not None and issubclass(kind, OSError | ValueError)):
            reason = " ".join(str(error).split()).rstrip(".")
            raised = ValueError if issubclass(kind, ValueError) else OSError
            raise raised(f"Cannot use {self._what} ({reason}): {self._remedy}.") from error


def round_kernels(model: keras.Model) -> None:
    """Rounds all weights of two or more axes to half precision, as `save_backbone` stores them."""
    for weight in model.weights:
        if len(weight.shape) > 1:
            weight.assign(ops.convert_to_numpy(weight).astype("float16"))


def save_backbone(model: keras.Model, path: Path) -> None:
    """Writes a backbone's weights, its kernels in half precision."""
    arrays = [ops.convert_to_numpy(weight) for weight in model.weights]
    arrays = [array.astype("float16") if array.ndim > 1 else array for array in arrays]
    with open(path, "wb") as file:
        np.savez_compressed(file, *arrays)


def load_backbone_weights(model: keras.Model, path: Path) -> None:
    """Loads the weights that `save_backbone` wrote.

    Raises:
        ValueError: If the file is damaged or holds the weights of another network.
        OSError: If it cannot be read.
    """
    with np.load(path, allow_pickle=False) as stored:
        arrays = [stored[f"arr_{number}"] for number in range(len(stored.files))]
    if [array.shape for array in arrays] != [tuple(weight.shape) for weight in model.weights]:
        raise ValueError(f"{path} holds the weights of another network.")
    for weight, array in zip(model.weights, arrays, strict=True):
        weight.assign(array.astype("float32"))


def weights_sha256(model: keras.Model) -> str:
    """Returns the SHA-256 of all weights of a model."""
    digest = hashlib.sha256()
    for weight in model.weights:
        digest.update(f"{weight.name} {weight.shape}".encode())
        digest.update(ops.convert_to_numpy(weight).tobytes())
    return digest.hexdigest()


def build_small_cnn(*, size: int, filters: int = 32, num_blocks: int = 3) -> keras.Model:
    """Builds a network to train from scratch together with the decoder.

    Each block halves height and width and doubles the channels; a last convolution connects each
    region with its neighbours.

    Args:
        size: Height and width of the pictures.
        filters: Channels of the first block.
        num_blocks: Number of blocks.

    Returns:
        A model named `small_cnn`, from `picture` `<uint8>(batch, size, size, 3)` to regions
        `(batch, regions, channels)`; of 64 pixels and three blocks there are 8 x 8 regions of 128.
    """
    picture = keras.Input((size, size, 3), dtype="uint8", name="picture")
    grid = layers.Rescaling(1 / 127.5, offset=-1.0, name="rescaling")(picture)
    for block in range(num_blocks + 1):
        last = block == num_blocks
        grid = layers.Conv2D(
            filters * 2 ** min(block, num_blocks - 1),
            3,
            strides=1 if last else 2,
            padding="same",
            use_bias=False,
            name=f"convolution_{block + 1}",
        )(grid)
        # A low momentum, so that the moving averages keep up in short trainings.
        grid = layers.BatchNormalization(momentum=0.9, name=f"batch_norm_{block + 1}")(grid)
        grid = layers.Activation("relu")(grid)
    regions = layers.Reshape((-1, grid.shape[-1]), name="regions")(grid)
    return keras.Model(picture, regions, name="small_cnn")
