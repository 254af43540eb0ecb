"""Where a run that goes on from another one began, and that it may not know what is held out."""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from common.artifact import METRICS, MODEL
from common.errors import UserError
from common.files import read_json
from common.settings import flag


def origin_of(run: str, settings: Any, cut: Iterable[str]) -> dict[str, Any]:
    """Returns what `metrics.json` keeps of the run that `--init-from` names.

    Args:
        run: Its folder.
        settings: Those that it was trained with.
        cut: Names of the settings that cut the data.

    Returns:
        `run`; `model`, the SHA-256 of its file; `cut`, its settings of these names; and as far as
        the folder tells `data`, the SHA-256 of its files, and `init_from`, where it began itself.
    """
    folder = Path(run)
    facts = read_json(folder / METRICS) if (folder / METRICS).is_file() else {}
    with open(folder / MODEL, "rb") as file:
        model = hashlib.file_digest(file, "sha256").hexdigest()
    return {
        "run": run,
        "model": model,
        "cut": {name: getattr(settings, name) for name in cut},
        **{key: facts[key] for key in ("data", "init_from") if key in facts},
    }


def check_cut_of_origin(config: Any, origin: Mapping[str, Any], hashes: Mapping[str, str]) -> None:
    """Makes sure that no run before this one was trained on the same files, cut in another way.

    Args:
        config: Settings of the new run.
        origin: From `origin_of`. A run that does not name its files counts as one of the same.
        hashes: SHA-256 of the new run's files.

    Raises:
        UserError: If one was: it has learned from sentences or pictures that are held out now.
    """
    named = f"--init-from {origin['run']}"
    before: Mapping[str, Any] | None = origin
    while before:
        files = before.get("data", hashes).values()
        for name, theirs in before.get("cut", {}).items():
            ours = getattr(config, name)
            if ours != theirs and not set(files).isdisjoint(hashes.values()):
                raise UserError(
                    f"{named} was trained on the same data, cut with {flag(name)} {theirs}, not"
                    f" {ours}, so it knows some of what is held out now: set {flag(name)} {theirs},"
                    " or train without --init-from."
                )
        before = before.get("init_from")
