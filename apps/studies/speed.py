"""Measures the steps of each cell beside native PyTorch, and how long `predict` takes to start.

    make study-speed               # installs JAX and PyTorch; some eight minutes on two idle cores

The implementations take turns, round by round, so that other load on the machine meets all of them.
"Times as fast" is the median time of native PyTorch divided by the median time of the other one.
"""

import contextlib
import importlib.util
import itertools
import multiprocessing
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from apps.studies.parts import choose_parts, write_part
from apps.studies.speed_worker import BATCH, FEATURES, LENGTH, UNITS, time_steps
from common.cli import run_command
from common.device import device_line, device_name, fused_kernel_line
from common.errors import UserError
from common.files import read_json
from common.tables import table_line

PARTS = ("steps", "start")
CELLS = ("simple_rnn", "lstm", "gru")
MODES = ("train", "forward")
PEER = "native PyTorch"
# Name: library of the worker, KERAS_BACKEND, and the package that has to be installed.
IMPLEMENTATIONS = {
    PEER: ("native", "torch"),
    "Keras on TensorFlow": ("keras", "tensorflow"),
    "Keras on TensorFlow, XLA": ("keras_xla", "tensorflow"),
    "Keras on JAX": ("keras_xla", "jax"),
    "Keras on PyTorch": ("keras", "torch"),
}
_STARTS = 5
_FIRST_TEXTS = {"sentiment": "not bad", "translation": "A dog runs."}


def start_worker(backend: str) -> ProcessPoolExecutor:
    """Starts a process whose Keras runs on a backend."""
    environment = dict(os.environ)
    # The processes share the memory of a GPU.
    os.environ |= {"TF_FORCE_GPU_ALLOW_GROWTH": "true", "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    os.environ["KERAS_BACKEND"] = backend
    worker = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))
    # The process starts with its first call and keeps the environment of now.
    worker.submit(os.getpid).result()
    os.environ.clear()
    os.environ |= environment
    return worker


def measure_steps(
    names: Iterable[str], *, steps: int, rounds: int
) -> dict[str, dict[str, dict[str, list[float]]]]:
    """Returns mode, cell and implementation to the milliseconds of a step, round by round."""
    times = {mode: {cell: {name: [] for name in names} for cell in CELLS} for mode in MODES}
    with contextlib.ExitStack() as stack:
        workers = {
            name: stack.enter_context(start_worker(IMPLEMENTATIONS[name][1])) for name in names
        }
        for mode, cell in itertools.product(MODES, CELLS):
            # The first round compiles and is not counted.
            for turn in range(rounds + 1):
                for name, worker in workers.items():
                    library = IMPLEMENTATIONS[name][0]
                    seconds = worker.submit(time_steps, library, cell, mode, steps).result()
                    if turn:
                        times[mode][cell][name].append(round(1000 * seconds / steps, 3))
    return times


def measure_start(rounds: int) -> dict[str, list[float]]:
    """Returns the seconds that `predict` takes from the shell to its first answer."""
    seconds: dict[str, list[float]] = {}
    for task, text in _FIRST_TEXTS.items():
        for _ in range(rounds):
            begin = time.perf_counter()
            command = [sys.executable, "-m", f"apps.{task}.predict", "--text", text]
            subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
            seconds.setdefault(task, []).append(round(time.perf_counter() - begin, 2))
    return seconds


def speed_table(paths: Iterable[Path]) -> str:
    """Returns a Markdown table of ranges over some result files, and where each was measured."""
    records = [(path.name, read_json(path)["parts"]) for path in paths]
    runs = [parts["steps"]["results"]["milliseconds"] for _, parts in records if "steps" in parts]
    titles = ["step", "network", *CELLS, "simple_rnn / lstm, time", "gru / lstm, time"]
    lines = [table_line(titles), table_line(["---", "---", *["---:"] * (len(titles) - 2)])]
    for mode in MODES:
        for name in IMPLEMENTATIONS:
            times = [run[mode] for run in runs if name in run[mode]["lstm"]]
            if not times:
                continue
            ratios = [
                _range(_median(run, cell, PEER) / _median(run, cell, name) for run in times)
                for cell in CELLS
            ]
            shares = [
                _range(_median(run, cell, name) / _median(run, "lstm", name) for run in times)
                for cell in ("simple_rnn", "gru")
            ]
            lines.append(table_line([mode, name, *ratios, *shares]))
    lines.append("")
    for name, parts in records:
        for part, record in parts.items():
            origin = [record["device"], record["processor"] or "CPU model not recorded"]
            origin += [record["date"], f"commit {record['commit']}"]
            if part == "start":
                for task, seconds in record["results"].items():
                    origin.append(f"{task} {statistics.median(seconds):.1f} s")
            lines.append(f"- `{name}`, {part}: {'; '.join(origin)}")
    return "\n".join(lines) + "\n"


def _median(run: dict[str, dict[str, list[float]]], cell: str, name: str) -> float:
    return statistics.median(run[cell][name])


def _range(values: Iterable[float]) -> str:
    ordered = sorted(f"{value:.2f}" for value in values)
    return ordered[0] if ordered[0] == ordered[-1] else f"{ordered[0]} to {ordered[-1]}"


def main(
    parts: str = ",".join(PARTS),
    rounds: int = 15,
    steps: int = 5,
    output: Path = Path("apps/studies/results/speed.json"),
) -> None:
    """Measures, writes and prints the results.

    Args:
        parts: Which of steps and start, separated by commas; the other part of the file stays.
        rounds: Times that the implementations take turns.
        steps: Batches in a round.
        output: JSON file to write.
    """
    chosen = choose_parts(parts, PARTS, output=output)
    if min(rounds, steps) < 1:
        raise UserError("--rounds and --steps must be at least 1.")
    if "steps" in chosen and not importlib.util.find_spec("torch"):
        raise UserError("The comparison needs PyTorch: run `make study-speed`, which installs it.")
    print(device_line())
    command = "python -m apps.studies.speed --parts"
    if "steps" in chosen:
        if not device_name().startswith("CPU"):
            for cell in CELLS:
                print(f"{cell}: {fused_kernel_line(cell)}")
        installed = [
            name for name in ("tensorflow", "jax", "torch") if importlib.util.find_spec(name)
        ]
        names = [name for name, (_, package) in IMPLEMENTATIONS.items() if package in installed]
        times = measure_steps(names, steps=steps, rounds=rounds)
        sizes = {"batch": BATCH, "features": FEATURES, "units": UNITS, "length": LENGTH}
        write_part(
            output,
            {**sizes, "milliseconds": times},
            study="speed",
            part="steps",
            command=f"{command} steps --rounds {rounds} --steps {steps}",
            packages=tuple(sorted(installed)),
        )
    if "start" in chosen:
        seconds = measure_start(_STARTS)
        write_part(output, seconds, study="speed", part="start", command=f"{command} start")
    print(speed_table([output]))


if __name__ == "__main__":
    run_command(
        main,
        prog="python -m apps.studies.speed",
        description="Measures each cell on each backend beside native PyTorch.",
    )
