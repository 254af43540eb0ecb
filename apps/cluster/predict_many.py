"""Answers millions of inputs in parts, with all cores or a Ray cluster, and goes on after a stop.

make predict-many-sentiment INPUT=reviews.parquet OUTPUT=verdicts
make predict-many-captioning INPUT=pictures OUTPUT=captions CLUSTER=10.0.0.1:6379
"""

import hashlib
import itertools
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from rich.console import Console

from apps.cluster.folder import folder_of
from apps.cluster.inputs import Item, read_files, read_texts
from apps.cluster.parts import predict_part
from apps.cluster.pool import CODE, Lost, Pool, open_pool
from apps.export.runtime import GRAPH, sha256
from common.cli import aside, open_console, run_command
from common.errors import UserError
from common.files import write_json, write_text
from common.run_folder import EXPORT, MODEL, read_config
from data.pictures.read import is_picture_name

Task = Literal["forecasting", "sentiment", "translation", "captioning"]
MANIFEST = "predictions.json"
# Inputs of a part: some seconds of work, which a stop may lose.
_PART = {"sentiment": 500, "translation": 200, "captioning": 64, "forecasting": 16}
# Seconds between two lines on how far it is.
_REPORT = 10


def main(
    task: Task,
    input: Path,
    output: Path,
    run: Path | None = None,
    column: str = "text",
    part_lines: int = 0,
    workers: int = 0,
    cluster: str = "",
) -> None:
    """Answers many inputs, one line of JSON each, in the files `part-*.jsonl` of a folder.

    Args:
        task: The task.
        input: Texts in a .txt, .jsonl, .csv, .tsv or .parquet file, or a folder of pictures
            (captioning) or of .csv files of prices (forecasting).
        output: Folder to write; finished parts in it are kept.
        run: Run folder of the model (default: the pretrained one), best with an export.
        column: Column of the texts, but for .txt.
        part_lines: Inputs of a part (default: some seconds of work).
        workers: Processes (default: one a core).
        cluster: Run on Ray instead: `local`, or the address of a cluster whose nodes see the run
            folder and the files of a folder of inputs.
    """
    if part_lines < 0 or workers < 0:
        raise UserError("--part-lines and --workers must be 0 or more.")
    run = (run or CODE / "apps" / task / "pretrained").absolute()
    read_config(run, task)
    items = _items(task, input, column)
    size = part_lines or _PART[task]
    manifest = {
        "task": task,
        "model_sha256": _model_hash(run),
        "input_sha256": _input_hash(input),
        "column": column,
        "part_lines": size,
    }
    console = open_console()
    with folder_of(manifest, output, MANIFEST, option="--output"):
        with open_pool(cluster, workers=workers) as pool:
            _write_parts(_parts(items, size), output, pool, task, str(run), console)
        lines, errors = _count(output)
        write_json(output / MANIFEST, {**manifest, "lines": lines, "errors": errors})
    console.print(f"{lines} lines, {errors} of them errors: {output}/part-*.jsonl")


def _items(task: Task, source: Path, column: str) -> Iterator[Item]:
    source = source.expanduser().absolute()
    if task == "captioning":
        return read_files(source, is_picture_name)
    if task == "forecasting":
        return read_files(source, lambda name: name.lower().endswith(".csv"))
    return read_texts(source, column)


def _parts(items: Iterator[Item], size: int) -> Iterator[list[Item]]:
    while part := list(itertools.islice(items, size)):
        yield part


def _write_parts(
    parts: Iterator[list[Item]], output: Path, pool: Pool, task: str, run: str, console: Console
) -> None:
    """Writes the parts that are missing. A few are under way at once, so memory stays flat."""
    running: dict[Any, Path] = {}
    started = reported = time.monotonic()
    done = kept = 0

    def collect() -> None:
        nonlocal done, reported
        for finished in pool.ended(list(running)):
            path = running.pop(finished)
            try:
                lines = pool.result(finished)
            except Lost as error:
                raise UserError(f"{path}: {error}.") from None
            write_text(path, "".join(f"{line}\n" for line in lines))
            done += len(lines)
        if time.monotonic() - reported > _REPORT:
            reported = time.monotonic()
            aside(console, f"{kept + done} lines · {done / (reported - started):.0f} a second")

    for index, part in enumerate(parts):
        path = output / f"part-{index:06}.jsonl"
        if path.is_file():
            kept += len(part)
            continue
        while len(running) >= 2 * pool.slots:
            collect()
        running[pool.submit(predict_part, task, run, part)] = path
    while running:
        collect()
    if kept:
        console.print(f"{kept} lines were there already")


def _count(output: Path) -> tuple[int, int]:
    """Returns how many lines there are, and how many of them are errors."""
    lines = errors = 0
    for path in sorted(output.glob("part-*.jsonl")):
        with open(path, encoding="utf-8") as file:
            for line in file:
                lines += 1
                errors += line.partition(", ")[2].startswith('"error": ')
    return lines, errors


def _model_hash(run: Path) -> str:
    """Returns the hash of what answers: the exported graph if there is one."""
    paths = [path for path in (run / EXPORT / GRAPH, run / MODEL) if path.is_file()]
    return sha256(paths[0]) if paths else ""


def _input_hash(source: Path) -> str:
    """Returns the hash of a file or, of a folder, of the names and sizes of its files."""
    source = source.expanduser()
    if source.is_file():
        return sha256(source)
    names = [(path.name, path.stat().st_size) for path in sorted(source.iterdir())]
    return hashlib.sha256(repr(names).encode()).hexdigest()


if __name__ == "__main__":
    run_command(
        main,
        prog="python -m apps.cluster.predict_many",
        description="Answers millions of inputs in parts, and goes on after a stop.",
    )
