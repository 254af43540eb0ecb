import pytest

from common.artifact import write_json
from common.errors import UserError
from common.results import gather_row, table, write_tables

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
            "commit": "abc",
            "data": {},
            "metrics": {split: metrics or {"accuracy": accuracy, "ece": 0.01} for split in splits},
            "baselines": {"majority": {"test": {"accuracy": 0.5}}},
        },
    )
    (folder / "history.csv").write_text("epoch,seconds\n1,10\n2,30\n")
    return folder


def test_a_row_holds_one_value_a_seed(tmp_path):
    runs = [write_run(tmp_path / f"s{s}", seed=s, accuracy=0.9 + s / 100) for s in (1, 2)]
    row = gather_row(runs, "lstm")
    assert row["seeds"] == [1, 2]
    assert row["metrics"]["test"]["accuracy"] == [0.91, 0.92]
    assert row["seconds"] == [60.0, 120.0]
    assert row["seconds_per_epoch"] == [20, 20]
    assert row["peak_memory_mb"] == 200
    assert "seed" not in row["config"]


def test_runs_that_differ_in_more_than_the_seed_are_no_row(tmp_path):
    runs = [
        write_run(tmp_path / "a", seed=1, accuracy=0.9),
        write_run(tmp_path / "b", seed=2, accuracy=0.9, units=9),
    ]
    with pytest.raises(UserError, match="units"):
        gather_row(runs, "lstm")


def test_a_run_without_the_split_of_the_others_is_no_row(tmp_path):
    runs = [
        write_run(tmp_path / "a", seed=1, accuracy=0.9),
        write_run(tmp_path / "b", seed=2, accuracy=0.9, splits=("validation",)),
    ]
    with pytest.raises(UserError, match="evaluate it first"):
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
    assert "1.5 min" in lines[2]


def test_a_table_may_show_some_rows_alone(tmp_path):
    for name in ("weak", "strong", "other"):
        run = write_run(tmp_path / name, seed=1, accuracy=0.9)
        write_json(tmp_path / "results" / f"{name}.json", gather_row([run], name))
    text = "<!-- table: results split=test metrics=accuracy rows=strong,weak -->\n<!-- /table -->\n"
    written = write_tables(text, tmp_path)
    assert "`strong`" in written and "`weak`" in written and "majority" in written
    assert "`other`" not in written
    with pytest.raises(UserError, match="no row absent"):
        write_tables(text.replace("weak", "absent"), tmp_path)


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


def test_a_table_is_written_between_its_comments_and_nowhere_else(tmp_path):
    run = write_run(tmp_path / "run", seed=1, accuracy=0.75)
    write_json(tmp_path / "results" / "one.json", gather_row([run], "one"))
    before = "a\n<!-- table: results split=test metrics=accuracy -->\nold\n<!-- /table -->\nz\n"
    after = write_tables(before, tmp_path)
    assert after.startswith("a\n<!-- table: results split=test metrics=accuracy -->\n| row |")
    assert after.endswith("|\n<!-- /table -->\nz\n")
    assert "old" not in after
    assert write_tables(after, tmp_path) == after
