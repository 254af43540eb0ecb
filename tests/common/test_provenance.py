import subprocess

import pytest

from common.provenance import commit

pytestmark = pytest.mark.no_backend


def git(folder, *arguments):
    person = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    command = ["git", *person, *arguments]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout


def test_a_commit_is_marked_if_code_differs_but_not_if_a_figure_was_written(tmp_path):
    git(tmp_path, "init", "-q")
    (tmp_path / "apps").mkdir()
    for name in ("apps/train.py", "README.md", "row.json"):
        (tmp_path / name).write_text("old")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "first")
    clean = git(tmp_path, "rev-parse", "--short", "HEAD").strip()
    (tmp_path / "row.json").write_text("new")
    (tmp_path / "README.md").write_text("new")
    assert commit(tmp_path) == clean
    (tmp_path / "apps" / "train.py").write_text("new")
    assert commit(tmp_path) == f"{clean}+"
    git(tmp_path, "add", ".")
    assert commit(tmp_path) == f"{clean}+"


def test_a_folder_that_is_no_checkout_has_no_commit(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert commit(tmp_path) == "unknown"
    assert commit(tmp_path / "gone") == "unknown"
