"""The captioner's inputs: features of a frozen backbone, computed once and kept, or pixels."""

import contextlib
import sys
import zipfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.progress import track

from apps.captioning.config import SMALL_CNN, Config
from common.cache import cache_path
from common.device import xla_beside_products
from common.errors import UserError
from common.files import atomic_path
from common.run_folder import BACKBONE
from data.download import cache_directory
from data.pictures.features import FeatureStore
from data.pictures.read import picture_views, read_picture
from data.pictures.splits import Captions

if TYPE_CHECKING:
    import keras


# Views that the backbone processes in one batch.
_BATCH = 32
_THREADS = 4


def takes_pixels(config: Config) -> bool:
    """Whether the model itself holds the network that sees the pictures."""
    return config.backbone == SMALL_CNN


def load_run_backbone(config: Config, run: Path) -> "keras.Model":
    """Builds the backbone and loads its weights from a run folder.

    Raises:
        UserError: If the weights are missing, damaged or of another network.
    """
    from models.backbones import build_backbone, load_backbone_weights

    backbone = build_backbone(config.backbone, size=config.picture_size, weights=None)
    try:
        load_backbone_weights(backbone, run / BACKBONE)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(
            f"{run / BACKBONE} cannot be used ({error}): restore it, or train again."
        ) from error
    backbone.compile(optimizer=None, jit_compile=xla_beside_products("auto"))
    return backbone


def load_backbone(config: Config, weights: str = "") -> "keras.Model":
    """Builds the backbone for a new run, its kernels rounded to half precision.

    Args:
        config: Settings.
        weights: As the flag `--backbone-weights`.

    Raises:
        UserError: If its weights cannot be had, or pictures are too small.
    """
    from models.backbones import build_backbone, round_kernels

    try:
        # Keras announces a download on standard output, where captions may be printed.
        with contextlib.redirect_stdout(sys.stderr):
            backbone = build_backbone(
                config.backbone, size=config.picture_size, weights=weights or "imagenet"
            )
    except FileNotFoundError:
        raise UserError(f"--backbone-weights {weights} does not exist: check the path.") from None
    except OSError as error:
        raise UserError(f"{str(error).rstrip('.')} with --backbone-weights.") from error
    except ValueError as error:
        raise UserError(f"{error} Look at --backbone-weights and --picture-size.") from error
    round_kernels(backbone)
    backbone.compile(optimizer=None, jit_compile=xla_beside_products("auto"))
    return backbone


class PictureInputs:
    """Turns pictures into the model's inputs and keeps the results on disk.

    Attributes:
        backbone: As given.
        sha256: Of the backbone's weights, empty if the model sees pixels.

    Args:
        config: Settings.
        backbone: From `load_backbone`, or None if the model sees pixels.
    """

    def __init__(self, config: Config, backbone: "keras.Model | None"):
        """See the class."""
        self._config, self.backbone = config, backbone
        self.sha256 = ""
        if backbone is not None:
            from models.backbones import weights_sha256

            self.sha256 = weights_sha256(backbone)

    def save(self, run: Path) -> None:
        """Writes the backbone's weights to a run folder, unless the model sees pixels."""
        if self.backbone is not None:
            from models.backbones import save_backbone

            with atomic_path(run / BACKBONE) as temporary:
                save_backbone(self.backbone, temporary)

    def read(self, source, *, name: str = "") -> np.ndarray:
        """Reads one picture, `<uint8>(size, size, 3)`; arguments and errors as `read_picture`."""
        return read_picture(source, size=self._config.picture_size, name=name)

    def compute(self, pictures: np.ndarray) -> np.ndarray:
        """Returns the model's inputs.

        Args:
            pictures: `<uint8>(..., size, size, 3)`.

        Returns:
            `<float16>(..., regions, channels)`, or the pictures if the model sees pixels.
        """
        if self.backbone is None:
            return pictures
        flat = self.backbone.predict_on_batch(pictures.reshape(-1, *pictures.shape[-3:]))
        features = np.asarray(flat).astype("float16")
        return features.reshape(*pictures.shape[:-3], *features.shape[1:])

    def stored(
        self, captions: Captions, names: Sequence[str], *, views: int, console: Console
    ) -> np.ndarray:
        """Returns the model's inputs for pictures; missing ones are computed and kept.

        Args:
            captions: Data that hold the pictures.
            names: Of the pictures.
            views: Views of each picture, see `picture_views`.
            console: Where to show progress.

        Returns:
            `(pictures, views, ...)`, read from disk when used.

        Raises:
            UserError: If a picture cannot be read, or the disk is full.
        """
        size = self._config.picture_size
        if self.backbone is None:
            row, dtype = (size, size, 3), "uint8"
            modules = ["data.pictures.read"]
        else:
            row, dtype, modules = self.backbone.output.shape[1:], "float16", [__name__]
        *_, pictures_hash = captions.hashes.values()
        path = cache_path(
            cache_directory() / "pictures",
            [self.sha256, pictures_hash, size, views, names],
            modules=modules,
            suffix="",
        )
        store = FeatureStore(path, shape=(len(names), views, *row), dtype=dtype)

        def read_views(row: int) -> np.ndarray:
            picture = self.read(captions.read(names[row]), name=names[row])
            return picture_views(picture, views)

        missing = store.missing()
        batch = max(1, _BATCH // views)
        with ThreadPoolExecutor(_THREADS) as pool:
            for start in track(
                range(0, len(missing), batch),
                "[dim]pictures",
                console=console,
                transient=True,
                disable=not console.is_terminal,
            ):
                rows = missing[start : start + batch]
                store.write(rows, self.compute(np.stack(list(pool.map(read_views, rows)))))
        return store.features
