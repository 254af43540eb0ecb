import os

import numpy as np
import pytest

from data.row_files import texts_on_disk

pytestmark = pytest.mark.no_backend

TEXTS = ["first", "", "zweite, mit Umlaut: ä", "a\nb", "\ud800 alone", "last"]


def test_texts_come_back_as_they_were_put_in_and_leave_no_file(tmp_path):
    stored = texts_on_disk(iter(TEXTS), tmp_path / "cache")
    assert list(stored) == TEXTS
    assert (len(stored), stored[-1], stored[1:4]) == (6, "last", TEXTS[1:4])
    with pytest.raises(IndexError):
        stored[6]
    assert os.listdir(tmp_path / "cache") == []
    assert list(texts_on_disk([], tmp_path)) == []


def test_rows_that_are_taken_read_the_same_file(tmp_path):
    stored = texts_on_disk(TEXTS, tmp_path)
    taken = stored.take(np.array([True, False, True, False, False, True]))
    assert list(taken) == ["first", "zweite, mit Umlaut: ä", "last"]
    assert list(taken.take(np.array([2, 0]))) == ["last", "first"]
    del stored
    assert taken[0] == "first"
