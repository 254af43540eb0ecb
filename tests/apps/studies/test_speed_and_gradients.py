import contextlib
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import pytest
from matplotlib import pyplot as plt

from apps.studies import parts, speed, speed_worker
from apps.studies.gradients import plots as gradient_plots
from apps.studies.gradients import study as gradients
from apps.studies.gradients.adding import RECORDED
from common.errors import UserError
from common.files import read_json, write_json

RESULTS = Path("apps/studies/results")


@pytest.fixture
def drawn(monkeypatch):
    """Figures by the names of the files that they would be saved to."""
    figures = {}
    monkeypatch.setattr(
        gradient_plots, "save_figure", lambda figure, path: figures.update({path.name: figure})
    )
    yield figures
    plt.close("all")


def curves(axis):
    """The lines of an axis by their labels, as y values."""
    return {line.get_label(): list(line.get_ydata()) for line in axis.get_lines()}


# ---- Parts -----------------------------------------------------------------------------------


@pytest.mark.no_backend
def test_a_part_that_is_measured_again_leaves_the_provenance_of_the_others(monkeypatch, tmp_path):
    path = tmp_path / "a.json"
    for commit, part in (("one", "start"), ("two", "steps"), ("three", "steps")):
        monkeypatch.setattr(parts, "provenance", lambda command, commit=commit, **_: {"of": commit})
        parts.write_part(path, {"value": commit}, study="speed", part=part, command="")
    found = read_json(path)["parts"]
    assert {part: record["of"] for part, record in found.items()} == {
        "start": "one",
        "steps": "three",
    }
    assert found["start"]["results"] == {"value": "one"}


@pytest.mark.no_backend
def test_published_results_are_measured_by_committed_code_alone(monkeypatch, tmp_path):
    def unclean():
        raise UserError("commit it")

    monkeypatch.setattr(parts, "require_clean", unclean)
    parts.choose_parts("start", speed.PARTS, output=tmp_path / "speed.json")
    for main in (speed.main, gradients.main):
        with pytest.raises(UserError, match="commit it"):
            main()


@pytest.mark.no_backend
@pytest.mark.parametrize("path", sorted(RESULTS.glob("*.json")), ids=lambda path: path.name)
def test_every_kept_measurement_names_its_command_commit_and_versions(path):
    record = read_json(path)
    for part in record.get("parts", {"": record}).values():
        assert part["command"].startswith("python -m apps.studies.")
        assert part["commit"].strip("+0123456789abcdef") == ""
        assert {"python", "keras"} <= set(part["versions"])


# ---- Gradients -------------------------------------------------------------------------------


def gradient_study(imdb_dir, folder, chosen):
    """The results by part, after a tiny study."""
    gradients.main(
        parts=chosen,
        data_dir=str(imdb_dir),
        steps=2 * RECORDED,
        length=20,
        reach=20,
        epochs=1,
        output=folder / "a.json",
        plots=folder,
    )
    found = read_json(folder / "a.json")["parts"]
    return {part: record["results"] for part, record in found.items()}


@pytest.mark.slow
@pytest.mark.no_backend
def test_the_gradient_study_follows_gradients_back_and_makes_them_explode(
    imdb_dir, tmp_path, drawn
):
    found = gradient_study(imdb_dir, tmp_path, "clipping,reach")
    for task in ("adding", "imdb"):
        for kind, lengths in found["reach"][task]["kinds"].items():
            assert len(lengths["start"]) == len(lengths["trained"]) == 20, kind
            assert lengths["start"][0] > 0
    # At the start GRU's gates stand at a half, LSTM's forget gate at .73; the identity keeps all.
    kinds = found["reach"]["adding"]["kinds"]
    kept = {kind: lengths["start"][19] / lengths["start"][0] for kind, lengths in kinds.items()}
    assert kept["gru"] < kept["lstm"] < kept["simple_rnn, ReLU"]
    # Without clipping the first updates end far away or in no number, with it they do not.
    losses = {"none": [], "global_norm": []}
    for run in found["clipping"]["runs"]:
        losses.setdefault(run["mode"], []).append(run["loss"][0] or np.inf)
    assert min(losses["none"]) > 1000
    assert max(losses["global_norm"]) < 10
    assert set(drawn) == {"vanishing.png", "exploding.png"}


@pytest.mark.slow
@pytest.mark.no_backend
def test_truncation_and_optimizers_keep_one_curve_for_each_setting(imdb_dir, tmp_path, drawn):
    gradient_study(imdb_dir, tmp_path, "truncation")
    found = gradient_study(imdb_dir, tmp_path, "optimizers")
    assert list(found["truncation"]["pieces"]) == ["20", "10", "5", "2"]
    assert len(found["truncation"]["pieces"]["5"]["error_by_distance"]) == 5
    assert set(found["optimizers"]["optimizers"]) == {"sgd", "rmsprop", "adam"}


@pytest.mark.no_backend
def test_the_pictures_hold_the_curves_of_the_kept_results(tmp_path, drawn):
    record = read_json(RESULTS / "gradients.json")
    gradient_plots.write_plots(record, tmp_path)
    assert set(drawn) == {"vanishing.png", "exploding.png", "truncation.png", "optimizers.png"}
    shown = list(curves(drawn["exploding.png"].axes[0]).values())
    for run in record["parts"]["clipping"]["results"]["runs"]:
        assert run["loss"] in shown
    pieces = record["parts"]["truncation"]["results"]["pieces"]
    shown = curves(drawn["truncation.png"].axes[0])
    assert all(shown[f"{piece} steps"] == curve["loss"] for piece, curve in pieces.items())


@pytest.mark.no_backend
def test_the_table_of_clipping_shows_the_last_error_of_each_seed():
    runs = [
        {"mode": "norm", "threshold": threshold, "seed": seed, "loss": [0.9, last]}
        for threshold, seed, last in (
            (1.0, 1, 0.25),
            (0.1, 1, 0.5),
            (1.0, 2, None),
            (0.1, 2, 0.125),
        )
    ]
    table = gradient_plots.clipping_table({"parts": {"clipping": {"results": {"runs": runs}}}})
    assert table.splitlines()[2:] == [
        "| norm 1 of each variable | 0.250 | not finite |",
        "| norm 0.1 of each variable | 0.500 | 0.125 |",
    ]


# ---- Speed -----------------------------------------------------------------------------------


def write_speed(path, seconds):
    """Writes a file whose implementations take as many milliseconds with every cell."""
    cells = {cell: {name: times[cell] for name, times in seconds.items()} for cell in speed.CELLS}
    times = {"milliseconds": {mode: cells for mode in speed.MODES}}
    facts = {"device": "CPU, 2 threads", "processor": None, "date": "2026-01-01", "commit": "abc"}
    write_json(path, {"parts": {"steps": {**facts, "results": times}}})


@pytest.mark.no_backend
def test_the_table_tells_ratios_of_medians_as_a_range_over_the_machines(tmp_path):
    def times(simple, lstm, gru):
        return {"simple_rnn": simple, "lstm": lstm, "gru": gru}

    keras = "Keras on TensorFlow"
    # One slow round of the peer: the median of the rounds' ratios would be 1, that of medians .5.
    first = {speed.PEER: times([1], [2, 4, 90], [3]), keras: times([1], [2, 8, 9], [4])}
    second = {speed.PEER: times([1], [9], [3]), keras: times([1], [4], [2])}
    for name, seconds in (("one.json", first), ("two.json", second)):
        write_speed(tmp_path / name, seconds)
    table = speed.speed_table(sorted(tmp_path.glob("*.json")))
    line = f"| train | {keras} | 1.00 | 0.50 to 2.25 | 0.75 to 1.50 | 0.12 to 0.25 | 0.50 |"
    assert line in table.splitlines()
    assert "Keras on JAX" not in table
    assert [name in table for name in ("`one.json`", "`two.json`", "commit abc")] == [True] * 3


@pytest.mark.no_backend
@pytest.mark.parametrize("library", ["keras", "native"])
def test_a_network_is_built_once_and_its_first_steps_are_not_counted(library, monkeypatch):
    if library == "native":
        pytest.importorskip("torch")
    for name, size in {"UNITS": 4, "LENGTH": 5}.items():
        monkeypatch.setattr(speed_worker, name, size)
    for function in (speed_worker.batches, speed_worker.build_step):
        function.cache_clear()

    class Here(contextlib.AbstractContextManager):
        """A worker in this process."""

        def __exit__(self, *error):
            return None

        def submit(self, function, *arguments):
            future = Future()
            future.set_result(function(*arguments))
            return future

    monkeypatch.setattr(speed, "start_worker", lambda backend: Here())
    monkeypatch.setitem(speed.IMPLEMENTATIONS, "here", (library, ""))
    times = speed.measure_steps(["here"], steps=1, rounds=2)
    speed_worker.batches.cache_clear()
    assert speed_worker.build_step.cache_info().misses == len(speed.CELLS) * len(speed.MODES)
    assert [len(cells["gru"]["here"]) for cells in times.values()] == [2, 2]
