"""English sentences without a translation, to be translated by a trained model (self-training).

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
from data.pairs.files import read_lines
from data.pairs.sources import NAMED_SETS, load_pairs
from data.pairs.splits import folded
from data.pictures.flickr8k import fetch_captions, token_captions

# Similarity in percent from which two sentences count as the same.
_ALIKE = 90
# Fewest and most words of a usable translation, as a ratio to its source's.
_LENGTHS = 0.5, 2.0
# Pairs of sentences that are compared at once, one byte each.
_COMPARED = 20_000_000


def load_untranslated(
    data_dir: Path,
    *,
    held_out: Iterable[str],
    known: Iterable[str],
    log: Callable[[str], None] | None = None,
) -> list[str]:
    """Returns Flickr8k's English captions, without those held out, nearly so, known or repeated.

    Case, punctuation and spaces are ignored. Multi30k's pictures are of the same collection as
    Flickr8k's, so if one caption of a picture is held out, all its captions are left out.

    Args:
        data_dir: Folder of downloads.
        held_out: The source sentences of all splits that score.
        known: The source sentences of the training pairs.
        log: Takes a line for each download, and one for the captions that were left out.

    Raises:
        UserError: If the captions cannot be downloaded or read.
    """
    path = fetch_captions(data_dir, log)
    detokenizer = MosesDetokenizer(lang="en")
    groups = [
        [_written(detokenizer, caption) for caption in captions]
        for captions in token_captions(path).values()
    ]
    rows = [
        (number, sentence) for number, group in enumerate(groups) for sentence in group if sentence
    ]
    near = nearly_among([sentence for _, sentence in rows], held_out)
    leaks = {number for (number, _), leak in zip(rows, near, strict=True) if leak}
    seen = {folded(sentence) for sentence in known}
    sentences = []
    for number, sentence in rows:
        if number not in leaks and (key := folded(sentence)) not in seen:
            seen.add(key)
            sentences.append(sentence)
    if log:
        left_out = sum(number in leaks for number, _ in rows)
        log(f"{path}: {len(sentences):,} new sentences; {left_out:,} left out as (nearly) held out")
    return sentences


def nearly_among(sentences: Iterable[str], others: Iterable[str]) -> np.ndarray:
    """Returns `<bool>(sentences,)`: which of them occur among others, or nearly.

    Case, punctuation and spaces are ignored.
    """
    keys = list({folded(sentence) for sentence in others})
    queries = [folded(sentence) for sentence in sentences]
    near = np.zeros(len(queries), bool)
    piece = max(1, _COMPARED // max(1, len(keys)))
    for start in range(0, len(queries) if keys else 0, piece):
        similar = process.cdist(
            queries[start : start + piece],
            keys,
            scorer=fuzz.ratio,
            score_cutoff=_ALIKE,
            dtype=np.uint8,
        )
        near[start : start + piece] = similar.any(axis=1)
    return near


def _written(detokenizer: MosesDetokenizer, caption: str) -> str:
    """Returns a caption in Multi30k's style, with a capital and a full stop."""
    text = detokenizer.detokenize(caption.split()).replace(" .", ".").strip()
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
            raise UserError(f"{' and '.join(map(str, flags.pair))} must have as many lines.")
        print("en\tfr", *map("\t".join, usable(english, french)), sep="\n")
        return
    data_dir = data_directory(flags.data_dir)
    multi30k, tatoeba = (load_pairs(name, data_dir=data_dir) for name in NAMED_SETS)
    held_out = [
        source
        for pairs in (multi30k, tatoeba)
        for name, split in pairs.splits.items()
        if name != "train"
        for source in split.source
    ]
    sentences = load_untranslated(
        data_dir,
        held_out=held_out,
        known=multi30k.splits["train"].source,
        log=lambda line: print(line, file=sys.stderr),
    )
    print(*sentences, sep="\n")


if __name__ == "__main__":
    with in_one_line():
        main()
