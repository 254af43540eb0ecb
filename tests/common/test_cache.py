import importlib.metadata
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from common import cache
from common.cache import cache_path, cached

pytestmark = pytest.mark.no_backend

# `sklearn` is a part of the distribution `scikit-learn`.
FILES = {
    "apps/job.py": "from sklearn import svm\nfrom common.console import say\n"
    'from data import words\n\ndef run():\n    """Runs."""\n    return say(svm, words, 1)\n',
    "data/words.py": 'from models.net import build\n\nPATTERN = "a+"  # As long as it is.\n',
    "models/net.py": "import scipy\n\ndef build(): return scipy\n",
    "models/other.py": "import keras\n",
    "common/console.py": "def say(*things): return things\n",
}


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A small project in place of this one; the function returns where its job is kept."""
    monkeypatch.setattr(cache, "_ROOT", tmp_path / "project")
    for name, text in FILES.items():
        (tmp_path / "project" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "project" / name).write_text(text)

    def path(modules=("apps.job",)):
        cache._code.cache_clear()
        return cache_path(tmp_path, ["content"], modules=modules)

    yield path
    cache._code.cache_clear()


def edit(name, old, new):
    file = cache._ROOT / name
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("apps/job.py", "words, 1)", "words, 2)"),
        ("models/net.py", "return scipy", "return scipy.stats"),
    ],
)
def test_changed_code_is_another_result(project, name, old, new):
    before = project()
    edit(name, old, new)
    assert project() != before


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("data/words.py", "# As long as it is.", "# Whatever its length."),
        ("apps/job.py", '"""Runs."""', '"""Walks."""'),
        # Imported, but neither named nor of data or models.
        ("common/console.py", "return things", "return None"),
        ("models/other.py", "import keras", "import numpy"),
    ],
)
def test_comments_layout_and_what_computes_nothing_change_no_result(project, name, old, new):
    before = project()
    edit(name, old, new)
    assert project() == before


@pytest.mark.parametrize(
    ("distribution", "counts"), [("scikit-learn", True), ("scipy", True), ("nltk", False)]
)
def test_another_version_of_a_library_that_computes_is_another_result(
    project, monkeypatch, distribution, counts
):
    before, real = project(), importlib.metadata.version
    monkeypatch.setattr(
        importlib.metadata, "version", lambda name: "0" if name == distribution else real(name)
    )
    assert (project() != before) == counts


def test_every_difference_of_content_is_another_result():
    contents = [
        ["ab", "c"],
        ["a", "bc"],
        ["c", "ab"],
        [["ab"], "c"],
        *([1], [1.0], [True], ["1"], [None], [], [[]]),
        *([{"units": units, "cell": "gru"}] for units in (1, 2)),
        [np.arange(4)],
        [np.arange(4).reshape(2, 2)],
        [np.arange(4).reshape(2, 2).T],
        [np.arange(4.0)],
    ]
    paths = {cache_path(Path(), one, modules=["common.errors"], suffix="") for one in contents}
    assert len(paths) == len(contents)


VALUES = {".json": {"score": 0.1 + 0.2}, ".npz": {"score": np.array(0.1 + 0.2)}}


@pytest.mark.parametrize("suffix", VALUES)
def test_a_result_is_computed_once_and_again_if_its_file_is_damaged(tmp_path, suffix):
    computed, path = [], tmp_path / f"folder/result{suffix}"

    def result():
        return cached(path, lambda: computed.append(1) or VALUES[suffix])

    assert result() == result() == VALUES[suffix]
    assert len(computed) == 1
    for content in (path.read_bytes()[:-5], b"", b"{"):
        path.write_bytes(content)
        assert result() == result() == VALUES[suffix]
    assert len(computed) == 4


def test_data_that_keep_results_start_no_keras():
    script = "import sys, data.text.word_vectors; assert 'keras' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True, cwd=Path(cache.__file__).parents[1])
