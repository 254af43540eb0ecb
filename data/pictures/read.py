"""Reads pictures of any common kind as square RGB arrays, from a folder or from inside a zip."""

import hashlib
import io
import os
import struct
import threading
import unicodedata
import warnings
import zipfile
import zlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Literal

import numpy as np
from PIL import Image, UnidentifiedImageError
from PIL.ExifTags import Base

from common.errors import UserError

# Formats that decode without another program (EPS would start one).
_FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "AVIF", "PPM", "JPEG2000")
_SUFFIXES = tuple(".jpg .jpeg .png .gif .bmp .webp .tif .tiff .avif .ppm .pgm .jp2".split())
# Pillow's own bound is at 179 million; a camera's largest pictures have about 100.
_MOST_PIXELS = 170_000_000
# What decoders raise for damaged files of all formats.
_DECODING_ERRORS = (
    OSError,
    EOFError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    RuntimeError,
    MemoryError,
    struct.error,
    zlib.error,
)
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# `warnings.catch_warnings` is not safe in threads.
_opening = threading.Lock()


def read_picture(
    source: Path | bytes, *, size: int, fit: Literal["squash", "crop"] = "squash", name: str = ""
) -> np.ndarray:
    """Reads a picture, upright and in RGB, whatever its kind.

    The rotation that a camera notes (EXIF) is applied, transparent parts become white, 16 bits
    become 8, and of an animated picture the first frame is taken. A picture that is square and of
    that size already keeps its pixels.

    Args:
        source: A file, or the bytes of one.
        size: Height and width of the result.
        fit: `"squash"` keeps all of the picture and gives up its proportions; `"crop"` keeps the
            proportions and cuts the longer side to the middle.
        name: What messages call the picture; by default its path.

    Returns:
        `<uint8>(size, size, 3)`.

    Raises:
        UserError: If it is missing, no picture, damaged, truncated or too large.
        ValueError: If `size` or `fit` cannot be used.
    """
    if size < 1 or fit not in ("squash", "crop"):
        raise ValueError(f'size must be at least 1 and fit "squash" or "crop": {size}, {fit!r}.')
    if isinstance(source, bytes):
        return _read(io.BytesIO(source), size, fit, name or "The picture")
    name = name or str(source)
    try:
        file = source.open("rb")
    except FileNotFoundError as error:
        raise UserError(f"{name} does not exist: check the path.") from error
    except OSError as error:
        raise UserError(f"Cannot read {name} ({error.strerror or error}): check it.") from error
    with file:
        return _read(file, size, fit, name)


def _read(file: BinaryIO, size: int, fit: str, name: str) -> np.ndarray:
    """The picture in `file`, every fault of it as a `UserError`."""
    try:
        with _open(file) as image:
            width, height = image.size
            if width * height > _MOST_PIXELS:
                raise Image.DecompressionBombError(f"it has {width:,} x {height:,} pixels")
            return np.array(_upright_square(image, size, fit))
    except Image.DecompressionBombError as error:
        reason = str(error).split(", ")[0]
        raise UserError(
            f"{name} is too large ({reason}): scale it down to {_MOST_PIXELS:,} pixels or less."
        ) from error
    except UnidentifiedImageError as error:
        if not file.seek(0, os.SEEK_END):
            raise UserError(f"{name} is empty: replace it or remove it.") from error
        raise UserError(
            f"{name} is no picture that can be read here: save it as JPEG or PNG, or remove it."
        ) from error
    except _UnknownBrightness as error:
        raise UserError(
            f"{name} has pixels of 32 bits ({error}): save it with 8 or 16 bits a channel."
        ) from error
    except _DECODING_ERRORS as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(
            f"{name} is damaged or of a rare kind ({reason}): replace it, save it as JPEG or PNG, "
            "or remove it."
        ) from error


class _UnknownBrightness(Exception):
    """Pixels are numbers without a largest one, so that nothing tells what is white."""


def _open(file: BinaryIO) -> Image.Image:
    """Opens a picture without reading its pixels, and without warnings of its size."""
    with _opening, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Image.open(file, formats=_FORMATS)


def _upright_square(image: Image.Image, size: int, fit: str) -> Image.Image:
    # JPEG alone can decode at a fraction of its size; twice the result keeps all that is visible.
    image.draft(None, (2 * size, 2 * size))
    image.load()
    turn = _TURNS.get(_orientation(image))
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    elif image.mode in ("I", "F"):
        raise _UnknownBrightness(f"mode {image.mode}")
    image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    box = None
    if fit == "crop":
        width, height = image.size
        side = min(width, height)
        left, top = (width - side) / 2, (height - side) / 2
        box = (left, top, left + side, top + side)
    image = image.resize((size, size), Image.Resampling.BICUBIC, box=box, reducing_gap=3.0)
    if image.mode == "RGBA":
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image).convert("RGB")
    # A square can be turned last, when it is small.
    return image.transpose(turn) if turn is not None else image


def _orientation(image: Image.Image) -> int | None:
    """What the camera notes; None where the note is missing or damaged."""
    try:
        return image.getexif().get(Base.Orientation)
    except _DECODING_ERRORS:
        return None


class PictureZip:
    """The files inside a zip archive, which are read without unpacking it.

    Threads may read at the same time, and so may processes that are forked off.

    Attributes:
        path: The archive.
        names: The name of each file without its folder, sorted; hidden files are left out.
    """

    def __init__(self, path: Path):
        """Lists the archive.

        Raises:
            UserError: If it cannot be read.
        """
        self.path = path
        self._archive, self._process = None, -1
        self._members = {}
        for info in self._opened().infolist():
            place = PurePosixPath(info.filename)
            if not info.is_dir() and not _is_hidden(place):
                self._members[place.name] = info
        self.names = sorted(self._members)

    def read(self, name: str) -> bytes:
        """The bytes of a picture's file.

        Raises:
            UserError: If the archive is damaged there, or holds no such picture.
        """
        if name not in self._members:
            raise UserError(f"{self.path} holds no {name}: replace the archive.")
        try:
            return self._opened().read(self._members[name])
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError) as error:
            raise self._damaged(f" at {name}") from error

    def _opened(self) -> zipfile.ZipFile:
        # A forked process would share the position in the file with its parent.
        if self._process != os.getpid():
            try:
                self._archive = zipfile.ZipFile(self.path)
            except (zipfile.BadZipFile, OSError) as error:
                raise self._damaged("") from error
            self._process = os.getpid()
        return self._archive

    def _damaged(self, place: str) -> UserError:
        return UserError(
            f"{self.path} is damaged or cannot be read{place}: replace it; a download comes anew "
            "when it is deleted."
        )


class PictureFolder:
    """The files in a folder and in the folders below.

    Attributes:
        path: The folder.
        names: The path of each file from there, with `/`, sorted; hidden files are left out.
    """

    def __init__(self, path: Path):
        """Lists the folder."""
        self.path = path
        found = (file.relative_to(path) for file in path.rglob("*") if file.is_file())
        self.names = sorted(place.as_posix() for place in found if not _is_hidden(place))

    def read(self, name: str) -> bytes:
        """The bytes of a picture's file.

        Raises:
            UserError: If it cannot be read.
        """
        path = self.path / name
        try:
            return path.read_bytes()
        except FileNotFoundError as error:
            raise UserError(f"{path} does not exist: check the path.") from error
        except OSError as error:
            raise UserError(f"Cannot read {path} ({error.strerror or error}): check it.") from error

    def sha256s(self, names: Iterable[str]) -> dict[str, str]:
        """The SHA-256 of each of these files, in hexadecimal.

        Raises:
            UserError: If one cannot be read.
        """
        names = list(names)

        def digest(name: str) -> str:
            return hashlib.sha256(self.read(name)).hexdigest()

        with ThreadPoolExecutor() as pool:
            return dict(zip(names, pool.map(digest, names), strict=True))


def is_picture_name(name: str) -> bool:
    """Whether a file's name ends as those of pictures do."""
    return name.lower().endswith(_SUFFIXES)


def folded_name(name: str) -> str:
    """A picture's path without what systems write differently: case, separators, accents."""
    folded = unicodedata.normalize("NFC", name.strip()).casefold().replace("\\", "/")
    return folded.removeprefix("./")


def _is_hidden(place: PurePosixPath | Path) -> bool:
    return any(part.startswith((".", "__MACOSX")) for part in place.parts)
