"""Reads pictures as square RGB arrays, from a folder or from inside a zip."""

import hashlib
import io
import struct
import unicodedata
import warnings
import zipfile
import zlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image, ImageOps

from common.errors import UserError

# Formats that Pillow decodes without another program (EPS would start one).
_FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "AVIF", "PPM", "JPEG2000")
_SUFFIXES = tuple(".jpg .jpeg .png .gif .bmp .webp .tif .tiff .avif .ppm .pgm .jp2".split())
_DECODING_ERRORS = (OSError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError)
_DECODING_ERRORS += (struct.error, zlib.error, Image.DecompressionBombError)
# Pillow warns of large files and of damaged notes of the camera; both are read all the same.
warnings.filterwarnings("ignore", module=r"PIL\.")


def read_picture(source: Path | bytes, *, size: int, name: str = "") -> np.ndarray:
    """Reads a picture, upright and in RGB, and scales it to a square.

    The rotation that a camera notes (EXIF) is applied, transparent parts become white, and of an
    animated picture the first frame is taken. A picture of that size already keeps its pixels.

    Args:
        source: A file, or the bytes of one.
        size: Height and width of the result, at least 1.
        name: What messages call the picture; by default its path.

    Returns:
        `<uint8>(size, size, 3)`.

    Raises:
        UserError: If it is missing, not a picture, damaged or too large.
    """
    name = name or (str(source) if isinstance(source, Path) else "The picture")
    content = _read_file(source) if isinstance(source, Path) else source
    try:
        with Image.open(io.BytesIO(content), formats=_FORMATS) as image:
            return np.array(_upright_square(image, size))
    except _DECODING_ERRORS as error:
        # Pillow names the bytes by an address of memory.
        reason = str(error).partition(" <_io")[0] or type(error).__name__
        raise UserError(
            f"{name} cannot be read as a picture ({reason}): save it as JPEG or PNG, or remove it."
        ) from error


def picture_views(picture: np.ndarray, count: int) -> np.ndarray:
    """Returns `<uint8>(count, size, size, 3)`: the picture and, for a count of 2, its mirror image.

    Args:
        picture: `<uint8>(size, size, 3)`.
        count: 1 or 2.
    """
    return np.stack([picture, picture[:, ::-1]][:count])


def _upright_square(image: Image.Image, size: int) -> Image.Image:
    # JPEG alone can decode at a fraction of its size; twice the result keeps all that is visible.
    image.draft(None, (2 * size, 2 * size))
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    elif image.mode in ("I", "F"):
        raise ValueError("32 bits a channel")
    image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    image = image.resize((size, size), Image.Resampling.BICUBIC, reducing_gap=3.0)
    if image.mode == "RGBA":
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image).convert("RGB")
    return image


class PictureZip:
    """The files inside a zip archive, read without unpacking it; threads may read.

    `names` are those of the files without their folders, sorted; hidden files are left out.
    """

    def __init__(self, path: Path):
        """Lists the archive; raises a `UserError` if it cannot be read."""
        self.path = path
        try:
            self._archive = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, OSError) as error:
            raise self._damaged() from error
        places = ((PurePosixPath(info.filename), info) for info in self._archive.infolist())
        self._members = {
            place.name: info
            for place, info in places
            if not info.is_dir() and not _is_hidden(place)
        }
        self.names = sorted(self._members)

    def read(self, name: str) -> bytes:
        """Returns the bytes of a picture's file; raises a `UserError` if it is damaged."""
        try:
            return self._archive.read(self._members[name])
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
            raise self._damaged(f" at {name}") from error

    def _damaged(self, place: str = "") -> UserError:
        return UserError(
            f"{self.path} is damaged or cannot be read{place}: replace it; a download is fetched"
            " again when it is deleted."
        )


class PictureFolder:
    """The files in a folder and in the folders below; `names` are their sorted paths from there.

    Hidden files are left out.
    """

    def __init__(self, path: Path):
        """Lists the folder."""
        self.path = path
        places = (file.relative_to(path) for file in path.rglob("*") if file.is_file())
        self.names = sorted(place.as_posix() for place in places if not _is_hidden(place))

    def read(self, name: str) -> bytes:
        """Returns the bytes of a picture's file; raises a `UserError` if it cannot be read."""
        return _read_file(self.path / name)

    def sha256s(self, names: Iterable[str]) -> dict[str, str]:
        """Returns the SHA-256 of each of these files; raises a `UserError` as `read` does."""
        names = list(names)
        with ThreadPoolExecutor() as pool:
            digests = pool.map(lambda name: hashlib.sha256(self.read(name)).hexdigest(), names)
            return dict(zip(names, digests, strict=True))


def is_picture_name(name: str) -> bool:
    """Returns whether a file's name ends as those of pictures do."""
    return name.lower().endswith(_SUFFIXES)


def folded_name(name: str) -> str:
    """Returns a picture's path without what systems write differently: case, slashes, accents."""
    return unicodedata.normalize("NFC", name).casefold().replace("\\", "/").removeprefix("./")


def _read_file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"Cannot read {path} ({error.strerror or error}): check it.") from error


def _is_hidden(place: PurePosixPath | Path) -> bool:
    return any(part.startswith((".", "__MACOSX")) for part in place.parts)
