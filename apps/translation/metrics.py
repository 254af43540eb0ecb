"""The scores of translations against references: BLEU on two scales, and chrF."""

import contextlib
import importlib.metadata
import json
import os
import re
from collections.abc import Iterator, Sequence
from itertools import pairwise, zip_longest

from sacrebleu.metrics import BLEU, CHRF
from sacrebleu.metrics.base import Metric, Score
from sacremoses import MosesPunctNormalizer, MosesTokenizer
from sacremoses.corpus import NonbreakingPrefixes

References = Sequence[Sequence[str]]

_SEED = "12345"  # sacreBLEU's own choice, so that its command line gives the same intervals.
# Words that the second and later groups start with; of 1,000 captions of Multi30k each group has
# 137 or more.
_EDGES = (9, 12, 15)


def translation_metrics(
    hypotheses: Sequence[str],
    references: References,
    *,
    target_language: str,
    bootstrap: int = 0,
) -> dict[str, float]:
    """Scores translations by sacreBLEU (Post, 2018), from 0 to 100.

    Args:
        hypotheses: `(batch,)` translations.
        references: `(batch,)`, the right translations of each, one or several.
        target_language: Code of their language. It matters to `bleu_tok_lc` alone.
        bootstrap: Resamples of the sentences for confidence intervals (Koehn, 2004), 0 for none.
            A thousand resamples of 5,000 sentences take about 250 MB for a moment.

    Returns:
        `bleu` (Papineni et al., 2002) and `chrf` (Popović, 2015) of the text as it is, by
        sacreBLEU's default settings; `bleu_tok_lc` of what `tokenised_lower_case` makes of it; and
        with `bootstrap` `bleu_ci` and `bleu_tok_lc_ci`, half the width of the 95 % interval.

    Raises:
        ValueError: If there is no sentence, or not one item of references for each, or an empty
            one.
    """
    streams = _streams(hypotheses, references)
    tokenised = _tokenised_streams(streams, target_language)
    tokens = tokenised_lower_case(hypotheses, target_language)
    bleu, chrf, bleu_tok_lc = _scorers().values()
    with _sacrebleu_seed():
        scores = {
            "bleu": bleu.corpus_score(hypotheses, streams, n_bootstrap=bootstrap),
            "chrf": chrf.corpus_score(hypotheses, streams),
            "bleu_tok_lc": bleu_tok_lc.corpus_score(tokens, tokenised, n_bootstrap=bootstrap),
        }
    metrics = {name: score.score for name, score in scores.items()}
    if bootstrap:
        metrics["bleu_ci"] = _half_width(scores["bleu"], bleu)
        metrics["bleu_tok_lc_ci"] = _half_width(scores["bleu_tok_lc"], bleu_tok_lc)
    return metrics


def length_metrics(
    sources: Sequence[str],
    hypotheses: Sequence[str],
    references: References,
    *,
    target_language: str,
) -> dict[str, float]:
    """Scores short and long sentences apart.

    Args:
        sources: `(batch,)` sentences that were translated.
        hypotheses: As in `translation_metrics`.
        references: As in `translation_metrics`.
        target_language: As in `translation_metrics`.

    Returns:
        `bleu_tok_lc_words_1_8`, `..._9_11`, `..._12_14` and `..._15` (15 words of the source or
        more, as white space parts them), as far as there are sentences.

    Raises:
        ValueError: As in `translation_metrics`, and if the number of sources differs.
    """
    streams = _streams(hypotheses, references)
    tokenised = _tokenised_streams(streams, target_language)
    tokens = tokenised_lower_case(hypotheses, target_language)
    groups = {}
    for sentence in zip(sources, tokens, *tokenised, strict=True):
        words = len(sentence[0].split())
        groups.setdefault(sum(words >= edge for edge in _EDGES), []).append(sentence[1:])
    first_words = (1, *_EDGES)
    names = [f"{first}_{last - 1}" for first, last in pairwise(first_words)]
    names.append(str(first_words[-1]))
    metrics = {}
    for group in sorted(groups):
        own_tokens, *own_references = zip(*groups[group], strict=True)
        score = _scorers()["bleu_tok_lc"].corpus_score(own_tokens, own_references)
        metrics[f"bleu_tok_lc_words_{names[group]}"] = score.score
    return metrics


def signatures(
    references: References, *, target_language: str, bootstrap: int = 0
) -> dict[str, str]:
    """Returns how each score of `translation_metrics` is made, as sacreBLEU prints it.

    sacreBLEU takes tokens for `bleu_tok_lc`, so its own text says `tok:none`; the field `prepared`
    adds what was done before.

    Args:
        references: As in `translation_metrics`.
        target_language: As in `translation_metrics`.
        bootstrap: As in `translation_metrics`.
    """
    # Only the numbers of references count, and texts are slow to read.
    counts = [["x"] * count for count in sorted({len(several) for several in references})]
    streams = _streams(["x"] * len(counts), counts)
    signed = {}
    for name, scorer in _scorers(streams).items():
        if bootstrap and name != "chrf":
            scorer.n_bootstrap, scorer.seed = bootstrap, _SEED
        signed[name] = scorer.get_signature()
    language = moses_language(target_language)
    signed["bleu_tok_lc"].update(
        "prepared",
        f"lower-case,MosesPunctNormalizer({language}),MosesTokenizer({language},escape),"
        f"sacremoses-{importlib.metadata.version('sacremoses')}",
    )
    return {name: str(signature) for name, signature in signed.items()}


def tokenised_lower_case(texts: Sequence[str], language: str) -> list[str]:
    """Lower-cases, normalises and tokenises texts, as WMT17 did before it counted.

    Args:
        texts: Raw sentences.
        language: Their code; the rules of English stand in where sacremoses has none.

    Returns:
        Tokens between single spaces, with `'` and other marks of XML escaped as `&apos;`.
    """
    language = moses_language(language)
    normalizer, tokenizer = MosesPunctNormalizer(language), MosesTokenizer(language)
    return [
        tokenizer.tokenize(normalizer.normalize(text.lower()), escape=True, return_str=True)
        for text in texts
    ]


def moses_language(code: str) -> str:
    """The language without its region, as sacremoses knows it, or else English."""
    language = re.split("[-_]", code)[0]
    return language if language in NonbreakingPrefixes().available_langs.values() else "en"


def _scorers(streams: Sequence[Sequence[str | None]] | None = None) -> dict[str, Metric]:
    """A new scorer for each metric, which knows the references already if they are given."""
    return {
        "bleu": BLEU(references=streams),
        "chrf": CHRF(references=streams),
        # The text has no capitals any more: lowercase only makes the signature say so. And force
        # keeps sacreBLEU from warning that the text is tokenised.
        "bleu_tok_lc": BLEU(tokenize="none", lowercase=True, force=True, references=streams),
    }


def _streams(hypotheses: Sequence[str], references: References) -> list[tuple[str | None, ...]]:
    """The first references of all sentences, then the second ones, ...: None where there is none.

    sacreBLEU wants them so, and would silently leave out sentences that have no counterpart.
    """
    if not len(hypotheses) == len(references) > 0:
        raise ValueError(f"{len(hypotheses)} hypotheses, {len(references)} items of references")
    if not all(references):
        raise ValueError("a sentence has no reference")
    return list(zip_longest(*references))


def _tokenised_streams(
    streams: list[tuple[str | None, ...]], language: str
) -> list[tuple[str | None, ...]]:
    texts = list({text for stream in streams for text in stream if text is not None})
    tokens = dict(zip(texts, tokenised_lower_case(texts, language), strict=True))
    return [tuple(map(tokens.get, stream)) for stream in streams]


def _half_width(score: Score, scorer: Metric) -> float:
    """Half of the interval, which sacreBLEU only prints."""
    printed = score.format(width=6, signature=str(scorer.get_signature()), is_json=True)
    # With a score of 0 on all resamples it prints none.
    return json.loads(printed).get("confidence_var", 0.0)


@contextlib.contextmanager
def _sacrebleu_seed() -> Iterator[None]:
    """Sets the variable that sacreBLEU reads its seed from, for as long as it is needed."""
    before = os.environ.get("SACREBLEU_SEED")
    os.environ["SACREBLEU_SEED"] = _SEED
    try:
        yield
    finally:
        if before is None:
            del os.environ["SACREBLEU_SEED"]
        else:
            os.environ["SACREBLEU_SEED"] = before
