import dataclasses
import types

import pytest

from common.earlier_runs import (
    check_cut_of_origin,
    check_same_cut,
    origin_of,
    recorded_data,
    run_folder,
    with_shape_of,
)
from common.errors import UserError
from common.files import write_json

pytestmark = pytest.mark.no_backend


@dataclasses.dataclass(frozen=True)
class Config:
    units: int = 8
    split_seed: int = 0
    init_from: str = "runs/a"


def test_a_run_after_another_needs_a_folder_of_its_own(tmp_path):
    assert run_folder("", "runs/b", {"--init-from": []}).name == "b"
    assert run_folder("c", "runs/b", {"--init-from": ["runs/a"]}).name == "c"
    with pytest.raises(UserError, match="--teachers makes another model: name its folder"):
        run_folder("", "runs/b", {"--init-from": [], "--teachers": ["runs/a"]})
    with pytest.raises(UserError, match="is the run itself"):
        run_folder(str(tmp_path / "x" / ".." / "a"), "", {"--teacher": [str(tmp_path / "a")]})


def test_the_shape_comes_from_the_other_run_unless_a_flag_contradicts():
    start = Config(units=16)
    assert with_shape_of(Config(), start, ["units"]).units == 16
    assert with_shape_of(Config(units=16), start, ["units"]).units == 16
    with pytest.raises(UserError, match="--units 4 differs from the 16 of --init-from runs/a"):
        with_shape_of(Config(units=4), start, ["units"])
    # The default, typed, is a wish too.
    with pytest.raises(UserError, match="--units 8 differs from the 16"):
        with_shape_of(Config(), start, ["units"], given=frozenset({"units"}))


def test_a_teacher_of_another_cut_is_refused():
    check_same_cut(Config(units=4), Config(), ["split_seed"], named="--teacher t")
    with pytest.raises(UserError, match="--teacher t was trained with split_seed 1, not 0"):
        check_same_cut(Config(), Config(split_seed=1), ["split_seed"], named="--teacher t")


def test_the_data_that_a_run_learned_from_are_read_from_its_record(tmp_path):
    assert recorded_data(tmp_path) == {}
    write_json(tmp_path / "metrics.json", {"seconds": 7.5, "data": {"a": "1"}})
    assert recorded_data(tmp_path) == {"a": "1"}


pytestmark = pytest.mark.no_backend

OURS, OTHERS = {"pairs.tsv": "1"}, {"others.tsv": "2"}


def settings(seed):
    return types.SimpleNamespace(split_seed=seed)


def write_run(run, **facts):
    write_json(run / "metrics.json", facts)
    (run / "model.keras").write_bytes(b"weights")
    return run


def origin(run, *, seed, **facts):
    return origin_of(str(write_run(run, **facts)), settings(seed), ["split_seed"])


def test_an_origin_names_the_model_its_data_and_where_it_began_itself(tmp_path):
    first = origin(tmp_path / "a", seed=3, data=OURS, seconds=7.0)
    assert first["run"] == str(tmp_path / "a")
    assert (first["cut"], first["data"]) == ({"split_seed": 3}, OURS)
    # The SHA-256 of "weights".
    assert first["model"].startswith("9a129038")
    assert set(first) == {"run", "model", "cut", "data"}
    second = origin(tmp_path / "b", seed=3, data=OTHERS, init_from=first)
    assert second["init_from"] == first


def test_another_cut_is_refused_of_the_same_files_alone_under_whatever_name(tmp_path):
    start = origin(tmp_path / "a", seed=0, data=OURS)
    check_cut_of_origin(settings(0), start, OURS)
    check_cut_of_origin(settings(1), start, OTHERS)
    for hashes in (OURS, {"renamed.tsv": "1"}, {**OTHERS, "pairs.tsv": "1"}):
        with pytest.raises(UserError, match=f"--init-from {tmp_path / 'a'} .*--split-seed 0"):
            check_cut_of_origin(settings(1), start, hashes)


def test_a_run_that_does_not_name_its_data_counts_as_one_of_the_same(tmp_path):
    start = origin(tmp_path / "a", seed=0)
    check_cut_of_origin(settings(0), start, OURS)
    with pytest.raises(UserError, match="--split-seed"):
        check_cut_of_origin(settings(1), start, OURS)


def test_a_run_in_between_does_not_hide_another_cut(tmp_path):
    first = origin(tmp_path / "a", seed=0, data=OURS)
    between = origin(tmp_path / "b", seed=1, data=OTHERS, init_from=first)
    check_cut_of_origin(settings(0), between, OURS)
    with pytest.raises(UserError, match="--split-seed 0, not 1"):
        check_cut_of_origin(settings(1), between, OURS)
