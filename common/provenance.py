"""Where a figure comes from: the command, the code and the machine that made it."""

import datetime
import subprocess
from pathlib import Path
from typing import Any

from common.device import device_name, versions

# What figures depend on; those that are written while others are made are none of it.
_CODE = ("*.py", "requirements*.txt")


def commit(folder: Path = Path(__file__).parents[1]) -> str:
    """Returns the short hash of the checked-out commit, marked `+` if code differs from it."""

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", *arguments], cwd=folder, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    try:
        differs = git("diff", "--name-only", "HEAD", "--", *_CODE)
        return git("rev-parse", "--short", "HEAD") + ("+" if differs else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


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
        "date": datetime.date.today().isoformat(),
        **({} if data is None else {"data": data}),
    }
