import subprocess
from pathlib import Path

import pytest

from common import results
from common.errors import UserError
from common.files import read_json, write_json
from common.publish import gather_row, publish_row
from common.results import (
    Scores,
    commit,
    data_label,
    evaluation_folder,
    is_committed,
    record_scores,
    require_clean,
    why_not_recorded,
)
from common.tables import table, write_tables

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


pytestmark = pytest.mark.no_backend

ROOT = Path(__file__).parents[2]


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


def test_runs_that_differ_in_more_than_the_seed_are_no_row(tmp_path):
    runs = [
        write_run(tmp_path / "a", seed=1, accuracy=0.9),
        write_run(tmp_path / "b", seed=2, accuracy=0.9, units=9),
    ]
    with pytest.raises(UserError, match="units"):
        gather_row(runs, "lstm")


def test_runs_on_other_data_or_of_another_make_are_no_row(tmp_path):
    runs = [write_run(tmp_path / f"s{seed}", seed=seed) for seed in (1, 2)]
    record = read_json(runs[1] / "metrics.json")
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


def test_a_table_of_translations_has_titles_that_tell_search_and_length(tmp_path):
    titles = {
        "bleu": "BLEU",
        "chrf": "chrF",
        "bleu_tok_lc": "BLEU, tokenised lower case",
        "bleu_greedy": "BLEU, greedy",
        "chrf_greedy": "chrF, greedy",
        "bleu_tok_lc_greedy": "BLEU, tokenised lower case, greedy",
        "bleu_tok_lc_beam_1": "greedy",
        "bleu_tok_lc_beam_10": "beam 10",
        "bleu_tok_lc_words_1_8": "1 to 8 words",
        "bleu_tok_lc_words_15": "15 or more words",
    }
    run = write_run(tmp_path / "run", seed=1, metrics=dict.fromkeys(titles, 12.25))
    write_json(tmp_path / "results" / "gru.json", gather_row([run], "gru"))
    lines = table(tmp_path / "results", split="test", metrics=list(titles)).splitlines()
    assert lines[0].startswith(f"| row | {' | '.join(titles.values())} | parameters |")
    # BLEU and chrF are from 0 to 100 already.
    assert lines[2].startswith(f"| `gru` |{' 12.25 |' * len(titles)}")


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


@pytest.mark.parametrize("record", [None, {"task": "translation"}])
def test_a_run_that_does_not_name_its_data_takes_no_scores(record, tmp_path):
    if record:
        write_json(tmp_path / "metrics.json", record)
    assert not record_scores(tmp_path, scores({"bleu": 1.0}))
    assert "metrics.json" in why_not_recorded(tmp_path, {})
    assert [path.name for path in tmp_path.iterdir()] == (["metrics.json"] if record else [])


def test_a_published_model_keeps_its_figures(tmp_path):
    record = {"data": {"pairs.tsv": "a"}, "metrics": {}, "published": {"weights": "exact"}}
    write_json(tmp_path / "metrics.json", record)
    assert not record_scores(tmp_path, scores({"bleu": 1.0}))
    assert read_json(tmp_path / "metrics.json") == record


def test_a_file_that_is_scored_has_a_place_that_no_other_has(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "pairs.tsv").touch()
    one, other = (data_label(str(tmp_path / name / "pairs.tsv")) for name in ("a", "b"))
    assert one != other
    assert data_label("tatoeba") == "tatoeba"
    folder = evaluation_folder(tmp_path / "gru-s1", task="translation", what=one)
    assert folder == Path("runs/translation/evaluations/gru-s1") / one


def test_a_row_with_a_caveat_says_so_below_its_table(tmp_path):
    for name, more in (("plain", {}), ("marked", {"caveat": "It saw too much."})):
        run = write_run(tmp_path / name, seed=1)
        write_json(tmp_path / "results" / f"{name}.json", gather_row([run], name) | more)
    text = table(tmp_path / "results", split="test", metrics=["accuracy"])
    assert "| `marked` † |" in text
    assert "| `plain` |" in text
    assert text.endswith("\n\n† It saw too much.\n")


def test_baselines_that_score_otherwise_now_are_written_over_those_that_stand(tmp_path):
    both = {"copy": {"bleu": 1.0}, "nearest": {"bleu": 3.0}}
    recorded(tmp_path, {"bleu": 50.0}, baselines=both)
    before = (tmp_path / "metrics.json").read_bytes()
    recorded(tmp_path, {"bleu": 50.0}, baselines={"copy": {"bleu": 1.00004}})
    assert (tmp_path / "metrics.json").read_bytes() == before
    found = recorded(tmp_path, {"bleu": 50.0}, baselines={"copy": {"bleu": 2.0}})
    assert found["baselines"]["copy"] == {"test": {"bleu": 2.0}}
    assert found["baselines"]["nearest"] == {"test": {"bleu": 3.0}}


def test_a_split_names_the_commit_that_scored_it(tmp_path, monkeypatch):
    run = write_run(tmp_path / "run", seed=1, metrics={"bleu": 50.0}, splits=("test", "validation"))
    write_json(
        run / "metrics.json", {**read_json(run / "metrics.json"), "data": {"pairs.tsv": "a"}}
    )
    monkeypatch.setattr(results, "commit", lambda: "def2")
    recorded(run, {"bleu": 50.0, "new_metric": 1.0})
    row = gather_row([run], "gru")
    assert (row["commit"], row["scored"]) == ("abc1", {"test": "def2", "validation": "abc1"})


@pytest.mark.parametrize("commit", ["abc+", "unknown"])
def test_a_row_of_code_that_no_commit_holds_is_not_published(tmp_path, monkeypatch, commit):
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
