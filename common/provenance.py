"""Where a figure comes from: the command, the code and the machine that made it."""

import subprocess
from pathlib import Path
from typing import Any

from common.device import device_name, versions


def commit() -> str:
    """Returns the short hash of the checked-out commit, marked `+` if files differ from it."""
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty=+", "--exclude=*"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return described.stdout.strip()


def provenance(
    command: str, *, data: dict[str, str] | None = None, packages: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Returns what stands beside every figure that is kept.

    Args:
        command: What makes it again.
        data: Name of each file that it comes from to its sha256; None where none is read.
        packages: More packages whose versions matter.
    """
    import keras

    return {
        "command": command,
        "backend": keras.backend.backend(),
        "device": device_name(),
        "versions": versions(*packages),
        "commit": commit(),
        **({} if data is None else {"data": data}),
    }
