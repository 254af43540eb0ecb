"""Joins trained translators, captioners or classifiers to one run folder, used like any other.

python -m apps.ensemble --members runs/translation/gru-s1 runs/translation/gru-s2
"""

import contextlib
import shlex
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.artifact import (
    BACKBONE,
    CONFIG,
    HISTORY,
    METRICS,
    MODEL,
    STATE,
    TOKENIZER,
    load_model,
    save_model,
)
from common.config import run_command
from common.console import open_console
from common.errors import UserError
from common.files import atomic_path, read_json, write_json, write_text
from common.provenance import provenance
from common.run_folder import end_replacement, lock_run, open_run, read_config, replace_run

if TYPE_CHECKING:
    import keras


TASKS = ("sentiment", "translation", "captioning")
# What decides what a model reads and writes; in all else members may differ.
_SAME = (
    "source_language",
    "target_language",
    "max_length",
    "backbone",
    "picture_size",
    "fit",
    "variant",
    "labels",
    "pooling",
    "region_length",
    "bidirectional",
    "skip_connection",
    # Another cut of the data would have shown a member what others are scored on.
    "split_seed",
    "validation_size",
    "validation_share",
    "test_size",
    "test_share",
)


def join_runs(members: list[Path], run: Path) -> None:
    """Writes the run folder of an ensemble; the settings of its search are the first member's.

    Args:
        members: Run folders of one task.
        run: Folder to write, open already.

    Raises:
        UserError: If they are fewer than two, or do not read and write the same.
    """
    from models import captioning, translation  # noqa: F401 - a reload needs their layers
    from models.ensemble import build_ensemble

    task = read_task(members[0])
    configs = [read_config(member, task) for member in members]
    for member, config in zip(members[1:], configs[1:], strict=True):
        for name in _SAME:
            if config.get(name) != configs[0].get(name):
                raise UserError(
                    f"{member} has the {name} {config.get(name)} and {members[0]}"
                    f" {configs[0].get(name)}: join runs that agree in it."
                )
        if _sees_mirror_image(config) != _sees_mirror_image(configs[0]):
            raise UserError(
                f"{member} and {members[0]} do not both write captions from a picture and its"
                " mirror image: join runs that agree in --mirror, and in whether --views is 1."
            )
        if _read_backbone(member) != _read_backbone(members[0]):
            raise UserError(
                f"{member} sees through another backbone than {members[0]}: join runs that agree."
            )
        if _read_tokenizer(member) != _read_tokenizer(members[0]):
            raise UserError(
                f"{member} cuts words in another way than {members[0]}: join runs that learned"
                " their subwords from the same data."
            )
    for member, config in zip(members, configs, strict=True):
        _check_ended(member, config)
    facts = _facts(task, members, run)
    models = [load_model(member) for member in members]
    try:
        if task == "sentiment":
            model, config = _join_classifiers(models, configs)
        else:
            model, config = build_ensemble(models, name=models[0].name), configs[0]
    except ValueError as error:
        raise UserError(f"{', '.join(map(str, members))} cannot be joined: {error}") from error
    write_text(run / TOKENIZER, _read_tokenizer(members[0]))
    if (members[0] / BACKBONE).is_file():
        with atomic_path(run / BACKBONE) as temporary:
            shutil.copyfile(members[0] / BACKBONE, temporary)
    facts |= {"parameters": model.count_params(), "epochs": _write_history(members, run)}
    write_json(run / METRICS, facts)
    write_json(run / CONFIG, {"task": task, **config})
    save_model(model, run / MODEL)


def _join_classifiers(
    models: "list[keras.Model]", configs: list[dict[str, Any]]
) -> "tuple[keras.Model, dict[str, Any]]":
    """Returns one wide classifier, and the settings that describe it: the sums of the sizes."""
    from models.sentiment_ensemble import join_sentiment_classifiers

    for config in configs:
        if not config["bigram_buckets"]:
            config["bigram_dim"] = 0
    first = configs[0]
    model = join_sentiment_classifiers(
        models,
        pooling=first["pooling"],
        vector_features=[
            config["embed_dim"] + config["bigram_dim"] if first["skip_connection"] else 0
            for config in configs
        ],
        backward_units=[config["units"] if first["bidirectional"] else 0 for config in configs],
        region_length=first["region_length"],
    )
    wide = {
        # Without pairs, a size says nothing, but it is one.
        name: max(1, sum(config[name] for config in configs))
        for name in ("embed_dim", "bigram_dim", "units")
    }
    buckets = max(config["bigram_buckets"] for config in configs)
    return model, {**first, **wide, "bigram_buckets": buckets}


def read_task(run: Path) -> str:
    """Returns the task of a run folder.

    Raises:
        UserError: If it is none whose runs can be joined.
    """
    task = read_json(run / CONFIG).get("task") if (run / CONFIG).is_file() else None
    if task is None:
        raise UserError(f"{run} is not a run folder: name others with --members.")
    if task not in TASKS:
        raise UserError(f"{run} is a run of {task}: those of {' and '.join(TASKS)} can be joined.")
    return task


def _read_tokenizer(run: Path) -> str:
    try:
        return (run / TOKENIZER).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{run / TOKENIZER} cannot be read ({error}): restore it.") from None


def _read_backbone(run: Path) -> bytes:
    """Returns the file of a captioner's backbone, empty for a run without one."""
    return (run / BACKBONE).read_bytes() if (run / BACKBONE).is_file() else b""


def _sees_mirror_image(config: dict[str, Any]) -> bool:
    """Whether a captioner reads a picture's mirror image too when it writes a caption."""
    return bool(config.get("mirror")) and config["views"] > 1


def _write_history(members: list[Path], run: Path) -> int:
    """Puts the members' epochs below each other and returns their number."""
    lines: list[str] = []
    for member in members:
        text = (member / HISTORY).read_text(encoding="utf-8")
        head, *rows = text.splitlines(keepends=True)
        if not lines:
            lines.append(head)
        elif head != lines[0]:
            raise UserError(f"{member / HISTORY} has other columns than {members[0] / HISTORY}.")
        lines += rows
    write_text(run / HISTORY, "".join(lines))
    return len(lines) - 1


def _check_ended(member: Path, config: dict[str, Any]) -> None:
    """Raises a `UserError` if a training was stopped before its last epoch."""
    from common.training_state import is_finished, saved_epoch

    state = member / STATE
    # Published runs have none.
    if state.is_file() and saved_epoch(state) < config["epochs"] and not is_finished(state):
        raise UserError(
            f"{member} was stopped after {saved_epoch(state)} of {config['epochs']} epochs: let it"
            " end with --resume, or leave it out."
        )


def _facts(task: str, members: list[Path], run: Path) -> dict[str, Any]:
    """Returns what `metrics.json` begins with."""
    import keras

    found = [read_json(member / METRICS) for member in members]
    for member, facts in zip(members, found, strict=True):
        if not facts.get("data"):
            raise UserError(
                f"{member / METRICS} does not name the files that the run was trained on: restore"
                " it, or leave the run out."
            )
        if facts["data"] != found[0]["data"]:
            raise UserError(
                f"{member} was trained on other files than {members[0]}: join runs of the same"
                " data, or some have seen what others are scored on."
            )
    arguments = shlex.join(["--members", *map(str, members), "--run", str(run)])
    memory = [facts["peak_memory_mb"] for facts in found if "peak_memory_mb" in facts]
    return {
        "task": task,
        **provenance(f"python -m apps.ensemble {arguments}", data=found[0]["data"]),
        "backend": found[0].get("backend", keras.backend.backend()),
        "members": [str(member) for member in members],
        **({"peak_memory_mb": max(memory)} if memory else {}),
    }


def main(members: tuple[Path, ...] = (), run: str = "", overwrite: bool = False) -> None:
    """Joins runs of one task: words have the mean of their probabilities, verdicts of their logits.

    Args:
        members: Run folders, two or more, whose models read and write the same.
        run: Folder to write (default: runs/<task>/ensemble).
        overwrite: Replace the run that stands in the folder.
    """
    if len(members) < 2:
        raise UserError("--members needs two run folders or more.")
    if len({member.resolve() for member in members}) < len(members):
        raise UserError("--members names a run twice: a member's copy adds nothing.")
    task = read_task(members[0])
    folder = Path(run or f"runs/{task}/ensemble")
    if folder.resolve() in {member.resolve() for member in members}:
        raise UserError(f"--run {folder} is one of the members: name another folder.")
    # Shared with whoever scores the members, so that they stay as they are while they are joined.
    with contextlib.ExitStack() as locks:
        for member in members:
            locks.enter_context(lock_run(member, shared=True))
        locks.enter_context(lock_run(folder))
        end_replacement(folder)
        # A join that was interrupted left no model and may be replaced; a training in its first
        # epoch has none either.
        stopped = not (folder / MODEL).exists() and (folder / METRICS).is_file()
        stopped = stopped and "members" in read_json(folder / METRICS)
        if (folder / CONFIG).is_file() and not (overwrite or stopped):
            raise UserError(
                f"{folder} holds a run already: replace it with --overwrite, or name another"
                " folder with --run."
            )
        open_run(folder, task=task, resume=False, overwrite=overwrite or stopped)
        with replace_run(folder):
            join_runs(list(members), folder)
    open_console().print(
        f"{len(members)} members joined. Score it on the test split: make evaluate-{task}"
        f" RUN={folder}"
    )


if __name__ == "__main__":
    run_command(
        main,
        prog="python -m apps.ensemble",
        description="Joins trained translators, captioners or classifiers to one.",
    )
