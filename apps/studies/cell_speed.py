"""Measures what an epoch of each cell takes, task by task, with the published rows' own settings.

    make study-cell-speed            # some ten minutes on two cores, which need to be idle

The seconds of a training depend on what else the machine did. Here the cells of a task take turns
on the same batches, so that whatever it does meets all of them.
"""

import gc
import importlib
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console

from apps.studies.benchmark.rows import ROWS
from apps.studies.parts import check_output, write_part
from common.config import parse_call, run_command, split_list
from common.device import device_line
from common.errors import UserError
from common.training import gradient_clipping

if TYPE_CHECKING:
    from apps.studies.cells import Task
    from common.fitting import Prepared


REFERENCE = "lstm"


def prepare_cell(task: "Task", cell: str, *, data_dir: str, quick: Path | None) -> "Prepared":
    """Returns the training of a published row, ready to begin.

    Args:
        task: Whose row.
        cell: Which one.
        data_dir: Folder of downloads, or empty.
        quick: Folder of the samples, to take those and small sizes instead.
    """
    from apps.studies.benchmark.quick import shortened

    name = task.row.format(cell=cell)
    row = next(row for row in ROWS if (row.task, row.name) == (task.name, name))
    flags = row.train_flags("runs")
    flags = shortened(task.name, "train", flags, quick) if quick else flags
    module = importlib.import_module(f"apps.{task.name}.train")
    call = parse_call(module.main, prog=module.__name__, description="", arguments=flags)
    prepared = module.prepare(
        call.keywords["config"],
        run=Path("unused"),
        data_dir=call.keywords["flags"].data_dir or data_dir,
        resume=False,
        console=Console(quiet=True),
    )
    gradient_clipping(prepared.config).install(prepared.model)
    return prepared


def time_cells(
    task: "Task", *, steps: int, rounds: int, data_dir: str, quick: Path | None
) -> tuple[dict[str, str], dict[str, dict[str, Any]]]:
    """Returns the data's hashes, and for each cell the seconds of a step and of an epoch.

    Args:
        task: Which one.
        steps: Batches of a round, of lengths from all over an epoch.
        rounds: Times that the cells take turns.
        data_dir: Folder of downloads, or empty.
        quick: As in `prepare_cell`.
    """
    from apps.studies.cells import CELLS

    models, batches, steps_an_epoch, hashes = {}, [], 0, {}
    for cell in CELLS:
        prepared = prepare_cell(task, cell, data_dir=data_dir, quick=quick)
        models[cell] = prepared.model
        if not batches:
            steps_an_epoch, hashes = len(prepared.batches), prepared.facts["data"]
            chosen = np.linspace(0, steps_an_epoch - 1, min(steps, steps_an_epoch)).astype(int)
            batches = [prepared.batches[int(number)] for number in chosen]
        del prepared
        gc.collect()
    seconds: dict[str, list[float]] = {cell: [] for cell in models}
    for turn in range(rounds + 1):
        for cell, model in models.items():
            begin = time.perf_counter()
            for batch in batches:
                model.train_on_batch(*batch)
            # The first round compiles and is not counted.
            if turn:
                seconds[cell].append((time.perf_counter() - begin) / len(batches))
    return hashes, {
        cell: {
            "seconds_a_step": found,
            "seconds_an_epoch": statistics.median(found) * steps_an_epoch,
            "ratio": statistics.median(
                one / other for one, other in zip(found, seconds[REFERENCE], strict=True)
            ),
        }
        for cell, found in seconds.items()
    }


def main(
    tasks: str = "",
    steps: int = 20,
    rounds: int = 5,
    data_dir: str = "",
    quick: bool = False,
    output: Path = Path("apps/studies/results/cell_speed.json"),
) -> None:
    """Measures every task.

    Args:
        tasks: Which ones, separated by commas (default: all).
        steps: Batches of a round.
        rounds: Times that the cells take turns.
        data_dir: Folder of downloads (default: $DATA_DIR or a cache folder of yours).
        quick: Take the samples and small sizes, which tells nothing but that it works.
        output: JSON file to write.
    """
    from apps.studies.benchmark.quick import samples
    from apps.studies.cells import STUDIED

    if min(steps, rounds) < 1:
        raise UserError("--steps and --rounds are at least 1.")
    names = split_list(tasks) or [task.name for task in STUDIED]
    if strange := set(names) - {task.name for task in STUDIED}:
        raise UserError(
            f"--tasks {min(strange)} is none of {', '.join(task.name for task in STUDIED)}."
        )
    folder = output.parent / "quick" if quick else None
    if folder:
        samples(names, folder)
    if not quick:
        check_output(output)
    print(device_line())
    for task in STUDIED:
        if task.name not in names:
            continue
        hashes, cells = time_cells(
            task, steps=steps, rounds=rounds, data_dir=data_dir, quick=folder
        )
        for cell, values in cells.items():
            print(
                f"{task.name}, {cell}: {values['seconds_an_epoch']:.1f} s an epoch,"
                f" {values['ratio']:.2f} of {REFERENCE}"
            )
        write_part(
            output,
            cells,
            study="cell_speed",
            part=task.name,
            command=f"python -m apps.studies.cell_speed --steps {steps} --rounds {rounds}"
            f" --tasks {task.name}",
            data=hashes,
        )


if __name__ == "__main__":
    run_command(
        main,
        prog="python -m apps.studies.cell_speed",
        description="Measures what an epoch of each cell takes.",
    )
