import hashlib
import re
import zipfile

import pytest

from common.errors import UserError
from data.pictures import flickr8k
from data.pictures.captions import load_captions
from data.pictures.sample import scenes, write_captioning_sample, write_captions_folder
from data.pictures.splits import CaptionSplit
from tests.helpers import refuses

pytestmark = pytest.mark.no_backend

ROWS = scenes(80, seed=3)


@pytest.fixture
def load(tmp_path):
    """Loads with a folder of downloads of this test's own."""

    def load_own(data, **options):
        return load_captions(str(data), data_dir=tmp_path, **options)

    return load_own


@pytest.fixture(autouse=True)
def downloads(monkeypatch):
    """Records downloads instead of making them."""
    asked = []

    def fetch(url, path, *, checksum, log=None):
        assert re.fullmatch("sha256:[0-9a-f]{64}|md5:[0-9a-f]{32}", checksum)
        asked.append((url, path))
        raise UserError(f"{url} cannot be downloaded")

    monkeypatch.setattr(flickr8k, "fetch", fetch)
    return asked


@pytest.fixture
def sample(tmp_path):
    """A folder of downloads with 20, 4 and 6 generated pictures."""
    return write_captioning_sample(tmp_path, train=20, validation=4, test=6)


@pytest.fixture
def folder(tmp_path):
    """A folder of one's own with 80 pictures that `captions.csv` does not split."""
    return write_captions_folder(tmp_path / "own", pictures=80, seed=3)


def change_zip(path, **changes):
    """Rewrites a zip; `change(content)` gives the new content of a member, None removes it."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            new = changes.pop(name.rpartition("/")[2], lambda content: content)(content)
            if new is not None:
                archive.writestr(name, new)
        assert not changes


def write_table(folder, *lines, pictures=("a.jpg", "b.jpg", "c.jpg")):
    """Writes `captions.csv` and pictures that differ, unless they are there."""
    for name, row in zip(pictures, ROWS, strict=False):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            path.write_bytes(row[2])
    folder.mkdir(exist_ok=True)
    (folder / "captions.csv").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return folder


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def everything(loaded):
    return {
        name: captions
        for split in loaded.splits.values()
        for name, captions in zip(split.names, split.captions, strict=True)
    }


# ---- Flickr8k --------------------------------------------------------------------------------


def test_flickr8k_keeps_its_splits_and_its_order(load, sample):
    loaded = load("flickr8k")
    rows = scenes(30, seed=0)
    assert list(loaded.splits) == ["train", "validation", "test"]
    for name, part in {"train": rows[:20], "validation": rows[20:24], "test": rows[24:]}.items():
        assert loaded.split(name) == CaptionSplit(
            [row[0] for row in part], [row[3] for row in part]
        )
    assert loaded.warnings == ()
    assert loaded.hashes == {
        name: sha256((sample / name).read_bytes())
        for name in ("Flickr8k_text.zip", "Flickr8k_Dataset.zip")
    }
    with pytest.raises(UserError, match="The dev split is needed, but .* train, validation, test"):
        loaded.split("dev")


def test_an_archive_that_is_damaged_or_missing_is_named(load, sample, downloads):
    path = sample / "Flickr8k_Dataset.zip"
    path.write_bytes(path.read_bytes()[:500])
    refuses(load, "flickr8k", path, "replace it")
    path.unlink()
    refuses(load, "flickr8k", "cannot be downloaded")
    assert [asked for _, asked in downloads] == [path]


def test_missing_pictures_are_listed_and_left_out(load, sample):
    names = [row[0] for row in scenes(30, seed=0)]
    change_zip(sample / "Flickr8k_Dataset.zip", **dict.fromkeys(names[:7], lambda content: None))
    loaded = load("flickr8k")
    assert loaded.split("train").names == names[7:20]
    (warning,) = loaded.warnings
    assert "7 pictures" in warning and names[0] in warning
    change_zip(sample / "Flickr8k_Dataset.zip", **dict.fromkeys(names[24:], lambda content: None))
    refuses(load, "flickr8k", "none of the test pictures")


# ---- Your own folder -------------------------------------------------------------------


def test_a_folder_is_split_without_loss_and_keeps_captions_together(load, folder):
    loaded = load(folder)
    assert list(loaded.splits) == ["train", "validation", "test"]
    assert everything(loaded) == {row[0]: row[3] for row in ROWS}
    assert sum(len(split.names) for split in loaded.splits.values()) == 80
    assert [loaded.read(row[0]) for row in ROWS] == [row[2] for row in ROWS]
    assert loaded.warnings == ()


def part_of(loaded):
    return {name: part for part, split in loaded.splits.items() for name in split.names}


def test_other_pictures_move_none_to_another_split(load, folder):
    before = part_of(load(folder))
    lines = (folder / "captions.csv").read_text(encoding="utf-8").splitlines()
    # The first 20 pictures go, the others come in another order.
    rest = [line for line in lines[1:] if line.split(",")[0] not in [row[0] for row in ROWS[:20]]]
    write_table(folder, lines[0], *reversed(rest))
    after = part_of(load(folder))
    assert len(after) == 60
    assert all(before[name] == part for name, part in after.items())


def test_equal_pictures_land_in_one_split_whatever_their_names(load, tmp_path):
    lines = ["image,caption"]
    for number, row in enumerate(ROWS):
        for name in (f"{number}.jpg", f"copies/{99 - number}.jpg"):
            path = tmp_path / "own" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(row[2])
            lines.append(f"{name},A shape .")
    parts = part_of(load(write_table(tmp_path / "own", *lines, pictures=())))
    for number in range(len(ROWS)):
        assert parts[f"{number}.jpg"] == parts[f"copies/{99 - number}.jpg"]
    assert set(parts.values()) == {"train", "validation", "test"}


def test_a_column_names_the_splits(load, tmp_path):
    folder = write_table(
        tmp_path / "own",
        "Image , Caption,split,note",
        "a.jpg,One .,train,x",
        "b.jpg,Two .,dev,",
        "a.jpg,Three .,Train,",
        "c.jpg,Four .,test_b,",
        "d.jpg,Five .,test,",
        pictures=("a.jpg", "b.jpg", "c.jpg", "d.jpg"),
    )
    assert load(folder).splits == {
        "train": CaptionSplit(["a.jpg"], [["One .", "Three ."]]),
        "validation": CaptionSplit(["b.jpg"], [["Two ."]]),
        "test": CaptionSplit(["d.jpg"], [["Five ."]]),
        "test_b": CaptionSplit(["c.jpg"], [["Four ."]]),
    }


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([], "captions.csv"),
        (["image,caption", "a.jpg,A dog, running ."], "double quotes"),
        (["image,caption", "a.jpg,\u00a0"], "captions.csv, caption 1"),
        (["image,caption,split", "a.jpg,A dog .,later"], "'later'"),
        (["image,caption,split", "a.jpg,A .,train", "A.JPG,B .,test"], "captions.csv, caption 2"),
        (["image,caption", "a.jpg,A dog ."], "leaves no picture for the"),
    ],
)
def test_a_faulty_table_is_refused_with_its_remedy(load, tmp_path, lines, expected):
    refuses(load, write_table(tmp_path / "own", *lines), expected)
