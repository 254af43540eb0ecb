"""What a user would try without a network, scored on the same split."""

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import sklearn
from nltk.translate import AlignedSent, IBMModel1
from sacremoses import MosesDetokenizer, MosesTokenizer
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics import pairwise_distances_argmin

from apps.translation.metrics import moses_language, translation_metrics
from data.pairs.splits import PairSplit

MOST_PAIRS = 200_000  # About two minutes and 1 GB of memory.
_ITERATIONS = 5
_CHUNK_MB = 64


def copy_source(
    train_sources: Sequence[str],
    train_targets: Sequence[str],
    sources: Sequence[str],
    *,
    languages: tuple[str, str] = ("en", "fr"),
) -> list[str]:
    """Leaves every sentence as it is: what is right without translating, such as names."""
    return list(sources)


def word_by_word(
    train_sources: Sequence[str],
    train_targets: Sequence[str],
    sources: Sequence[str],
    *,
    languages: tuple[str, str] = ("en", "fr"),
) -> list[str]:
    """Puts for each word the one that IBM model 1 finds most probable (Brown et al., 1993).

    Words that training does not have are copied. Case makes no difference to what is learned; the
    translation of a word has the capitals that it mostly has inside a sentence.

    Args:
        train_sources: `(pairs,)`. Of more than `MOST_PAIRS` pairs every second, third, ... is
            learned from, so that no more are left.
        train_targets: `(pairs,)`, their translations.
        sources: `(batch,)`, the sentences to translate.
        languages: Codes of the source and the target language, which cut and join the words.

    Returns:
        `(batch,)` translations, word after word in the order of the source.
    """
    source_language, target_language = map(moses_language, languages)
    source_words, target_words = MosesTokenizer(source_language), MosesTokenizer(target_language)
    step = -(-len(train_sources) // MOST_PAIRS)
    pairs, inside = [], Counter()
    for source, target in zip(train_sources[::step], train_targets[::step], strict=True):
        words = target_words.tokenize(target, escape=False)
        inside.update(words[1:])
        source = source_words.tokenize(source.lower(), escape=False)
        pairs.append(AlignedSent([word.lower() for word in words], source))
    meanings = _most_probable(IBMModel1(pairs, _ITERATIONS))
    # From the rarest form to the commonest, which therefore stays.
    spelling = {word.lower(): word for word, _ in reversed(inside.most_common())}
    detokenizer = MosesDetokenizer(target_language)
    translations = []
    for sentence in sources:
        words = [
            spelling.get(meanings[word.lower()], meanings[word.lower()])
            if word.lower() in meanings
            else word
            for word in source_words.tokenize(sentence, escape=False)
        ]
        text = detokenizer.detokenize(words, unescape=False)
        translations.append(text[:1].upper() + text[1:] if sentence[:1].isupper() else text)
    return translations


def _most_probable(model: IBMModel1) -> dict[str, str]:
    """For each source word the likeliest target word; of equals the first by alphabet."""
    best = {}
    for target, sources in model.translation_table.items():
        for source, probability in sources.items():
            # The model explains target words that belong to no word by None.
            if source is not None:
                # The order of the table differs from run to run, as that of any set of words.
                candidate = (-probability, target)
                best[source] = min(best.get(source, candidate), candidate)
    return {source: target for source, (_, target) in best.items()}


def nearest_sentence(
    train_sources: Sequence[str],
    train_targets: Sequence[str],
    sources: Sequence[str],
    *,
    languages: tuple[str, str] = ("en", "fr"),
) -> list[str]:
    """Gives the translation of the training sentence that shares most rare words and pairs of them.

    That is the one with the smallest cosine distance of TF-IDF weights; pairs of words, also with
    punctuation marks, find sentences of the same build, which earns three points of BLEU.

    Args:
        train_sources: `(pairs,)`.
        train_targets: `(pairs,)`, their translations.
        sources: `(batch,)`, the sentences to translate.
        languages: Makes no difference here.

    Returns:
        `(batch,)` items of `train_targets`; the first one where no word is known.
    """
    vectorizer = TfidfVectorizer(token_pattern=r"\w+|[^\w\s]", ngram_range=(1, 2), dtype=np.float32)
    known = vectorizer.fit_transform(train_sources)
    # Distances to all of training are large: only some sentences' stand in memory at a time.
    with sklearn.config_context(working_memory=_CHUNK_MB):
        nearest = pairwise_distances_argmin(vectorizer.transform(sources), known, metric="cosine")
    return [train_targets[index] for index in nearest]


BASELINES: dict[str, Callable[..., list[str]]] = {
    "copy_source": copy_source,
    "word_by_word": word_by_word,
    "nearest_sentence": nearest_sentence,
}


def score_baselines(
    train: PairSplit, split: PairSplit, *, target_language: str, source_language: str = "en"
) -> dict[str, dict[str, float]]:
    """Fits every baseline on the training split and returns its metrics on another split.

    Args:
        train: What the baselines learn from.
        split: What they are scored on.
        target_language: Code of the language to translate into.
        source_language: Code of the language to translate from.
    """
    scores = {}
    for name, function in BASELINES.items():
        languages = (source_language, target_language)
        translations = function(train.source, train.target, split.source, languages=languages)
        scores[name] = translation_metrics(
            translations, split.references, target_language=target_language
        )
    return scores
