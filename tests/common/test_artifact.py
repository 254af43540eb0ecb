import pytest

from common.artifact import atomic_path, clear_run, read_json, write_json
from common.errors import UserError


def test_a_file_that_fails_half_way_leaves_the_old_one(tmp_path):
    path = tmp_path / "config.json"
    write_json(path, {"units": 1})
    with pytest.raises(RuntimeError), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert read_json(path) == {"units": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_clearing_a_run_leaves_what_training_did_not_write(tmp_path):
    write_json(tmp_path / "config.json", {})
    (tmp_path / "plots").mkdir()
    (tmp_path / "notes.txt").write_text("mine")
    clear_run(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_broken_json_is_named(tmp_path):
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UserError, match="config.json is not valid JSON"):
        read_json(tmp_path / "config.json")
