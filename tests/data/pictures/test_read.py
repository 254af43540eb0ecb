import hashlib
import io
import multiprocessing
import struct
import time
import warnings
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from common.errors import UserError
from data.pictures.read import PictureFolder, PictureZip, folded_name, read_picture
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


def png_header(width, height):
    """A PNG that says how large it is and has no pixels."""
    content = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + content + struct.pack(">I", zlib.crc32(content))
    return b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 0) + b"IDAT" + bytes(20)


# ---- What kinds of pictures there are ----------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("PNG", {}),
        ("BMP", {}),
        ("PPM", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("WEBP", {"lossless": True, "exact": True}),
        ("JPEG2000", {}),
    ],
)
def test_a_square_of_the_size_asked_for_keeps_its_pixels(kind, options):
    result = read_picture(picture(SQUARE, kind, **options), size=SIZE)
    assert result.dtype == np.uint8
    assert np.array_equal(result, SQUARE)
    result[0, 0] = 0  # It is the caller's own.


@pytest.mark.parametrize("kind", ["PNG", "GIF", "TIFF"])
def test_a_palette_picture_equals_the_same_in_full_colour(kind):
    indices = Image.fromarray(np.arange(12, dtype=np.uint8).reshape(3, 4), mode="L")
    palette = Image.new("P", (4, 3))
    palette.putdata(list(indices.getdata()))
    palette.putpalette(COLOURS.reshape(-1, 3).ravel().tolist())
    full = read_picture(picture(COLOURS), size=24)
    assert np.array_equal(read_picture(encoded(palette, kind), size=24), full)


def test_grey_pictures_of_any_depth_have_three_equal_channels():
    grey = np.arange(0, 256, dtype=np.uint8).reshape(16, 16)
    deep = grey.astype(np.uint16) * 257
    expected = np.stack([grey] * 3, axis=2)
    files = [
        picture(grey),
        picture(np.stack([grey, np.full_like(grey, 255)], axis=2)),
        encoded(Image.fromarray(deep), "PNG"),
        encoded(Image.fromarray(deep), "TIFF"),
        b"P5 16 16 65535\n" + deep.astype(">u2").tobytes(),
    ]
    for file in files:
        assert np.array_equal(read_picture(file, size=16), expected)


def test_a_picture_of_one_bit_is_black_and_white():
    bits = np.eye(8, dtype=np.uint8) * 255
    file = encoded(Image.fromarray(bits).convert("1"), "PNG")
    assert np.array_equal(read_picture(file, size=8), np.stack([bits] * 3, axis=2))


@pytest.mark.parametrize("kind", ["TIFF", "JPEG"])
def test_inks_become_colours(kind):
    inks = {(255, 0, 0, 0): (0, 255, 255), (0, 255, 0, 0): (255, 0, 255)}
    inks |= {(0, 0, 255, 0): (255, 255, 0), (0, 0, 0, 255): (0, 0, 0), (0, 0, 0, 0): (255,) * 3}
    for ink, colour in inks.items():
        result = read_picture(encoded(Image.new("CMYK", (8, 8), ink), kind), size=8)
        assert np.abs(result - np.array(colour)).max() <= 2


def test_transparent_parts_show_white():
    scene = np.zeros((4, 4, 4), dtype=np.uint8)
    scene[:, :, 0] = 200
    scene[0, :, 3] = 255
    scene[1, :, 3] = 51
    result = read_picture(picture(scene), size=4)
    assert (result[0] == (200, 0, 0)).all()
    # A fifth of the colour over four fifths of white.
    assert np.abs(result[1] - np.array([244, 204, 204])).max() <= 1
    assert (result[2:] == 255).all()
    grey = picture(scene[:, :, [0, 3]])
    assert (read_picture(grey, size=4)[:, 0, 0] == (200, 244, 255, 255)).all()


@pytest.mark.parametrize(
    ("mode", "kind"), [("P", "PNG"), ("P", "GIF"), ("RGB", "PNG"), ("L", "PNG")]
)
def test_a_colour_that_counts_as_transparent_shows_white(mode, kind):
    image = Image.new(mode, (4, 4))
    if mode == "P":
        image.putpalette([0, 0, 0, 30, 60, 90])
    ink, colour = {"P": (1, (30, 60, 90)), "RGB": ((9, 8, 7),) * 2, "L": (9, (9, 9, 9))}[mode]
    image.paste(ink, (0, 0, 4, 2))
    key = (0, 0, 0) if mode == "RGB" else 0
    result = read_picture(encoded(image, kind, transparency=key), size=4)
    assert (result[:2] == colour).all()
    assert (result[2:] == 255).all()


@pytest.mark.parametrize(
    ("kind", "options"), [("GIF", {}), ("PNG", {}), ("WEBP", {"lossless": True}), ("TIFF", {})]
)
def test_the_first_of_several_frames_is_taken(kind, options):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "lime", "blue")]
    file = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    assert (read_picture(file, size=8) == (255, 0, 0)).all()


@pytest.mark.parametrize("mode", ["I", "F"])
def test_pixels_of_32_bits_are_refused_by_name(mode):
    message = refusal(encoded(Image.new(mode, (8, 8)), "TIFF"), name="depth.tif")
    assert message.startswith("depth.tif has pixels of 32 bits")


# ---- Which way up and how large ----------------------------------------------------------------


def upright(pixels, orientation):
    row_side, column_side = SIDES[orientation]
    if row_side in ("left", "right"):
        pixels = pixels.swapaxes(0, 1)
    if "right" in (row_side, column_side):
        pixels = pixels[:, ::-1]
    return pixels[::-1] if "bottom" in (row_side, column_side) else pixels


@pytest.mark.parametrize("orientation", SIDES)
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_a_picture_stands_as_the_camera_was_held(kind, orientation):
    exif = Image.Exif()
    exif[274] = orientation
    options = {"tiffinfo": {274: orientation}} if kind == "TIFF" else {"exif": exif}
    options |= {"lossless": True} if kind == "WEBP" else {}
    result = read_picture(picture(SQUARE, kind, **options), size=SIZE)
    assert np.array_equal(result, upright(SQUARE, orientation))


@pytest.mark.parametrize("fit", ["squash", "crop"])
def test_a_turned_photograph_equals_an_upright_one(fit):
    scene = np.zeros((400, 800, 3), dtype=np.uint8)
    scene[:, 250:, 0], scene[100:, :, 1], scene[:, 600:, 2] = 200, 150, 99
    exif = Image.Exif()
    exif[274] = 6
    # The camera writes the right side of the scene as its first row.
    turned = picture(scene.swapaxes(0, 1)[::-1], "JPEG", quality=95, exif=exif)
    results = [
        read_picture(file, size=32, fit=fit).astype(int)
        for file in (turned, picture(scene, "JPEG", quality=95))
    ]
    assert np.abs(results[0] - results[1]).max() <= 6


def test_a_damaged_note_of_the_camera_changes_nothing():
    file = picture(SQUARE, "PNG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01\x12")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert np.array_equal(read_picture(file, size=SIZE), SQUARE)


def test_squashing_keeps_all_and_cropping_keeps_the_middle():
    thirds = np.zeros((30, 90, 3), dtype=np.uint8)
    for channel in range(3):
        thirds[:, 30 * channel : 30 * channel + 30, channel] = 255
    for scene in (thirds, thirds.swapaxes(0, 1)):
        middle = read_picture(picture(scene), size=30, fit="crop")
        # The filter looks a little over the edge of the part.
        assert (middle[2:-2, 2:-2] == (0, 255, 0)).all()
    squashed = read_picture(picture(thirds), size=30)
    assert (squashed[:, [5, 15, 25]] == np.eye(3, dtype=np.uint8) * 255).all()


@pytest.fixture
def decoded(monkeypatch):
    """The sizes at which photographs are decoded."""
    sizes = []
    load = JpegImageFile.load

    def spy(image):
        sizes.append(image.size)
        return load(image)

    monkeypatch.setattr(JpegImageFile, "load", spy)
    return sizes


def test_a_very_large_photograph_is_decoded_at_an_eighth_without_a_warning(decoded):
    ramp = np.linspace(0, 255, 12_000, dtype=np.uint8)
    file = picture(np.broadcast_to(ramp, (9_000, 12_000)), "JPEG")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = read_picture(file, size=64)
    assert decoded[0] == (1_500, 1_125)
    expected = 255 * (np.arange(64) + 0.5) / 64
    assert np.abs(result.mean(axis=(0, 2)) - expected).max() < 3


@pytest.mark.parametrize("width", [100, 127, 128, 300, 513, 2_000])
def test_a_photograph_is_decoded_at_twice_the_size_asked_for_or_whole(decoded, width):
    read_picture(picture(np.zeros((width, 2 * width)), "JPEG"), size=64)
    height = decoded[0][1]
    assert height >= min(width, 128)
    assert height < 256 or width / height > 7


@pytest.mark.parametrize(
    ("width", "height"), [(13_100, 13_000), (20_000, 10_000), (60_000, 60_000)]
)
def test_too_many_pixels_are_refused_by_name(width, height):
    message = refusal(png_header(width, height), name="map.png")
    assert message.startswith("map.png is too large")
    assert "170,000,000 pixels or less" in message


def test_threads_read_at_the_same_time_and_leave_the_filters_of_warnings_alone(monkeypatch):
    opens = Image.open

    def open_slowly(file, **options):
        time.sleep(1e-4)
        return opens(file, **options)

    monkeypatch.setattr(Image, "open", open_slowly)
    files = [picture(np.roll(SQUARE, shift, axis=0)) for shift in range(SIZE)] * 4
    before = list(warnings.filters)
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda file: read_picture(file, size=SIZE), files))
    assert warnings.filters == before
    for row, result in enumerate(results):
        assert np.array_equal(result, np.roll(SQUARE, row % SIZE, axis=0))


# ---- What is no picture ------------------------------------------------------------------------


def test_a_file_that_is_no_picture_is_named_with_a_remedy(tmp_path):
    path = tmp_path / "notes.jpg"
    assert refusal(path) == f"{path} does not exist: check the path."
    path.write_bytes(b"")
    assert refusal(path) == f"{path} is empty: replace it or remove it."
    # Vector graphics need another program, and phones' HEIC another library.
    for content in (
        b"some text\n" * 90,
        b"%!PS-Adobe-3.0\n",
        b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
    ):
        path.write_bytes(content)
        assert refusal(path).startswith(f"{path} is no picture that can be read here: save it")
    assert refusal(tmp_path).startswith(f"Cannot read {tmp_path}")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM"])
def test_a_truncated_picture_is_refused_wherever_it_is_cut(kind):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    content = picture(noise, kind)
    for share in (0.1, 0.4, 0.9):
        message = refusal(content[: int(share * len(content))], name="half.img")
        assert message.startswith("half.img is ")
    # A photograph that is decoded at a fraction of its size is no exception.
    assert "truncated" in refusal(picture(noise.repeat(8, axis=0), "JPEG")[:-800])


def test_damage_is_a_data_error_wherever_it_is():
    generator = np.random.default_rng(1)
    files = [
        picture(SQUARE, kind)
        for kind in ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM", "JPEG2000")
    ]
    refused = 0
    for round_ in range(320):
        content = np.frombuffer(files[round_ % len(files)], dtype=np.uint8).copy()
        places = generator.integers(0, len(content), 3)
        content[places] = generator.integers(0, 256, 3)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                assert read_picture(content.tobytes(), size=8).shape == (8, 8, 3)
            except UserError:
                refused += 1
    assert 0 < refused < 320


@pytest.mark.parametrize("options", [{"size": 0}, {"size": 8, "fit": "stretch"}])
def test_settings_without_a_meaning_are_refused(options):
    with pytest.raises(ValueError, match="size must be at least 1 and fit"):
        read_picture(picture(SQUARE), **options)


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


def test_threads_read_one_zip_at_the_same_time(archive, files):
    pictures = PictureZip(archive)
    names = list(files) * 10
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(pictures.read, names)) == [files[name] for name in names]


def test_a_forked_process_and_its_parent_read_one_zip_at_the_same_time(archive, files):
    pictures = PictureZip(archive)
    pictures.read("0.jpg")
    theirs, ours = multiprocessing.get_context("fork").Pipe()

    def read_all():
        ours.send(all(pictures.read(name) == files[name] for name in list(files) * 60))

    with warnings.catch_warnings():
        # The libraries that this process has loaded may hold threads; the child uses none of them.
        warnings.simplefilter("ignore")
        process = multiprocessing.get_context("fork").Process(target=read_all)
        process.start()
    assert all(pictures.read(name) == files[name] for name in list(files) * 60)
    assert theirs.poll(20)
    assert theirs.recv()
    process.join()


def test_a_damaged_zip_is_named_with_the_picture(archive):
    content = archive.read_bytes()
    archive.write_bytes(content[:200])
    with pytest.raises(UserError, match="pictures.zip is damaged or cannot be read: replace it"):
        PictureZip(archive)
    damaged = bytearray(content)
    damaged[content.index(b"Pictures/7.jpg") + 40] ^= 1
    archive.write_bytes(damaged)
    pictures = PictureZip(archive)
    with pytest.raises(UserError, match=r"cannot be read at 7\.jpg: replace it"):
        pictures.read("7.jpg")
    with pytest.raises(UserError, match=r"holds no 99\.jpg"):
        pictures.read("99.jpg")


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
    with pytest.raises(UserError, match="b.jpg does not exist: check the path"):
        pictures.read("b.jpg")


def test_names_that_systems_write_differently_are_folded_alike():
    names = ["Été/Chat.JPG", "E\u0301te\u0301/chat.jpg", "./été\\chat.jpg", " ÉTÉ/CHAT.jpg "]
    assert len(set(map(folded_name, names))) == 1
    assert folded_name("a/chat.jpg") != folded_name("b/chat.jpg")
