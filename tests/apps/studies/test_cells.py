import re
from pathlib import Path

import pytest

from apps.studies.cells import (
    LINES,
    STUDIED,
    cells_table,
    fill_cells,
    front_table,
)
from common.files import read_json, write_json
from common.tables import PRETRAINED

pytestmark = pytest.mark.no_backend


def write_row(root, task, cell, *, quality):
    row = {
        "name": cell,
        "metrics": {"test": {task.metric: quality}},
        "parameters": 1234567,
        "peak_memory_mb": 1400,
    }
    path = root / "apps" / task.name / "results" / f"{task.row.format(cell=cell)}.json"
    write_json(path, row)


def test_the_table_of_cells_shows_mean_and_spread_of_the_seeds(tmp_path):
    write_row(tmp_path, STUDIED[1], "gru", quality=[0.9, 0.92])
    table = cells_table(tmp_path)
    line = "| sentiment, accuracy % | `gru` | 91.00 ± 1.41 | 1,234,567 | 1.4 GB |"
    assert line in table.splitlines()
    start, end = "before\n<!-- table: cells -->\n", "<!-- /table -->\nafter"
    assert fill_cells(f"{start}old\n{end}", tmp_path) == f"{start}{table}{end}"


def test_the_front_page_shows_the_published_mean_beside_its_baseline():
    root = Path(__file__).parents[3]
    lines = front_table(root).splitlines()[2:]
    for (task, _, name, metric, baseline, _), line in zip(LINES, lines, strict=False):
        scale = 100 if metric in ("accuracy", "bleu_4") else 1
        columns = [column.strip() for column in line.split("|")[1:-1]]
        mean = float(re.search(r"\*\*([\d.]+)", columns[2])[1])
        if name == PRETRAINED:
            record = read_json(root / "apps" / task / "pretrained" / "metrics.json")
            split = "test_2016_flickr" if task == "translation" else "test"
            values, beside = [record["metrics"][split][metric]], "gru"
        else:
            row = read_json(root / "apps" / task / "results" / f"{name}.json")
            values, beside = row["metrics"]["test"][metric], name
            assert ("†" in columns[2]) == ("caveat" in row)
        assert mean == pytest.approx(scale * sum(values) / len(values), rel=5e-3)
        row = read_json(root / "apps" / task / "results" / f"{beside}.json")
        score = row["baselines"][baseline]["test"][metric]
        assert float(columns[3].split()[0]) == pytest.approx(scale * score, rel=5e-3)
