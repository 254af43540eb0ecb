import zipfile
from pathlib import Path

import pytest

from common import publish
from common.errors import UserError
from common.files import read_json, write_json
from common.publish import publish_run
from common.results import Scores, record_scores

pytestmark = pytest.mark.no_backend

FACTS = {
    "task": "sentiment",
    "command": "python -m apps.sentiment.train",
    "commit": "abc",
    "versions": {"keras": "3"},
    "data": {"reviews.csv": "1"},
    "metrics": {"test": {"accuracy": 0.9}, "validation": {"accuracy": 0.95}},
    "baselines": {"majority": {"test": {"accuracy": 0.5}}},
}


def scored_run(folder, **facts):
    write_json(folder / "metrics.json", FACTS | facts)
    write_json(folder / "config.json", {"task": "sentiment"})
    (folder / "history.csv").write_text("epoch")
    with zipfile.ZipFile(folder / "model.keras", "w") as model:
        model.writestr("weights", "of a model")
    (folder / "state.npz").write_text("state")
    return folder


@pytest.fixture(autouse=True)
def clean(monkeypatch):
    """Lets the tests run in a working tree that is not clean."""
    monkeypatch.setattr(publish, "require_clean", lambda: None)
    monkeypatch.setattr(publish, "commit", lambda: "def")


def by_split(run, task, split):
    assert zipfile.is_zipfile(run / "model.keras")
    return {"accuracy": {"test": 0.899, "validation": 0.95}[split]}


def test_a_published_run_says_where_it_comes_from_and_what_it_scores_itself(tmp_path):
    run, copy = scored_run(tmp_path / "run"), tmp_path / "pretrained"
    publish_run(run, copy, exact=True, score=by_split)
    record = read_json(copy / "metrics.json")
    for key in ("command", "commit", "versions", "data", "baselines"):
        assert record[key] == FACTS[key]
    assert record["run_metrics"] == FACTS["metrics"]
    assert record["scored"] == {"test": "def", "validation": "def"}
    assert record["metrics"] == {"test": {"accuracy": 0.899}, "validation": {"accuracy": 0.95}}
    assert sorted(path.name for path in copy.iterdir()) == [
        "config.json",
        "history.csv",
        "metrics.json",
        "model.keras",
    ]
    before = (copy / "metrics.json").read_bytes()
    for data in FACTS["data"], {"mine.csv": "2"}:
        again = Scores(
            split="test", metrics={"accuracy": 0.1}, baselines={}, parameters=1, hashes=data
        )
        assert not record_scores(copy, again)
    assert (copy / "metrics.json").read_bytes() == before


@pytest.mark.parametrize("is_exported", [True, False])
def test_a_published_run_has_an_export_of_its_own_model_if_the_run_has_one(is_exported, tmp_path):
    run, copy = scored_run(tmp_path / "run"), tmp_path / "pretrained"
    for folder in (run,) * is_exported + (copy,):
        write_json(folder / "export" / "export.json", {"model": "older"})

    def export(run, task):
        write_json(run / "export" / "export.json", {"model": task, "weights": is_exported})

    publish_run(run, copy, exact=True, score=by_split, export=export)
    path = copy / "export" / "export.json"
    assert path.is_file() == is_exported
    assert not is_exported or read_json(path)["model"] == "sentiment"


@pytest.mark.parametrize(
    ("facts", "named"),
    [
        ({"commit": "abc+"}, r"abc\+"),
        ({"resumed": [{"commit": "abd+"}]}, r"abd\+"),
        ({"scored": {"test": "abe+"}}, r"abe\+"),
        ({"metrics": {}}, "evaluate it first"),
    ],
)
def test_a_run_that_nobody_can_make_again_or_that_was_not_scored_is_not_published(
    facts, named, tmp_path
):
    run, copy = scored_run(tmp_path / "run", **facts), tmp_path / "pretrained"
    with pytest.raises(UserError, match=named):
        publish_run(run, copy, exact=True, score=by_split)
    assert not copy.exists()


def test_a_copy_that_cannot_be_scored_leaves_the_published_model_as_it_was(tmp_path):
    run, copy = scored_run(tmp_path / "run"), tmp_path / "pretrained"
    copy.mkdir()
    (copy / "model.keras").write_text("old")

    def fails(run, task, split):
        raise UserError("no data")

    with pytest.raises(UserError, match="no data"):
        publish_run(run, copy, exact=True, score=fails)
    assert [path.read_text() for path in copy.iterdir()] == ["old"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pretrained", "run"]


@pytest.mark.parametrize("task", ["forecasting", "sentiment", "translation", "captioning"])
def test_each_pretrained_model_keeps_the_record_of_the_run_that_it_came_from(task):
    record = read_json(Path("apps") / task / "pretrained" / "metrics.json")
    assert record["command"].startswith(f"python -m apps.{task}.train")
    assert record["commit"].isalnum()
    assert record["versions"]["keras"]
    assert record["published"]["weights"] in ("exact", "bfloat16")
    assert all(record["data"].values())
    # Rounding the weights moves no score by a hundredth of it.
    for split, metrics in record["metrics"].items():
        for name in {"accuracy", "bleu", "cider", "crps_1"} & metrics.keys():
            assert metrics[name] == pytest.approx(record["run_metrics"][split][name], rel=0.01)
