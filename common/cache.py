"""Results that take long and depend on data and code alone, kept in the folder of derived files."""

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from common.artifact import read_json, write_json
from common.errors import UserError


def cache_path(folder: Path, parts: Iterable[bytes], suffix: str) -> Path:
    """Returns where in a folder of derived files a result stands.

    Args:
        folder: Of results of one kind.
        parts: All that the result depends on, the code that computes it included.
        suffix: Of the file's name, such as `.json`.
    """
    digest = hashlib.sha256()
    for part in parts:
        # With its length, so that `ab`, `c` is not `a`, `bc`.
        digest.update(len(part).to_bytes(8, "little") + part)
    return folder / f"{digest.hexdigest()[:16]}{suffix}"


def cached_json(folder: Path, parts: Iterable[bytes], compute: Callable[[], Any]) -> Any:
    """Returns what `compute` returned when it was first called with the same parts.

    Args:
        folder: Where such results are kept.
        parts: As in `cache_path`.
        compute: Returns what JSON can hold.

    Raises:
        UserError: If the file that holds the result is damaged.
    """
    path = cache_path(folder, parts, ".json")
    if not path.is_file():
        write_json(path, compute())
    try:
        return read_json(path)
    except UserError as error:
        raise UserError(f"{path} is damaged: delete it and run again.") from error
