"""Measures the service under load, on the loopback address: callers, memory and broken requests.

    make study-load                # some eight minutes on two idle cores

The service runs in a process of its own, with the pretrained models; the callers share the cores.
"""

import contextlib
import http.client
import itertools
import json
import random
import re
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from apps.studies.parts import choose_parts, write_part
from common.cli import run_command
from common.errors import UserError
from common.files import read_json
from common.tables import table_line
from data.prices.sample import simulate_market

PARTS = ("sentiment", "mix", "memory", "fuzz")
CALLERS = 50
_TIMEOUT = 60
_TEXTS = (
    "Not the worst film of the year, but far from a good one.",
    "I laughed, I cried, and I would watch it again tomorrow.",
    "The plot is thin. The actors do what they can, and the music helps, but it is too long.",
)
Call = tuple[str, bytes, str]
"""Path, body and content type of a request."""


def _as_json(**content) -> bytes:
    return json.dumps(content).encode()


def calls_of(task: str) -> list[Call]:
    """Returns good requests of a task."""
    kind = "application/json"
    if task == "sentiment":
        return [(f"/api/{task}", _as_json(texts=[text]), kind) for text in _TEXTS]
    if task == "translation":
        return [(f"/api/{task}", _as_json(texts=[text]), kind) for text in _TEXTS]
    if task == "captioning":
        return [(f"/api/{task}", Path("docs/photograph.jpg").read_bytes(), "image/jpeg")]
    prices = simulate_market(tickers=1, days=1_000)[0].prices.to_csv().encode()
    return [(f"/api/{task}?ticker=SIMA", prices, "text/csv")]


@contextlib.contextmanager
def running_service() -> Iterator[tuple[int, int, float]]:
    """Starts the service; yields its port, its process and the seconds until it could be asked."""
    begin = time.perf_counter()
    command = [sys.executable, "-m", "apps.web", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            line = process.stdout.readline()
            seconds = time.perf_counter() - begin
            if not line.startswith("http"):
                raise UserError("The service did not start: run python -m apps.web to see why.")
            yield int(line.rsplit(":", 1)[1]), process.pid, round(seconds, 2)
        finally:
            process.terminate()


class Caller:
    """One connection that stays open; a broken one is opened again."""

    def __init__(self, port: int):
        """Connects at the first request."""
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT)

    def __call__(self, call: Call) -> int:
        """Returns the status of a request; 0 if there was no answer."""
        path, body, kind = call
        try:
            self._connection.request("POST", path, body, {"Content-Type": kind})
            response = self._connection.getresponse()
            response.read()
            return response.status
        except (OSError, http.client.HTTPException):
            self._connection.close()
            return 0


def measure_callers(port: int, calls: list[Call], *, seconds: float) -> dict[str, object]:
    """Lets `CALLERS` callers ask without pause; returns statuses, rate and latencies."""
    end = time.perf_counter() + seconds
    latencies: list[float] = []
    statuses: Counter[int] = Counter()
    lock = threading.Lock()

    def ask(number: int) -> None:
        caller = Caller(port)
        for call in itertools.cycle(calls[number % len(calls) :] + calls[: number % len(calls)]):
            begin = time.perf_counter()
            if begin > end:
                return
            status = caller(call)
            with lock:
                statuses[status] += 1
                latencies.append(time.perf_counter() - begin)

    begin = time.perf_counter()
    with ThreadPoolExecutor(CALLERS) as pool:
        list(pool.map(ask, range(CALLERS)))
    cuts = statistics.quantiles(latencies, n=100)
    return {
        "callers": CALLERS,
        "requests": len(latencies),
        "statuses": {str(status): count for status, count in sorted(statuses.items())},
        "requests_a_second": round(len(latencies) / (time.perf_counter() - begin), 1),
        "median_ms": round(1000 * cuts[49], 1),
        "p99_ms": round(1000 * cuts[98], 1),
    }


def memory_mb(process: int) -> float:
    """Returns the resident memory of a process in MB (Linux alone tells)."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status).group(1)) / 1024


def measure_memory(port: int, process: int, calls: list[Call], *, requests: int) -> dict:
    """Returns the memory of the service after each tenth of many requests of all tasks."""
    megabytes = []
    with ThreadPoolExecutor(4) as pool:
        callers = [Caller(port) for _ in range(4)]

        def ask(number: int) -> int:
            share = range(number, requests // 10, 4)
            return sum(callers[number](calls[turn % len(calls)]) == 200 for turn in share)

        answered = 0
        for _ in range(10):
            answered += sum(pool.map(ask, range(4)))
            megabytes.append(round(memory_mb(process), 1))
    return {"requests": requests, "answered": answered, "megabytes": megabytes}


def broken(call: Call, generator: random.Random) -> Call:
    """Returns a request with some of its bytes, its end or its settings spoiled."""
    path, body, kind = call
    body = bytearray(body)
    way = generator.randrange(5)
    if way == 0:
        for _ in range(generator.randint(1, 20)):
            body[generator.randrange(len(body))] = generator.randrange(256)
    elif way == 1:
        del body[generator.randrange(len(body)) :]
    elif way == 2:
        place = generator.randrange(len(body))
        body[place:place] = generator.randbytes(generator.randint(1, 2000))
    elif way == 3:
        values = ["-1", "nan", "1e999", "x", "2019-02-30", "0", "99999999999999999999", "\u00e9"]
        values = ["".join(f"%{byte:02x}" for byte in value.encode()) for value in values]
        names = ("beam_size", "n_best", "length_penalty", "days", "as_of", "change", "exchange")
        mark = "&" if "?" in path else "?"
        path += mark + f"{generator.choice(names)}={generator.choice(values)}"
    else:
        nested = generator.choice(
            [
                b"[" * 5000,
                b"null",
                b'{"texts": [1]}',
                b'{"texts": ["\\ud800"]}',
                b'{"texts": [""]}',
                b'{"texts": ["a"], "beam_size": 1e99}',
                b'{"texts": ["\\u0000\\u200b"], "n_best": 9}',
                b"Date,Open,High,Low,Close\n2020-01-01,1,1,1,1\n",
                b"",
            ]
        )
        body = bytearray(nested)
    return path, bytes(body), generator.choice([kind, kind, "text/plain", "application/json"])


def measure_fuzz(port: int, calls: list[Call], *, requests: int, seed: int) -> dict:
    """Returns how many broken requests got which status."""
    generator = random.Random(seed)
    spoiled = [broken(calls[turn % len(calls)], generator) for turn in range(requests)]
    callers = [Caller(port) for _ in range(4)]

    def ask(number: int) -> Counter[int]:
        return Counter(map(callers[number], spoiled[number::4]))

    with ThreadPoolExecutor(4) as pool:
        statuses = sum(pool.map(ask, range(4)), Counter())
    return {
        "requests": requests,
        "statuses": {str(status): count for status, count in sorted(statuses.items())},
    }


def load_table(path: Path) -> str:
    """Returns a Markdown table of the results."""
    if not path.is_file():
        return "Not measured yet.\n"
    parts = read_json(path)["parts"]
    titles = ["50 callers, 30 s", "requests", "errors", "a second", "median", "99th percentile"]
    lines = [table_line(titles), table_line(["---", *["---:"] * (len(titles) - 1)])]
    for name in ("sentiment", "mix"):
        if name in parts:
            result = parts[name]["results"]
            good = result["statuses"].get("200", 0)
            row = [f"{result['requests']:,}", str(result["requests"] - good)]
            row += [f"{result['requests_a_second']:.0f}", f"{result['median_ms']:.0f} ms"]
            title = {"sentiment": "sentiment, one sentence", "mix": "all four tasks in turn"}[name]
            lines.append(table_line([title, *row, f"{result['p99_ms']:.0f} ms"]))
    lines.append("")
    if "memory" in parts:
        result = parts["memory"]["results"]
        lines.append(
            f"- memory over {result['requests']:,} requests of all tasks:"
            f" {result['megabytes'][0]:.0f} MB after the first tenth,"
            f" {result['megabytes'][-1]:.0f} MB at the end"
        )
    if "fuzz" in parts:
        result = parts["fuzz"]["results"]
        shares = ", ".join(f"{count:,} x {name}" for name, count in result["statuses"].items())
        lines.append(f"- {result['requests']:,} broken requests were answered with: {shares}")
    for name, record in parts.items():
        lines.append(
            f"- {name}: {record['device']}; {record['processor'] or 'CPU model not recorded'};"
            f" {record['date']}; commit {record['commit']}"
        )
    return "\n".join(lines) + "\n"


def main(
    parts: str = ",".join(PARTS),
    seconds: float = 30.0,
    requests: int = 10_000,
    seed: int = 0,
    output: Path = Path("apps/studies/results/load.json"),
) -> None:
    """Measures, writes and prints the results.

    Args:
        parts: Which of sentiment, mix, memory and fuzz, separated by commas.
        seconds: Time of each measurement with callers.
        requests: Requests of the parts memory and fuzz.
        seed: Of the broken requests.
        output: JSON file to write.
    """
    chosen = choose_parts(parts, PARTS, output=output)
    if seconds <= 0 or requests < 100:
        raise UserError("--seconds must be above 0 and --requests at least 100.")
    tasks = ("sentiment", "translation", "captioning", "forecasting")
    mix = [call for task in tasks for call in calls_of(task)[:1]]
    # Two thirds ask for sentiment, as it is the quickest.
    often = [*calls_of("sentiment"), *calls_of("sentiment"), *mix[1:]]
    with running_service() as (port, process, start):
        print(f"the service started in {start} s")
        measures: dict[str, Callable[[], dict]] = {
            "sentiment": lambda: measure_callers(port, calls_of("sentiment"), seconds=seconds),
            "mix": lambda: measure_callers(port, mix, seconds=seconds),
            "memory": lambda: measure_memory(port, process, often, requests=requests),
            "fuzz": lambda: measure_fuzz(port, mix, requests=requests, seed=seed),
        }
        for part in chosen:
            write_part(
                output,
                {"start_seconds": start, **measures[part]()},
                study="load",
                part=part,
                command=f"python -m apps.studies.load --parts {part}",
                packages=("fastapi", "uvicorn", "onnxruntime"),
            )
    print(load_table(output))


if __name__ == "__main__":
    run_command(
        main,
        prog="python -m apps.studies.load",
        description="Measures the service under load.",
    )
