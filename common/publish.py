"""Publishes rows of tables and whole run folders, so that no figure is written by hand."""

import contextlib
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from common.errors import UserError, in_one_line
from common.files import atomic_path, read_json, write_json
from common.results import commit, is_committed, read_history, require_clean
from common.run_folder import BACKBONE, CONFIG, EXPORT, HISTORY, METRICS, MODEL, TOKENIZER, lock_run

_OF_THE_FIRST_SEED = ("task", "command", "parameters", "backend", "device", "versions", "data")
# What a run that did not begin from nothing says of where it began.
_ORIGINS = ("init_from", "teacher", "members")


def shrink_model(source: Path, destination: Path) -> None:
    """Copies a `.keras` file with its weights rounded to bfloat16 and packed: a third of the size.

    The weights stay float32 for whoever loads the file; their last 16 bits are zero, so that they
    pack well. A probability moves in its third digit.
    """
    with (
        atomic_path(destination) as temporary,
        zipfile.ZipFile(source) as old,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as new,
        tempfile.TemporaryDirectory() as folder,
    ):
        for name in old.namelist():
            extracted = Path(old.extract(name, folder))
            if extracted.suffix == ".h5":
                packed = extracted.with_name("packed.h5")
                _pack_weights(extracted, packed)
                extracted = packed
            new.write(extracted, name)


def _pack_weights(source: Path, destination: Path) -> None:
    """Copies an HDF5 file of weights, rounded to bfloat16 and compressed."""
    import h5py
    import numpy as np

    with h5py.File(source) as old, h5py.File(destination, "w") as new:

        def copy(name: str, item) -> None:
            if isinstance(item, h5py.Group):
                target = new.require_group(name)
            elif item.dtype == np.float32 and item.size > 1:
                # Half of the last place that stays is added first, so that the cut rounds.
                bits = item[...].view(np.uint32) + np.uint32(0x8000)
                rounded = (bits & np.uint32(0xFFFF0000)).view(np.float32)
                options = {"compression": "gzip", "compression_opts": 9, "shuffle": True}
                target = new.create_dataset(name, data=rounded, **options)
            else:
                target = new.create_dataset(name, data=item[...])
            target.attrs.update(item.attrs)

        new.attrs.update(old.attrs)
        old.visititems(copy)


def score_published(run: Path, task: str, split: str) -> dict[str, float]:
    """Returns the metrics that `evaluate` prints for a split of a published model."""
    command = f"-m apps.{task}.evaluate --split {split} --no-baselines --json --run"
    done = subprocess.run(
        [sys.executable, *command.split(), str(run)], stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode:
        raise UserError(f"{run} cannot be scored on {split}: the reason stands above.")
    return json.loads(done.stdout)["metrics"]


def export_published(run: Path, task: str) -> None:
    """Exports a published model, which is another than that of its run once it is rounded."""
    command = [sys.executable, "-m", "apps.export", "--task", task, "--run", str(run)]
    if subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode:
        raise UserError(f"{run} cannot be exported: the reason stands above.")


def publish_run(
    run: Path,
    destination: Path,
    *,
    exact: bool = False,
    score: Callable[[Path, str, str], dict[str, float]] = score_published,
    export: Callable[[Path, str], None] = export_published,
) -> None:
    """Copies what a user of the model needs from a run folder, with its model shrunk.

    A run that was exported is exported again from the model that is published.

    `metrics.json` keeps what the run says of its data, command, commit and versions. Its scores
    move to `run_metrics`, beside those of the published model. `evaluate` never changes the file.

    Args:
        run: Run folder.
        destination: Folder to write.
        exact: Whether to copy the model as it is.
        score: Returns the metrics of a run folder of a task on a split.
        export: Exports a run folder of a task.

    Raises:
        UserError: If `run` has no model, was not scored, or was not made by a clean commit.
    """
    if not (run / MODEL).is_file():
        raise UserError(f"{run} has no {MODEL}: train it first.")
    if not zipfile.is_zipfile(run / MODEL):
        raise UserError(f"{run / MODEL} is cut short or not a Keras model: train it again.")
    require_clean()
    record = read_json(run / METRICS)
    commits = [*commits_of({"commit": "unknown", **record}), *record.get("scored", {}).values()]
    if not all(map(is_committed, commits)):
        raise UserError(
            f"{run} was trained or scored by code that no commit holds ({', '.join(commits)}):"
            " commit the code and train again."
        )
    if not record.get("metrics"):
        raise UserError(f"{run} has no scores: evaluate it first.")
    draft = destination.with_name(f".{destination.name}.part")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    try:
        for name in (CONFIG, TOKENIZER, HISTORY, BACKBONE, *([MODEL] if exact else [])):
            if (run / name).is_file():
                shutil.copyfile(run / name, draft / name)
        if not exact:
            shrink_model(run / MODEL, draft / MODEL)
        metrics = {split: score(draft, record["task"], split) for split in record["metrics"]}
        record |= {
            "published": {"weights": "exact" if exact else "bfloat16"},
            "run_metrics": record["metrics"],
            "metrics": metrics,
            "scored": dict.fromkeys(metrics, commit()),
        }
        write_json(draft / METRICS, record)
        if (run / EXPORT).is_dir():
            export(draft, record["task"])
        destination.mkdir(parents=True, exist_ok=True)
        # An older one is of another model, and no folder takes the place of a full one.
        shutil.rmtree(destination / EXPORT, ignore_errors=True)
        for path in draft.iterdir():
            os.replace(path, destination / path.name)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def gather_row(runs: list[Path], name: str) -> dict[str, Any]:
    """Returns the row of one configuration trained with several seeds, a list value a seed.

    Args:
        runs: Run folders that differ in their seed alone.
        name: Name of the row.

    Raises:
        UserError: If a run is missing, was not scored, or differs in more than the seed.
    """
    with contextlib.ExitStack() as locks:
        for run in runs:
            locks.enter_context(lock_run(run, shared=True))
        records = [read_json(run / METRICS) for run in runs]
        configs = [read_json(run / CONFIG) for run in runs]
    seeds = [config.pop("seed") for config in configs]
    for run, config, record in zip(runs, configs, records, strict=True):
        _check_seed(run, config, record, configs[0], records[0], first_run=runs[0])
    splits = sorted({split for record in records for split in record["metrics"]})
    for split in splits:
        metrics = {name for record in records for name in record["metrics"].get(split, ())}
        for run, record in zip(runs, records, strict=True):
            if missing := metrics.difference(record["metrics"].get(split, ())):
                raise UserError(
                    f"{run} lacks {', '.join(sorted(missing))} of the {split} split, which another"
                    " seed has: evaluate them with the same flags."
                )
    first = records[0]
    return {
        "name": name,
        **{key: first[key] for key in _OF_THE_FIRST_SEED},
        **{key: first[key] for key in ("processor", *_ORIGINS) if key in first},
        "config": configs[0],
        "seeds": seeds,
        "metrics": {
            split: {
                metric: [record["metrics"][split][metric] for record in records]
                for metric in first["metrics"][split]
            }
            for split in splits
        },
        "baselines": first["baselines"],
        "epochs": [record["epochs"] for record in records],
        **({} if "members" in first else _training(runs, records)),
        # One, but for seeds that were added later and for runs that went on at another.
        "commit": _joined(commit for record in records for commit in commits_of(record)),
        "scored": {
            split: _joined(record["scored"][split] for record in records) for split in splits
        },
    }


def _check_seed(
    run: Path,
    config: dict[str, Any],
    record: dict[str, Any],
    first_config: dict[str, Any],
    first_record: dict[str, Any],
    *,
    first_run: Path,
) -> None:
    """Raises a `UserError` if a run is not done, or is another than the first but for its seed."""
    # A setting that only one of them knows is newer than the other, and at its default there.
    shared = config.keys() & first_config.keys()
    if differing := sorted(key for key in shared if config[key] != first_config[key]):
        raise UserError(f"{run} differs from {first_run} in {', '.join(differing)}: not one row.")
    needed = {"metrics", "scored", "epochs", "commit", *_OF_THE_FIRST_SEED}
    # Members of an ensemble were trained each for itself.
    needed |= set() if "members" in record else {"seconds", "peak_memory_mb"}
    if missing := needed - record.keys():
        raise UserError(f"{run} has no {min(missing)} yet: let it end, and evaluate it.")
    for key in ("data", "backend", "parameters", "versions"):
        if record[key] != first_record[key]:
            raise UserError(f"{run} has another {key} than {first_run}: not one row.")


def _joined(commits: Iterable[str]) -> str:
    """Returns commits without those that stand twice."""
    return ", ".join(dict.fromkeys(commits))


def publish_row(row: dict[str, Any], folder: Path) -> None:
    """Writes a row into a folder of results.

    Raises:
        UserError: If code that no commit holds trained or scored one of its runs.
    """
    commits = {"trained": row["commit"]}
    commits |= {f"scored on {split}": names for split, names in row["scored"].items()}
    for action, names in commits.items():
        if not is_committed(names):
            raise UserError(
                f"{row['name']} was {action} by code that no commit holds ({names}): commit the"
                " code and do it again."
            )
    write_json(folder / f"{row['name']}.json", row)


def commits_of(record: dict[str, Any]) -> list[str]:
    """Returns the commits whose code trained a run, from its `metrics.json`."""
    return [record["commit"], *(entry["commit"] for entry in record.get("resumed", []))]


def _training(runs: list[Path], records: list[dict[str, Any]]) -> dict[str, Any]:
    """Returns what a row keeps of how its runs were trained."""
    histories = [read_history(run / HISTORY) for run in runs]
    return {
        "seconds": [record["seconds"] for record in records],
        "seconds_per_epoch": [statistics.mean(history["seconds"]) for history in histories],
        "curves": [_curves(history) for history in histories],
        "peak_memory_mb": max(record["peak_memory_mb"] for record in records),
    }


def _curves(history: dict[str, list[float]]) -> dict[str, list[float | None]]:
    """Returns how well the model was after each epoch, and what that took, in six digits."""
    return {
        name: [float(f"{value:.6g}") if math.isfinite(value) else None for value in values]
        for name, values in history.items()
        if name in ("seconds", "loss") or name.startswith("val_")
    }


if __name__ == "__main__":
    folders = [argument for argument in sys.argv[1:] if argument != "--exact"]
    if len(folders) != 2:
        sys.exit("usage: python -m common.publish RUN DESTINATION [--exact]")
    with in_one_line():
        publish_run(Path(folders[0]), Path(folders[1]), exact="--exact" in sys.argv)
