"""The scores of captions against several references: BLEU, ROUGE-L and CIDEr."""

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
    """Lower-cases a caption and takes the punctuation out of it.

    Letters with their accents, digits and single hyphens between them stay; all else parts words,
    apostrophes too, so that `child's` and `child 's` are the same. These are nearly always the
    words that pycocoevalcap's own tokeniser counts, which needs Java.

    Args:
        caption: Text of any kind.
        keep: More characters that are parts of words.

    Returns:
        Words between single spaces; empty if there are none.
    """
    text = unicodedata.normalize("NFC", caption.lower())
    # L, M and N are letters, the marks that some scripts add to them, and numbers.
    kept = (
        letter if letter in f"-{keep}" or unicodedata.category(letter)[0] in "LMN" else " "
        for letter in text
    )
    return " ".join(_WORD.findall("".join(kept)))


def readable(caption: str) -> str:
    """Returns what a model learns to write: as `normalise`, but with apostrophes inside words.

    Args:
        caption: Text of any kind.
    """
    # A letter of private use stands for them meanwhile.
    marked = _APOSTROPHE.sub("\ue000", caption)
    return normalise(marked, keep="\ue000").replace("\ue000", "'")


def caption_metrics(
    hypotheses: Sequence[str], references: Sequence[Sequence[str]]
) -> dict[str, float]:
    """Scores captions by pycocoevalcap, the evaluation of COCO, after `normalise`.

    CIDEr weighs words by how many pictures of these references have them. So its value depends on
    the split, and that of a few pictures compares with nothing; of a single one it is 0.

    METEOR and SPICE are left out: they need Java, and SPICE downloads models.

    Args:
        hypotheses: `(pictures,)`, a caption of each, which may be empty.
        references: `(pictures,)`, the human captions of each, one or several.

    Returns:
        `bleu_1` to `bleu_4` (Papineni et al., 2002) and `rouge_l` (Lin, 2004) as fractions; `cider`
        (CIDEr-D of Vedantam et al., 2015) from 0 to 10, mostly below 2.

    Raises:
        ValueError: If there is no caption, not one item of references for each, an empty one, or no
            word in any of them.
    """
    if not len(hypotheses) == len(references) > 0:
        raise ValueError(f"{len(hypotheses)} hypotheses, {len(references)} items of references")
    if not all(references):
        raise ValueError("a picture has no reference")
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
    """Tells how much captions say and how often they say the same, after `normalise`.

    Args:
        hypotheses: `(pictures,)`, a caption of each.

    Returns:
        `distinct`, the number of different captions by that of all; `vocabulary`, the number of
        different words; and `length`, the mean number of words.

    Raises:
        ValueError: If there is no caption.
    """
    if not hypotheses:
        raise ValueError("no captions")
    texts = [normalise(text) for text in hypotheses]
    words = [word for text in texts for word in text.split()]
    return {
        "distinct": len(set(texts)) / len(texts),
        "vocabulary": len(set(words)),
        "length": len(words) / len(texts),
    }


def signature() -> str:
    """Returns what was done before words were counted, and by what they were, in one line."""
    version = importlib.metadata.version("pycocoevalcap")
    return f"case:lc|words:letters,digits,hyphens-between|version:pycocoevalcap-{version}"
