"""Networks that make regions of pictures: trained ones without their classifier, and a small one.

A region is what a network found at one place of its last grid, a vector of `channels`; the regions
of a picture stand row by row.
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
    """Builds a network of `keras.applications` whose features are ready to be extracted.

    It is frozen, which also keeps its batch norms in inference mode, whoever calls it in training.

    Args:
        name: One of `BACKBONES`.
        size: Height and width of the pictures.
        weights: `"imagenet"` for those that Keras downloads once into `KERAS_HOME`, the path of an
            `.h5` file of them without the classifier, or None for random ones. Keras checks the
            hash of each file that it downloads. It knows none for MobileNetV2, whose weights for
            224 pixels are taken for all sizes and checked by their features.

    Returns:
        A model named `backbone`, from `picture` `<uint8>(batch, size, size, 3)`, RGB, to regions
        `(batch, regions, channels)`.

    Raises:
        ValueError: If there is no such backbone, pictures are too small for it, or the file holds
            the weights of something else.
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
        # Keras checks no hash of MobileNetV2's, so that they are loaded and compared here.
        by_keras = weights == "imagenet" and name != "mobilenet_v2"
        cnn = network(
            include_top=False,
            weights="imagenet" if by_keras else None,
            input_shape=(size, size, 3),
        )
        if weights == "imagenet" and not by_keras:
            cnn.set_weights(_checked_mobilenet().get_weights())
        elif weights not in (None, "imagenet"):
            cnn.load_weights(weights)
    picture = keras.Input((size, size, 3), dtype="uint8", name="picture")
    pixels = ops.cast(picture, "float32")
    grid = cnn(preprocess(pixels) if preprocess else pixels)
    regions = layers.Reshape((-1, grid.shape[-1]), name="regions")(grid)
    model = keras.Model(picture, regions, name="backbone")
    model.trainable = False
    return model


def mobilenet_fingerprint(mobilenet: keras.Model) -> np.ndarray:
    """Returns the mean features of a drawn picture, which weights that were folded leave alike.

    Args:
        mobilenet: MobileNetV2 of 224 pixels without its classifier.

    Returns:
        `(len(MOBILENET_FINGERPRINT),)`, each the mean of a group of channels.
    """
    rows, columns = np.mgrid[0:224, 0:224]
    picture = np.stack([rows, columns, (rows * columns) % 224], axis=-1) / 111.5 - 1
    features = ops.convert_to_numpy(mobilenet(picture[None].astype("float32"), training=False))
    return features.mean(axis=(0, 1, 2)).reshape(len(MOBILENET_FINGERPRINT), -1).mean(axis=1)


def _checked_mobilenet() -> keras.Model:
    """Returns MobileNetV2 with the weights that Keras downloads, for 224 pixels.

    Raises:
        ValueError: If they are not those that the published figures were made with.
    """
    mobilenet = applications.MobileNetV2(include_top=False, input_shape=(224, 224, 3))
    if not np.allclose(mobilenet_fingerprint(mobilenet), MOBILENET_FINGERPRINT, atol=2e-3):
        raise ValueError("they are not those of the published figures")
    return mobilenet


class _OneLine:
    """Turns what Keras raises for weights into one line that names them.

    A class, since a download that fails raises a bare `Exception`: an `except` for that would also
    catch every other fault.
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
    """Rounds all weights of two or more axes to half precision, the precision they are kept in."""
    for weight in model.weights:
        if len(weight.shape) > 1:
            weight.assign(ops.convert_to_numpy(weight).astype("float16"))


def save_backbone(model: keras.Model, path: Path) -> None:
    """Writes the weights of a backbone after `round_kernels`, its kernels in half precision."""
    arrays = [ops.convert_to_numpy(weight) for weight in model.weights]
    arrays = [array.astype("float16") if array.ndim > 1 else array for array in arrays]
    with open(path, "wb") as file:
        np.savez_compressed(file, *arrays)


def load_backbone_weights(model: keras.Model, path: Path) -> None:
    """Gives a backbone the weights that `save_backbone` wrote.

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
    """Returns the SHA-256 of all weights of a model, by which extracted features are told apart."""
    digest = hashlib.sha256()
    for weight in model.weights:
        digest.update(f"{weight.name} {weight.shape}".encode())
        digest.update(ops.convert_to_numpy(weight).tobytes())
    return digest.hexdigest()


def build_small_cnn(*, size: int, filters: int = 32, num_blocks: int = 3) -> keras.Model:
    """Builds a network to be trained from scratch together with the decoder.

    Each block halves height and width and doubles the channels; a last convolution lets each region
    see its neighbours.

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
        # The averages of inference follow those of training quickly, for short trainings.
        grid = layers.BatchNormalization(momentum=0.9, name=f"batch_norm_{block + 1}")(grid)
        grid = layers.Activation("relu")(grid)
    regions = layers.Reshape((-1, grid.shape[-1]), name="regions")(grid)
    return keras.Model(picture, regions, name="small_cnn")
