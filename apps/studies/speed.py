"""Measures the steps of each cell beside native PyTorch, and how long `predict` takes to start.

    make study-speed               # installs JAX and PyTorch; some eight minutes on two idle cores

The implementations take turns, round by round, so that other load on the machine meets all of them.
"Times as fast" is the median time of native PyTorch divided by the median time of the other one.
"""

import contextlib
import functools
import importlib.util
import itertools
import multiprocessing
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from apps.studies.parts import RESULTS, choose_parts, write_part
from common.cli import run_command
from common.device import device_line, device_name, fused_kernel_line
from common.errors import UserError
from common.files import read_json
from common.tables import table_line

PARTS = ("steps", "start")
CELLS = ("simple_rnn", "lstm", "gru")
MODES = ("train", "forward")
PEER = "native PyTorch"
# Name: library of `build_step`, KERAS_BACKEND, and the package that has to be installed.
IMPLEMENTATIONS = {
    PEER: ("native", "torch"),
    "Keras on TensorFlow": ("keras", "tensorflow"),
    "Keras on TensorFlow, XLA": ("keras_xla", "tensorflow"),
    "Keras on JAX": ("keras_xla", "jax"),
    "Keras on PyTorch": ("keras", "torch"),
}
BATCH, FEATURES, UNITS, LENGTH = 64, 64, 128, 100
# Times that the implementations take turns, batches of a turn, and starts of `predict`.
ROUNDS, STEPS, STARTS = 15, 5, 5
_FIRST_TEXTS = {"sentiment": "not bad", "translation": "A dog runs."}


# ---- In a process of each implementation ----


@functools.cache
def batches() -> list[tuple[np.ndarray, np.ndarray]]:
    """Returns four batches of `(BATCH, LENGTH, FEATURES)` with targets `(BATCH, 1)`."""
    generator = np.random.default_rng(1)
    shapes = (BATCH, LENGTH, FEATURES), (BATCH, 1)
    return [
        tuple(generator.normal(size=shape).astype("float32") for shape in shapes) for _ in range(4)
    ]


@functools.cache
def build_step(library: str, cell: str, mode: str) -> Callable[[np.ndarray, np.ndarray], Any]:
    """Returns a function that runs one batch with `native` (PyTorch), `keras` or `keras_xla`."""
    if library == "native":
        return _native_step(cell, mode)
    import keras
    from keras import layers

    from common.optimization import GradientClipping
    from models.recurrent import recurrent_layer

    keras.utils.set_random_seed(1)
    sequence = keras.Input((None, FEATURES))
    last = recurrent_layer(cell, UNITS, name="recurrent")(sequence)[:, -1]
    model = keras.Model(sequence, layers.Dense(1)(last))
    model.compile(keras.optimizers.Adam(1e-4), "mse", jit_compile=library == "keras_xla")
    if mode == "forward":
        return lambda sequences, targets: model.predict_on_batch(sequences)
    GradientClipping("global_norm").install(model)
    return model.train_on_batch


def _native_step(cell: str, mode: str) -> Callable[[np.ndarray, np.ndarray], Any]:
    import torch
    from torch import nn

    torch.manual_seed(1)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind = {"simple_rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}[cell]
    recurrent = kind(FEATURES, UNITS, batch_first=True).to(device)
    dense = nn.Linear(UNITS, 1).to(device)
    weights = [*recurrent.parameters(), *dense.parameters()]
    optimizer = torch.optim.Adam(weights, 1e-4)

    def outputs(sequences):
        return dense(recurrent(torch.from_numpy(sequences).to(device))[0][:, -1])

    def forward(sequences, targets):
        with torch.no_grad():
            return outputs(sequences).cpu().numpy()

    def train(sequences, targets):
        loss = nn.functional.mse_loss(outputs(sequences), torch.from_numpy(targets).to(device))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        return loss.item()

    return forward if mode == "forward" else train


def time_steps(library: str, cell: str, mode: str, steps: int) -> float:
    """Returns the seconds of some steps; the first call of a network also compiles it."""
    step = build_step(library, cell, mode)
    begin = time.perf_counter()
    for number in range(steps):
        step(*batches()[number % 4])
    return time.perf_counter() - begin


def _set_environment(variables: dict[str, str]) -> None:
    os.environ.update(variables)


# ---- In the process of the study ----


def start_worker(backend: str) -> ProcessPoolExecutor:
    """Starts a process whose Keras runs on a backend and leaves a GPU's memory to the others."""
    variables = {"KERAS_BACKEND": backend, "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(1, context, initializer=_set_environment, initargs=(variables,))


def measure_steps(names: Iterable[str]) -> dict[str, dict[str, dict[str, list[float]]]]:
    """Returns mode, cell and implementation to the milliseconds of a step, round by round."""
    times = {mode: {cell: {name: [] for name in names} for cell in CELLS} for mode in MODES}
    with contextlib.ExitStack() as stack:
        workers = {
            name: stack.enter_context(start_worker(IMPLEMENTATIONS[name][1])) for name in names
        }
        for mode, cell in itertools.product(MODES, CELLS):
            # The first round compiles and is not counted.
            for turn in range(ROUNDS + 1):
                for name, worker in workers.items():
                    library = IMPLEMENTATIONS[name][0]
                    seconds = worker.submit(time_steps, library, cell, mode, STEPS).result()
                    if turn:
                        times[mode][cell][name].append(round(1000 * seconds / STEPS, 3))
    return times


def measure_start() -> dict[str, list[float]]:
    """Returns the seconds that `predict` takes from the shell to its first answer."""
    seconds: dict[str, list[float]] = {}
    for task, text in _FIRST_TEXTS.items():
        for _ in range(STARTS):
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
    for mode, name in itertools.product(MODES, IMPLEMENTATIONS):
        medians = [
            {cell: {one: statistics.median(run[mode][cell][one]) for one in (PEER, name)}
             for cell in CELLS}
            for run in runs
            if name in run[mode]["lstm"]
        ]  # fmt: skip
        if not medians:
            continue
        ratios = [
            _range(times[cell][PEER] / times[cell][name] for times in medians) for cell in CELLS
        ]
        shares = [
            _range(times[cell][name] / times["lstm"][name] for times in medians)
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


def _range(values: Iterable[float]) -> str:
    ordered = sorted(f"{value:.2f}" for value in values)
    return ordered[0] if ordered[0] == ordered[-1] else f"{ordered[0]} to {ordered[-1]}"


def main(parts: str = ",".join(PARTS), output: Path = RESULTS / "speed.json") -> None:
    """Measures, writes and prints the results.

    Args:
        parts: Which of steps and start, separated by commas; the other part of the file stays.
        output: JSON file to write.
    """
    chosen = choose_parts(parts, PARTS, output=output)
    if "steps" in chosen and not importlib.util.find_spec("torch"):
        raise UserError("The comparison needs PyTorch: run `make study-speed`, which installs it.")
    print(device_line())
    if "steps" in chosen:
        if not device_name().startswith("CPU"):
            for cell in CELLS:
                print(f"{cell}: {fused_kernel_line(cell)}")
        backends = ("jax", "tensorflow", "torch")
        installed = tuple(name for name in backends if importlib.util.find_spec(name))
        names = [name for name, (_, package) in IMPLEMENTATIONS.items() if package in installed]
        sizes = {"batch": BATCH, "features": FEATURES, "units": UNITS, "length": LENGTH}
        results = {**sizes, "milliseconds": measure_steps(names)}
        write_part(output, results, study="speed", part="steps", packages=installed)
    if "start" in chosen:
        write_part(output, measure_start(), study="speed", part="start")
    print(speed_table([output]))


if __name__ == "__main__":
    run_command(
        main,
        prog="python -m apps.studies.speed",
        description="Measures each cell on each backend beside native PyTorch.",
    )
