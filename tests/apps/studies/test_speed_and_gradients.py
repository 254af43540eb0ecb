from pathlib import Path

import numpy as np
import pytest

from apps.studies import parts, speed
from apps.studies.gradients import plots as gradient_plots
from apps.studies.gradients import study as gradients
from apps.studies.gradients.adding import RECORDED
from common.errors import UserError
from common.files import read_json

RESULTS = Path("apps/studies/results")


@pytest.fixture
def drawn(monkeypatch):
    """Figures by the names of the files that they would be saved to."""
    figures = {}
    monkeypatch.setattr(
        gradient_plots, "save_figure", lambda figure, path: figures.update({path.name: figure})
    )
    return figures


# ---- Parts -----------------------------------------------------------------------------------


@pytest.mark.no_backend
def test_a_part_that_is_measured_again_leaves_the_provenance_of_the_others(monkeypatch, tmp_path):
    path = tmp_path / "a.json"
    for commit, part in (("one", "start"), ("two", "steps"), ("three", "steps")):
        monkeypatch.setattr(parts, "provenance", lambda command, commit=commit, **_: {"of": commit})
        parts.write_part(path, {"value": commit}, study="speed", part=part)
    records = read_json(path)["parts"]
    commits = {part: (record["of"], record["results"]["value"]) for part, record in records.items()}
    assert commits == {"start": ("one", "one"), "steps": ("three", "three")}


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
    for part in read_json(path)["parts"].values():
        assert part["command"].startswith("python -m apps.studies.")
        assert part["commit"].strip("+0123456789abcdef") == ""
        assert {"python", "keras"} <= set(part["versions"])


# ---- Gradients -------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.no_backend
def test_the_gradient_study_follows_gradients_back_and_makes_them_explode(
    imdb_dir, tmp_path, drawn, monkeypatch
):
    for name, value in {"STEPS": 2 * RECORDED, "LENGTH": 20, "REACH": 20, "EPOCHS": 1}.items():
        monkeypatch.setattr(gradients, name, value)
    path = tmp_path / "a.json"
    gradients.main(data_dir=str(imdb_dir), output=path, plots=tmp_path)
    results = {part: record["results"] for part, record in read_json(path)["parts"].items()}
    for task in ("adding", "imdb"):
        for kind, norms in results["reach"][task]["kinds"].items():
            assert len(norms["start"]) == len(norms["trained"]) == 20, kind
            assert norms["start"][0] > 0
    # At the start GRU's gates stand at a half, LSTM's forget gate at .73; the identity keeps all.
    kinds = results["reach"]["adding"]["kinds"]
    kept = {kind: norms["start"][19] / norms["start"][0] for kind, norms in kinds.items()}
    assert kept["gru"] < kept["lstm"] < kept["simple_rnn, ReLU"]
    # Without clipping the first updates end far away or in no number, with it they do not.
    losses = {"none": [], "global_norm": []}
    for run in results["clipping"]["runs"]:
        losses.setdefault(run["mode"], []).append(run["loss"][0] or np.inf)
    assert min(losses["none"]) > 1000
    assert max(losses["global_norm"]) < 10
    assert list(results["truncation"]["pieces"]) == ["20", "10", "5", "2"]
    assert set(results["optimizers"]["optimizers"]) == {"sgd", "rmsprop", "adam"}
    assert set(drawn) == {"vanishing.png", "exploding.png", "truncation.png", "optimizers.png"}
