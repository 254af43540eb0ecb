"""Compares the pretrained models in Keras with their exports: size, quality, speed and memory.

    make study-export              # all tasks, on their real data: minutes
    make study-export ARGS="--parts translation --limit 50"

Each format is a copy of the pretrained run folder, asked like any other through `Predictor` and
`predict`. The int8 graph is the float32 one after ONNX Runtime's dynamic quantization.
"""

import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from apps.export.runtime import GRAPH, Network
from apps.studies.export.formats import FORMATS, copy_run, load
from apps.studies.export.samples import SAMPLES, Sample
from apps.studies.parts import choose_parts, write_part
from common.cli import aside, open_console
from common.device import device_line
from common.errors import UserError
from common.files import read_json
from common.run_folder import BACKBONE, EXPORT, MODEL
from common.tables import metric_title, show_metric, table_line

_STARTS, _ALONE = 3, 5
# Starts a command and tells its seconds and its greatest memory in MB. A small process of its own,
# because what is started begins with the memory of the process that starts it.
_LAUNCHER = """
import resource, subprocess, sys, time
begin = time.perf_counter()
done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL)
unit = 1e6 if sys.platform == "darwin" else 1e3
memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / unit
print(time.perf_counter() - begin, memory)
sys.exit(done.returncode)
"""


def measure_format(task: str, title: str, run: Path, *, sample: Sample) -> dict[str, Any]:
    """Returns the figures of one format of a task's model, in a run folder made for it."""
    shutil.rmtree(run, ignore_errors=True)
    facts = copy_run(task, title, run)
    runtime = "onnx" if facts else "keras"
    predictor = load(task, run, runtime=runtime)
    # The first pass compiles what Keras compiles.
    outcomes = sample.predict(predictor, sample.items)
    batches = _seconds(lambda: sample.predict(predictor, sample.items))
    sample.predict(predictor, sample.items[:1])
    alone = [_seconds(lambda: sample.predict(predictor, sample.items[:1])) for _ in range(_ALONE)]
    starts = [first_answer(task, run, runtime, sample.first) for _ in range(_STARTS)]
    kept = [run / name for name in (MODEL, BACKBONE) if (run / name).is_file()]
    size = facts["bytes"] if facts else sum(path.stat().st_size for path in kept)
    return {
        "format": title,
        "megabytes": round(size / 1e6, 3),
        "metric": sample.score(outcomes),
        "difference": difference(task, run, sample.output) if facts else 0.0,
        "left_in_float32": facts.get("left_in_float32", {}),
        "items_a_second": round(len(sample.items) / batches, 2),
        "milliseconds_alone": round(1000 * statistics.median(alone), 2),
        "seconds_to_first_answer": round(statistics.median(one for one, _ in starts), 2),
        "peak_memory_mb": round(statistics.median(memory for _, memory in starts)),
    }


def difference(task: str, run: Path, output: str) -> float:
    """Returns the greatest difference between the graph and Keras in one output."""
    from apps.export.export import greatest_difference, open_source

    source, network = open_source(run, task), Network(run / EXPORT / GRAPH, {})

    def expected(**inputs: Any) -> dict[str, Any]:
        return {output: source.network(**inputs)[output]}

    return greatest_difference(expected, network, source.examples())[output]


def first_answer(task: str, run: Path, runtime: str, first: list[str]) -> tuple[float, float]:
    """Runs `predict` in a process; returns its seconds and its greatest memory in MB.

    Raises:
        UserError: If it fails.
    """
    command = [sys.executable, "-m", f"apps.{task}.predict", "--run", str(run)]
    done = subprocess.run(
        [sys.executable, "-c", _LAUNCHER, *command, "--runtime", runtime, *first],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise UserError(f"predict of {task} failed: {done.stderr.strip().splitlines()[-1]}")
    seconds, memory = map(float, done.stdout.split())
    return seconds, memory


def _seconds(action: Callable[[], Any]) -> float:
    begin = time.perf_counter()
    action()
    return time.perf_counter() - begin


def export_table(path: Path) -> str:
    """Returns the Markdown table of a result file, and below it where each part was measured."""
    if not path.is_file():
        return "Not measured yet.\n"
    titles = ["task, test split", "format", "MB", "quality", "difference", "items a second"]
    titles += ["ms for one", "s to first answer", "peak MB"]
    lines = [table_line(titles), table_line(["---", "---", *["---:"] * (len(titles) - 2)])]
    notes = [""]
    for task, part in read_json(path)["parts"].items():
        results = part["results"]
        for row in results["formats"]:
            cells = [
                f"{task}, {metric_title(results['metric'])}",
                row["format"],
                f"{row['megabytes']:.2f}",
                show_metric([row["metric"]], results["metric"]),
                f"{row['difference']:.0e}" if row["difference"] else "",
                f"{row['items_a_second']:.0f}",
                f"{row['milliseconds_alone']:.1f}",
                f"{row['seconds_to_first_answer']:.1f}",
                f"{row['peak_memory_mb']:.0f}",
            ]
            lines.append(table_line(cells))
        kinds = results["formats"][-1]["left_in_float32"]
        left = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
        left = f"; int8 leaves the weights of {left} in float32" if left else ""
        origin = f"{part['device']}; {part['processor']}; {part['date']}; commit {part['commit']}"
        notes.append(f"- {task}: {results['items']} items; {origin}{left}")
    return "\n".join([*lines, *notes]) + "\n"


def main(
    parts: str = ",".join(SAMPLES),
    limit: int = 200,
    data_dir: str = "",
    output: Path = Path("apps/studies/results/export.json"),
) -> None:
    """Measures, writes and prints the results.

    Args:
        parts: Tasks, separated by commas; the others of the file stay.
        limit: Items of each test split.
        data_dir: Folder of downloads (default: $DATA_DIR or a cache folder of yours).
        output: JSON file to write.
    """
    chosen = choose_parts(parts, tuple(SAMPLES), output=output)
    if limit < 1:
        raise UserError("--limit must be at least 1.")
    console = open_console()
    aside(console, device_line())
    for task in chosen:
        with tempfile.TemporaryDirectory() as scratch:
            sample = SAMPLES[task](load(task).config, limit, data_dir, Path(scratch))
            rows = []
            for title in FORMATS:
                aside(console, f"{task}: {title}")
                rows.append(measure_format(task, title, Path(scratch) / "run", sample=sample))
        results = {"items": len(sample.items), "metric": sample.metric, "formats": rows}
        write_part(
            output,
            results,
            study="export",
            part=task,
            command=f"python -m apps.studies.export --parts {task} --limit {limit}",
            packages=("onnx", "onnxruntime"),
        )
    console.print(export_table(output))
