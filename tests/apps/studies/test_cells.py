import pytest

from apps.studies.cells import (
    STUDIED,
    cells_table,
    fill_cells,
)
from common.files import write_json

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
