"""Self-training: a trained run translates sentences that nobody did, and another learns from both.

With an ensemble for a teacher, one model learns what several know (Kim and Rush, 2016), and from
more sentences of the same kind than there are pairs (Zhang and Zong, 2016).
"""

import dataclasses
import hashlib
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.progress import track

from apps.translation.config import CUT, Config
from apps.translation.predictor import Predictor
from common.artifact import CONFIG, MODEL, TOKENIZER
from common.cache import cache_path, cached
from common.earlier_runs import check_same_cut, check_same_data
from common.errors import UserError
from data.download import cache_directory, data_directory, sha256_of
from data.pairs.sources import Pairs
from data.pairs.splits import PairSplit
from data.pairs.untranslated import load_untranslated, usable

# Sentences between two steps of the progress bar.
_PIECE = 1000
# The modules that a translation depends on, besides the run and those of data and models.
_CODE = (
    "apps.translation.predictor",
    "apps.translation.typed_text",
    "apps.translation.decoding",
    "apps.translation.network",
    "common.search",
)


@dataclasses.dataclass(frozen=True)
class Taught:
    """What a teacher has translated."""

    pairs: PairSplit
    facts: dict
    """The teacher's folder, the SHA-256 of its model, of the sentences' file and of the pairs that
    are learned from, and their number."""


def load_teacher(config: Config) -> Predictor:
    """Loads the run that `--teacher` names.

    Raises:
        UserError: If it translates other languages, or may know what is held out.
    """
    if not (Path(config.teacher) / CONFIG).is_file():
        raise UserError(f"--teacher {config.teacher} is no run folder: name another.")
    teacher = Predictor.load(config.teacher, runtime="keras")
    for name in ("source_language", "target_language"):
        ours, theirs = getattr(config, name), getattr(teacher.config, name)
        if ours != theirs:
            raise UserError(
                f"--teacher {config.teacher} has {name} {theirs}, not {ours}: name another run."
            )
    check_same_cut(
        config,
        teacher.config,
        CUT,
        named=f"--teacher {config.teacher}",
    )
    return teacher


def taught_pairs(
    config: Config,
    teacher: Predictor,
    pairs: Pairs,
    *,
    data_dir: str,
    log: Callable[[str], None],
    console: Console,
) -> Taught:
    """Returns the sentences of `--untranslated` with the teacher's translations, kept in the cache.

    Args:
        config: Settings of the student.
        teacher: From `load_teacher`.
        pairs: What the student learns from besides, and is scored on.
        data_dir: As the flag.
        log: What takes a line.
        console: Where to show how far it is.

    Raises:
        UserError: If the sentences cannot be had.
        UserError: If the teacher was trained on other files, or no translation of its is usable.
    """
    run = Path(config.teacher)
    check_same_data(pairs.hashes, run, named=f"--teacher {run}")
    sentences, path = load_untranslated(
        config.untranslated,
        data_dir=data_directory(data_dir),
        held_out=[
            source
            for name, split in pairs.splits.items()
            if name != "train"
            for source in split.source
        ],
        known=pairs.splits["train"].source,
        log=log,
    )

    def translate() -> dict:
        texts = []
        starts = range(0, len(sentences), _PIECE)
        hidden = not console.is_terminal
        for start in track(starts, "translating", console=console, transient=True, disable=hidden):
            piece = teacher.predict(sentences[start : start + _PIECE])
            texts += [translation.text for translation in piece]
        return {"texts": texts}

    model = [(run / name).read_bytes() for name in (CONFIG, TOKENIZER, MODEL)]
    place = cache_path(cache_directory() / "taught", [model, sentences], modules=_CODE)
    found = cached(place, translate)
    kept = usable(sentences, found["texts"])
    if not kept:
        raise UserError(
            f"--teacher {config.teacher} gave no usable translation of --untranslated"
            f" {config.untranslated}: all are far shorter or longer than their sources."
        )
    log(f"{len(kept):,} translations of {config.teacher} to learn from besides")
    sources, targets = [source for source, _ in kept], [text for _, text in kept]
    return Taught(
        PairSplit(sources, targets, [[text] for text in targets]),
        {
            "run": config.teacher,
            "model": sha256_of(run / MODEL),
            "untranslated": {path.name: sha256_of(path)},
            "pairs": hashlib.sha256("\n".join(map("\t".join, kept)).encode()).hexdigest(),
            "count": len(kept),
        },
    )
