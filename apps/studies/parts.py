"""Records of studies that can be measured part by part, each part with what made it and where."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common.config import split_list
from common.errors import UserError
from common.files import read_json, write_json
from common.provenance import provenance, require_clean

RESULTS = Path("apps/studies/results")


def chosen_parts(text: str, known: Sequence[str]) -> tuple[str, ...]:
    """Returns the parts that `--parts` names.

    Raises:
        UserError: If the study does not have one of them.
    """
    parts = split_list(text)
    if unknown := sorted(set(parts) - set(known)):
        raise UserError(f"--parts {unknown[0]} is none of {', '.join(known)}.")
    return parts


def check_output(output: Path) -> None:
    """Makes sure that results that are published come from committed code.

    Raises:
        UserError: If they do not.
    """
    if output.resolve().parent == RESULTS.resolve():
        require_clean()


def write_part(
    path: Path,
    results: dict[str, Any],
    *,
    study: str,
    part: str,
    command: str,
    packages: tuple[str, ...] = (),
    data: dict[str, str] | None = None,
) -> dict[str, Any]:
    """Replaces one part of a study's file and leaves the others as they were measured.

    Args:
        path: JSON file of the study.
        results: What was measured.
        study: Name of the study.
        part: Name of the part.
        command: Command that measures this part again.
        packages: More packages whose versions matter.
        data: SHA-256 of each file that was read, or None.

    Returns:
        The whole record.
    """
    parts = read_json(path).get("parts", {}) if path.is_file() else {}
    parts[part] = {**provenance(command, packages=packages, data=data), "results": results}
    record = {"study": study, "parts": parts}
    write_json(path, record)
    return record
