import math
import os

import pytest
from sacrebleu.metrics import BLEU

from apps.translation.metrics import (
    length_metrics,
    signatures,
    translation_metrics,
)

pytestmark = pytest.mark.no_backend

FRENCH = [
    "Un homme regarde l'eau de la rivière.",
    "Deux enfants jouent au ballon dans un parc.",
    "Tom n'a pas vu le chien de Mary, hier soir.",
]


def one_each(texts):
    return [(text,) for text in texts]


def score(hypotheses, references, **settings):
    return translation_metrics(hypotheses, references, target_language="fr", **settings)


def test_case_and_the_shape_of_apostrophes_matter_to_bleu_alone():
    shouted = [text.upper().replace("'", "’") for text in FRENCH]
    metrics = score(shouted, one_each(FRENCH))
    assert metrics["bleu"] < 50
    assert metrics["bleu_tok_lc"] == pytest.approx(100)


def test_a_reference_that_is_missing_counts_no_more_than_one_that_is_repeated():
    hypotheses = ["Un homme voit l'eau de la rivière.", "Deux enfants jouent.", "Tom n'a rien vu."]
    second = "Un monsieur contemple l'eau de la rivière."
    uneven = [[FRENCH[0], second], [FRENCH[1]], [FRENCH[2]]]
    even = [[FRENCH[0], second], [FRENCH[1]] * 2, [FRENCH[2]] * 2]
    assert score(hypotheses, uneven) == pytest.approx(score(hypotheses, even))


def some_wrong(count):
    """Translations of which every second differs in a word."""
    texts = [f"Le chat numéro {index} dort sur la chaise." for index in range(count)]
    wrong = [
        text.replace("dort", "mange") if index % 2 else text for index, text in enumerate(texts)
    ]
    return wrong, one_each(texts)


def test_the_interval_is_that_of_sacrebleu_and_leaves_its_seed_as_it_was(monkeypatch):
    hypotheses, references = some_wrong(20)
    monkeypatch.delenv("SACREBLEU_SEED", raising=False)
    metrics = score(hypotheses, references, bootstrap=50)
    assert "SACREBLEU_SEED" not in os.environ
    streams = [[reference for (reference,) in references]]
    printed = BLEU().corpus_score(hypotheses, streams, n_bootstrap=50).format(width=6)
    assert f"± {metrics['bleu_ci']:.6f}" in printed

    monkeypatch.setenv("SACREBLEU_SEED", "7")
    assert score(hypotheses, references, bootstrap=50) == metrics
    assert os.environ["SACREBLEU_SEED"] == "7"


def test_the_signature_of_the_tokenised_score_tells_what_was_done_to_the_text():
    found = signatures(one_each(FRENCH), target_language="fr-CA")["bleu_tok_lc"]
    fields = dict(field.split(":") for field in found.split("|"))
    assert (fields["case"], fields["tok"], fields["nrefs"]) == ("lc", "none", "1")
    assert fields["prepared"].startswith(
        "lower-case,MosesPunctNormalizer(fr),MosesTokenizer(fr,escape),sacremoses-"
    )
    assert "seed" not in fields


def words(count):
    return " ".join(f"w{index}" for index in range(count))


def test_each_sentence_counts_in_the_group_of_its_source_length():
    lengths = (1, 8, 9, 11, 15, 40)
    sources = [words(length) for length in lengths]
    right = ["un deux trois quatre"] * len(lengths)
    hypotheses = ["rien", "rien", *right[:3], "rien"]
    metrics = length_metrics(sources, hypotheses, one_each(right), target_language="fr")
    # Of the last two sentences one is wrong and short: precisions 4/5, 3/3, 2/2, 1/1 of 5 words
    # where 8 are wanted.
    assert metrics == pytest.approx(
        {
            "bleu_tok_lc_words_1_8": 0,
            "bleu_tok_lc_words_9_11": 100,
            "bleu_tok_lc_words_15": 100 * math.exp(1 - 8 / 5) * (4 / 5) ** (1 / 4),
        }
    )
