"""Files and folders that are written whole or not at all."""

import contextlib
import errno
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from common.errors import UserError


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside `path` that takes its place when the block succeeds.

    A block that fails, for instance because the disk is full, leaves the old file as it was.

    Raises:
        OSError: If the file cannot be written; it names `path` and the remedy.
    """
    # The suffix stays, because Keras and Matplotlib choose the format by it.
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        reason = error.strerror or " ".join(str(error).split())
        remedy = "what stood there before is untouched; make room or choose another folder"
        raise OSError(error.errno or errno.EIO, f"{reason} ({remedy})", str(path)) from error
    finally:
        with contextlib.suppress(NotADirectoryError):
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Writes a text file atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Writes a JSON file atomically, in the order of `value`."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Reads a JSON file.

    Raises:
        UserError: If the file is missing or no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} does not exist.") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UserError(f"{path} is not valid JSON ({error}); restore it or train again.") from None


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Lends a folder to fill; it takes its place at `path` only if all went well.

    If another process has put a folder there meanwhile, that one stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{uuid.uuid4().hex[:8]}.{path.name}")
    try:
        draft.mkdir()
        yield draft
        if not path.exists():
            os.rename(draft, path)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
