"""Scores and where they come from, as `metrics.json` keeps them."""

import csv
import dataclasses
import datetime
import hashlib
import platform
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from common.device import device_name, versions
from common.earlier_runs import same_files
from common.errors import UserError
from common.files import read_json, write_json, write_text
from common.run_folder import METRICS, OUTPUTS, lock_scores
from common.settings import Search

# What figures depend on. Results, READMEs and pictures are written from figures: they do not count.
_CODE = ("*.py", "requirements*", "*.lock")
_PROJECT = Path(__file__).parents[1]
# In a copy of the code that is no checkout: what `commit` returned where it was copied.
COMMIT = "COMMIT"
# The lines of /proc/cpuinfo that decide which kernels run, on x86 and on ARM.
_CPU_LINES = ("vendor_id", "cpu family", "model", "cache size", "flags", "CPU implementer")
_CPU_LINES += ("CPU part", "Features")
# Scores that differ by less are the same: other machines round in another way.
SAME = 5e-5


def _git(folder: Path, *arguments: str) -> str:
    """Returns what git prints.

    Raises:
        OSError: If there is no git, or no such folder.
        subprocess.CalledProcessError: If the folder is no checkout.
    """
    command = ["git", "--no-optional-locks", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout


def uncommitted_code(folder: Path = _PROJECT) -> list[str]:
    """Returns the files of code that differ from the checked-out commit, untracked ones included.

    Files that `.gitignore` names are left out. For the errors see `_git`.
    """
    options = ("--porcelain", "-z", "--no-renames", "--untracked-files=all")
    listed = _git(folder, "status", *options, "--", *_CODE)
    # Two letters and a space stand before each path.
    return [entry[3:] for entry in listed.split("\0") if entry]


def commit(folder: Path = _PROJECT) -> str:
    """Returns the short hash of the checked-out commit, marked `+` if code differs from it."""
    if (folder / COMMIT).is_file():
        return (folder / COMMIT).read_text(encoding="utf-8").strip()
    try:
        mark = "+" if uncommitted_code(folder) else ""
        return _git(folder, "rev-parse", "--short", "HEAD").strip() + mark
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def is_committed(commits: str) -> bool:
    """Whether git holds all code of `commits`: what `commit` returned, or several after commas."""
    return not any(name == "unknown" or name.endswith("+") for name in commits.split(", "))


def require_clean(folder: Path = _PROJECT) -> None:
    """Makes sure that the checked-out commit holds the code, before figures are published.

    Raises:
        UserError: If code differs from it, or the folder is no checkout.
    """
    try:
        changed = uncommitted_code(folder)
    except (OSError, subprocess.CalledProcessError):
        raise UserError(
            f"git finds no checkout in {folder}, so published figures could not name their code:"
            " clone the project."
        ) from None
    if changed:
        more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
        raise UserError(
            f"Published figures must come from committed code, but {', '.join(changed[:3])}{more}"
            f" {'differs' if len(changed) == 1 else 'differ'} from the commit: commit or remove it."
        )


def processor() -> str:
    """Returns the CPU's name and a short hash of its model, caches and instruction sets.

    Libraries choose their kernels by these, and other kernels round in another way.
    """
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").split("\n\n")[0].splitlines()
    except OSError:  # Only Linux has the file.
        return f"{platform.machine()} {platform.processor()}".strip()
    known = {
        name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)
    }
    features = "\n".join(known.get(name, "") for name in _CPU_LINES)
    digest = hashlib.sha256(features.encode()).hexdigest()[:8]
    return f"{known.get('model name', platform.machine())} ({digest})"


def provenance(
    command: str, *, data: dict[str, str] | None = None, packages: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Returns what stands beside every figure that is kept.

    Args:
        command: What makes it again.
        data: Name of each file that it comes from to its sha256; None where none is read.
        packages: More packages whose versions matter.
    """
    import keras

    return {
        "command": command,
        "backend": keras.backend.backend(),
        "device": device_name(),
        "processor": processor(),
        "versions": versions(*packages),
        "commit": commit(),
        "date": datetime.date.today().isoformat(),
        **({} if data is None else {"data": data}),
    }


def history_rows(path: Path) -> list[dict[str, str]]:
    """Returns the rows of `history.csv` as they are written.

    Raises:
        UserError: If the file is missing or not a training history.
    """
    try:
        with open(path, encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        for row in rows:
            int(row["epoch"])
            for value in row.values():
                float(value or "nan")
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: train again, or name another run.") from None
    except (ValueError, TypeError, KeyError, csv.Error) as error:
        raise UserError(
            f"{path} is not a training history ({error}): train again, or name another run."
        ) from None
    return rows


def read_history(path: Path) -> dict[str, list[float]]:
    """Returns the columns of `history.csv`, one value an epoch, NaN where an epoch has none."""
    rows = history_rows(path)
    return {name: [float(row[name] or "nan") for row in rows] for name in (rows[0] if rows else ())}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scores:
    """What a saved model reached on one split."""

    split: str
    metrics: dict[str, float]
    baselines: dict[str, dict[str, float]]
    """Name to metrics; empty if they were not wanted."""
    parameters: int
    hashes: dict[str, str]
    """Of the data."""


def check_baselines(split: str, *, baselines: bool) -> None:
    """Raises a `UserError` if baselines are to be scored on the split that they are fitted on."""
    if baselines and split == "train":
        raise UserError(
            "--split train is what the baselines are fitted on: score the model alone with"
            " --no-baselines."
        )


def why_not_recorded(run: Path, hashes: dict[str, str]) -> str:
    """Returns why scores on data of these hashes are not recorded; empty if they are."""
    record = read_json(run / METRICS) if (run / METRICS).is_file() else {}
    if "published" in record:
        return "the figures of a published model stay as they are"
    if "data" not in record:
        return f"{run / METRICS} does not say what the run was trained on"
    return "" if same_files(record["data"], hashes) else "the run was trained on other data"


def record_scores(run: Path, scores: Scores) -> bool:
    """Adds scores to the run's `metrics.json`, unless `why_not_recorded` speaks against it.

    Scores that stand there already stay if they are the same to four digits, the baselines' too,
    so that evaluating on another machine does not change the file.

    Returns:
        Whether the scores stand in the file now.
    """
    if why_not_recorded(run, scores.hashes):
        return False
    split = scores.split
    with lock_scores(run):
        record = read_json(run / METRICS)
        record.setdefault("parameters", scores.parameters)
        metrics = record.setdefault("metrics", {})
        baselines = record.setdefault("baselines", {})
        scored = record.setdefault("scored", {})
        is_same = _is_same(metrics.get(split, {}), scores.metrics) and all(
            _is_same(baselines.get(name, {}).get(split, {}), values)
            for name, values in scores.baselines.items()
        )
        # Code that no commit holds is named until committed code finds the same.
        if is_same and (is_committed(scored.get(split, "")) or not is_committed(commit())):
            return True
        if not is_same:
            # A metric that was asked for another time stays.
            metrics[split] = {**metrics.get(split, {}), **scores.metrics}
            for name, values in scores.baselines.items():
                baselines.setdefault(name, {})[split] = values
        scored[split] = commit()
        write_json(run / METRICS, record)
    return True


def _is_same(recorded: dict[str, float], measured: dict[str, float]) -> bool:
    """Whether all that was measured is recorded already, the same to four digits."""
    return all(
        name in recorded and abs(recorded[name] - value) < SAME for name, value in measured.items()
    )


def evaluation_folder(run: Path, *, task: str, what: str) -> Path:
    """Returns where tables and pictures of `what` was scored go if they are not recorded."""
    return Path("runs", task, "evaluations", run.resolve().name, what)


def data_label(data: str) -> str:
    """Returns a name for `--data` that no other file or folder has; empty without `data`."""
    if data and Path(data).exists():
        path = Path(data).resolve()
        return f"{path.name}_{hashlib.sha256(str(path).encode()).hexdigest()[:6]}"
    return data


@dataclasses.dataclass(frozen=True, kw_only=True)
class DecodedScores(Scores):
    """What a saved model that writes reached on one split."""

    hypotheses: dict[int, list[str]]
    """Beam size to the best text of each row; 1 is greedy."""
    seconds: dict[int, float]
    """Beam size to the time that all texts took, compiling included."""


def decode_with_beams(
    decode: Callable[[Search], list[str]], config: Any, beam_sizes: Sequence[int]
) -> tuple[dict[int, list[str]], dict[int, float]]:
    """Returns `hypotheses` and `seconds` of greedy search, the run's own beam and `beam_sizes`."""
    hypotheses, seconds = {}, {}
    for beam_size in sorted({1, config.beam_size, *beam_sizes}):
        begin = time.perf_counter()
        hypotheses[beam_size] = decode(Search.of(config, method="beam", beam_size=beam_size))
        seconds[beam_size] = time.perf_counter() - begin
    return hypotheses, seconds


def write_hypotheses(
    folder: Path, scores: DecodedScores, *, names: Sequence[str] | None = None
) -> list[Path]:
    """Writes one file a beam size with every text, a line a row, and returns the files.

    The rows' `names` stand before the texts and a tab; such files end in `.tsv`.
    """
    paths = []
    for beam_size, texts in scores.hypotheses.items():
        path = folder / OUTPUTS / f"{scores.split}.beam{beam_size}.{'tsv' if names else 'txt'}"
        if names:
            texts = [f"{name}\t{text}" for name, text in zip(names, texts, strict=True)]
        write_text(path, "".join(f"{text}\n" for text in texts))
        paths.append(path)
    return paths


def table_rows(run: Path, scores: Scores) -> dict[str, dict[str, float]]:
    """Returns the lines of a table of metrics: the model, greedy search if any, the baselines."""
    greedy = {
        name.removesuffix("_greedy"): value
        for name, value in scores.metrics.items()
        if name.endswith("_greedy")
    }
    here = Path.cwd()
    label = str(run.relative_to(here) if run.is_relative_to(here) else run)
    return {label: scores.metrics, **({"  greedy": greedy} if greedy else {}), **scores.baselines}
