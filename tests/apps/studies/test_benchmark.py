import dataclasses
import functools
import importlib
import math
import shlex

import numpy as np
import pytest
from rich.console import Console

from apps.sentiment.config import Config as SentimentConfig
from apps.studies.benchmark import quick
from apps.studies.benchmark import run as benchmark
from apps.studies.benchmark.compare import (
    JUDGED,
    compare_row,
    explanation,
    why_it_may_differ,
)
from apps.studies.benchmark.plan import as_list, plan_rescoring, plan_steps, published_row
from apps.studies.benchmark.rows import ROWS
from apps.studies.benchmark.run import pick_rows, run_steps
from common.cli import parse_call
from common.errors import UserError
from common.files import read_json, write_json, write_text
from common.results import is_committed, require_clean
from common.run_folder import CONFIG, HISTORY, METRICS, MODEL
from common.settings import flag

pytestmark = pytest.mark.no_backend

QUIET = Console(quiet=True)
ROOT = benchmark.Path(__file__).parents[3]
# What a run folder records when its training has ended and was scored.
ENDED = {"seconds": 1.0, "metrics": {"validation": {}}}


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
    assert is_committed(published["commit"])
    assert all(map(is_committed, published.get("scored", {}).values()))
    assert published["seeds"] == list(row.seeds)[: len(published["seeds"])]
    assert published["metrics"].keys() == set(row.splits) | {"validation"} - (
        {"validation"} if row.members else set()
    )
    if row.members:
        assert published["command"] == f"python -m {module} {shlex.join(flags)}"
        return
    config, recorded = dataclasses.asdict(call.keywords["config"]), published["config"]
    # A newer setting is missing in the file.
    both = config.keys() & recorded.keys() - {"seed"}
    differing = [name for name in both if as_list(config[name]) != as_list(recorded[name])]
    assert not differing


@pytest.mark.parametrize(
    "row", [row for row in ROWS if not row.members], ids=lambda row: f"{row.task}-{row.name}"
)
def test_no_flag_of_a_row_is_ignored_by_its_mode(row, tmp_path):
    rows_own = row.train_flags("runs")
    for flags in (rows_own, quick.quick_flags(row.task, "train", rows_own, tmp_path)):
        call = parse_call(
            importlib.import_module(f"apps.{row.task}.train").main,
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
    assert pick_rows("") == list(ROWS)
    with pytest.raises(UserError, match="ONLY=gnu is neither a task nor a row"):
        pick_rows("gnu")


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
            write_json(run / METRICS, ENDED)
        elif arguments[0].endswith(".evaluate"):
            record = read_json(run / METRICS) if (run / METRICS).is_file() else {"metrics": {}}
            record["metrics"][flags["--split"]] = {}
            write_json(run / METRICS, record)
        else:
            members = arguments[arguments.index("--members") + 1 : arguments.index("--run")]
            write_json(run / METRICS, {"members": members, "metrics": {}})
            write_text(run / MODEL, "")
        return 0


def test_what_is_done_is_kept_and_what_was_stopped_goes_on(tmp_path):
    steps = plan_steps([row_named("translation", "gru")], tmp_path)
    # The first seed was trained, the second one stopped in its training.
    first, second = tmp_path / "translation" / "gru-s1", tmp_path / "translation" / "gru-s2"
    write_json(first / METRICS, ENDED)
    write_json(second / CONFIG, {})
    machine = Machine()
    assert run_steps(steps, QUIET, execute=machine) == []
    trained = [arguments for arguments in machine.ran if arguments[0].endswith(".train")]
    assert [("--resume" in arguments) for arguments in trained] == [True, False]
    assert len(machine.ran) == 2 + 3 * 2
    again = Machine()
    assert run_steps(steps, QUIET, execute=again) == []
    assert again.ran == []


def test_a_training_that_records_no_end_or_no_score_is_resumed(tmp_path):
    step = plan_steps([row_named("translation", "gru")], tmp_path)[0]
    write_json(step.run / CONFIG, {})
    # Killed in training; ended, but not scored; scored by hand, but not ended.
    for record in ({}, {"seconds": 1.0}, {"metrics": {"validation": {}, "test": {}}}):
        write_json(step.run / METRICS, record)
        assert not step.done()
        assert "--resume" in step.command()
    write_json(step.run / METRICS, {**ENDED, "scored": {"validation": "abc"}})
    assert step.done()
    # Scores of uncommitted code cannot be published.
    write_json(step.run / METRICS, {**ENDED, "scored": {"validation": "abc+"}})
    assert not step.done()


def no_command(arguments):
    raise AssertionError(f"{arguments} was run")


def test_nothing_is_trained_for_a_row_that_could_not_be_published(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(benchmark, "run_in_a_process", no_command)
    # No checkout at all.
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    unclean = functools.partial(require_clean, tmp_path)
    monkeypatch.setattr(benchmark, "require_clean", unclean)
    with pytest.raises(UserError, match="clone"):
        benchmark.main(only="sentiment lstm")
    # The runs that a row needs are part of it.
    monkeypatch.setattr(benchmark, "require_clean", lambda: None)
    member = tmp_path / "runs" / "translation" / "gru-s2"
    write_json(member / METRICS, {**ENDED, "commit": "abc123+"})
    with pytest.raises(UserError, match=r"gru-s2 .*abc123\+.*move it away"):
        benchmark.main(only="translation gru_ensemble")


def test_code_that_is_edited_while_a_row_is_made_is_not_published(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(benchmark, "require_clean", lambda: None)

    def edited(arguments):
        flags = dict(zip(arguments, arguments[1:], strict=False))
        if arguments[0].endswith(".train"):
            run = benchmark.Path(flags["--run"])
            save_published(run, ROOT, row_named("sentiment", "lstm"), int(flags["--seed"]))
            if run.name == "lstm-s3":
                write_json(run / METRICS, {**read_json(run / METRICS), "commit": "abc123+"})
        return 0

    monkeypatch.setattr(benchmark, "run_in_a_process", edited)
    with pytest.raises(SystemExit):
        benchmark.main(only="sentiment lstm")
    assert "lstm-s3 was made by uncommitted code" in " ".join(capsys.readouterr().out.split())
    assert not (tmp_path / "apps").exists()


def save_published(run, root, row, seed):
    """Writes the run folder that a published row would have been gathered from."""
    published = read_json(root / "apps" / row.task / "results" / f"{row.name}.json")
    place = published["seeds"].index(seed)
    of_the_seed = {
        split: {metric: values[place] for metric, values in metrics.items()}
        for split, metrics in published["metrics"].items()
    }
    ended = {name: published[name][place] for name in ("seconds", "epochs")}
    write_json(run / METRICS, {**published, **ended, "metrics": of_the_seed})
    write_json(run / CONFIG, {**published["config"], "seed": seed})
    write_text(run / HISTORY, "epoch,seconds,loss\n1,10,0.5\n")
    write_text(run / MODEL, "")


def test_your_own_run_under_the_name_of_a_row_is_not_published(tmp_path):
    steps = plan_steps(pick_rows("sentiment lstm"), tmp_path)
    first = tmp_path / "sentiment" / "lstm-s1"
    settings = dataclasses.asdict(SentimentConfig(cell="lstm", seed=1))
    write_json(first / CONFIG, {"task": "sentiment", "labels": ["a", "b"], **settings})
    steps[0].check_settings()
    write_json(first / CONFIG, {"task": "sentiment", **settings, "units": 7})
    with pytest.raises(UserError, match=r"lstm-s1 was trained with other settings .*--units"):
        steps[0].check_settings()


MACHINE = {
    "backend": "tensorflow",
    "device": "CPU, 2 threads",
    "processor": "a processor (1234)",
    "versions": {"tensorflow": "2"},
    "data": {"imdb": "abc"},
}


def published(name, values, *, seeds=None, split="test", **more):
    """A published row of an unknown machine, or with `**MACHINE` of a known one."""
    metrics = {metric: numbers for metric, numbers in more.items() if metric in JUDGED["sentiment"]}
    others = {key: value for key, value in more.items() if key not in metrics}
    return {
        "name": name,
        "task": "sentiment",
        "commit": "abc",
        "seeds": seeds or [*range(1, len(values) + 1)],
        "metrics": {split: {"accuracy": values, **metrics}},
        **others,
    }


def test_a_row_has_moved_if_seeds_do_not_explain_it():
    rows = [published("lstm", [0.900, 0.902, 0.904]), published("gru", [0.905, 0.909])]
    deviation = math.sqrt((8e-6 + 8e-6) / 3)
    (same,) = compare_row(rows[0], published("lstm", [0.905]), rows)
    # The 99.5th percentile of Student's t with three degrees of freedom is 5.841.
    np.testing.assert_allclose(same.bound, 5.841 * deviation * math.sqrt(1 / 3 + 1), rtol=1e-3)
    assert same.verdict == "within chance"
    (other,) = compare_row(rows[0], published("lstm", [0.885]), rows)
    assert other.verdict == "moved"
    alone = [published("merge", [0.9])]
    (unknown,) = compare_row(alone[0], published("merge", [0.5]), alone)
    assert unknown.bound is None
    assert unknown.verdict not in ("moved", "within chance", "identical")


def test_a_seed_that_gives_the_same_figures_is_identical_on_any_machine():
    before = published("lstm", [0.900, 0.902, 0.904])
    (one,) = compare_row(before, published("lstm", [0.902], seeds=[2]), [before])
    assert (one.verdict, one.published) == ("identical", 0.902)
    (one,) = compare_row(before, published("lstm", [0.902], seeds=[1]), [before])
    assert one.verdict == "within chance"


def test_elsewhere_chance_decides_and_the_reason_is_told():
    before = published("lstm", [0.900, 0.902, 0.904], **MACHINE)
    assert not why_it_may_differ(before, before)
    again = published("lstm", [0.901], **MACHINE | {"backend": "jax"}, seeds=[1])
    assert [one.verdict for one in compare_row(before, again, [before])] == ["within chance"]
    assert "backend" in why_it_may_differ(before, again)
    assert "backend" in explanation(before, again)


@pytest.mark.slow
@pytest.mark.parametrize(
    "tasks", [("forecasting", "translation"), ("sentiment", "captioning")], ids=" and ".join
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
    # Rescoring finds on validation what the training found there.
    row = dataclasses.replace(row_named(tasks[0], "gru"), seeds=(1,))
    again = plan_rescoring(row, tmp_path / "runs" / "quick")[-1]
    assert again.split == "validation"
    recorded = read_json(again.run / METRICS)
    write_json(again.run / METRICS, {**recorded, "metrics": {}})
    data = tmp_path / "runs" / "quick" / "data" / tasks[0]
    assert quick.run_here([*again.command(), "--data-dir", str(data)]) == 0
    found = read_json(again.run / METRICS)
    assert found["metrics"] == {"validation": recorded["metrics"]["validation"]}
    assert found["baselines"] == recorded["baselines"]
    assert not (tmp_path / "apps").exists()


def test_after_a_failure_the_rest_is_made(tmp_path):
    steps = plan_steps(pick_rows("sentiment lstm"), tmp_path)
    failed = run_steps(steps, QUIET, execute=Machine(fails=["lstm-s2"]))
    assert {step.run.name for step in failed} == {"lstm-s2"}
    assert all(step.done() for step in steps if step.run.name != "lstm-s2")
