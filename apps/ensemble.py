"""Joins trained translators, captioners or classifiers to one run folder, used like any other.

python -m apps.ensemble --members runs/translation/gru-s1 runs/translation/gru-s2
"""

import contextlib
import shlex
import shutil
from pathlib import Path
from typing import Any

from common.cli import open_console, run_command
from common.errors import UserError
from common.files import atomic_path, read_json, write_json
from common.results import provenance
from common.run_folder import (
    BACKBONE,
    CONFIG,
    METRICS,
    MODEL,
    STATE,
    TOKENIZER,
    end_replacement,
    load_model,
    lock_run,
    open_run,
    read_config,
    replace_run,
    save_model,
)

TASKS = ("sentiment", "translation", "captioning")
# Settings that decide what a model reads and writes; members may differ in all others.
_SAME = (
    "source_language",
    "target_language",
    "max_length",
    "backbone",
    "picture_size",
    "mirror",
    "variant",
    "labels",
    "pooling",
    "region_length",
    "bidirectional",
    # With another split, a member would have seen what others are scored on.
    "split_seed",
    "validation_share",
)
# Settings of a classifier that its explanations need; each member keeps its own.
_SIZES = ("embed_dim", "bigram_buckets", "units")


def join_runs(members: list[Path], run: Path) -> None:
    """Writes the run folder of an ensemble, with the settings of its first member.

    Args:
        members: Run folders of one task.
        run: Folder to write, open already.

    Raises:
        UserError: If a member is not finished, or the members do not read and write the same.
    """
    from models import captioning, translation  # noqa: F401 - a reload needs their layers
    from models.ensemble import build_ensemble
    from models.sentiment_ensemble import join_sentiment_classifiers

    task = read_task(members[0])
    configs = [read_config(member, task) for member in members]
    config = dict(configs[0])
    _check_members(members, configs)
    metrics = _join_metrics(task, members, run)
    models = [load_model(member) for member in members]
    try:
        if task == "sentiment":
            model = join_sentiment_classifiers(models)
            config["members"] = [{name: member[name] for name in _SIZES} for member in configs]
        else:
            model = build_ensemble(models, name=models[0].name)
    except ValueError as error:
        raise UserError(f"{', '.join(map(str, members))} cannot be joined: {error}") from error
    for name in (TOKENIZER, BACKBONE):
        if (members[0] / name).is_file():
            with atomic_path(run / name) as temporary:
                shutil.copyfile(members[0] / name, temporary)
    write_json(run / METRICS, metrics | {"parameters": model.count_params()})
    write_json(run / CONFIG, {"task": task, **config})
    save_model(model, run / MODEL)


def read_task(run: Path) -> str:
    """Returns the task of a run folder.

    Raises:
        UserError: If runs of the task cannot be joined.
    """
    task = read_json(run / CONFIG).get("task") if (run / CONFIG).is_file() else None
    if task is None:
        raise UserError(f"{run} is not a run folder: name others with --members.")
    if task not in TASKS:
        raise UserError(f"{run} is a run of {task}: only {', '.join(TASKS)} runs can be joined.")
    return task


def _check_members(members: list[Path], configs: list[dict[str, Any]]) -> None:
    """Raises a `UserError` if a member is not finished or does not fit the first one."""
    from common.callbacks import is_finished, saved_epoch

    for member, config in zip(members, configs, strict=True):
        for name in _SAME:
            if config.get(name) != configs[0].get(name):
                raise UserError(
                    f"{member} has the {name} {config.get(name)} and {members[0]}"
                    f" {configs[0].get(name)}: join runs that agree in it."
                )
        for name, part in ((BACKBONE, "backbone"), (TOKENIZER, "tokenizer")):
            if _read_file(member / name) != _read_file(members[0] / name):
                raise UserError(
                    f"{member} has another {part} than {members[0]} ({name}): join runs that have"
                    " the same."
                )
        state = member / STATE
        # Published runs have no state.
        if state.is_file() and saved_epoch(state) < config["epochs"] and not is_finished(state):
            raise UserError(
                f"{member} was stopped after {saved_epoch(state)} of {config['epochs']} epochs:"
                " finish it with --resume, or leave it out."
            )


def _read_file(path: Path) -> bytes:
    return path.read_bytes() if path.is_file() else b""


def _join_metrics(task: str, members: list[Path], run: Path) -> dict[str, Any]:
    """Returns the content of `metrics.json` before any score."""
    import keras

    records = [read_json(member / METRICS) for member in members]
    for member, record in zip(members, records, strict=True):
        if not record.get("data") or record["data"] != records[0]["data"]:
            raise UserError(
                f"{member} was not trained on the same files as {members[0]} ({METRICS}, data): a"
                " member may have seen what others are scored on."
            )
    arguments = shlex.join(["--members", *map(str, members), "--run", str(run)])
    memory = [record["peak_memory_mb"] for record in records if "peak_memory_mb" in record]
    return {
        "task": task,
        **provenance(f"python -m apps.ensemble {arguments}", data=records[0]["data"]),
        "backend": records[0].get("backend", keras.backend.backend()),
        "members": [str(member) for member in members],
        "epochs": sum(record["epochs"] for record in records),
        **({"peak_memory_mb": max(memory)} if memory else {}),
    }


def main(members: tuple[Path, ...] = (), run: str = "", overwrite: bool = False) -> None:
    """Joins runs of one task: words get the mean of the probabilities, reviews of the logits.

    Args:
        members: Run folders, two or more, whose models read and write the same.
        run: Folder to write (default: runs/<task>/ensemble).
        overwrite: Replace the run that stands in the folder.
    """
    if len({member.resolve() for member in members}) < max(2, len(members)):
        raise UserError("--members needs two run folders or more, each named once.")
    task = read_task(members[0])
    folder = Path(run or f"runs/{task}/ensemble")
    if folder.resolve() in {member.resolve() for member in members}:
        raise UserError(f"--run {folder} is one of the members: name another folder.")
    from apps.export.after_training import export_trained

    console = open_console()
    # Shared with commands that score the members, and closed to those that train them.
    with contextlib.ExitStack() as locks:
        for member in members:
            locks.enter_context(lock_run(member, shared=True))
        locks.enter_context(lock_run(folder))
        end_replacement(folder)
        if (folder / CONFIG).is_file() and not overwrite:
            raise UserError(
                f"{folder} holds a run already: replace it with --overwrite, or name another"
                " folder with --run."
            )
        open_run(folder, task=task, resume=False, overwrite=overwrite)
        with replace_run(folder):
            join_runs(list(members), folder)
        export_trained(folder, task=task, console=console)
    console.print(
        f"{len(members)} members joined. Score it on the test split: make evaluate-{task}"
        f" RUN={folder}"
    )


if __name__ == "__main__":
    run_command(
        main,
        prog="python -m apps.ensemble",
        description="Joins trained translators, captioners or classifiers to one.",
    )
