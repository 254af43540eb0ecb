import contextlib
import multiprocessing
import os

import pytest

from common.errors import UserError
from common.files import read_json, write_json
from common.run_folder import lock_run, lock_scores, open_run, read_config, replace_run


class Killed(BaseException):
    """A process that ends at once: nothing behind it is done."""


def write_new(run):
    """Writes what a training has after its first epoch."""
    (run / "model.keras").write_text("new")
    (run / "state.npz").write_text("new")


def old_run(folder):
    write_json(folder / "config.json", {"task": "sentiment", "units": 1})
    (folder / "model.keras").write_text("old")
    (folder / "plots").mkdir()
    (folder / "notes.txt").write_text("mine")
    return folder


needs_locks = pytest.mark.skipif(os.name == "nt", reason="Windows cannot lock a folder")


@needs_locks
def test_nobody_trains_or_scores_a_run_while_another_process_trains_it(tmp_path):
    run = tmp_path / "new"
    with lock_run(run):
        for shared in (False, True):
            with pytest.raises(UserError, match=str(run)), lock_run(run, shared=shared):
                pytest.fail("two processes hold one run")
        (run / "config.json").write_text("{}")
    with lock_run(run):
        assert (run / "config.json").is_file()


@needs_locks
def test_a_run_may_be_scored_twice_at_once_but_not_trained_meanwhile(tmp_path):
    run = old_run(tmp_path / "run")
    with lock_run(run, shared=True), lock_run(run, shared=True):
        with pytest.raises(UserError, match="another process"), lock_run(run):
            pytest.fail("a run is trained while it is scored")


@needs_locks
def test_who_changes_scores_waits_for_who_does_so_already(tmp_path):
    run = old_run(tmp_path / "run")
    write_json(run / "metrics.json", {"scores": 0})

    def add():
        for _ in range(20):
            with lock_scores(run):
                record = read_json(run / "metrics.json")
                write_json(run / "metrics.json", {"scores": record["scores"] + 1})

    children = [multiprocessing.get_context("fork").Process(target=add) for _ in range(3)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert read_json(run / "metrics.json") == {"scores": 60}


def test_a_refused_command_leaves_no_empty_folder(tmp_path):
    with pytest.raises(RuntimeError), lock_run(tmp_path / "a" / "run"):
        raise RuntimeError
    assert not (tmp_path / "a" / "run").exists()


@pytest.mark.parametrize("trained", [False, True], ids=["in its first epoch", "later"])
def test_whoever_reads_a_run_finds_a_whole_one_after_its_replacement_was_killed(trained, tmp_path):
    run = old_run(tmp_path / "run")
    with contextlib.suppress(Killed), pytest.MonkeyPatch.context() as patch, replace_run(run):
        (run / "config.json").write_text('{"task": "sentiment", "units": 2}')
        if trained:
            write_new(run)
        # Nothing that stands in a `finally` is done.
        patch.setattr("common.run_folder.end_replacement", lambda run: None)
        patch.setattr("common.run_folder.remove_leftovers", lambda run: None)
        raise Killed
    units, model = (2, "new") if trained else (1, "old")
    assert read_config(run, "sentiment") == {"units": units}
    assert (run / "model.keras").read_text() == model
    assert not (run / ".replaced").exists()


@needs_locks
def test_a_run_that_is_being_replaced_is_not_put_back_under_its_training(tmp_path):
    run = old_run(tmp_path / "run")
    with lock_run(run), replace_run(run):
        (run / "config.json").write_text('{"task": "sentiment", "units": 2}')
        with pytest.raises(UserError, match="being trained"):
            read_config(run, "sentiment")
        write_new(run)
    assert read_config(run, "sentiment") == {"units": 2}


@pytest.mark.parametrize("fails", [True, False], ids=["training fails", "training ends"])
@pytest.mark.parametrize("moment", range(1, 12))
def test_whenever_a_process_is_killed_one_of_the_two_runs_is_whole(
    moment, fails, tmp_path, monkeypatch
):
    run = old_run(tmp_path / "run")
    (run / "tokenizer.json").write_text("old")
    old = {path.name for path in run.iterdir()}
    moves, replace = [], os.replace

    def counted(*arguments):
        moves.append(arguments)
        if len(moves) >= moment:
            raise Killed
        replace(*arguments)

    monkeypatch.setattr(os, "replace", counted)
    # It gets no further than its last move, whatever stands in a `finally`.
    with contextlib.suppress(Killed, RuntimeError), replace_run(run):
        (run / "config.json").write_text('{"task": "sentiment", "units": 2}')
        if fails:
            raise RuntimeError
        write_new(run)
    monkeypatch.undo()
    with contextlib.suppress(UserError):
        open_run(run, task="sentiment", resume=False, overwrite=False)
    found = {path.name for path in run.iterdir()}
    if (run / "model.keras").read_text() == "new":
        assert found == {"config.json", "model.keras", "notes.txt", "state.npz"}
    else:
        assert found == old
        assert read_json(run / "config.json")["units"] == 1
        assert (run / "tokenizer.json").read_text() == "old"


def test_a_new_run_killed_before_its_first_epoch_can_be_resumed(tmp_path):
    write_json(tmp_path / "config.json", {"task": "sentiment"})
    (tmp_path / ".replaced").mkdir()
    open_run(tmp_path, task="sentiment", resume=True, overwrite=False)
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


def test_leftovers_of_a_training_do_not_make_a_folder_a_run(tmp_path):
    (tmp_path / "plots").mkdir()
    (tmp_path / ".state.7.part.npz").write_text("half")
    open_run(tmp_path, task="sentiment", resume=False, overwrite=False)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="holds notes.txt"):
        open_run(tmp_path, task="sentiment", resume=False, overwrite=True)


def test_a_model_without_its_state_does_not_replace_a_run(tmp_path):
    run = old_run(tmp_path / "run")
    with replace_run(run):
        # Killed between the two files that an epoch ends with, a training could not be resumed.
        (run / "config.json").write_text('{"task": "sentiment", "units": 2}')
        write_json(run / "metrics.json", {})
        (run / "model.keras").write_text("new")
    assert read_config(run, "sentiment") == {"units": 1}
    # An ensemble has none.
    with replace_run(run):
        write_json(run / "metrics.json", {"members": ["a", "b"]})
        (run / "model.keras").write_text("joined")
    assert (run / "model.keras").read_text() == "joined"


def test_a_run_that_came_back_is_not_resumed_in_place_of_the_one_that_was_asked_for(tmp_path):
    run = old_run(tmp_path / "run")
    (run / "state.npz").write_text("old")
    (run / ".replaced").mkdir()
    for name in ("model.keras", "config.json", "state.npz"):
        os.replace(run / name, run / ".replaced" / name)
    with pytest.raises(UserError, match="--overwrite"):
        open_run(run, task="sentiment", resume=True, overwrite=False)
    assert read_config(run, "sentiment") == {"units": 1}
    open_run(run, task="sentiment", resume=True, overwrite=False)
