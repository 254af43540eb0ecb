"""Sentences without a translation, for a model that learns from its teacher's: files, Flickr8k.

python -m data.pairs.untranslated > captions.txt       # English captions that no split holds out
python -m data.pairs.untranslated --pair captions.txt captions.fr > captions.tsv
"""

import argparse
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from rapidfuzz import fuzz, process
from sacremoses import MosesDetokenizer

from common.errors import UserError, in_one_line
from data.download import data_directory
from data.pairs.files import clean, read_lines
from data.pairs.sources import NAMED_SETS, load_pairs
from data.pairs.splits import folded
from data.pictures.flickr8k import fetch_captions, token_captions

# In percent, how alike two sentences are that count as one: with another spelling, a word mended.
_ALIKE = 90
# Fewest and most words of a translation, as shares of its source's: outside, it has run away.
_LENGTHS = 0.5, 2.0
# Pairs of sentences that are compared at once, a byte each.
_COMPARED = 20_000_000


def load_untranslated(
    name: str,
    *,
    data_dir: Path,
    held_out: Iterable[str],
    known: Iterable[str],
    log: Callable[[str], None] | None = None,
) -> tuple[list[str], Path]:
    """Loads sentences and leaves out what would leak, what is known, and what comes twice.

    Case, marks and spaces make no difference. What is nearly held out counts as held out: Multi30k
    has mended the spelling of some captions. Its pictures are of the same collection as Flickr8k's,
    so of a picture with one caption that is held out no other caption stays either.

    Args:
        name: `"flickr8k"` for its English captions, put from tokens into plain writing, or a text
            file with a sentence a line.
        data_dir: Folder of downloads.
        held_out: The source sentences of all splits that score.
        known: The source sentences to train on.
        log: What takes a line for each download, and one for what was left out.

    Returns:
        The sentences in their order, and the file that they were read from.

    Raises:
        UserError: If the file cannot be had or read, or nothing is left of it.
    """
    if name == "flickr8k":
        path = fetch_captions(data_dir, log)
        plain = MosesDetokenizer(lang="en")
        groups = [
            [_written(plain, caption) for caption in captions]
            for captions in token_captions(path).values()
        ]
    else:
        path = Path(name).expanduser()
        if not path.is_file():
            raise UserError(f'--untranslated {name} is neither "flickr8k" nor a file: check it.')
        groups = [[clean(line)] for line in read_lines(path)]
    groups = [[sentence for sentence in group if sentence] for group in groups]
    leaks = _leaks(groups, held_out)
    seen, found = {folded(sentence) for sentence in known}, []
    for group, leak in zip(groups, leaks, strict=True):
        for sentence in [] if leak else group:
            if (key := folded(sentence)) not in seen:
                seen.add(key)
                found.append(sentence)
    if not found:
        raise UserError(
            f"{path} has no sentence that the training does not know and no split holds out: name"
            " another with --untranslated."
        )
    if log:
        left_out = sum(len(group) for group, leak in zip(groups, leaks, strict=True) if leak)
        log(
            f"{path}: {len(found):,} sentences to translate; {left_out:,} left out, which are held"
            " out, nearly so, or describe a picture of one that is"
        )
    return found, path


def _leaks(groups: list[list[str]], held_out: Iterable[str]) -> list[bool]:
    """Whether a group has a sentence that is held out, or nearly."""
    owners = [number for number, group in enumerate(groups) for _ in group]
    alike = nearly_among([sentence for group in groups for sentence in group], held_out)
    leaks = [False] * len(groups)
    for row in np.flatnonzero(alike):
        leaks[owners[row]] = True
    return leaks


def nearly_among(sentences: Iterable[str], others: Iterable[str]) -> np.ndarray:
    """Returns which sentences stand among others, in these words or nearly.

    Args:
        sentences: What to look for.
        others: Where to look; case, marks and spaces make no difference.

    Returns:
        `<bool>(sentences,)`.
    """
    keys = list({folded(sentence) for sentence in others})
    wanted = [folded(sentence) for sentence in sentences]
    found = np.zeros(len(wanted), bool)
    piece = max(1, _COMPARED // max(1, len(keys)))
    for start in range(0, len(wanted) if keys else 0, piece):
        alike = process.cdist(
            wanted[start : start + piece],
            keys,
            scorer=fuzz.ratio,
            score_cutoff=_ALIKE,
            dtype=np.uint8,
        )
        found[start : start + piece] = alike.any(axis=1)
    return found


def _written(plain: MosesDetokenizer, caption: str) -> str:
    """A caption as Multi30k writes: a capital first, a full stop last, no space before marks."""
    text = plain.detokenize(caption.split()).replace(" .", ".").strip()
    if not text:
        return ""
    text = text[0].upper() + text[1:]
    return text if text[-1] in ".!?" else f"{text}."


def usable(sources: Iterable[str], texts: Iterable[str]) -> list[tuple[str, str]]:
    """Returns the pairs whose translation is not far shorter or longer than its source."""
    return [
        (source, text)
        for source, text in zip(sources, texts, strict=True)
        if source.split() and _LENGTHS[0] <= len(text.split()) / len(source.split()) <= _LENGTHS[1]
    ]


def main() -> None:
    """Prints captions to translate, or a table of captions and their translations."""
    parser = argparse.ArgumentParser(
        prog="python -m data.pairs.untranslated",
        description="Prints Flickr8k's English captions, without those that Multi30k or Tatoeba"
        " hold out and those that Multi30k trains on.",
    )
    parser.add_argument("--data-dir", default="", help="folder of downloads")
    parser.add_argument(
        "--pair",
        nargs=2,
        type=Path,
        metavar=("ENGLISH", "FRENCH"),
        help="print a .tsv of two files instead, whose lines correspond",
    )
    flags = parser.parse_args()
    if flags.pair:
        english, french = map(read_lines, flags.pair)
        if len(english) != len(french):
            raise UserError(f"{flags.pair[0]} and {flags.pair[1]} must have as many lines.")
        print("en\tfr", *map("\t".join, usable(english, french)), sep="\n")
        return
    place = data_directory(flags.data_dir)
    multi30k, tatoeba = (load_pairs(name, data_dir=place) for name in NAMED_SETS)
    held_out = [
        source
        for pairs in (multi30k, tatoeba)
        for name, split in pairs.splits.items()
        if name != "train"
        for source in split.source
    ]
    sentences, _ = load_untranslated(
        "flickr8k",
        data_dir=place,
        held_out=held_out,
        known=multi30k.splits["train"].source,
        log=lambda line: print(line, file=sys.stderr),
    )
    print(*sentences, sep="\n")


if __name__ == "__main__":
    with in_one_line():
        main()
