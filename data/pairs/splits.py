"""Cuts sentence pairs into splits that do not leak, and warns of splits that do."""

import hashlib
import re
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

Rows = list[tuple[str, str]]

_MARKS = re.compile(r"[\W_]+")


@dataclass(frozen=True)
class PairSplit:
    """Aligned sentences, each a line of text.

    Attributes:
        source: The sentences to translate.
        target: One correct translation of each.
        references: All correct translations of each, `target` first.
    """

    source: list[str]
    target: list[str]
    references: list[list[str]]


def one_by_one(rows: Rows) -> PairSplit:
    """Returns a split with an item for each row."""
    targets = [target for _, target in rows]
    return PairSplit([source for source, _ in rows], targets, [[target] for target in targets])


def by_source(rows: Rows) -> PairSplit:
    """Returns a split with an item for each distinct source sentence, with all its translations."""
    references = {}
    for source, target in rows:
        references.setdefault(source, {})[target] = None
    targets = [list(translations) for translations in references.values()]
    return PairSplit(list(references), [first for first, *_ in targets], targets)


def cut_pairs(rows: Rows, sizes: dict[str, int]) -> dict[str, Rows]:
    """Cuts parts off so that no sentence of a part, in either language, occurs elsewhere.

    Pairs that share a sentence, directly or through others, stay together. Case, punctuation and
    spaces are ignored: "Go." and "Go!" are the same sentence.

    Args:
        rows: The pairs.
        sizes: Distinct source sentences in each part, cut down to a tenth of all.

    Returns:
        The rows of each part and, named `train`, the rest, in their order.
    """
    sources, targets = ([folded(row[side]) for row in rows] for side in (0, 1))
    groups = _connected(_numbers(sources), _numbers(targets))
    members = {}
    for group, (source, _) in zip(groups, rows, strict=True):
        members.setdefault(group, set()).add(source)
    # A group's name is the same in both directions and in any order of the rows.
    names = {}
    for group, *keys in zip(groups, sources, targets, strict=True):
        name = "\n".join(sorted(keys))
        names[group] = min(names.get(group, name), name)
    distinct = sum(map(len, members.values()))
    room = {part: min(size, distinct // 10) for part, size in sizes.items()}
    # The order is that of a hash, not of the file, so that all kinds of sentences are drawn.
    part_of = {}
    for group in sorted(names, key=lambda group: _position(names[group])):
        size = len(members[group])
        for part in room:
            if size <= room[part]:
                room[part] -= size
                part_of[group] = part
                break
        if not any(room.values()):
            break
    parts = {"train": [], **{name: [] for name in sizes}}
    for group, row in zip(groups, rows, strict=True):
        parts[part_of.get(group, "train")].append(row)
    return parts


def folded(sentence: str) -> str:
    """Returns a sentence without case, punctuation and spaces, unless it has nothing else."""
    return _MARKS.sub("", sentence.casefold()) or sentence


def _position(name: str) -> bytes:
    # The number is the seed of the published cuts.
    return hashlib.blake2b(f"0:{name}".encode(), digest_size=8).digest()


def _numbers(keys: list[str]) -> np.ndarray:
    """`(rows,)` int64: equal keys have the same number, from 0 in the order of their rows."""
    numbers = {}
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64)


def _connected(sources: np.ndarray, targets: np.ndarray) -> list[int]:
    """Returns the same number for rows that share a source or a target, also through others."""
    # A graph whose nodes are the sources and, numbered after them, the targets.
    targets = targets + len(sources)
    size = 2 * len(sources)
    graph = coo_matrix((np.ones(len(sources)), (sources, targets)), shape=(size, size))
    return connected_components(graph, directed=False)[1][sources].tolist()


def overlap_warnings(train: Rows, held_out: dict[str, PairSplit]) -> tuple[str, ...]:
    """Returns a line for each split of which more than 1 % of the sources are training sources."""
    seen = {folded(source) for source, _ in train}
    counts = {
        name: sum(folded(source) in seen for source in split.source)
        for name, split in held_out.items()
    }
    return tuple(
        f"{counts[name]:,} of the {len(split.source):,} source sentences of {name} stand in train "
        "too: its score will be too high."
        for name, split in held_out.items()
        if counts[name] > len(split.source) / 100
    )
