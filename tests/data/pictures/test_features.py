import os

import numpy as np
import pytest

from common.errors import UserError
from data.pictures.features import FeatureStore

pytestmark = pytest.mark.no_backend

SHAPE = (10, 2, 3, 4)
# Each number is its position, which float16 holds exactly.
FEATURES = np.arange(np.prod(SHAPE), dtype=np.float32).reshape(SHAPE)


def open_store(folder, shape=SHAPE):
    return FeatureStore(folder / "store", shape=shape)


def test_rows_in_any_order_become_one_array(tmp_path):
    store = open_store(tmp_path)
    assert store.missing().tolist() == list(range(10))
    for rows in ([7, 2, 9], [0], [1, 3, 4, 5, 6, 8]):
        store.write(np.array(rows), FEATURES[rows])
    assert store.missing().size == 0
    assert store.features.dtype == np.float16
    assert np.array_equal(store.features, FEATURES)
    assert np.array_equal(open_store(tmp_path).features, FEATURES)


def test_another_run_goes_on_where_one_stopped(tmp_path):
    open_store(tmp_path).write(np.array([3, 8]), FEATURES[[3, 8]])
    again = open_store(tmp_path)
    assert again.missing().tolist() == [0, 1, 2, 4, 5, 6, 7, 9]
    with pytest.raises(ValueError, match="8 of 10 rows have no features yet"):
        _ = again.features
    again.write(again.missing(), FEATURES[again.missing()])
    assert np.array_equal(again.features, FEATURES)


@pytest.mark.parametrize("calls", [0, 1])
def test_rows_count_only_after_their_bytes_have_reached_the_disk(tmp_path, monkeypatch, calls):
    store, done, to_disk = open_store(tmp_path), [], os.fsync

    def full(handle):
        if len(done) == calls:
            raise OSError(28, "No space left on device")
        done.append(to_disk(handle))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(UserError, match=r"No space left.*CACHE_DIR"):
            store.write(np.arange(5), FEATURES[:5])
    again = open_store(tmp_path)
    # Either no row counts, or those that do have their features.
    assert calls or len(again.missing()) == 10
    again.write(again.missing(), FEATURES[again.missing()])
    assert np.array_equal(again.features, FEATURES)


def test_a_store_that_is_damaged_or_of_another_shape_is_refused(tmp_path):
    open_store(tmp_path)
    with pytest.raises(UserError, match="delete this folder"):
        open_store(tmp_path, (10, 1, 3, 4))
    path = tmp_path / "store" / "features.npy"
    for content in (b"", path.read_bytes()[:-1], path.read_bytes()[:40]):
        path.write_bytes(content)
        with pytest.raises(UserError, match="delete this folder"):
            open_store(tmp_path)
