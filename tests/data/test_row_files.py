import errno
import os
import tempfile

import numpy as np
import pytest

from common.errors import UserError
from data.row_files import texts_on_disk, tokens_on_disk

pytestmark = pytest.mark.no_backend

TEXTS = ["first", "", "zweite, mit Umlaut: ä", "a\nb", "\ud800 alone", "last"]


def test_texts_come_back_as_they_were_put_in(tmp_path):
    stored = texts_on_disk(iter(TEXTS), tmp_path / "cache")
    assert list(stored) == TEXTS
    assert len(stored) == 6
    assert stored[-1] == "last"
    assert stored[1:4] == TEXTS[1:4]
    with pytest.raises(IndexError):
        stored[6]


def test_what_is_taken_reads_the_same_file(tmp_path):
    stored = texts_on_disk(TEXTS, tmp_path)
    chosen = np.array([True, False, True, False, False, True])
    taken = stored.take(chosen)
    assert list(taken) == ["first", "zweite, mit Umlaut: ä", "last"]
    assert list(taken.take(np.array([2, 0]))) == ["last", "first"]
    del stored
    assert taken[0] == "first"


def test_token_ids_come_back_as_they_were_put_in(tmp_path):
    sequences = [np.arange(5), np.array([7], "int32"), np.arange(2, 40, dtype="int32")]
    stored = tokens_on_disk(sequences, tmp_path)
    assert all(sequence.dtype == np.int32 for sequence in stored)
    for found, expected in zip(stored, sequences, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_nothing_stays_in_the_folder(tmp_path):
    stored = texts_on_disk(TEXTS, tmp_path)
    assert stored[0] == "first"
    assert os.listdir(tmp_path) == []


def test_an_empty_file_has_no_row(tmp_path):
    assert list(texts_on_disk([], tmp_path)) == []


def test_where_the_folder_cannot_be_written_the_systems_own_will_do(tmp_path):
    (tmp_path / "file").touch()
    assert list(texts_on_disk(TEXTS, tmp_path / "file")) == TEXTS


def test_no_folder_at_all_is_named(tmp_path, monkeypatch):
    def refuse(**_):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    with pytest.raises(UserError, match="Cannot write to .*cache.*Read-only.*CACHE_DIR") as caught:
        texts_on_disk(TEXTS, tmp_path / "cache")
    assert "\n" not in str(caught.value)


class Full:
    """A disk with room for some bytes, which takes half of what it is given at a time."""

    def __init__(self, room):
        self.room, self.content = room, b""

    def write(self, part):
        if self.room == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        taken = bytes(part[: min(-(-len(part) // 2), self.room)])
        self.room -= len(taken)
        self.content += taken
        return len(taken)


@pytest.mark.parametrize("room", [0, 12, 2_000_000])
def test_a_full_disk_is_named_whenever_it_shows(tmp_path, monkeypatch, room):
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: Full(room))
    with pytest.raises(UserError, match="No space left.*make room"):
        texts_on_disk(["text" * 100_000] * 6, tmp_path)


def test_what_a_disk_takes_in_parts_is_whole(tmp_path, monkeypatch):
    disk = Full(1000)
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: disk)
    texts_on_disk(["some text", "and more"], tmp_path)
    assert disk.content == b"some textand more"


def test_a_fault_of_the_source_is_not_taken_for_one_of_the_disk(tmp_path):
    def texts():
        yield "one"
        raise OSError("the source")

    with pytest.raises(OSError, match="the source"):
        texts_on_disk(texts(), tmp_path)
