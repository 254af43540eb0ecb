"""Slow results, kept in the folder of derived files under a hash of all that they depend on.

That is the data and settings that go in, the code that computes, the versions of the libraries that
this code imports and, if Keras is one of them, the backend.
"""

import ast
import contextlib
import functools
import hashlib
import importlib.metadata
import json
import threading
import zipfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from common.files import atomic_path, write_json

# Python 3.11 fails now and then where two threads parse code at once.
_PARSING = threading.Lock()
_ROOT = Path(__file__).parents[1]
_FOLLOWED = ("data.", "models.")


def cached(path: Path, compute: Callable[[], Any]) -> Any:
    """Returns what a file of `cache_path` holds; if it is missing or damaged, computes it.

    Args:
        path: With `.json` or `.npz` for a suffix. Where it cannot be written, nothing is kept.
        compute: Returns what JSON holds or, for `.npz`, arrays by their names.
    """
    with contextlib.suppress(OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile):
        if path.suffix == ".json":
            return json.loads(path.read_text(encoding="utf-8"))
        with np.load(path, allow_pickle=False) as arrays:
            return dict(arrays)
    value = compute()
    with contextlib.suppress(OSError):
        if path.suffix == ".json":
            write_json(path, value)
        else:
            with atomic_path(path) as temporary:
                np.savez(temporary, **value)
    return value


def cache_path(
    folder: Path, content: Iterable, *, modules: Sequence[str], suffix: str = ".json"
) -> Path:
    """Returns where a result is kept.

    What the named modules import of `data` and `models` counts too, and so on. Other modules of
    `apps` and `common` count only if they are named: most are flags, consoles and run folders, and
    a change of those must not repeat a training of an hour.

    Args:
        folder: Of results of one kind.
        content: Data and settings: strings, bytes, arrays, numbers, None, and iterables or
            dictionaries of them. An iterable is read one item at a time.
        modules: Names of the modules that compute.
        suffix: `.json`, `.npz`, or nothing for a folder.
    """
    with _PARSING:
        code = _code(tuple(modules))
    digest = hashlib.sha256(code)
    _feed(digest, content)
    return folder / f"{digest.hexdigest()[:16]}{suffix}"


def _feed(digest: Any, value: Any) -> None:
    """Adds a value to a digest, with its type and size: `ab`, `c` is not `a`, `bc`."""
    kind = type(value).__name__
    if isinstance(value, np.ndarray):
        kind = f"{value.dtype} {value.shape}"
        value = np.ascontiguousarray(value).reshape(-1).view("uint8")
    elif isinstance(value, str):
        value = value.encode("utf-8", "surrogatepass")
    elif value is None or isinstance(value, int | float):
        value = repr(value).encode()
    elif not isinstance(value, bytes):
        digest.update(b"begin ")
        for item in value.items() if isinstance(value, dict) else value:
            _feed(digest, item)
        kind, value = "end", b""
    digest.update(f"{kind} {len(value)} ".encode())
    digest.update(value)


@functools.cache
def _code(modules: tuple[str, ...]) -> bytes:
    """Returns the code and the versions that `cache_path` counts for these modules."""
    sources, libraries, waiting = {}, set(), list(modules)
    while waiting:
        if (name := waiting.pop()) in sources:
            continue
        tree = ast.parse(_file(name).read_bytes())
        for node in ast.walk(tree):
            imported = []
            if isinstance(node, ast.Import):
                imported = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                imported = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            libraries.update(other.partition(".")[0] for other in imported)
            waiting += [it for it in imported if it.startswith(_FOLLOWED) and _file(it).is_file()]
        sources[name] = ast.dump(_WithoutDocstrings().visit(tree))
    parts = sorted(sources.items())
    if "keras" in libraries:
        import keras

        libraries.add(keras.backend.backend())
        parts.append(("backend", keras.backend.backend()))
    distributions = importlib.metadata.packages_distributions()
    for name in sorted({name for library in libraries for name in distributions.get(library, ())}):
        parts.append((name, importlib.metadata.version(name)))
    return repr(parts).encode()


def _file(module: str) -> Path:
    return _ROOT / f"{module.replace('.', '/')}.py"


class _WithoutDocstrings(ast.NodeTransformer):
    """Takes out strings that stand alone; comments and layout are no part of a tree."""

    def visit_Expr(self, node: ast.Expr) -> ast.Expr | None:  # noqa: D102
        return None if isinstance(node.value, ast.Constant) else node
