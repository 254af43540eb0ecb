import dataclasses

import pytest

from common.earlier_runs import (
    check_same_cut,
    origin_of,
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


def test_an_origin_names_the_model_its_data_and_where_it_began_itself(tmp_path):
    def origin(run, **facts):
        write_json(run / "metrics.json", facts)
        (run / "model.keras").write_bytes(b"weights")
        return origin_of(str(run))

    first = origin(tmp_path / "a", data={"pairs.tsv": "1"}, seconds=7.0)
    # The SHA-256 of "weights".
    assert first.pop("model").startswith("9a129038")
    assert first == {"run": str(tmp_path / "a"), "data": {"pairs.tsv": "1"}}
    second = origin(tmp_path / "b", init_from=first)
    assert second["init_from"] == first
