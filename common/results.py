"""Published rows: gathered from run folders by a command, never written by hand.

`python -m common.results RESULTS_FOLDER NAME RUN...` makes one row of the runs of its seeds.
"""

import contextlib
import csv
import dataclasses
import hashlib
import math
import statistics
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from common.artifact import CONFIG, HISTORY, METRICS, same_files
from common.errors import UserError, in_one_line
from common.files import read_json, write_json
from common.provenance import commit, is_committed
from common.run_folder import lock_run, lock_scores

_OF_THE_FIRST_SEED = ("task", "command", "parameters", "backend", "device", "versions", "data")
# What a run that did not begin from nothing says of where it began.
_ORIGINS = ("init_from", "teacher", "members")
# Scores that differ by less are the same: other machines round in another way.
SAME = 5e-5


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
    """Returns why scores are not written into the run folder; empty if they are.

    Args:
        run: Run folder.
        hashes: Of the data that were scored.
    """
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

    Args:
        run: Run folder, locked by `lock_run`.
        scores: What `evaluate` measured.

    Returns:
        Whether the scores stand in the file now.
    """
    path = run / METRICS
    if why_not_recorded(run, scores.hashes):
        return False
    with lock_scores(run):
        record = read_json(path)
        record.setdefault("parameters", scores.parameters)
        known = record.setdefault("metrics", {}).get(scores.split, {})
        baselines = record.setdefault("baselines", {})
        pairs = [(known, scores.metrics)]
        for name, found in scores.baselines.items():
            pairs.append((baselines.get(name, {}).get(scores.split, {}), found))
        scored = record.setdefault("scored", {})
        same = all(_same(held, found) for held, found in pairs)
        # Code that no commit holds is named until committed code finds the same.
        if same and (is_committed(scored.get(scores.split, "")) or not is_committed(commit())):
            return True
        if not same:
            # A metric that was asked for another time stays.
            record["metrics"][scores.split] = {**known, **scores.metrics}
            for name in scores.baselines:
                baselines.setdefault(name, {})[scores.split] = scores.baselines[name]
        scored[scores.split] = commit()
        write_json(path, record)
    return True


def evaluation_folder(run: Path, *, task: str, what: str) -> Path:
    """Returns where tables and pictures go that are not written into the run folder.

    Args:
        run: Run folder.
        task: Task of the run.
        what: What was scored.
    """
    return Path("runs", task, "evaluations", run.resolve().name, what)


def data_label(data: str) -> str:
    """Returns a name for `--data` that no other file or folder has; empty without `data`."""
    if data and Path(data).exists():
        path = Path(data).resolve()
        return f"{path.name}_{hashlib.sha256(str(path).encode()).hexdigest()[:6]}"
    return data


def _same(held: dict[str, float], found: dict[str, float]) -> bool:
    """Whether all that was found is held already, the same to four digits."""
    return all(name in held and abs(held[name] - value) < SAME for name, value in found.items())


def gather_row(runs: list[Path], name: str) -> dict[str, Any]:
    """Gathers the metrics of one configuration trained with several seeds.

    Args:
        runs: Run folders that differ in their seed alone.
        name: Name of the row.

    Returns:
        The row, with one value a seed in every list.

    Raises:
        UserError: If a run is missing, was not scored, or differs in more than the seed.
    """
    with contextlib.ExitStack() as locks:
        for run in runs:
            locks.enter_context(lock_run(run, shared=True))
        metrics = [read_json(run / METRICS) for run in runs]
        configs = [read_json(run / CONFIG) for run in runs]
    seeds = [config.pop("seed") for config in configs]
    for run, config in zip(runs, configs, strict=True):
        # A setting that only one of them knows is newer than the other, and at its default there.
        common = config.keys() & configs[0].keys()
        differing = sorted(key for key in common if config[key] != configs[0][key])
        if differing:
            raise UserError(f"{run} differs from {runs[0]} in {', '.join(differing)}: not one row.")
    for run, found in zip(runs, metrics, strict=True):
        needed = {"metrics", "epochs", "commit", *_OF_THE_FIRST_SEED}
        # Members of an ensemble were trained each for itself.
        needed |= set() if "members" in found else {"seconds", "peak_memory_mb"}
        if missing := needed - found.keys():
            raise UserError(f"{run} has no {min(missing)} yet: let it end, and evaluate it.")
        for key in ("data", "backend", "parameters", "versions"):
            if found[key] != metrics[0][key]:
                raise UserError(f"{run} has another {key} than {runs[0]}: not one row.")
    splits = {split for found in metrics for split in found["metrics"]}
    for run, found in zip(runs, metrics, strict=True):
        missing = splits - set(found["metrics"])
        if missing:
            raise UserError(f"{run} was not scored on {', '.join(missing)}: evaluate it first.")
    for split in splits:
        kinds = [found["metrics"][split].keys() for found in metrics]
        for run, kind in zip(runs, kinds, strict=True):
            if missing := set().union(*kinds) - kind:
                raise UserError(
                    f"{run} lacks {', '.join(sorted(missing))} of the {split} split, which another"
                    " seed has: evaluate them with the same flags."
                )
    first = metrics[0]
    scored = [found.get("scored", {}) for found in metrics]
    return {
        "name": name,
        **{key: first[key] for key in _OF_THE_FIRST_SEED},
        **{key: first[key] for key in ("processor", *_ORIGINS) if key in first},
        "config": configs[0],
        "seeds": seeds,
        "metrics": {
            split: {
                metric: [found["metrics"][split][metric] for found in metrics]
                for metric in first["metrics"][split]
            }
            for split in sorted(splits)
        },
        "baselines": first["baselines"],
        "epochs": [found["epochs"] for found in metrics],
        **({} if "members" in first else _training(runs, metrics)),
        # One, but for seeds that were added later and for runs that went on at another.
        "commit": _joined(commit for found in metrics for commit in commits_of(found)),
        # Runs of older code do not say what code scored them.
        "scored": {
            split: _joined(one[split] for one in scored if split in one)
            for split in sorted(set().union(*scored))
        },
    }


def _joined(commits: Iterable[str]) -> str:
    """Returns commits without those that stand twice."""
    return ", ".join(dict.fromkeys(commits))


def publish_row(row: dict[str, Any], folder: Path) -> None:
    """Writes a row into a folder of results.

    Raises:
        UserError: If code that no commit holds trained or scored one of its runs.
    """
    if not is_committed(row["commit"]):
        raise UserError(
            f"{row['name']} was made by code that no commit holds ({row['commit']}): commit the"
            " code and train again."
        )
    for split, commits in row["scored"].items():
        if not is_committed(commits):
            raise UserError(
                f"{row['name']} was scored on {split} by code that no commit holds ({commits}):"
                " commit the code and evaluate again, with the data of the training."
            )
    write_json(folder / f"{row['name']}.json", row)


def commits_of(record: dict[str, Any]) -> list[str]:
    """Returns the commits whose code trained a run, from its `metrics.json`."""
    return [record["commit"], *(entry["commit"] for entry in record.get("resumed", []))]


def _training(runs: list[Path], metrics: list[dict[str, Any]]) -> dict[str, Any]:
    """Returns what a row keeps of how its runs were trained."""
    histories = [_read_history(run) for run in runs]
    return {
        "seconds": [found["seconds"] for found in metrics],
        "seconds_per_epoch": [statistics.mean(history["seconds"]) for history in histories],
        "curves": [_curves(history) for history in histories],
        "peak_memory_mb": max(found["peak_memory_mb"] for found in metrics),
    }


def _read_history(run: Path) -> dict[str, list[float]]:
    """Returns the columns of a run's history, one value an epoch."""
    # Not by the callbacks' own reader, which would start Keras for a table.
    path = run / HISTORY
    try:
        with open(path, encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        columns = rows[0] if rows else ()
        history = {name: [float(row[name] or "nan") for row in rows] for name in columns}
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: restore it or train again.") from None
    except (TypeError, ValueError) as error:
        raise UserError(f"{path} is no history ({error}): restore it or train again.") from None
    if not history:
        raise UserError(f"{path} holds no epoch: restore it or train again.")
    return history


def _curves(history: dict[str, list[float]]) -> dict[str, list[float | None]]:
    """Returns how well the model was after each epoch, and what that took, in six digits."""
    return {
        name: [float(f"{value:.6g}") if math.isfinite(value) else None for value in values]
        for name, values in history.items()
        if name in ("seconds", "loss") or name.startswith("val_")
    }


def _main(arguments: list[str]) -> None:
    if len(arguments) < 3:
        raise UserError("usage: python -m common.results RESULTS_FOLDER NAME RUN...")
    folder, name, *runs = arguments
    publish_row(gather_row([Path(run) for run in runs], name), Path(folder))


if __name__ == "__main__":
    with in_one_line():
        _main(sys.argv[1:])
