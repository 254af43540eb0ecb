import subprocess

import pytest

from common.errors import UserError
from common.provenance import commit, is_committed, require_clean

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


@pytest.mark.parametrize("name", ["apps/new.py", "models/deep/new.py", "requirements-gpu.txt"])
def test_code_that_git_does_not_know_marks_a_commit_unless_it_is_ignored(checkout, name):
    for folder in (checkout, checkout / "runs"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (checkout / "runs" / name).write_text("new")
    assert commit(checkout) == head(checkout)
    require_clean(checkout)
    (checkout / name).write_text("new")
    assert commit(checkout) == f"{head(checkout)}+"
    with pytest.raises(UserError, match=name):
        require_clean(checkout)


def test_a_deleted_file_of_code_marks_a_commit(checkout):
    (checkout / "apps" / "train.py").unlink()
    assert commit(checkout) == f"{head(checkout)}+"
    with pytest.raises(UserError, match=r"apps/train\.py.*commit or remove"):
        require_clean(checkout)


def test_one_commit_of_several_that_git_does_not_hold_is_found():
    assert is_committed("abc123") and is_committed("abc123, def456")
    assert not is_committed("abc123+") and not is_committed("abc123+, def456")
    assert not is_committed("abc123, unknown")


def test_a_folder_that_is_no_checkout_has_no_commit(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    for folder in (tmp_path, tmp_path / "gone"):
        assert commit(folder) == "unknown"
        with pytest.raises(UserError, match="clone"):
            require_clean(folder)
