"""Records of studies that can be measured part by part, each part with what made it and where."""

import datetime
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common.artifact import read_json, write_json
from common.config import split_list
from common.errors import UserError
from common.provenance import provenance

_CPU = Path("/proc/cpuinfo")


def chosen_parts(text: str, known: Sequence[str]) -> tuple[str, ...]:
    """Returns the parts that `--parts` names.

    Raises:
        UserError: If the study does not have one of them.
    """
    parts = split_list(text)
    if unknown := sorted(set(parts) - set(known)):
        raise UserError(f"--parts {unknown[0]} is none of {', '.join(known)}.")
    return parts


def machine_name() -> str | None:
    """Returns the model of the CPU and its widest vector instructions, None where unknown."""
    if not _CPU.is_file():
        return platform.processor() or None
    fields: dict[str, str] = {}
    for line in _CPU.read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition(":")
        fields.setdefault(name.strip(), value.strip())
    if "model name" not in fields:
        return platform.processor() or None
    flags = fields.get("flags", "").split()
    vectors = {"avx512f": "AVX-512", "avx2": "AVX2", "avx": "AVX"}
    widest = next((title for flag, title in vectors.items() if flag in flags), None)
    return f"{fields['model name']}, {widest}" if widest else fields["model name"]


def measured_by(command: str, **options: Any) -> dict[str, Any]:
    """Returns the provenance of a measurement of time, with its machine and its day."""
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    return {**provenance(command, **options), "machine": machine_name(), "date": today}


def write_part(
    path: Path,
    results: dict[str, Any],
    *,
    study: str,
    part: str,
    command: str,
    packages: tuple[str, ...] = (),
) -> dict[str, Any]:
    """Replaces one part of a study's file and leaves the others as they were measured.

    Args:
        path: JSON file of the study.
        results: What was measured.
        study: Name of the study.
        part: Name of the part.
        command: Command that measures this part again.
        packages: More packages whose versions matter.

    Returns:
        The whole record.
    """
    parts = read_json(path).get("parts", {}) if path.is_file() else {}
    parts[part] = {**measured_by(command, packages=packages), "results": results}
    record = {"study": study, "parts": parts}
    write_json(path, record)
    return record
