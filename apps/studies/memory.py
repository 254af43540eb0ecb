"""Measures that memory does not grow with the data: training on some, and on ten times as much."""

import csv
import itertools
import os
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from common.artifact import METRICS, read_json
from common.errors import UserError
from data.captioning_sample import write_captions_folder
from data.sentiment_sample import review

# How memory is measured.
_ON_REVIEWS = "--epochs 1 --units 16 --embed-dim 16 --bigram-dim 4 --embedding random".split()
# Different ones; generated reviews in one, for IMDB has some 230 words a review.
_REVIEWS, _JOINED = 3_000, 7
_ON_PICTURES = [
    *"--epochs 1 --cell gru --backbone small_cnn --picture-size 224 --views 2".split(),
    *"--vocab-size 270 --decoder-units 32 --memory-dim 32 --embed-dim 32".split(),
]


def measure_memory(reviews: int, pictures: int) -> dict[str, Any]:
    """Trains on a file of reviews and on a folder of pictures, and on ten times as much of each.

    Args:
        reviews: Reviews of the smaller file, as long as those of IMDB, which has 50,000.
        pictures: Pictures of the smaller folder, of 224 x 224 pixels, with a caption each.

    Returns:
        For each kind its number, the peaks of memory in MB, and their ratio.
    """
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for kind, count, write, task, flags in (
            ("reviews", reviews, _write_reviews, "sentiment", _ON_REVIEWS),
            ("pictures", pictures, _write_pictures, "captioning", _ON_PICTURES),
        ):
            peaks = {}
            for name, times in (("once", 1), ("ten_times", 10)):
                data, run = Path(folder) / f"{kind}_{name}", Path(folder) / "run"
                arguments = [f"apps.{task}.train", *flags, "--run", str(run)]
                arguments += ["--data", str(write(data, count, times))]
                run_quietly(arguments, CACHE_DIR=str(Path(folder) / "cache"))
                peaks[name] = read_json(run / METRICS)["peak_memory_mb"]
                shutil.rmtree(run)
            ratio = peaks["ten_times"] / peaks["once"]
            found[kind] = {"number": count, "peak_memory_mb": peaks, "ratio": ratio}
    return found


def _write_reviews(place: Path, count: int, times: int) -> Path:
    """Writes a file of `count * times` reviews as long as IMDB's, each of them many times."""
    generator = random.Random(0)
    rows = [
        (" ".join(review(positive, generator) for _ in range(_JOINED)), str(positive))
        for positive in itertools.islice(itertools.cycle((True, False)), min(count, _REVIEWS))
    ]
    path = place.with_suffix(".csv")
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("text", "label"))
        writer.writerows(itertools.islice(itertools.cycle(rows), count * times))
    return path


def _write_pictures(place: Path, count: int, times: int) -> Path:
    """Writes a folder of pictures, each of them under several names and with its first caption."""
    write_captions_folder(place, pictures=count)
    lines = ["image,caption\n"]
    for path in sorted(place.glob("*.jpg")):
        content = path.read_bytes()
        for number in range(times):
            path.with_name(f"{number}_{path.name}").write_bytes(content)
            lines.append(f"{number}_{path.name},a picture of shapes\n")
        path.unlink()
    (place / "captions.csv").write_text("".join(lines), encoding="utf-8")
    return place


def run_quietly(arguments: list[str], **environment: str) -> None:
    """Runs `python -m` without a word.

    Raises:
        UserError: If it fails.
    """
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
