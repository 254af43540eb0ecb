"""Earlier runs that a training goes on from or learns from, and what has to agree with them."""

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from common.artifact import METRICS, same_files
from common.errors import UserError
from common.files import read_json
from common.settings import flag


def run_folder(run: str, default: str, earlier: Mapping[str, Iterable[str]]) -> Path:
    """Returns the folder of a run that others come before.

    Args:
        run: As the flag; empty for the default.
        default: Folder of the run if nothing comes before it.
        earlier: Run folders by the flag that names them.

    Raises:
        UserError: If the run has no name of its own, or is one of the others.
    """
    folder = Path(run or default)
    for name, others in earlier.items():
        for other in others:
            if not run:
                raise UserError(f"{name} makes another model: name its folder with --run.")
            if Path(other).resolve() == folder.resolve():
                raise UserError(f"{name} {other} is the run itself: name another --run.")
    return folder


def with_shape_of(
    config: Any,
    held: Any,
    names: Iterable[str],
    *,
    of: str = "init_from",
    given: frozenset[str] = frozenset(),
) -> Any:
    """Returns the settings with the shape of the model that `--init-from` names.

    Args:
        config: The settings from the command line.
        held: Those that the model was trained with.
        names: The settings that make the shape.
        of: Another setting that names the model's run folder.
        given: Names of the flags that were typed; others say nothing if they are at their default.

    Raises:
        UserError: If a flag asks for another shape.
    """
    default = type(config)()
    for name in names:
        wanted, stored = getattr(config, name), getattr(held, name)
        if wanted != stored and (name in given or wanted != getattr(default, name)):
            raise UserError(
                f"{flag(name)} {wanted} differs from the {stored} of {flag(of)}"
                f" {getattr(config, of)}: leave the flag out."
            )
    return dataclasses.replace(config, **{name: getattr(held, name) for name in names})


def check_same_cut(config: Any, held: Any, names: Iterable[str], *, named: str) -> None:
    """Makes sure that a teacher does not know what its student is scored on.

    Args:
        config: Settings of the student.
        held: Settings of the teacher.
        names: The settings that cut the data.
        named: The flag and the run folder that it names.

    Raises:
        UserError: If a setting is another.
    """
    for name in names:
        ours, theirs = getattr(config, name), getattr(held, name)
        if ours != theirs:
            raise UserError(
                f"{named} was trained with {name} {theirs}, not {ours}, and may know the validation"
                " split: train it on the same cut."
            )


def check_same_data(hashes: dict[str, str], run: Path | str, *, named: str) -> None:
    """Makes sure that a teacher saw the files that its student is cut from, and no others.

    Args:
        hashes: Of the student's data.
        run: Run folder of the teacher; one that does not tell is believed.
        named: The flag and the run folder that it names.

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
