import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from common.errors import UserError
from data.pictures import features as feature_store
from data.pictures.features import FeatureStore
from tests.helpers import refused

pytestmark = pytest.mark.no_backend

SHAPE = (10, 2, 3, 4)
# Each number is its position, which float16 holds exactly.
WANTED = np.arange(np.prod(SHAPE), dtype=np.float32).reshape(SHAPE)


def open_store(folder, shape=SHAPE):
    return FeatureStore(folder / "store", shape=shape)


def test_rows_in_any_order_become_one_array(tmp_path):
    store = open_store(tmp_path)
    assert store.missing().tolist() == list(range(10))
    for rows in ([7, 2, 9], [0], [1, 3, 4, 5, 6, 8]):
        store.write(np.array(rows), WANTED[rows])
    assert store.missing().size == 0
    assert store.features.dtype == np.float16
    assert np.array_equal(store.features, WANTED)
    assert np.array_equal(open_store(tmp_path).features, WANTED)


def test_another_run_goes_on_where_one_stopped(tmp_path):
    open_store(tmp_path).write(np.array([3, 8]), WANTED[[3, 8]])
    again = open_store(tmp_path)
    assert again.missing().tolist() == [0, 1, 2, 4, 5, 6, 7, 9]
    with pytest.raises(ValueError, match="8 of 10 rows have no features yet"):
        _ = again.features
    again.write(again.missing(), WANTED[again.missing()])
    assert np.array_equal(again.features, WANTED)


@pytest.mark.parametrize("calls", [1, 2, 3, 4])
def test_a_killed_run_counts_no_row_that_is_not_on_the_disk(tmp_path, calls):
    program = f"""
import os, signal, sys
from pathlib import Path
import numpy as np
sys.path.insert(0, {str(Path(__file__).parents[3])!r})
from data.pictures.features import FeatureStore
left, to_disk = [{calls}], os.fsync
def die(handle):
    left[0] -= 1
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)
    to_disk(handle)
os.fsync = die
wanted = np.arange({WANTED.size}.0).reshape({SHAPE})
store = FeatureStore(Path({str(tmp_path / "store")!r}), shape={SHAPE})
for rows in np.arange(10).reshape(2, 5):
    store.write(rows, wanted[rows])
"""
    done = subprocess.run([sys.executable, "-c", program], check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    store = open_store(tmp_path)
    missing = store.missing()
    # A batch reaches the disk by two calls; before the first of them none of its rows may count.
    assert len(missing) in {1: [10], 2: [10, 5], 3: [5], 4: [5, 0]}[calls]
    store.write(missing, WANTED[missing])
    assert np.array_equal(open_store(tmp_path).features, WANTED)


def test_rows_count_only_after_their_bytes_have_reached_the_disk(tmp_path, monkeypatch):
    store = open_store(tmp_path)

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(feature_store.os, "fsync", full)
    with pytest.raises(UserError, match=r"No space left on device\): make room.*CACHE_DIR"):
        store.write(np.array([4]), WANTED[[4]])
    assert 4 in store.missing()
    assert 4 in open_store(tmp_path).missing()


PICKS = {
    "a view of all": np.s_[:, 1],
    "some of it": np.s_[2:7],
    "pictures and views": (np.array([3, 3, 9]), np.array([0, 1, 0])),
    "a list": [4, -1],
    "a picture": 5,
    "a view": (5, 1),
}


@pytest.mark.parametrize("key", PICKS.values(), ids=PICKS)
def test_features_are_picked_as_from_an_array(key, tmp_path):
    store = open_store(tmp_path)
    store.write(np.arange(10), WANTED)
    picked = store.features[key]
    assert picked.shape == WANTED[key].shape
    assert picked.ndim == WANTED[key].ndim
    np.testing.assert_array_equal(picked, WANTED[key])
    # Once more from what was picked, and one after the other.
    np.testing.assert_array_equal(picked[0], WANTED[key][0])
    for one, expected in zip(picked, WANTED[key], strict=True):
        np.testing.assert_array_equal(one, expected)


def test_memory_does_not_grow_with_what_was_read(tmp_path):
    """Measured in a process of its own, since the peak never falls."""
    program = f"""
import resource, sys
from pathlib import Path
import numpy as np
sys.path.insert(0, {str(Path(__file__).parents[3])!r})
from data.pictures.features import FeatureStore
store = FeatureStore(Path({str(tmp_path / "store")!r}), shape=(1000, 1, 49, 1280))
for rows in np.arange(1000).reshape(20, 50):
    store.write(rows, np.ones((50, 1, 49, 1280), np.float16))
features = store.features
peaks = []
for stop in (100, 1000):
    for start in range(0, stop, 50):
        assert np.asarray(features[start : start + 50, 0]).mean() == 1
    peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
print(peaks[1] / peaks[0])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert float(done.stdout) < 1.1, done.stderr


def test_a_file_that_became_shorter_is_named(tmp_path):
    store = open_store(tmp_path)
    store.write(np.arange(10), WANTED)
    features = store.features
    with (store.path / "features.npy").open("r+b") as file:
        file.truncate(200)
    with pytest.raises(UserError, match="features.npy is too short"):
        np.asarray(features)


def test_an_empty_store_of_a_large_data_set_takes_no_space(tmp_path):
    store = open_store(tmp_path, shape=(5_000, 2, 49, 1_280))
    sizes = [os.stat(store.path / name) for name in os.listdir(store.path)]
    assert sum(size.st_size for size in sizes) > 1.2e9
    assert sum(size.st_blocks * 512 for size in sizes) < 1e6


def refusal(folder, **options):
    message = refused(open_store, folder, **options)
    assert message.startswith(f"{folder}/")
    assert "delete this folder" in message
    return message


def test_a_store_of_another_shape_is_refused(tmp_path):
    open_store(tmp_path)
    assert "(10, 2, 3, 4) float16, not (10, 1, 3, 4)" in refusal(tmp_path, shape=(10, 1, 3, 4))


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("features.npy", lambda content: content[:-1]),
        ("features.npy", lambda content: content[:40]),
        ("features.npy", lambda content: b""),
        ("features.npy", lambda content: b"x" * len(content)),
        ("features.npy", lambda content: content.replace(b"<f2", b"<i2")),
        ("features.npy", None),
        ("done.bin", lambda content: content[:-1]),
        ("done.bin", lambda content: content + b"\0"),
        ("done.bin", lambda content: b"\7" * len(content)),
        ("done.bin", None),
    ],
)
def test_a_damaged_store_is_refused(tmp_path, name, damage):
    path = open_store(tmp_path).path / name
    if damage:
        path.write_bytes(damage(path.read_bytes()))
    else:
        path.unlink()
    refusal(tmp_path)


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UserError, match=r"Cannot write .*file/.*point CACHE_DIR to"):
        open_store(tmp_path / "file")


@pytest.mark.parametrize(
    ("rows", "features"),
    [
        ([0, 1], WANTED[[0]]),
        ([0], WANTED[[0], :1]),
        ([10], WANTED[[0]]),
        ([-1], WANTED[[0]]),
        ([0], np.full((1, 2, 3, 4), np.nan)),
        ([0], np.full((1, 2, 3, 4), 70_000.0)),
    ],
)
def test_features_that_do_not_fit_are_refused(tmp_path, rows, features):
    store = open_store(tmp_path)
    before = (store.path / "features.npy").stat().st_size
    with pytest.raises(ValueError, match="Rows|rows|float16"):
        store.write(np.array(rows), features)
    assert len(store.missing()) == 10
    assert (store.path / "features.npy").stat().st_size == before


def test_a_store_without_room_is_refused(tmp_path):
    for shape in ((), (0, 4), (4, 0)):
        with pytest.raises(ValueError, match="holds nothing"):
            open_store(tmp_path, shape=shape)


def test_pixels_are_kept_as_they_are(tmp_path):
    pixels = np.arange(2 * 12, dtype="uint8").reshape(2, 12) * 10
    store = FeatureStore(tmp_path / "pixels", shape=(2, 12), dtype="uint8")
    store.write(np.arange(2), pixels)
    again = FeatureStore(tmp_path / "pixels", shape=(2, 12), dtype="uint8")
    np.testing.assert_array_equal(again.features, pixels)
    assert again.features.dtype == np.uint8
    with pytest.raises(ValueError, match="Pixels are uint8"):
        again.write(np.arange(2), pixels / 255)
    with pytest.raises(UserError, match="delete this folder"):
        FeatureStore(tmp_path / "pixels", shape=(2, 12))
