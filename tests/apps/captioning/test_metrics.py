import math

import numpy as np
import pytest
from sacrebleu.metrics import BLEU

from apps.captioning.metrics import (
    caption_metrics,
    normalise,
)

pytestmark = pytest.mark.no_backend

DOGS = ["A brown dog runs through the snow .", "The dog is running in deep snow"]
BOYS = ["Two boys play football.", "Boys in red kick a ball over the grass"]


def invented(count, *, seed=0, least=5):
    """Sentences of few words, so that many of their runs of words agree."""
    generator = np.random.default_rng(seed)
    words = ["dogs", "like", "snow"]
    lengths = generator.integers(least, 12, size=count)
    return [" ".join(generator.choice(words, size=length)) for length in lengths]


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        (" A man , in a RED hat ; he's  tall .", "a man in a red hat he s tall"),
        ("The child’s “T-shirt”", "the child s t-shirt"),
        ("one - two--three -four- five_six", "one two three four five six"),
        ("हिन्दी में", "हिन्दी में"),
        ("?! ...", ""),
    ],
)
def test_only_lower_case_words_are_left(caption, expected):
    assert normalise(caption) == expected
    assert normalise(expected) == expected


def test_a_caption_that_is_a_reference_scores_all_there_is():
    metrics = caption_metrics(["the DOG is running, in deep snow", *BOYS[:1]], [DOGS, BOYS])
    for name in ("bleu_1", "bleu_2", "bleu_3", "bleu_4", "rouge_l"):
        assert metrics[name] == pytest.approx(1)
    assert list(metrics) == ["bleu_1", "bleu_2", "bleu_3", "bleu_4", "rouge_l", "cider"]


def test_bleu_is_that_of_sacrebleu_where_pictures_have_different_numbers_of_references():
    hypotheses = invented(12, least=4)
    texts = iter(invented(100, seed=1))
    references = [[next(texts) for _ in range(1 + picture % 4)] for picture in range(12)]
    streams = [
        [several[index] if index < len(several) else None for several in references]
        for index in range(4)
    ]
    metrics = caption_metrics(hypotheses, references)
    for order in range(1, 5):
        bleu = BLEU(tokenize="none", smooth_method="none", max_ngram_order=order, force=True)
        expected = bleu.corpus_score(hypotheses, streams).score / 100
        assert 0 < expected < 1
        assert metrics[f"bleu_{order}"] == pytest.approx(expected)


def test_rouge_weighs_the_longest_common_words_in_order_by_hand():
    # Common to "a b c d" are a, c and d of "a x c y d", in order: precision 3/4, recall 3/5. The
    # precision is the best of all references, and so is the recall: that of "d a", 1/2, is less.
    metrics = caption_metrics(["a b c d"], [["a x c y d", "d a"]])
    precision, recall, weight = 3 / 4, 3 / 5, 1.2**2
    expected = (1 + weight) * precision * recall / (recall + weight * precision)
    assert metrics["rouge_l"] == pytest.approx(expected)


def test_cider_is_the_mean_over_references_and_smaller_for_other_lengths_by_hand():
    metrics = caption_metrics(["a b c d e", "x"], [["a b c d", "w"], ["p q r s"]])
    cosines = [short / math.sqrt(short * (short + 1)) for short in (4, 3, 2, 1)]
    # One word less, and a Gaussian with a standard deviation of six words.
    first = 10 * sum(cosines) / 4 * math.exp(-(1**2) / (2 * 6**2))
    # The other reference has no word of it, and the other picture's caption none at all.
    assert metrics["cider"] == pytest.approx((first + 0) / 2 / 2)


@pytest.mark.parametrize(
    ("hypotheses", "references"),
    [
        (["a", "b"], [["a"]]),
        (["a"], [["..."]]),
    ],
)
def test_captions_and_references_that_do_not_fit_are_refused(hypotheses, references):
    with pytest.raises(ValueError, match="reference"):
        caption_metrics(hypotheses, references)
