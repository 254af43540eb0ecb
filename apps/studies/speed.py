"""Measures each cell on each backend beside native PyTorch, start-up, and memory.

    make study-speed               # installs JAX and PyTorch; a quarter of an hour on two cores

The ways take turns, round by round, so that whatever else the machine does meets all of them; a
ratio is the median over the rounds. With a GPU, they run there, in mixed precision too, and it is
said how busy it was.
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

from apps.studies.memory import measure_memory, run_quietly
from apps.studies.speed_worker import BATCH, FEATURES, MIXED, UNITS
from common.artifact import read_json, write_json
from common.config import run_command, split_list
from common.console import aside, open_console
from common.device import device_line, device_name, fused_kernel_line
from common.errors import UserError
from common.provenance import provenance
from common.tables import new_table

CELLS = ("simple_rnn", "lstm", "gru")
BACKENDS = ("tensorflow", "jax", "torch")
PARTS = ("steps", "start", "memory")
_NVIDIA_SMI = "nvidia-smi"
# For so long the GPU is watched, with each way.
_WATCHED_MS = 3000.0
# What the tasks' predict is asked on its start.
_FIRST_WISHES = {
    "sentiment": ["--text", "not bad"],
    "translation": ["--text", "A dog runs."],
}


class Worker:
    """A process that runs a network one way, and measures itself."""

    def __init__(self, way: str, *, xla: bool = False, policy: str = "float32"):
        """Starts it: `native torch`, or the name of a backend of Keras."""
        self.settings = {"xla": xla, "policy": policy}
        self.name = ", ".join([way, *["XLA"] * xla, *[policy] * (policy != "float32")])
        library = "torch" if way == "native torch" else "keras"
        environment = {
            **os.environ,
            "TF_CPP_MIN_LOG_LEVEL": "3",
            # All of them share the memory of a GPU.
            "TF_FORCE_GPU_ALLOW_GROWTH": "true",
            "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        }
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
            self._process.stdin.write(json.dumps(wish | self.settings) + "\n")
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
        over the rounds; with a GPU also `gpu_busy`, in percent.
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
        if shutil.which(_NVIDIA_SMI):
            for worker in workers:
                milliseconds = statistics.median(times[worker.name])
                busy = gpu_busy(worker, {**wish, "steps": round(_WATCHED_MS / milliseconds) + 1})
                found[cell][worker.name] |= {"gpu_busy": busy}
    return found


def gpu_busy(worker: Worker, wish: dict[str, Any]) -> float | None:
    """Returns how much of the time the GPU did something while a worker ran, in percent.

    Args:
        worker: The way.
        wish: What it is asked, some seconds long.

    Returns:
        The mean of what `nvidia-smi` says five times a second; None if it says nothing.
    """
    watcher = subprocess.Popen(
        [
            _NVIDIA_SMI,
            "--query-gpu=utilization.gpu",
            "--format=csv,noheader,nounits",
            "--id=0",
            "--loop-ms=200",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        worker.ask(**wish)
    finally:
        watcher.terminate()
        said = watcher.communicate()[0].split()
    shares = [int(share) for share in said if share.isdigit()]
    return statistics.mean(shares) if shares else None


def measure_start(rounds: int) -> dict[str, list[float]]:
    """Returns the seconds that `predict` takes from the shell to its first answer."""
    found = {}
    for task, flags in _FIRST_WISHES.items():
        seconds = []
        for _ in range(rounds):
            begin = time.perf_counter()
            run_quietly([f"apps.{task}.predict", *flags])
            seconds.append(round(time.perf_counter() - begin, 2))
        found[task] = seconds
    return found


def _has(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def steps_table(found: dict[str, dict[str, dict[str, Any]]], title: str) -> Table:
    """Returns a table of ratios, a line a way and a column a cell."""
    table = new_table(title, ["times as fast as native PyTorch"], CELLS)
    for way in found[CELLS[0]]:
        cells = []
        for cell in CELLS:
            milliseconds = statistics.median(found[cell][way]["milliseconds"])
            busy = found[cell][way].get("gpu_busy")
            on_gpu = f", GPU busy {busy:.0f} %" if busy is not None else ""
            cells.append(f"{found[cell][way]['ratio']:.2f} ({milliseconds:.1f} ms{on_gpu})")
        table.add_row(way, *cells)
    return table


def measure_all_steps(
    console: Console, *, length: int, steps: int, rounds: int
) -> dict[str, dict[str, Any]]:
    """Measures forward and training steps of one length and of four; see `measure_steps`."""
    installed = [name for name in BACKENDS if _has(name)]
    workers = [Worker("native torch"), *map(Worker, installed)]
    if "tensorflow" in installed:
        workers.append(Worker("tensorflow", xla=True))
    if not device_name().startswith("CPU"):
        workers += [Worker(way, policy=MIXED) for way in ("native torch", *installed)]
        for cell in CELLS:
            aside(console, f"{cell}: {fused_kernel_line(cell, recurrent_dropout=0.0)}")
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
    return measured


def main(
    parts: str = ",".join(PARTS),
    rounds: int = 7,
    steps: int = 5,
    length: int = 100,
    reviews: int = 50_000,
    pictures: int = 300,
    output: Path = Path("apps/studies/results/speed.json"),
) -> None:
    """Measures, prints and writes what was found.

    Args:
        parts: Which of steps, start and memory, separated by commas; what the file holds of the
            others stays.
        rounds: Times that the ways take turns.
        steps: Batches in a round.
        length: Steps of a sequence.
        reviews: Reviews of the smaller file that memory is measured with.
        pictures: Pictures of the smaller folder that memory is measured with.
        output: JSON file to write.
    """
    chosen = split_list(parts)
    if unknown := sorted(set(chosen) - set(PARTS)):
        raise UserError(f"--parts {unknown[0]} is none of {', '.join(PARTS)}.")
    if min(rounds, steps) < 1 or length < 4 or length % 4:
        raise UserError("--rounds and --steps are at least 1, --length is 4, 8, 12 ...")
    if min(reviews, pictures) < 60:
        raise UserError("--reviews and --pictures are at least 60.")
    if "steps" in chosen and not _has("torch"):
        raise UserError("The peer is PyTorch: run `make study-speed`, which installs it.")
    console = open_console()
    aside(console, device_line())
    record = read_json(output) if output.is_file() else {}
    command = f"python -m apps.studies.speed --rounds {rounds} --steps {steps} --length {length}"
    packages = tuple(name for name in ("jax", "torch") if _has(name))
    record |= {
        "study": "speed",
        **provenance(f"{command} --reviews {reviews} --pictures {pictures}", packages=packages),
    }
    for part in chosen:
        if part == "steps":
            sizes = {"batch": BATCH, "features": FEATURES, "units": UNITS, "length": length}
            found = measure_all_steps(console, length=length, steps=steps, rounds=rounds)
            record |= sizes | {"steps": found}
        elif part == "start":
            record["start_seconds"] = measure_start(rounds=3)
            console.print(f"seconds until predict answers: {record['start_seconds']}")
        else:
            record["memory"] = measure_memory(reviews, pictures)
            console.print(f"peak memory: {record['memory']}")
        # Part by part, so that a stop loses one at most.
        write_json(output, record)


if __name__ == "__main__":
    run_command(
        main,
        prog="python -m apps.studies.speed",
        description="Measures each cell on each backend beside native PyTorch.",
    )
