import types

import pytest

from common.errors import UserError
from common.files import write_json
from common.origins import check_cut_of_origin, origin_of

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
    held = origin(tmp_path / "a", seed=0, data=OURS)
    check_cut_of_origin(settings(0), held, OURS)
    check_cut_of_origin(settings(1), held, OTHERS)
    for hashes in (OURS, {"renamed.tsv": "1"}, {**OTHERS, "pairs.tsv": "1"}):
        with pytest.raises(UserError, match=f"--init-from {tmp_path / 'a'} .*--split-seed 0"):
            check_cut_of_origin(settings(1), held, hashes)


def test_a_run_that_does_not_name_its_data_counts_as_one_of_the_same(tmp_path):
    held = origin(tmp_path / "a", seed=0)
    check_cut_of_origin(settings(0), held, OURS)
    with pytest.raises(UserError, match="--split-seed"):
        check_cut_of_origin(settings(1), held, OURS)


def test_a_run_in_between_does_not_hide_another_cut(tmp_path):
    first = origin(tmp_path / "a", seed=0, data=OURS)
    between = origin(tmp_path / "b", seed=1, data=OTHERS, init_from=first)
    check_cut_of_origin(settings(0), between, OURS)
    with pytest.raises(UserError, match="--split-seed 0, not 1"):
        check_cut_of_origin(settings(1), between, OURS)
