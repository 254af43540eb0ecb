"""Records of studies that are measured part by part, each part with its own provenance."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common.cli import split_list
from common.errors import UserError
from common.files import read_json, write_json
from common.results import provenance, require_clean

RESULTS = Path("apps/studies/results")


def choose_parts(text: str, known: Sequence[str], *, output: Path) -> tuple[str, ...]:
    """Returns the parts that `--parts` names.

    Raises:
        UserError: If a part is unknown, or uncommitted code would write a published output.
    """
    parts = split_list(text)
    if unknown := sorted(set(parts) - set(known)):
        raise UserError(f"--parts {unknown[0]} is unknown: choose from {', '.join(known)}.")
    if output.resolve().parent == RESULTS.resolve():
        require_clean()
    return parts


def write_part(
    path: Path,
    results: dict[str, Any],
    *,
    study: str,
    part: str,
    command: str = "",
    packages: tuple[str, ...] = (),
) -> dict[str, Any]:
    """Replaces one part of a study's JSON file, and leaves the others with their provenance.

    Args:
        path: JSON file of the study.
        results: What was measured.
        study: Name of the study.
        part: Name of the part.
        command: Command that measures this part again, if it takes more than `--parts`.
        packages: More packages whose versions matter.

    Returns:
        The whole record.
    """
    command = command or f"python -m apps.studies.{study} --parts {part}"
    parts = read_json(path).get("parts", {}) if path.is_file() else {}
    parts[part] = {**provenance(command, packages=packages), "results": results}
    record = {"study": study, "parts": parts}
    write_json(path, record)
    return record
