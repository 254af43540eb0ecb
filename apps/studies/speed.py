"""Measures the steps of each cell beside native PyTorch, and how long `predict` takes to start.

    make study-speed               # installs JAX and PyTorch; some eight minutes on two idle cores

The implementations take turns, round by round, so that other load on the machine meets all of them.
"Times as fast" is the median time of native PyTorch divided by the median time of the other one.
"""

import contextlib
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from apps.studies.parts import check_output, chosen_parts, write_part
from apps.studies.speed_worker import BATCH, FEATURES, LENGTH, UNITS
from common.config import run_command
from common.device import device_line, device_name, fused_kernel_line
from common.errors import UserError
from common.files import read_json
from common.result_tables import table_line

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


class Worker:
    """A process that runs one implementation and times its own steps."""

    def __init__(self, name: str):
        """Starts it; `name` is one of `IMPLEMENTATIONS`."""
        library, backend = IMPLEMENTATIONS[name]
        self.name = name
        # All of them share the memory of a GPU.
        shared = {"TF_FORCE_GPU_ALLOW_GROWTH": "true", "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
        self._errors = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "apps.studies.speed_worker", library],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env={**os.environ, **shared, "KERAS_BACKEND": backend},
        )

    def seconds(self, **request: Any) -> float:
        """Returns the seconds of the requested steps; the first request of a kind compiles.

        Raises:
            UserError: If the process has ended.
        """
        answer = ""
        # It may have ended already.
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        if not answer:
            self._errors.seek(0)
            last = (self._errors.read().strip() or "no error message").splitlines()[-1]
            raise UserError(f"{self.name} ended without an answer: {last}")
        return json.loads(answer)

    def end(self) -> None:
        """Ends it."""
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()
        self._errors.close()


def measure_steps(
    workers: list[Worker], *, steps: int, rounds: int
) -> dict[str, dict[str, dict[str, list[float]]]]:
    """Returns mode, cell and implementation to the milliseconds of a step, round by round."""
    times: dict[str, dict[str, dict[str, list[float]]]] = {}
    for mode in MODES:
        for cell in CELLS:
            rows = times.setdefault(mode, {})[cell] = {worker.name: [] for worker in workers}
            # The first round compiles and is not counted.
            for turn in range(rounds + 1):
                for worker in workers:
                    seconds = worker.seconds(mode=mode, cell=cell, steps=steps)
                    if turn:
                        rows[worker.name].append(round(1000 * seconds / steps, 3))
    return times


def measure_start(rounds: int) -> dict[str, list[float]]:
    """Returns the seconds that `predict` takes from the shell to its first answer.

    Raises:
        UserError: If `predict` fails.
    """
    seconds: dict[str, list[float]] = {}
    for task, text in _FIRST_TEXTS.items():
        for _ in range(rounds):
            begin = time.perf_counter()
            command = [sys.executable, "-m", f"apps.{task}.predict", "--text", text]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise UserError(f"python -m apps.{task}.predict failed: {done.stderr.strip()}")
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
            facts = [record["device"], record["processor"] or "CPU model not recorded"]
            facts += [record["date"], f"commit {record['commit']}"]
            if part == "start":
                for task, seconds in record["results"].items():
                    facts.append(f"{task} {statistics.median(seconds):.1f} s")
            lines.append(f"- `{name}`, {part}: {'; '.join(facts)}")
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
    chosen = chosen_parts(parts, PARTS)
    if min(rounds, steps) < 1:
        raise UserError("--rounds and --steps must be at least 1.")
    check_output(output)
    if "steps" in chosen and not importlib.util.find_spec("torch"):
        raise UserError("The comparison needs PyTorch: run `make study-speed`, which installs it.")
    print(device_line())
    command = "python -m apps.studies.speed --parts"
    if "steps" in chosen:
        if not device_name().startswith("CPU"):
            for cell in CELLS:
                print(f"{cell}: {fused_kernel_line(cell, recurrent_dropout=0.0)}")
        workers: list[Worker] = []
        try:
            for name, (_, package) in IMPLEMENTATIONS.items():
                if importlib.util.find_spec(package):
                    workers.append(Worker(name))
            times = measure_steps(workers, steps=steps, rounds=rounds)
        finally:
            for worker in workers:
                worker.end()
        sizes = {"batch": BATCH, "features": FEATURES, "units": UNITS, "length": LENGTH}
        write_part(
            output,
            {**sizes, "milliseconds": times},
            study="speed",
            part="steps",
            command=f"{command} steps --rounds {rounds} --steps {steps}",
            packages=tuple(name for name in ("jax", "torch") if importlib.util.find_spec(name)),
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
