"""Where a figure comes from: the command, the code and the machine that made it."""

import datetime
import hashlib
import platform
import subprocess
from pathlib import Path
from typing import Any

from common.device import device_name, versions
from common.errors import UserError

# What figures depend on. Results, READMEs and pictures are written from figures: they do not count.
_CODE = ("*.py", "requirements*", "*.lock")
_PROJECT = Path(__file__).parents[1]
# In a copy of the code that is no checkout: what `commit` returned where it was copied.
COMMIT = "COMMIT"
# The lines of /proc/cpuinfo that decide which kernels run, on x86 and on ARM.
_CPU_LINES = ("vendor_id", "cpu family", "model", "cache size", "flags", "CPU implementer")
_CPU_LINES += ("CPU part", "Features")


def _git(folder: Path, *arguments: str) -> str:
    """Returns what git prints.

    Raises:
        OSError: If there is no git, or no such folder.
        subprocess.CalledProcessError: If the folder is no checkout.
    """
    command = ["git", "--no-optional-locks", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout


def uncommitted_code(folder: Path = _PROJECT) -> list[str]:
    """Returns the files of code that differ from the checked-out commit, untracked ones included.

    Files that `.gitignore` names are left out. For the errors see `_git`.
    """
    listed = _git(
        folder, "status", "--porcelain", "-z", "--no-renames", "--untracked-files=all", "--", *_CODE
    )
    # Two letters and a space stand before each path.
    return [entry[3:] for entry in listed.split("\0") if entry]


def commit(folder: Path = _PROJECT) -> str:
    """Returns the short hash of the checked-out commit, marked `+` if code differs from it."""
    if (folder / COMMIT).is_file():
        return (folder / COMMIT).read_text(encoding="utf-8").strip()
    try:
        mark = "+" if uncommitted_code(folder) else ""
        return _git(folder, "rev-parse", "--short", "HEAD").strip() + mark
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def is_committed(commits: str) -> bool:
    """Whether git holds all code of `commits`: what `commit` returned, or several after commas."""
    return not any(one == "unknown" or one.endswith("+") for one in commits.split(", "))


def require_clean(folder: Path = _PROJECT) -> None:
    """Makes sure that the checked-out commit holds the code, before figures are published.

    Raises:
        UserError: If code differs from it, or the folder is no checkout.
    """
    try:
        changed = uncommitted_code(folder)
    except (OSError, subprocess.CalledProcessError):
        raise UserError(
            f"git finds no checkout in {folder}, so published figures could not name their code:"
            " clone the project."
        ) from None
    if changed:
        more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
        raise UserError(
            f"Published figures must come from committed code, but {', '.join(changed[:3])}{more}"
            f" {'differs' if len(changed) == 1 else 'differ'} from the commit: commit or remove it."
        )


def processor() -> str:
    """Returns the CPU's name and a short hash of its model, caches and instruction sets.

    Libraries choose their kernels by these, and other kernels round in another way.
    """
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").split("\n\n")[0].splitlines()
    except OSError:  # Only Linux has the file.
        return f"{platform.machine()} {platform.processor()}".strip()
    known = {
        name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)
    }
    features = "\n".join(known.get(name, "") for name in _CPU_LINES)
    digest = hashlib.sha256(features.encode()).hexdigest()[:8]
    return f"{known.get('model name', platform.machine())} ({digest})"


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
        "processor": processor(),
        "versions": versions(*packages),
        "commit": commit(),
        "date": datetime.date.today().isoformat(),
        **({} if data is None else {"data": data}),
    }
