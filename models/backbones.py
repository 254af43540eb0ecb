"""Networks that make regions of pictures: trained ones without their classifier, and a small one.

A region is what a network found at one place of its last grid, a vector of `channels`; the regions
of a picture stand row by row.
"""

import hashlib
from pathlib import Path

import keras
from keras import applications, layers, ops

# The function in the middle scales pixels as the network's training did; where it is None, the
# network does so itself. The last number is the smallest picture.
BACKBONES = {
    "mobilenet_v2": (applications.MobileNetV2, applications.mobilenet_v2.preprocess_input, 32),
    "mobilenet_v3_large": (applications.MobileNetV3Large, None, 32),
    "efficientnet_b0": (applications.EfficientNetB0, None, 32),
    "efficientnet_v2_b0": (applications.EfficientNetV2B0, None, 32),
    "resnet50": (applications.ResNet50, applications.resnet50.preprocess_input, 32),
    "resnet50_v2": (applications.ResNet50V2, applications.resnet_v2.preprocess_input, 32),
    "densenet121": (applications.DenseNet121, applications.densenet.preprocess_input, 32),
    "vgg16": (applications.VGG16, applications.vgg16.preprocess_input, 32),
    "inception_v3": (applications.InceptionV3, applications.inception_v3.preprocess_input, 75),
    "xception": (applications.Xception, applications.xception.preprocess_input, 71),
}


def build_backbone(name: str, *, size: int, weights: str | None = "imagenet") -> keras.Model:
    """Builds a network of `keras.applications` whose features are ready to be extracted.

    It is frozen, which also keeps its batch norms in inference mode, whoever calls it in training.

    Args:
        name: One of `BACKBONES`.
        size: Height and width of the pictures.
        weights: `"imagenet"` for those that Keras downloads once into `KERAS_HOME`, the path of an
            `.h5` file of them without the classifier, or None for random ones. Keras checks the
            hash of each file that it downloads, but knows none for MobileNetV2: there the result
            of `weights_sha256` is all that tells weights apart. MobileNetV2 has weights of its own
            for some sizes; a file of 224 pixels also fits any other.

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
    network, preprocess, smallest = BACKBONES[name]
    if size < smallest:
        raise ValueError(f"{name} needs pictures of at least {smallest} pixels, not {size}.")
    if weights not in (None, "imagenet") and not Path(weights).is_file():
        raise FileNotFoundError(f"{weights} does not exist: check the path of the weights.")
    with _OneLine(name, weights):
        cnn = network(
            include_top=False,
            weights=weights if weights == "imagenet" else None,
            input_shape=(size, size, 3),
        )
        if weights not in (None, "imagenet"):
            cnn.load_weights(weights)
    picture = keras.Input((size, size, 3), dtype="uint8", name="picture")
    pixels = ops.cast(picture, "float32")
    grid = cnn(preprocess(pixels) if preprocess else pixels)
    regions = layers.Reshape((-1, grid.shape[-1]), name="regions")(grid)
    model = keras.Model(picture, regions, name="backbone")
    model.trainable = False
    return model


def fine_tune(backbone: keras.Model, first: str) -> None:
    """Lets the upper layers of a backbone learn; its batch norms stay in inference mode.

    Args:
        backbone: From `build_backbone`.
        first: Name of the layer from which on layers learn, in the order of `keras.applications`.

    Raises:
        ValueError: If there is no layer of that name.
    """
    (cnn,) = [layer for layer in backbone.layers if isinstance(layer, keras.Model)]
    names = [layer.name for layer in cnn.layers]
    if first not in names:
        blocks = [name for name in names if name.endswith(("add", "out"))]
        raise ValueError(
            f"{cnn.name} has no layer {first}, but for instance {', '.join(blocks[-4:])}."
        )
    backbone.trainable = True
    for number, layer in enumerate(cnn.layers):
        norm = isinstance(layer, layers.BatchNormalization)
        layer.trainable = number >= names.index(first) and not norm


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
