"""Earlier runs that a training resumes, continues or learns from, and what must agree with them."""

import dataclasses
import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.files import read_json
from common.run_folder import METRICS, MODEL
from common.settings import flag


def run_folder(run: str, default: str, earlier: Mapping[str, Iterable[str]]) -> Path:
    """Returns the folder of a run that others come before.

    Args:
        run: The flag; empty for the default.
        default: Folder of the run if nothing comes before it.
        earlier: Run folders by the flag that names them.

    Raises:
        UserError: If `run` is empty although others come before, or is one of them.
    """
    folder = Path(run or default)
    for name, others in earlier.items():
        for other in others:
            if not run:
                raise UserError(f"{name} makes another model: name its folder with --run.")
            if Path(other).resolve() == folder.resolve():
                raise UserError(f"{name} {other} is the run itself: name another --run.")
    return folder


def resumed_config(config: Any, stored: Any, run: Path, *, given: frozenset[str]) -> Any:
    """Returns the stored settings of a run that goes on, and refuses flags that contradict them.

    Args:
        config: The settings from the command line.
        stored: The settings that the run was started with.
        run: Its folder.
        given: Names of the flags that were typed; others say nothing if they are at their default.

    Raises:
        UserError: If a flag was given another value than the run has.
    """
    names = [field.name for field in dataclasses.fields(stored)]
    for name in _contradicted(config, stored, names, given):
        raise UserError(
            f"{flag(name)} {getattr(config, name)} differs from the {getattr(stored, name)} of"
            f" {run}: --resume goes on with the run's own settings, so leave the flag out."
        )
    return stored


def with_shape_of(
    config: Any, start: Any, names: Iterable[str], *, given: frozenset[str] = frozenset()
) -> Any:
    """Returns the settings with the shape of the model that `--init-from` names.

    Args:
        config: The settings from the command line.
        start: Those that the model was trained with.
        names: The settings that make the shape.
        given: Names of the flags that were typed; others say nothing if they are at their default.

    Raises:
        UserError: If a flag asks for another shape.
    """
    for name in _contradicted(config, start, names, given):
        raise UserError(
            f"{flag(name)} {getattr(config, name)} differs from the {getattr(start, name)} of"
            f" --init-from {config.init_from}: leave the flag out."
        )
    return dataclasses.replace(config, **{name: getattr(start, name) for name in names})


def _contradicted(
    config: Any, earlier: Any, names: Iterable[str], given: frozenset[str]
) -> list[str]:
    """Returns the settings that were asked for with another value than an earlier run has."""
    default = type(config)()
    return [
        name
        for name in names
        if getattr(config, name) != getattr(earlier, name)
        and (name in given or getattr(config, name) != getattr(default, name))
    ]


def same_files(hashes: dict[str, str], others: dict[str, str]) -> bool:
    """Whether two records, name of a file to its SHA-256, are of the same contents."""
    return sorted(hashes.values()) == sorted(others.values())


def check_same_training(facts: dict[str, Any], run: Path) -> None:
    """Makes sure that a run goes on with the data and the backend that it was begun with.

    Args:
        facts: `data` and `backend` of now, as `metrics.json` holds them.
        run: Run folder.

    Raises:
        UserError: If either is another.
    """
    recorded = {"data": {}, "backend": "", **read_json(run / METRICS)}
    if not same_files(recorded["data"], facts["data"]):
        name, remedy = "data", "give the same --data and --data-dir"
    elif recorded["backend"] != facts["backend"]:
        name, remedy = "backend", "set KERAS_BACKEND"
    else:
        return
    raise UserError(
        f"{run} was begun with the {name} {recorded[name]}, not {facts[name]}: {remedy}, or train"
        " anew with --overwrite."
    )


def check_same_cut(student: Any, teacher: Any, names: Iterable[str], *, named: str) -> None:
    """Makes sure that a teacher does not know what its student is scored on.

    Args:
        student: Settings of the student.
        teacher: Settings of the teacher.
        names: The settings that cut the data.
        named: The flag and the run folder that it names.

    Raises:
        UserError: If a setting is another.
    """
    for name in names:
        ours, theirs = getattr(student, name), getattr(teacher, name)
        if ours != theirs:
            raise UserError(
                f"{named} was trained with {name} {theirs}, not {ours}, and may know the validation"
                " split: train it on the same cut."
            )


def check_same_data(hashes: dict[str, str], run: Path | str, *, named: str) -> None:
    """Makes sure that a teacher saw the files that its student is cut from, and no others.

    A teacher whose run folder names no files is believed.

    Raises:
        UserError: If it saw others.
    """
    if not same_files(recorded_data(run) or hashes, hashes):
        raise UserError(
            f"{named} was trained on other files than --data, and may know the validation split:"
            " train it on the same."
        )


def recorded_data(run: Path | str) -> dict[str, str]:
    """Returns the hashes of the data that a run was trained on; empty if it does not tell."""
    path = Path(run) / METRICS
    return read_json(path).get("data", {}) if path.is_file() else {}


def origin_of(run: str) -> dict[str, Any]:
    """Returns what `metrics.json` keeps of the run that `--init-from` names.

    Returns:
        `run`; `model`, the SHA-256 of its file; and as far as the folder tells `data`, the SHA-256
        of its files, and `init_from`, its own origin.
    """
    folder = Path(run)
    record = read_json(folder / METRICS) if (folder / METRICS).is_file() else {}
    with open(folder / MODEL, "rb") as file:
        model = hashlib.file_digest(file, "sha256").hexdigest()
    kept = {key: record[key] for key in ("data", "init_from") if key in record}
    return {"run": run, "model": model, **kept}
