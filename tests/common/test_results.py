import subprocess

import pytest

from common.errors import UserError
from common.files import read_json, write_json
from common.results import (
    Scores,
    commit,
    record_scores,
    require_clean,
    why_not_recorded,
)

pytestmark = pytest.mark.no_backend


def git(folder, *arguments):
    person = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    command = ["git", *person, *arguments]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def checkout(tmp_path):
    git(tmp_path, "init", "-q")
    for name, text in {
        "apps/train.py": "old",
        "README.md": "old",
        "row.json": "old",
        ".gitignore": "runs\n",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "first")
    return tmp_path


def head(folder):
    return git(folder, "rev-parse", "--short", "HEAD").strip()


def test_a_commit_is_marked_if_code_differs_but_not_if_a_figure_was_written(checkout):
    for name in ("row.json", "README.md", "new.json", "new.png", "runs.txt"):
        (checkout / name).write_text("new")
    assert commit(checkout) == head(checkout)
    (checkout / "apps" / "train.py").write_text("new")
    assert commit(checkout) == f"{head(checkout)}+"
    git(checkout, "add", ".")
    assert commit(checkout) == f"{head(checkout)}+"


def test_code_that_git_does_not_know_marks_a_commit_unless_it_is_ignored(checkout):
    name = "models/deep/new.py"
    for folder in (checkout, checkout / "runs"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (checkout / "runs" / name).write_text("new")
    assert commit(checkout) == head(checkout)
    require_clean(checkout)
    (checkout / name).write_text("new")
    assert commit(checkout) == f"{head(checkout)}+"
    with pytest.raises(UserError, match=name):
        require_clean(checkout)


def test_a_folder_that_is_no_checkout_has_no_commit(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    for folder in (tmp_path, tmp_path / "gone"):
        assert commit(folder) == "unknown"
        with pytest.raises(UserError, match="clone"):
            require_clean(folder)


def scores(metrics, *, split="test", baselines=None, data="a"):
    return Scores(
        split=split,
        metrics=metrics,
        baselines=baselines or {},
        parameters=7,
        hashes={"pairs.tsv": data},
    )


def recorded(run, *arguments, **options):
    """Records scores and returns what the file holds then."""
    if not (run / "metrics.json").exists():
        write_json(run / "metrics.json", {"task": "translation", "data": {"pairs.tsv": "a"}})
        write_json(run / "config.json", {"task": "translation"})
    assert record_scores(run, scores(*arguments, **options))
    return read_json(run / "metrics.json")


def test_scores_are_added_to_those_of_other_splits_beams_and_baselines(tmp_path):
    baselines = {"copy": {"bleu": 1.0}}
    recorded(tmp_path, {"bleu": 50.0, "bleu_beam_5": 50.0}, baselines=baselines)
    recorded(tmp_path, {"bleu": 40.0}, split="validation", baselines=baselines)
    found = recorded(tmp_path, {"bleu": 50.0, "bleu_beam_10": 51.0})
    assert found["metrics"] == {
        "test": {"bleu": 50.0, "bleu_beam_5": 50.0, "bleu_beam_10": 51.0},
        "validation": {"bleu": 40.0},
    }
    assert found["baselines"] == {"copy": {"test": {"bleu": 1.0}, "validation": {"bleu": 1.0}}}
    assert (found["task"], found["parameters"], found["data"]) == (
        "translation",
        7,
        {"pairs.tsv": "a"},
    )


def test_scores_that_differ_in_the_fifth_digit_change_no_file(tmp_path):
    recorded(tmp_path, {"bleu": 50.0, "chrf": 60.0})
    before = (tmp_path / "metrics.json").read_bytes()
    recorded(tmp_path, {"bleu": 50.00004})
    assert (tmp_path / "metrics.json").read_bytes() == before
    assert recorded(tmp_path, {"bleu": 50.001})["metrics"]["test"] == {"bleu": 50.001, "chrf": 60.0}


def test_scores_on_other_data_are_not_recorded(tmp_path):
    recorded(tmp_path, {"bleu": 50.0})
    before = (tmp_path / "metrics.json").read_bytes()
    foreign = scores({"bleu": 1.0}, data="b")
    assert not record_scores(tmp_path, foreign)
    assert "other data" in why_not_recorded(tmp_path, foreign.hashes)
    assert (tmp_path / "metrics.json").read_bytes() == before


def test_a_run_that_does_not_name_its_data_takes_no_scores(tmp_path):
    assert not record_scores(tmp_path, scores({"bleu": 1.0}))
    assert "metrics.json" in why_not_recorded(tmp_path, {})
    assert not list(tmp_path.iterdir())
