"""Joins several sets of sentence pairs into one, to train a general model."""

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from common.cache import cache_path, cached
from common.errors import UserError
from data.download import cache_directory
from data.pairs.sources import NAMED_SETS, Pairs, load_pairs
from data.pairs.splits import PairSplit
from data.pairs.untranslated import nearly_among

# Final punctuation, which a hurried writer leaves out.
_FINAL_MARKS = ".!?…"


def load_sets(
    names: Sequence[str],
    *,
    repeats: Sequence[int] = (),
    training: bool = True,
    log: Callable[[str], None] | None = None,
    **options: Any,
) -> Pairs:
    """Loads one or several sets of pairs as one.

    The held-out splits of the first set keep their names; others are called `tatoeba_test`.
    `validation` takes turns between the sets. A further file without splits is for training only.
    Training pairs whose source is nearly a held-out source of any set are left out.

    Args:
        names: Each as `load_pairs` takes it.
        repeats: How many times an epoch has the training pairs of each set; empty for once each.
        training: Whether the pairs are for training; otherwise further files may be missing.
        log: Takes a line for each download and for the pairs that are left out.
        **options: For `load_pairs`.

    Raises:
        UserError: If a set cannot be loaded, or two have one name.
    """
    labels = [name if name in NAMED_SETS else Path(name).stem for name in names]
    if len(set(labels)) < len(labels):
        raise UserError("--data names two sets alike: name each once, or rename a file.")
    if len(names) == 1:
        return load_pairs(names[0], log=log, **options)
    if not training:
        further = [name for name in names[1:] if name in NAMED_SETS or Path(name).exists()]
        if len(further) < len(names) - 1:
            return load_sets([names[0], *further], training=False, log=log, **options)
    sets = [
        load_pairs(name, log=log, cut=position == 0 or name in NAMED_SETS, **options)
        for position, name in enumerate(names)
    ]
    splits, hashes, validation = {}, {}, []
    for label, pairs in zip(labels, sets, strict=True):
        first = not splits
        for name, split in pairs.splits.items():
            if name == "validation":
                validation.append(split)
            if name != "train":
                splits[name if first else f"{label}_{name}"] = split
        for name, sha256 in pairs.hashes.items():
            hashes[f"{label}/{name}" if hashes.get(name, sha256) != sha256 else name] = sha256
    held_out = sorted({source for split in splits.values() for source in split.source})
    train, left_out = PairSplit([], [], []), 0
    for pairs, count in zip(sets, repeats or [1] * len(sets), strict=True):
        kept, missing = _without_near(pairs.splits["train"], held_out)
        left_out += missing
        for _ in range(count):
            train = joined(train, kept)
    if log:
        log(f"{left_out:,} training pairs are left out: their source is (nearly) held out")
    return Pairs(
        # In turns, so that the first validation sentences are of each set alike.
        {**splits, "train": train, "validation": _in_turns(validation)},
        sets[0].languages,
        hashes,
        tuple(line for pairs in sets for line in pairs.warnings),
    )


def with_typed_copies(split: PairSplit, share: float, *, seed: int) -> PairSplit:
    """Adds copies of a share of the pairs, with the source written as people type in a hurry.

    In turns a copy has no capitals, no final punctuation, or neither. The target stays as it is.
    """
    count = round(share * len(split.source))
    rows = np.random.default_rng(seed).permutation(len(split.source))[:count].tolist()
    sources = []
    for turn, row in enumerate(rows):
        source = split.source[row]
        if turn % 3 != 1:
            source = source.lower()
        if turn % 3 != 0:
            source = source.rstrip(_FINAL_MARKS).rstrip() or source
        sources.append(source)
    targets = [split.target[row] for row in rows]
    return joined(split, PairSplit(sources, targets, [split.references[row] for row in rows]))


def joined(first: PairSplit, second: PairSplit) -> PairSplit:
    """Returns the pairs of both splits, in their order."""
    return PairSplit(
        first.source + second.source,
        first.target + second.target,
        first.references + second.references,
    )


def _without_near(split: PairSplit, held_out: list[str]) -> tuple[PairSplit, int]:
    """Returns the pairs whose source is not nearly held out, and the number of the others."""
    path = cache_path(
        cache_directory() / "near_copies",
        [split.source, held_out],
        modules=["data.pairs.untranslated"],
        suffix=".npz",
    )
    near = cached(path, lambda: {"near": nearly_among(split.source, held_out)})["near"]
    rows = np.flatnonzero(~near)
    columns = (split.source, split.target, split.references)
    return PairSplit(*([column[row] for row in rows] for column in columns)), int(near.sum())


def _in_turns(splits: list[PairSplit]) -> PairSplit:
    """Returns one row of each split in turn, until all are used."""
    positions = itertools.zip_longest(*(range(len(split.source)) for split in splits))
    rows = [
        (split.source[row], split.target[row], split.references[row])
        for turn in positions
        for split, row in zip(splits, turn, strict=True)
        if row is not None
    ]
    return PairSplit(*map(list, zip(*rows, strict=True)))
