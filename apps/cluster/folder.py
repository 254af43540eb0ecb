"""The output folder of a command that goes on where it stopped."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.files import read_json, write_json
from common.run_folder import lock_run


@contextlib.contextmanager
def folder_of(facts: dict[str, Any], folder: Path, name: str, *, option: str) -> Iterator[None]:
    """Lends a folder to one process, and makes sure that what stands in it was begun alike.

    Args:
        facts: What must be the same from start to end.
        folder: It is made if it is missing.
        name: Of the file in it that holds the facts.
        option: The flag that names the folder.

    Raises:
        UserError: If another process writes it, it holds other files, or was begun with other
            facts.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{option} {folder} is a file: name a folder.")
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(lock_run(folder))
        except UserError:
            raise UserError(
                f"{folder} is being written by another process: wait for its end, or name another"
                f" {option}."
            ) from None
        path = folder / name
        if path.is_file():
            begun = read_json(path)
            differing = [key for key, value in facts.items() if begun.get(key) != value]
            if differing:
                raise UserError(
                    f"{folder} was begun with another {', '.join(differing)}: go on as it was"
                    f" begun, or name another {option}."
                )
        elif any(folder.iterdir()):
            raise UserError(f"{option} {folder} holds other files: name an empty or new folder.")
        else:
            write_json(path, facts)
        yield
