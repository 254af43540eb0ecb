"""What the model takes of each picture: a frozen backbone's features, computed once, or pixels."""

import contextlib
import sys
import zipfile
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from apps.captioning.config import SMALL_CNN, Config
from common.artifact import BACKBONE
from common.cache import cache_path
from common.device import xla_beside_products
from common.errors import UserError
from common.files import atomic_path
from data.download import cache_directory
from data.pictures.features import FeatureStore, StoredFeatures
from data.pictures.read import read_picture
from data.pictures.splits import Captions
from data.pictures.views import picture_views

if TYPE_CHECKING:
    import keras

# Pictures or views that the backbone sees at once.
_BATCH = 32
_THREADS = 4


def takes_pixels(config: Config) -> bool:
    """Whether what sees the pictures is part of the model."""
    return config.backbone == SMALL_CNN or bool(config.fine_tune)


def load_run_backbone(config: Config, run: Path) -> "keras.Model":
    """Builds the backbone whose weights lie in a run folder, ready to be run.

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
    if not takes_pixels(config):
        backbone.compile(optimizer=None, jit_compile=xla_beside_products("auto"))
    return backbone


def load_backbone(config: Config, weights: str = "") -> "keras.Model":
    """Builds the backbone that a run is to be trained with, ready to be run.

    Its kernels are rounded to half precision, as the run folder keeps them.

    Args:
        config: Settings.
        weights: As the flag `--backbone-weights`.

    Raises:
        UserError: If there are no weights for it, or pictures are too small.
    """
    from models.backbones import build_backbone, round_kernels

    try:
        # Keras tells of a download where captions may be printed.
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
    if not takes_pixels(config):
        backbone.compile(optimizer=None, jit_compile=xla_beside_products("auto"))
    return backbone


class PictureInputs:
    """Turns pictures into what the model takes, and keeps what was computed.

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
        """Reads one picture, `<uint8>(size, size, 3)`; arguments as `read_picture`.

        Raises:
            UserError: If it is none.
        """
        config = self._config
        return read_picture(source, size=config.picture_size, fit=config.fit, name=name)

    def compute(self, pictures: np.ndarray) -> np.ndarray:
        """Returns what the model takes.

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
        self,
        captions: Captions,
        names: Sequence[str],
        *,
        views: int,
        console: Console,
        folder: Path | None = None,
    ) -> StoredFeatures:
        """Returns what the model takes of the pictures of a split, computing what is not kept yet.

        Args:
            captions: What the pictures are read from.
            names: The split's.
            views: How many of each, see `picture_views`.
            console: Where to show how far it is.
            folder: Where such arrays are kept, by default in the folder of derived files.

        Returns:
            `(pictures, views, ...)`, read from the disk as it is used.

        Raises:
            UserError: If a picture cannot be read, or the disk is full.
        """
        config = self._config
        if self.backbone is None:
            row, dtype = (config.picture_size, config.picture_size, 3), "uint8"
            modules = ["data.pictures.read", "data.pictures.views"]
        else:
            row, dtype = self.backbone.output.shape[1:], "float16"
            modules = [__name__]
        *_, pictures_hash = captions.hashes.values()
        path = cache_path(
            folder or cache_directory() / "pictures",
            [self.sha256, pictures_hash, config.picture_size, config.fit, views, names],
            modules=modules,
            suffix="",
        )
        store = FeatureStore(path, shape=(len(names), views, *row), dtype=dtype)
        if len(missing := store.missing()):
            self._fill(store, missing, captions, names, views, console)
        return store.features

    def _fill(
        self,
        store: FeatureStore,
        missing: np.ndarray,
        captions: Captions,
        names: Sequence[str],
        views: int,
        console: Console,
    ) -> None:
        """Computes rows while threads read the pictures of the next ones."""

        def views_of(row: int) -> np.ndarray:
            name = names[row]
            return picture_views(self.read(captions.read(name), name=name), views)

        size = max(1, _BATCH // views)
        chunks = [missing[start : start + size] for start in range(0, len(missing), size)]
        bar = Progress(
            TextColumn("[dim]{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        with bar, ThreadPoolExecutor(_THREADS) as pool:
            task = bar.add_task("pictures", total=len(names), completed=len(names) - len(missing))
            try:
                for rows, read in zip(chunks, _ahead(pool, views_of, chunks), strict=True):
                    store.write(rows, self.compute(np.stack(read)))
                    bar.advance(task, len(rows))
            finally:
                pool.shutdown(cancel_futures=True)


def _ahead(pool: ThreadPoolExecutor, read: Callable, chunks: list[np.ndarray]):
    """Yields what `read` returns for each chunk of rows, the next two already on their way."""
    waiting: list[list[Future]] = []
    for chunk in [*chunks, *([None] * 2)]:
        if chunk is not None:
            waiting.append([pool.submit(read, row) for row in chunk])
        if len(waiting) > 2 or (chunk is None and waiting):
            yield [future.result() for future in waiting.pop(0)]
