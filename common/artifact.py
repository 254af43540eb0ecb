"""The run folder: what training leaves behind and prediction needs, written whole or not at all.

`python -m common.artifact RUN DESTINATION` copies a run folder with its weights rounded and packed,
small enough to be committed.
"""

import contextlib
import json
import os
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from common.errors import UserError

CONFIG = "config.json"
MODEL = "model.keras"
TOKENIZER = "tokenizer.json"
HISTORY = "history.csv"
METRICS = "metrics.json"
STATE = "state.npz"
PLOTS = "plots"


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside `path` that takes its place when the block succeeds.

    A block that fails, for instance because the disk is full, leaves the old file as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix stays, because Keras and Matplotlib choose the format by it.
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Writes a text file atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Writes a JSON file atomically, in the order of `value`."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Reads a JSON file.

    Raises:
        UserError: If the file is missing or no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} does not exist.") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UserError(f"{path} is not valid JSON ({error}); restore it or train again.") from None


def read_config(run: Path, task: str) -> dict[str, Any]:
    """Reads the settings of a run folder and checks that it belongs to `task`.

    Raises:
        UserError: If the folder or its `config.json` is missing, or another task made it.
    """
    if not run.is_dir():
        raise UserError(
            f"There is no run folder {run}: train one with `make train-{task}`, or name another"
            " with --run."
        )
    if not (run / CONFIG).is_file():
        raise UserError(f"{run} is not a run folder: it has no {CONFIG}. Name another with --run.")
    config = read_json(run / CONFIG)
    found = config.pop("task", None) if isinstance(config, dict) else None
    if found != task:
        raise UserError(
            f"{run} is a run of {found or 'no known task'}, not of {task}: name another with --run."
        )
    return config


def open_run(run: Path, *, task: str, resume: bool, overwrite: bool) -> None:
    """Makes sure that training may write into `run`; deletes nothing.

    Raises:
        UserError: If the folder holds a run and neither flag is set, or if there is nothing to
            resume.
    """
    if resume and overwrite:
        raise UserError("--resume and --overwrite exclude each other: give one of them.")
    if run.exists() and not run.is_dir():
        raise UserError(f"--run {run} is a file: name a folder.")
    if resume:
        read_config(run, task)
    elif overwrite and run.exists() and any(run.iterdir()):
        # Only what training wrote may be deleted by training.
        read_config(run, task)
    elif run.exists() and any(run.iterdir()):
        raise UserError(
            f"{run} holds a run already: go on with --resume, replace it with --overwrite, or name"
            " another folder with --run."
        )


def clear_run(run: Path) -> None:
    """Deletes the files of an old run, and nothing else that may stand in its folder."""
    for name in (MODEL, TOKENIZER, HISTORY, METRICS, STATE, CONFIG):
        (run / name).unlink(missing_ok=True)
    shutil.rmtree(run / PLOTS, ignore_errors=True)


def save_model(model, path: Path) -> None:
    """Saves a model for inference, atomically and without its optimizer.

    Raises:
        OSError: If the disk is full; an older file at `path` stays as it was.
    """
    import keras

    # Functional models share their layers: the new one is the same but was never compiled.
    bare = keras.Model(model.input, model.output, name=model.name)
    with atomic_path(path) as temporary:
        try:
            bare.save(temporary)
        except RuntimeError as error:
            # h5py reports a failed write in its own words.
            raise OSError(f"could not write {path}: {error}") from error


def load_model(run: Path):
    """Loads `model.keras` of a run folder, never running code that stands in the file.

    Raises:
        UserError: If the file is missing, cut short or not a Keras model.
    """
    import keras

    path = run / MODEL
    remedy = "train again, or name another folder with --run."
    if not path.is_file():
        raise UserError(
            f"{run} has no {MODEL} (was training stopped before its first epoch?): " + remedy
        )
    if not zipfile.is_zipfile(path):
        raise UserError(f"{path} is cut short or not a Keras model: " + remedy)
    try:
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except (OSError, ValueError, TypeError, KeyError, zipfile.BadZipFile) as error:
        first_line = str(error).strip().splitlines()[0] if str(error).strip() else type(error)
        raise UserError(f"{path} cannot be loaded ({first_line}): " + remedy) from error


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


def publish_run(run: Path, destination: Path) -> None:
    """Copies what a user of the model needs from a run folder, with its model shrunk.

    Raises:
        UserError: If `run` has no model.
    """
    if not (run / MODEL).is_file():
        raise UserError(f"{run} has no {MODEL}: train it first.")
    destination.mkdir(parents=True, exist_ok=True)
    shrink_model(run / MODEL, destination / MODEL)
    for name in (CONFIG, TOKENIZER, HISTORY):
        if (run / name).is_file():
            with atomic_path(destination / name) as temporary:
                shutil.copyfile(run / name, temporary)
    # Metrics are left out: `evaluate` scores the shrunk model itself.


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python -m common.artifact RUN DESTINATION")
    try:
        publish_run(Path(sys.argv[1]), Path(sys.argv[2]))
    except UserError as user_error:
        print(user_error, file=sys.stderr)
        sys.exit(2)
