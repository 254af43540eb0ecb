import re
from pathlib import Path

import pytest
from matplotlib import pyplot as plt

from apps.captioning.config import Config as CaptioningConfig
from apps.forecasting.config import Config as ForecastingConfig
from apps.sentiment.config import Config as SentimentConfig
from apps.studies import cells
from apps.studies.cells import (
    LINES,
    STUDIED,
    cells_table,
    epochs_to,
    fill_cells,
    front_table,
    plot_cells,
    read_cells,
)
from apps.translation.config import Config as TranslationConfig
from common.errors import UserError
from common.files import read_json, write_json

pytestmark = pytest.mark.no_backend

CONFIGS = [ForecastingConfig, SentimentConfig, TranslationConfig]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.__module__.split(".")[1])
def test_every_app_refuses_what_a_cell_does_not_have(config):
    assert config(cell="simple_rnn", activation="relu")
    assert config(cell="feedforward")
    with pytest.raises(UserError, match="--activation relu is for --cell simple_rnn alone"):
        config(cell="gru", activation="relu")
    with pytest.raises(UserError, match="--recurrent-dropout is for a recurrence"):
        config(cell="feedforward", recurrent_dropout=0.1)


def test_a_network_without_states_neither_carries_nor_starts_from_one():
    with pytest.raises(UserError, match="--stateful carries states"):
        ForecastingConfig(cell="feedforward", stateful=True)
    with pytest.raises(UserError, match="--variant initial_state needs a state"):
        CaptioningConfig(cell="feedforward", variant="initial_state")


def write_row(root, task, cell, *, quality, curve):
    row = {
        "name": cell,
        "metrics": {"test": {task.metric: quality}},
        "parameters": 1234567,
        "peak_memory_mb": 1400,
        "curves": [{task.watched: curve}],
    }
    path = root / "apps" / task.name / "results" / f"{task.row.format(cell=cell)}.json"
    write_json(path, row)


def test_a_cell_is_timed_by_the_best_that_the_simple_one_reaches(tmp_path):
    accuracy = STUDIED[1]
    write_row(tmp_path, accuracy, "simple_rnn", quality=[0.8], curve=[0.6, 0.8, 0.7])
    write_row(tmp_path, accuracy, "gru", quality=[0.9, 0.92], curve=[0.7, 0.9, 0.91])
    write_row(tmp_path, accuracy, "lstm", quality=[0.9], curve=[0.85, 0.9, 0.91])
    write_row(tmp_path, accuracy, "feedforward", quality=[0.7], curve=[0.5, 0.6, 0.7])
    reached = epochs_to(accuracy, read_cells(accuracy, tmp_path))
    # GRU passes .8 half way from .7 to .9.
    assert reached == pytest.approx({"simple_rnn": 2, "gru": 1.5, "lstm": 1})
    timed = {"sentiment": {"results": {"gru": {"seconds_an_epoch": 10.2, "ratio": 0.85}}}}
    write_json(tmp_path / "apps/studies/results/cell_speed.json", {"parts": timed})
    table = cells_table(tmp_path)
    row = "`gru` | 91.00 ± 1.41 | 1,234,567 | 10 s (0.85) | 1.4 GB | 1.5"
    line = f"| sentiment, accuracy % | {row} |"
    assert line in table.splitlines()
    start, end = "before\n<!-- table: cells -->\n", "<!-- /table -->\nafter"
    assert fill_cells(f"{start}old\n{end}", tmp_path) == f"{start}{table}{end}"


def test_the_picture_of_cells_holds_a_point_a_seed(tmp_path, monkeypatch):
    accuracy = STUDIED[1]
    write_row(tmp_path, accuracy, "gru", quality=[0.9, 0.92], curve=[0.9])
    write_row(tmp_path, accuracy, "lstm", quality=[0.91], curve=[0.9])
    figures = []
    monkeypatch.setattr(cells, "save_figure", lambda figure, path: figures.append(figure))
    plot_cells(tmp_path, tmp_path / "cells.png")
    points = [list(line.get_ydata()) for line in figures[0].axes[1].get_lines()]
    assert points == [pytest.approx([90, 92]), pytest.approx([91])]
    plt.close(figures[0])


def test_where_less_is_better_the_simple_cell_is_passed_from_above(tmp_path):
    crps = STUDIED[0]
    write_row(tmp_path, crps, "simple_rnn", quality=[0.7], curve=[1.0, 0.8])
    write_row(tmp_path, crps, "lstm", quality=[0.7], curve=[1.2, 0.7, None])
    reached = epochs_to(crps, read_cells(crps, tmp_path))
    assert reached == pytest.approx({"simple_rnn": 2, "lstm": 1.8})


def test_the_front_page_shows_the_published_mean_beside_its_baseline():
    root = Path(__file__).parents[3]
    for line, shown in zip(LINES, front_table(root).splitlines()[2:], strict=False):
        row = read_json(root / "apps" / line.task / "results" / f"{line.row}.json")
        scale = 100 if line.metric in ("accuracy", "bleu_4") else 1
        cells = [cell.strip() for cell in shown.split("|")[1:-1]]
        ours = float(re.search(r"\*\*([\d.]+)", cells[2])[1])
        values = row["metrics"]["test"][line.metric]
        assert ours == pytest.approx(scale * sum(values) / len(values), rel=5e-3)
        theirs = row["baselines"][line.baseline]["test"][line.metric]
        assert float(cells[3].split()[0]) == pytest.approx(scale * theirs, rel=5e-3)
        assert ("†" in cells[2]) == ("caveat" in row)
