import importlib
import math
import os
import shlex

import numpy as np
import pytest
from rich.console import Console

from apps.sentiment.config import Config as SentimentConfig
from apps.studies import benchmark, quick
from apps.studies.benchmark import pick_rows, plan_steps, published_row, run_steps
from apps.studies.compare import JUDGED, compare_row
from apps.studies.rows import ROWS, Row
from common.artifact import CONFIG, METRICS, MODEL, PLOTS, read_json, write_json, write_text
from common.config import fields_as_flags, parse_call
from common.errors import UserError
from common.training import flag

pytestmark = pytest.mark.no_backend

QUIET = Console(quiet=True)


def row_named(task, name):
    (row,) = (row for row in ROWS if (row.task, row.name) == (task, name))
    return row


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.task} {row.name}")
def test_a_published_row_was_made_by_the_command_that_makes_it_again(row):
    published = published_row(row)
    module = "apps.ensemble" if row.members else f"apps.{row.task}.train"
    flags = row.train_flags("runs")
    if row.members:
        flags = ["--members", *(f"runs/{row.task}/{member}" for member in row.members)]
        flags += ["--run", f"runs/{row.task}/{row.name}-s1"]
    # The flags are parsed, so that a row whose setting was renamed is found.
    call = parse_call(
        importlib.import_module(module).main, prog="", description="", arguments=flags
    )
    if published is None:
        return
    assert published["seeds"] == list(row.seeds)[: len(published["seeds"])]
    assert published["metrics"].keys() == set(row.splits) | {"validation"} - (
        {"validation"} if row.members else set()
    )
    if row.members:
        assert published["command"] == f"python -m {module} {shlex.join(flags)}"
        return
    made_by, held = fields_as_flags(call.keywords["config"]), published["config"]
    # A setting that came later is not in the file.
    both = made_by.keys() & held.keys() - {"seed"}
    assert {name: made_by[name] for name in both} == {name: held[name] for name in both}


@pytest.mark.parametrize(
    "row", [row for row in ROWS if row.task == "forecasting"], ids=lambda row: row.name
)
def test_no_flag_of_a_forecasting_row_is_ignored_by_its_mode(row, tmp_path):
    rows_own = row.train_flags("runs")
    for flags in (rows_own, quick.shortened(row.task, "train", rows_own, tmp_path)):
        call = parse_call(
            importlib.import_module("apps.forecasting.train").main,
            prog="",
            description="",
            arguments=flags,
        )
        assert not {flag(name) for name in call.keywords["config"].ignored()} & set(flags)


def test_rows_are_picked_by_task_and_by_name():
    assert {row.task for row in pick_rows("sentiment translation")} == {"sentiment", "translation"}
    assert [(row.task, row.name) for row in pick_rows("translation gru")] == [
        ("translation", "gru")
    ]
    assert len(pick_rows("gru")) == 4
    assert pick_rows("") == list(ROWS)
    with pytest.raises(UserError, match="ONLY=gnu is no task and no row"):
        pick_rows("gnu")
    with pytest.raises(UserError, match="sentiment has none of that name"):
        pick_rows("sentiment merge")


def test_what_a_row_needs_comes_before_it_and_is_not_scored(tmp_path):
    rows = [row_named("translation", name) for name in ("gru_ensemble", "gru_after_tatoeba")]
    steps = plan_steps(rows, tmp_path)
    ensemble, goes_on = "gru_ensemble-s1", "gru_after_tatoeba-s1"
    assert [(step.verb, step.run.name, step.split) for step in steps] == [
        *(("train", member, "") for member in ("gru-s1", "gru-s2", "gru-s3")),
        ("join", ensemble, ""),
        ("evaluate", ensemble, "test"),
        ("evaluate", ensemble, "test_2017_flickr"),
        ("train", "tatoeba_gru-s1", ""),
        ("train", goes_on, ""),
        ("evaluate", goes_on, "test"),
        ("evaluate", goes_on, "test_2017_flickr"),
    ]
    assert f"{tmp_path}/translation/gru-s2" in steps[3].arguments
    assert f"{tmp_path}/translation/tatoeba_gru-s1" in steps[7].arguments


class Machine:
    """Does what the commands would leave on the disk, or fails."""

    def __init__(self, fails=()):
        self.ran, self.fails = [], fails

    def __call__(self, arguments):
        self.ran.append(arguments)
        flags = dict(zip(arguments, arguments[1:], strict=False))
        run = benchmark.Path(flags["--run"])
        if run.name in self.fails:
            return 2
        if arguments[0].endswith(".train"):
            write_json(run / CONFIG, {})
            write_text(run / MODEL, "")
            write_text(run / PLOTS / "optimisation.png", "")
        elif arguments[0].endswith(".evaluate"):
            record = read_json(run / METRICS) if (run / METRICS).is_file() else {"metrics": {}}
            record["metrics"][flags["--split"]] = {}
            write_json(run / METRICS, record)
        else:
            members = arguments[arguments.index("--members") + 1 : arguments.index("--run")]
            write_json(run / METRICS, {"members": members, "metrics": {}})
            write_text(run / MODEL, "")
        return 0


def test_a_joined_run_is_made_again_if_its_members_are_others_or_newer(tmp_path):
    row = row_named("translation", "gru_ensemble")
    run_steps(plan_steps([row], tmp_path), QUIET, execute=Machine())
    run, member = (tmp_path / "translation" / name for name in ("gru_ensemble-s1", "gru-s2"))

    def joins():
        return [step.done() for step in plan_steps([row], tmp_path) if step.verb == "join"]

    assert joins() == [True]
    later = (run / MODEL).stat().st_mtime + 10
    os.utime(member / MODEL, (later, later))
    assert joins() == [False]
    os.utime(run / MODEL, (later, later))
    assert joins() == [True]
    record = read_json(run / METRICS)
    write_json(run / METRICS, {**record, "members": record["members"][:2]})
    assert joins() == [False]


def test_a_sample_that_was_stopped_half_way_is_written_anew(tmp_path, monkeypatch):
    def stopped(folder):
        write_text(folder / "half.csv", "")
        raise KeyboardInterrupt

    place = tmp_path / "data" / "sentiment"
    monkeypatch.setitem(quick._SAMPLES, "sentiment", stopped)
    with pytest.raises(KeyboardInterrupt):
        quick.samples(["sentiment"], tmp_path)
    assert not list(place.parent.iterdir())
    monkeypatch.setitem(
        quick._SAMPLES, "sentiment", lambda folder: write_text(folder / "whole.csv", "")
    )
    for _ in range(2):
        quick.samples(["sentiment"], tmp_path)
        assert [path.name for path in place.iterdir()] == ["whole.csv"]
        # One that is there stays.
        monkeypatch.setitem(quick._SAMPLES, "sentiment", stopped)


def test_what_is_done_is_kept_and_what_was_stopped_goes_on(tmp_path):
    steps = plan_steps([row_named("translation", "gru")], tmp_path)
    # The first seed was trained, the second one stopped in its training.
    first, second = tmp_path / "translation" / "gru-s1", tmp_path / "translation" / "gru-s2"
    write_text(first / PLOTS / "optimisation.png", "")
    write_json(second / CONFIG, {})
    machine = Machine()
    assert run_steps(steps, QUIET, execute=machine) == []
    trained = [arguments for arguments in machine.ran if arguments[0].endswith(".train")]
    assert [("--resume" in arguments) for arguments in trained] == [True, False]
    assert len(machine.ran) == 2 + 3 * 2
    again = Machine()
    assert run_steps(steps, QUIET, execute=again) == []
    assert again.ran == []


def test_after_a_change_of_the_code_rows_are_made_afresh_but_not_what_they_need(tmp_path):
    row = row_named("translation", "gru_after_tatoeba")
    assert run_steps(plan_steps([row], tmp_path), QUIET, execute=Machine()) == []
    machine = Machine()
    assert run_steps(plan_steps([row], tmp_path, afresh=True), QUIET, execute=machine) == []
    assert [(ran[0].split(".")[-1], "--overwrite" in ran) for ran in machine.ran] == [
        ("train", True),
        *[("evaluate", False)] * 2,
    ]
    assert all("gru_after_tatoeba-s1" in " ".join(ran) for ran in machine.ran)


def test_other_code_is_checked_in_another_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = set()
    for content in ("a = 1", "a = 2"):
        write_text(tmp_path / "models" / "a.py", content)
        found |= {benchmark.code_version(), benchmark.code_version()}
    assert len(found) == 2


def test_a_run_of_ones_own_under_the_name_of_a_row_is_not_published(tmp_path):
    steps = plan_steps(pick_rows("sentiment lstm"), tmp_path)
    first = tmp_path / "sentiment" / "lstm-s1"
    settings = fields_as_flags(SentimentConfig(cell="lstm", seed=1))
    write_json(first / CONFIG, {"task": "sentiment", "labels": ["a", "b"], **settings})
    steps[0].check_settings()
    write_json(first / CONFIG, {"task": "sentiment", **settings, "units": 7})
    with pytest.raises(UserError, match=r"lstm-s1 was trained with other settings .*--units"):
        steps[0].check_settings()


def test_after_a_failure_the_rest_is_made(tmp_path):
    steps = plan_steps(pick_rows("sentiment lstm"), tmp_path)
    failed = run_steps(steps, QUIET, execute=Machine(fails=["lstm-s2"]))
    assert {step.run.name for step in failed} == {"lstm-s2"}
    assert all(step.done() for step in steps if step.run.name != "lstm-s2")


def test_the_time_left_follows_the_machine(tmp_path, monkeypatch):
    """A machine half as fast as the published one is told twice the time."""
    row = Row("translation", "gru", seeds=(1, 2))
    steps = [
        step
        for step in plan_steps([row], tmp_path)
        if step.verb == "train" and "s3" not in step.run.name
    ]
    clock = [0.0]
    monkeypatch.setattr(benchmark.time, "monotonic", lambda: clock[0])
    machine = Machine()

    def slow(arguments):
        clock[0] += 2 * steps[len(machine.ran)].expected
        return machine(arguments)

    console = Console(record=True, width=120, file=open("/dev/null", "w"))
    run_steps(steps, console, execute=slow)
    lines = [line for line in console.export_text().splitlines() if "left for all" in line]
    assert f"{benchmark.duration(2 * steps[1].expected)} left for all" in lines[1]


def published(name, values):
    return {"name": name, "task": "sentiment", "metrics": {"test": {"accuracy": values}}}


def test_a_row_has_moved_if_seeds_do_not_explain_it():
    rows = [published("lstm", [0.900, 0.902, 0.904]), published("gru", [0.905, 0.909])]
    deviation = math.sqrt((8e-6 + 8e-6) / 3)
    (same,) = compare_row(rows[0], published("lstm", [0.905]), rows)
    # The 99.5th percentile of Student's t with three degrees of freedom is 5.841.
    np.testing.assert_allclose(same.bound, 5.841 * deviation * math.sqrt(1 / 3 + 1), rtol=1e-3)
    assert not same.moved
    (other,) = compare_row(rows[0], published("lstm", [0.885]), rows)
    assert other.moved
    alone = [published("merge", [0.9])]
    (unknown,) = compare_row(alone[0], published("merge", [0.5]), alone)
    assert unknown.bound is None
    assert not unknown.moved


@pytest.mark.parametrize(
    "tasks",
    [
        ("forecasting", "translation"),
        pytest.param(("sentiment", "captioning"), marks=pytest.mark.slow),
    ],
    ids=" and ".join,
)
def test_a_quick_benchmark_makes_a_row_of_each_task(tasks, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CACHE_DIR", str(tmp_path / "cache"))
    benchmark.main(only=" ".join((*tasks, "gru")), quick=True)
    for task in tasks:
        row = read_json(tmp_path / "runs" / "quick" / "results" / task / "gru.json")
        assert row["seeds"] == [1]
        assert row["metrics"]["test"].keys() >= {*JUDGED[task]}
        assert row["config"]["cell"] == "gru"
    assert not (tmp_path / "apps").exists()
