"""Makes a run folder small enough to be committed: weights rounded and packed.

`python -m common.publish RUN DESTINATION` copies a scored run, scores the copy and keeps both; with
`--exact` the weights of a small model stay as they are.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from common.artifact import BACKBONE, CONFIG, EXPORT, HISTORY, METRICS, MODEL, TOKENIZER
from common.errors import UserError, in_one_line
from common.files import atomic_path, read_json, write_json
from common.provenance import commit, is_committed, require_clean
from common.results import commits_of


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


if __name__ == "__main__":
    folders = [argument for argument in sys.argv[1:] if argument != "--exact"]
    if len(folders) != 2:
        sys.exit("usage: python -m common.publish RUN DESTINATION [--exact]")
    with in_one_line():
        publish_run(Path(folders[0]), Path(folders[1]), exact="--exact" in sys.argv)
