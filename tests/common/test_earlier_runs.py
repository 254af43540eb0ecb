import dataclasses

import pytest

from common.artifact import write_json
from common.earlier_runs import (
    check_same_cut,
    earlier_seconds,
    joint_seconds,
    price_of,
    resumed_facts,
    run_folder,
    with_shape_of,
)
from common.errors import UserError

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
    held = Config(units=16)
    assert with_shape_of(Config(), held, ["units"]).units == 16
    assert with_shape_of(Config(units=16), held, ["units"]).units == 16
    with pytest.raises(UserError, match="--units 4 differs from the 16 of --init-from runs/a"):
        with_shape_of(Config(units=4), held, ["units"])


def test_a_teacher_of_another_cut_is_refused():
    check_same_cut(Config(units=4), Config(), ["split_seed"], named="--teacher t")
    with pytest.raises(UserError, match="--teacher t was trained with split_seed 1, not 0"):
        check_same_cut(Config(), Config(split_seed=1), ["split_seed"], named="--teacher t")


def test_the_price_of_earlier_runs_goes_on_and_adds_up(tmp_path):
    assert price_of(tmp_path) == {}
    assert earlier_seconds({"seconds": 5.0, "init_from": price_of(tmp_path)}) == 0
    facts = {"seconds": 7.5, "data": {"a": "1"}, "metrics": {}}
    write_json(tmp_path / "metrics.json", facts)
    begun = {"init_from": price_of(tmp_path), "teacher": {"seconds": 2.0, "pairs": "x"}}
    assert begun["init_from"] == {"seconds": 7.5, "data": {"a": "1"}}
    assert earlier_seconds(begun) == 9.5
    write_json(tmp_path / "metrics.json", begun | {"seconds": 100.0})
    assert resumed_facts(tmp_path) == begun


def test_what_several_runs_learned_from_is_paid_once():
    teacher = {"pairs": "x", "seconds": 100.0}
    students = [{"seconds": 110.0, "teacher": teacher}, {"seconds": 120.5, "teacher": teacher}]
    other = {"seconds": 7.0, "init_from": {"seconds": 4.0}}
    assert joint_seconds(students) == 130.5
    assert joint_seconds([*students, other]) == 137.5
    assert joint_seconds([{"seconds": 1.5}, {"seconds": 2.0}]) == 3.5
