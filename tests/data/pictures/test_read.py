import contextlib
import hashlib
import io
import zipfile

import numpy as np
import pytest
from PIL import Image

from common.errors import UserError
from data.pictures.read import PictureFolder, PictureZip, read_picture
from tests.helpers import refused

pytestmark = pytest.mark.no_backend

# Twelve colours in a square, none of them grey, so that any palette holds them.
COLOURS = np.array(
    [[(20 * row, 250 - 30 * column, 90) for column in (0, 3, 5, 8)] for row in (1, 6, 11)],
    dtype=np.uint8,
)
SQUARE = COLOURS.repeat(4, axis=0).repeat(3, axis=1)
SIZE = len(SQUARE)
# The side of the scene that the first row and the first column of the pixels show (EXIF 2.32).
SIDES = {
    1: ("top", "left"),
    2: ("top", "right"),
    3: ("bottom", "right"),
    4: ("bottom", "left"),
    5: ("left", "top"),
    6: ("right", "top"),
    7: ("right", "bottom"),
    8: ("left", "bottom"),
}


def encoded(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def picture(array, kind="PNG", **options):
    return encoded(Image.fromarray(np.asarray(array, dtype=np.uint8)), kind, **options)


def refusal(source, **options):
    return refused(read_picture, source, size=8, **options)


# ---- What kinds of pictures there are ----------------------------------------------------------


def test_a_picture_of_the_size_asked_for_keeps_its_pixels_and_a_deep_grey_one_its_greys():
    result = read_picture(picture(SQUARE), size=SIZE)
    assert result.dtype == np.uint8
    assert np.array_equal(result, SQUARE)
    grey = np.arange(0, 256, dtype=np.uint8).reshape(16, 16)
    deep = encoded(Image.fromarray(grey.astype(np.uint16) * 257), "PNG")
    assert np.array_equal(read_picture(deep, size=16), np.stack([grey] * 3, axis=2))


# ---- Which way up and how large ----------------------------------------------------------------


def upright(pixels, orientation):
    row_side, column_side = SIDES[orientation]
    if row_side in ("left", "right"):
        pixels = pixels.swapaxes(0, 1)
    if "right" in (row_side, column_side):
        pixels = pixels[:, ::-1]
    return pixels[::-1] if "bottom" in (row_side, column_side) else pixels


@pytest.mark.parametrize("orientation", SIDES)
def test_a_picture_stands_as_the_camera_was_held(orientation):
    exif = Image.Exif()
    exif[274] = orientation
    result = read_picture(picture(SQUARE, exif=exif), size=SIZE)
    assert np.array_equal(result, upright(SQUARE, orientation))


# ---- What is no picture ------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_a_damaged_picture_is_read_or_refused_by_name(kind):
    generator = np.random.default_rng(1)
    noise = generator.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    content = picture(noise, kind)
    for share in (0.1, 0.4, 0.9):
        assert refusal(content[: int(share * len(content))], name="half.img").startswith("half.img")
    for _ in range(40):
        damaged = np.frombuffer(content, dtype=np.uint8).copy()
        damaged[generator.integers(0, len(content), 3)] = generator.integers(0, 256, 3)
        with contextlib.suppress(UserError):
            assert read_picture(damaged.tobytes(), size=8).shape == (8, 8, 3)


# ---- Where pictures lie ------------------------------------------------------------------------


@pytest.fixture
def files():
    """Pictures that are longer than what a system reads ahead."""
    generator = np.random.default_rng(2)
    noise = generator.integers(0, 256, (12, 200, 200), dtype=np.uint8)
    return {f"{number}.jpg": picture(pixels, "JPEG") for number, pixels in enumerate(noise)}


@pytest.fixture
def archive(tmp_path, files):
    path = tmp_path / "pictures.zip"
    with zipfile.ZipFile(path, "w") as target:
        target.mkdir("Pictures")
        for name, content in files.items():
            target.writestr(f"Pictures/{name}", content)
            target.writestr(f"__MACOSX/Pictures/._{name}", b"a note of the system")
    return path


def test_a_zip_lists_its_pictures_without_folders_and_notes_of_systems(archive, files):
    pictures = PictureZip(archive)
    assert pictures.names == sorted(files)
    assert {name: pictures.read(name) for name in pictures.names} == files


def test_a_folder_lists_what_lies_below_but_nothing_hidden(tmp_path):
    for place in ("b.jpg", "deep/er/a.PNG", ".DS_Store", ".git/c.jpg", "__MACOSX/._b.jpg"):
        path = tmp_path / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(place.encode())
    pictures = PictureFolder(tmp_path)
    assert pictures.names == ["b.jpg", "deep/er/a.PNG"]
    assert pictures.read("deep/er/a.PNG") == b"deep/er/a.PNG"
    assert pictures.sha256s(["b.jpg"]) == {"b.jpg": hashlib.sha256(b"b.jpg").hexdigest()}
    (tmp_path / "b.jpg").unlink()
    with pytest.raises(UserError, match="Cannot read .*b.jpg"):
        pictures.read("b.jpg")
