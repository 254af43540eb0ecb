"""Scores of captions against several references: BLEU, ROUGE-L and CIDEr."""

import importlib.metadata
import re
import unicodedata
from collections.abc import Sequence

from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge

# Between letters, or before the s and t that English data often put apart: "the child 's".
_APOSTROPHE = re.compile(r"(?<=\w)(?:['\u2019](?=\w)| ?['\u2019] ?(?=[st]\b))")
_WORD = re.compile(r"[^\s-]+(?:-[^\s-]+)*")


def normalise(caption: str, *, keep: str = "") -> str:
    """Lower-cases a caption and removes its punctuation.

    Letters with accents, digits and single hyphens between them stay; everything else separates
    words, apostrophes too, so that `child's` equals `child 's`. The words are nearly always those
    of pycocoevalcap's own tokeniser, which needs Java.

    Args:
        caption: Text of any kind.
        keep: Further characters that belong to words.

    Returns:
        Words between single spaces; may be empty.
    """
    text = unicodedata.normalize("NFC", caption.lower())
    # Unicode categories: L are letters, M their combining marks, N numbers.
    kept = (
        letter if letter in f"-{keep}" or unicodedata.category(letter)[0] in "LMN" else " "
        for letter in text
    )
    return " ".join(_WORD.findall("".join(kept)))


def readable(caption: str) -> str:
    """Returns a caption as models learn to write it: normalised, but with apostrophes in words."""
    # A private-use character stands in for the apostrophes.
    marked = _APOSTROPHE.sub("\ue000", caption)
    return normalise(marked, keep="\ue000").replace("\ue000", "'")


def caption_metrics(
    hypotheses: Sequence[str], references: Sequence[Sequence[str]]
) -> dict[str, float]:
    """Scores captions by pycocoevalcap, the evaluation of COCO, after `normalise`.

    CIDEr weighs words by how many of these pictures have them in a reference, so its value depends
    on the split; with a single picture it is 0.

    Args:
        hypotheses: `(pictures,)`, one caption each, which may be empty.
        references: `(pictures,)`, one or more human captions each.

    Returns:
        `bleu_1` to `bleu_4` (Papineni et al., 2002) and `rouge_l` (Lin, 2004) as fractions; `cider`
        (CIDEr-D of Vedantam et al., 2015) from 0 to 10, mostly below 2.

    Raises:
        ValueError: If the lengths differ, a picture has no reference, or no reference has a word.
    """
    if not len(hypotheses) == len(references) > 0 or not all(references):
        raise ValueError("each hypothesis needs one or more references")
    said = {picture: [normalise(text)] for picture, text in enumerate(hypotheses)}
    wanted = {picture: [*map(normalise, texts)] for picture, texts in enumerate(references)}
    if not any(map(any, wanted.values())):
        raise ValueError("no reference has a word")
    bleus, _ = Bleu(4).compute_score(wanted, said, verbose=0)
    metrics = {f"bleu_{order}": float(bleu) for order, bleu in enumerate(bleus, start=1)}
    metrics["rouge_l"] = float(Rouge().compute_score(wanted, said)[0])
    metrics["cider"] = float(Cider().compute_score(wanted, said)[0])
    return metrics


def caption_statistics(hypotheses: Sequence[str]) -> dict[str, float]:
    """Measures the variety of captions after `normalise`.

    Args:
        hypotheses: `(pictures,)`, one or more captions.

    Returns:
        `distinct`, the share of different captions; `vocabulary`, the number of different words;
        and `length`, the mean number of words.
    """
    texts = [normalise(text) for text in hypotheses]
    words = [word for text in texts for word in text.split()]
    return {
        "distinct": len(set(texts)) / len(texts),
        "vocabulary": len(set(words)),
        "length": len(words) / len(texts),
    }


def signature() -> str:
    """Returns the preprocessing and the scorer's version in one line."""
    version = importlib.metadata.version("pycocoevalcap")
    return f"case:lc|words:letters,digits,hyphens-between|version:pycocoevalcap-{version}"
