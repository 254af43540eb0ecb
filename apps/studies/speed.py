"""Measures each cell on each backend beside native PyTorch, start-up, and memory.

    make study-speed               # installs JAX and PyTorch; a quarter of an hour on two cores

The ways take turns, round by round, so that whatever else the machine does meets all of them; a
ratio is the median over the rounds.
"""

import contextlib
import importlib.metadata
import importlib.util
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from apps.studies.speed_worker import BATCH, FEATURES, UNITS
from common.artifact import write_json
from common.config import run_command
from common.device import device_line
from common.errors import UserError
from common.provenance import provenance
from common.tables import new_table
from data.samples import write_reviews_csv

CELLS = ("simple_rnn", "lstm", "gru")
BACKENDS = ("tensorflow", "jax", "torch")
# What the tasks' predict is asked on its start.
_FIRST_WISHES = {
    "sentiment": ["--text", "not bad"],
    "translation": ["--text", "A dog runs."],
}


class Worker:
    """A process that runs a network one way, and measures itself."""

    def __init__(self, way: str, *, xla: bool = False):
        """Starts it: `native torch`, or the name of a backend of Keras."""
        self.xla = xla
        self.name = f"{way}, XLA" if xla else way
        library = "torch" if way == "native torch" else "keras"
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
        if library == "keras":
            environment["KERAS_BACKEND"] = way
        self._errors = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "apps.studies.speed_worker", library],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env=environment,
        )

    def ask(self, **wish: Any) -> dict[str, float]:
        """Returns `seconds` of the wished steps and, the first time, those of compiling.

        Raises:
            UserError: If the process has ended.
        """
        answer = ""
        # It may be gone already.
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps({**wish, "xla": self.xla}) + "\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        if not answer:
            self._errors.seek(0)
            last = (self._errors.read().strip() or "it said nothing").splitlines()[-1]
            raise UserError(f"{self.name} ended without an answer: {last}")
        return json.loads(answer)

    def end(self) -> None:
        """Ends it."""
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait()
        self._errors.close()


def measure_steps(
    workers: list[Worker], *, mode: str, length: int, mixed: bool, steps: int, rounds: int
) -> dict[str, dict[str, dict[str, Any]]]:
    """Measures all ways in turns.

    Args:
        workers: The ways; the first is what the others are compared with.
        mode: `forward` or `train`.
        length: Steps of a sequence, or the mean of four lengths if `mixed`.
        mixed: Whether batches differ in length.
        steps: Batches in a round.
        rounds: Times that the ways take turns.

    Returns:
        Cell, way, and there `milliseconds` of a batch, round by round, `first`, the seconds until
        every shape was compiled, and `ratio`: how many times as fast as the first way, the median
        over the rounds.
    """
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for cell in CELLS:
        wish = {"cell": cell, "mode": mode, "length": length, "mixed": mixed, "steps": steps}
        times: dict[str, list[float]] = {worker.name: [] for worker in workers}
        first = {worker.name: worker.ask(**wish)["first"] for worker in workers}
        for _ in range(rounds):
            for worker in workers:
                times[worker.name].append(1000 * worker.ask(**wish)["seconds"] / steps)
        peer = times[workers[0].name]
        found[cell] = {
            name: {
                "milliseconds": [round(value, 3) for value in values],
                "first": round(first[name], 2),
                "ratio": statistics.median(
                    theirs / ours for theirs, ours in zip(peer, values, strict=True)
                ),
            }
            for name, values in times.items()
        }
    return found


def measure_start(rounds: int) -> dict[str, list[float]]:
    """Returns the seconds that `predict` takes from the shell to its first answer."""
    found = {}
    for task, flags in _FIRST_WISHES.items():
        seconds = []
        for _ in range(rounds):
            begin = time.perf_counter()
            _run_quietly([f"apps.{task}.predict", *flags])
            seconds.append(round(time.perf_counter() - begin, 2))
        found[task] = seconds
    return found


def measure_memory(reviews: int) -> dict[str, Any]:
    """Trains on a file of reviews and on one ten times as long; returns the peaks in MB."""
    peaks = {}
    with tempfile.TemporaryDirectory() as folder:
        short = write_reviews_csv(Path(folder) / "short.csv", rows=reviews)
        header, *lines = short.read_text(encoding="utf-8").splitlines(keepends=True)
        long = Path(folder) / "long.csv"
        long.write_text(header + "".join(lines * 10), encoding="utf-8")
        for name, path in (("once", short), ("ten_times", long)):
            run = Path(folder) / name
            flags = ["--data", str(path), "--run", str(run), "--epochs", "1", "--cell", "gru"]
            _run_quietly(["apps.sentiment.train", *flags], CACHE_DIR=str(Path(folder) / "cache"))
            record = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
            peaks[name] = record["peak_memory_mb"]
            shutil.rmtree(run)
    return {
        "reviews": reviews,
        "peak_memory_mb": peaks,
        "ratio": peaks["ten_times"] / peaks["once"],
    }


def _run_quietly(arguments: list[str], **environment: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
        raise UserError(f"python -m {arguments[0]} failed: {''.join(last)}")


def _has(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def steps_table(found: dict[str, dict[str, dict[str, Any]]], title: str) -> Table:
    """Returns a table of ratios, a line a way and a column a cell."""
    table = new_table(title, ["times as fast as native PyTorch"], CELLS)
    for way in found[CELLS[0]]:
        cells = []
        for cell in CELLS:
            milliseconds = statistics.median(found[cell][way]["milliseconds"])
            cells.append(f"{found[cell][way]['ratio']:.2f} ({milliseconds:.1f} ms)")
        table.add_row(way, *cells)
    return table


def main(
    rounds: int = 7,
    steps: int = 5,
    length: int = 100,
    reviews: int = 3000,
    output: Path = Path("apps/studies/results/speed.json"),
) -> None:
    """Measures, prints and writes what was found.

    Args:
        rounds: Times that the ways take turns.
        steps: Batches in a round.
        length: Steps of a sequence.
        reviews: Reviews of the smaller file that memory is measured with; 0 leaves memory and
            start-up out.
        output: JSON file to write.
    """
    if min(rounds, steps) < 1 or length < 4 or length % 4 or reviews < 0:
        raise UserError("--rounds and --steps are at least 1, --length is 4, 8, 12 ...")
    if not _has("torch"):
        raise UserError("The peer is PyTorch: run `make study-speed`, which installs it.")
    console = Console(soft_wrap=True)
    console.print(f"[dim]{device_line()}[/dim]", highlight=False)
    installed = [name for name in BACKENDS if _has(name)]
    workers = [Worker("native torch"), *map(Worker, installed)]
    if "tensorflow" in installed:
        workers.append(Worker("tensorflow", xla=True))
    measured = {}
    try:
        for mode in ("forward", "train"):
            for mixed in (False, True):
                name = f"{mode}, {'four lengths' if mixed else 'one length'}"
                measured[name] = measure_steps(
                    workers, mode=mode, length=length, mixed=mixed, steps=steps, rounds=rounds
                )
                console.print(steps_table(measured[name], name))
    finally:
        for worker in workers:
            worker.end()
    command = f"python -m apps.studies.speed --rounds {rounds} --steps {steps} --length {length}"
    record = {
        "study": "speed",
        **provenance(
            f"{command} --reviews {reviews}",
            packages=tuple(name for name in ("jax", "torch") if _has(name)),
        ),
        "batch": BATCH,
        "features": FEATURES,
        "units": UNITS,
        "length": length,
        "steps": measured,
    }
    if reviews:
        record["start_seconds"] = measure_start(rounds=3)
        record["memory"] = measure_memory(reviews)
        console.print(f"seconds until predict answers: {record['start_seconds']}", highlight=False)
        console.print(f"peak memory: {record['memory']}", highlight=False)
    write_json(output, record)


if __name__ == "__main__":
    run_command(
        main,
        prog="python -m apps.studies.speed",
        description="Measures each cell on each backend beside native PyTorch.",
    )
