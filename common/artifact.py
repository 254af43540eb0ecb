"""What lies in a run folder: the names of its files, its model, and what it was trained on."""

import zipfile
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.files import atomic_path, read_json

BACKBONE = "backbone.npz"
CONFIG = "config.json"
MODEL = "model.keras"
TOKENIZER = "tokenizer.json"
HISTORY = "history.csv"
METRICS = "metrics.json"
STATE = "state.npz"
PLOTS = "plots"
OUTPUTS = "outputs"
TENSORBOARD = "tensorboard"
EXPORT = "export"


def same_files(one: dict[str, str], other: dict[str, str]) -> bool:
    """Whether two records, name of a file to its SHA-256, are of the same contents."""
    return sorted(one.values()) == sorted(other.values())


def check_same_training(facts: dict[str, Any], run: Path) -> None:
    """Makes sure that a run goes on with the data and the backend that it was begun with.

    Args:
        facts: `data` and `backend` of now, as `metrics.json` holds them.
        run: Run folder.

    Raises:
        UserError: If either is another.
    """
    begun = read_json(run / METRICS)
    remedies = {"data": "give the same --data and --data-dir", "backend": "set KERAS_BACKEND"}
    for name, remedy in remedies.items():
        same = begun.get(name) == facts[name]
        if name == "data":
            same = same_files(begun.get(name, {}), facts[name])
        if not same:
            raise UserError(
                f"{run} was begun with the {name} {begun.get(name)}, not {facts[name]}:"
                f" {remedy}, or train anew with --overwrite."
            )


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
