import pytest

from common import results
from common.errors import UserError
from common.files import read_json, write_json
from common.publish import gather_row, publish_row
from common.tables import table
from tests.common.test_results import recorded

pytestmark = pytest.mark.no_backend


def write_run(folder, *, seed, accuracy=0.9, units=8, splits=("test",), metrics=None):
    write_json(folder / "config.json", {"task": "sentiment", "units": units, "seed": seed})
    write_json(
        folder / "metrics.json",
        {
            "task": "sentiment",
            "command": "python -m apps.sentiment.train",
            "parameters": 2_500_000,
            "seconds": 60.0 * seed,
            "epochs": 3,
            "peak_memory_mb": 100 * seed,
            "backend": "jax",
            "device": "CPU",
            "versions": {},
            "commit": f"abc{seed % 2}",
            "data": {},
            "scored": dict.fromkeys(splits, "abc1"),
            "metrics": {split: metrics or {"accuracy": accuracy, "ece": 0.01} for split in splits},
            "baselines": {"majority": {"test": {"accuracy": 0.5}}},
        },
    )
    (folder / "history.csv").write_text(
        "epoch,seconds,loss,val_accuracy,learning_rate\n1,10,0.5,0.8,1\n2,30,0.4,0.9,1\n"
    )
    return folder


def test_a_row_holds_one_value_a_seed(tmp_path):
    runs = [write_run(tmp_path / f"s{s}", seed=s, accuracy=0.9 + s / 100) for s in (1, 2)]
    row = gather_row(runs, "lstm")
    assert row["seeds"] == [1, 2]
    assert row["metrics"]["test"]["accuracy"] == [0.91, 0.92]
    assert row["seconds"] == [60.0, 120.0]
    assert row["seconds_per_epoch"] == [20, 20]
    curves = {"seconds": [10.0, 30.0], "loss": [0.5, 0.4], "val_accuracy": [0.8, 0.9]}
    assert row["curves"] == [curves] * 2
    assert row["peak_memory_mb"] == 200
    assert "seed" not in row["config"]
    assert row["commit"] == "abc1, abc0"


def test_runs_on_other_data_or_of_another_make_are_no_row(tmp_path):
    runs = [write_run(tmp_path / f"s{seed}", seed=seed) for seed in (1, 2)]
    record = read_json(runs[1] / "metrics.json")
    with pytest.raises(UserError, match="units"):
        gather_row([runs[0], write_run(tmp_path / "wide", seed=3, units=9)], "lstm")
    others = {"data": {"prices.csv": "abc"}, "parameters": 7, "versions": {"keras": "2.0"}}
    for key, other in others.items():
        write_json(runs[1] / "metrics.json", {**record, key: other})
        with pytest.raises(UserError, match=f"s2 has another {key} than"):
            gather_row(runs, "lstm")
    del record["metrics"]
    write_json(runs[1] / "metrics.json", record)
    with pytest.raises(UserError, match="s2 has no metrics yet"):
        gather_row(runs, "lstm")


def test_a_table_shows_the_best_row_first_and_the_baselines_among_them(tmp_path):
    for name, accuracies in {"weak": (0.4,), "strong": (0.8, 0.9)}.items():
        runs = [
            write_run(tmp_path / name / str(s), seed=s, accuracy=a)
            for s, a in enumerate(accuracies, start=1)
        ]
        write_json(tmp_path / "results" / f"{name}.json", gather_row(runs, name))
    lines = table(tmp_path / "results", split="test", metrics=["accuracy"]).splitlines()
    names = [line.split("|")[1].strip() for line in lines[2:]]
    assert names == ["`strong`", "majority (baseline)", "`weak`"]
    # The sample standard deviation of 80 and 90 is 10 / sqrt(2).
    assert "85.00 ± 7.07" in lines[2]


def test_a_table_of_forecasts_shows_the_least_error_first_and_the_greatest_p(tmp_path):
    for name, crps in {"weak": (2.0,), "strong": (1.0, 1.2)}.items():
        runs = [
            write_run(
                tmp_path / name / str(s),
                seed=s,
                metrics={"crps_1": value, "dm_p_garch_1": 0.01 * s, "dm_p_ets_1": 1e-9},
            )
            for s, value in enumerate(crps, start=1)
        ]
        row = gather_row(runs, name) | {"baselines": {"garch": {"test": {"crps_1": 1.5}}}}
        write_json(tmp_path / "results" / f"{name}.json", row)
    metrics = ["crps_1", "dm_p_garch_1", "dm_p_ets_1"]
    lines = table(tmp_path / "results", split="test", metrics=metrics).splitlines()
    assert lines[0].startswith("| row | CRPS %, 1 d | p against garch, 1 d | p against ets, 1 d |")
    assert [line.split("|")[1].strip() for line in lines[2:]] == [
        "`strong`",
        "garch (baseline)",
        "`weak`",
    ]
    assert lines[2].startswith("| `strong` | 1.1000 ± 0.1414 | 0.0200 | < 0.0001 |")


def test_a_split_names_the_commit_that_scored_it(tmp_path, monkeypatch):
    run = write_run(tmp_path / "run", seed=1, metrics={"bleu": 50.0}, splits=("test", "validation"))
    write_json(
        run / "metrics.json", {**read_json(run / "metrics.json"), "data": {"pairs.tsv": "a"}}
    )
    monkeypatch.setattr(results, "commit", lambda: "def2")
    recorded(run, {"bleu": 50.0, "new_metric": 1.0})
    row = gather_row([run], "gru")
    assert (row["commit"], row["scored"]) == ("abc1", {"test": "def2", "validation": "abc1"})


def test_a_row_of_code_that_no_commit_holds_is_not_published(tmp_path, monkeypatch):
    commit = "abc+"
    run = write_run(tmp_path / "run", seed=1, metrics={"bleu": 50.0})
    record = {**read_json(run / "metrics.json"), "data": {"pairs.tsv": "a"}}
    write_json(run / "metrics.json", {**record, "commit": commit})
    with pytest.raises(UserError, match="trained by code that no commit holds"):
        publish_row(gather_row([run], "gru"), tmp_path / "results")
    write_json(run / "metrics.json", record)
    monkeypatch.setattr(results, "commit", lambda: commit)
    recorded(run, {"bleu": 51.0})
    with pytest.raises(UserError, match="scored on test"):
        publish_row(gather_row([run], "gru"), tmp_path / "results")
    assert not (tmp_path / "results").exists()
    # The remedy: committed code finds the same scores.
    monkeypatch.setattr(results, "commit", lambda: "def2")
    recorded(run, {"bleu": 51.0})
    publish_row(gather_row([run], "gru"), tmp_path / "results")
    assert read_json(tmp_path / "results" / "gru.json")["scored"] == {"test": "def2"}
