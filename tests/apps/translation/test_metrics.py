import math
import os

import pytest
from sacrebleu.metrics import BLEU, CHRF

from apps.translation.metrics import (
    length_metrics,
    signatures,
    tokenised_lower_case,
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


def test_the_same_text_scores_a_hundred_on_every_scale():
    assert score(FRENCH, one_each(FRENCH)) == pytest.approx(
        {"bleu": 100, "chrf": 100, "bleu_tok_lc": 100}
    )


def test_bleu_is_the_mean_of_the_precisions_counted_by_hand():
    # 5 of 6 words, 4 of 5 pairs, 3 of 4 triples, 2 of 3 fours: the product is a third.
    metrics = score(["a b c d e f"], [["a b c d e x"]])
    assert metrics["bleu"] == pytest.approx(100 * (1 / 3) ** (1 / 4))
    assert metrics["bleu_tok_lc"] == pytest.approx(metrics["bleu"])


def test_a_translation_that_is_too_short_pays_for_it():
    metrics = score(["a b c d e f g"], [["a b c d e f g h"]])
    assert metrics["bleu"] == pytest.approx(100 * math.exp(1 - 8 / 7))


def test_chrf_is_the_mean_over_the_lengths_that_there_are():
    # One of two characters, none of one pair.
    assert score(["ab"], [["ac"]])["chrf"] == pytest.approx(100 * (1 / 2 + 0) / 2)


def test_case_and_the_shape_of_apostrophes_matter_to_bleu_alone():
    shouted = [text.upper().replace("'", "’") for text in FRENCH]
    metrics = score(shouted, one_each(FRENCH))
    assert metrics["bleu"] < 50
    assert metrics["bleu_tok_lc"] == pytest.approx(100)


def test_any_of_the_references_will_do_where_sentences_have_different_numbers_of_them():
    references = [["Rien.", FRENCH[0]], [FRENCH[1]], ("Non.", "Peut-être.", FRENCH[2])]
    assert score(FRENCH, references) == pytest.approx(score(FRENCH, one_each(FRENCH)))


def test_a_reference_that_is_missing_counts_no_more_than_one_that_is_repeated():
    hypotheses = ["Un homme voit l'eau de la rivière.", "Deux enfants jouent.", "Tom n'a rien vu."]
    second = "Un monsieur contemple l'eau de la rivière."
    uneven = [[FRENCH[0], second], [FRENCH[1]], [FRENCH[2]]]
    even = [[FRENCH[0], second], [FRENCH[1]] * 2, [FRENCH[2]] * 2]
    assert score(hypotheses, uneven) == pytest.approx(score(hypotheses, even))


def test_an_empty_translation_earns_nothing():
    assert score([""], [["Bonjour."]]) == {"bleu": 0, "chrf": 0, "bleu_tok_lc": 0}


@pytest.mark.parametrize(
    ("hypotheses", "references"),
    [(["a", "b"], [["a"]]), (["a"], [["a"], ["b"]]), (["a", "b"], [["a"], []]), ([], [])],
)
def test_sentences_and_references_that_do_not_fit_are_refused(hypotheses, references):
    with pytest.raises(ValueError, match="reference"):
        score(hypotheses, references)


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


def test_four_times_the_sentences_halve_the_interval():
    few = score(*some_wrong(50), bootstrap=400)["bleu_tok_lc_ci"]
    many = score(*some_wrong(200), bootstrap=400)["bleu_tok_lc_ci"]
    assert many / few == pytest.approx(1 / 2, rel=0.25)


def test_scores_that_are_the_same_on_every_resample_have_no_interval():
    metrics = score(["Rien du tout."] * 4, [["Bonjour les amis !"]] * 4, bootstrap=10)
    assert metrics["bleu_ci"] == metrics["bleu_tok_lc_ci"] == 0


@pytest.mark.parametrize("references", [one_each(FRENCH), [["a", "b"], ["c"], ["d"]]])
def test_signatures_are_those_that_sacrebleu_prints_after_scoring(references, monkeypatch):
    monkeypatch.delenv("SACREBLEU_SEED", raising=False)
    streams = [[several[0] for several in references], [*references[0][1:2], None, None]]
    bleu, chrf = BLEU(), CHRF()
    bleu.corpus_score(FRENCH, streams[: len(references[0])], n_bootstrap=5)
    chrf.corpus_score(FRENCH, streams[: len(references[0])])
    found = signatures(references, target_language="fr", bootstrap=5)
    assert found["bleu"] == str(bleu.get_signature())
    assert found["chrf"] == str(chrf.get_signature())


def test_the_signature_of_the_tokenised_score_tells_what_was_done_to_the_text():
    found = signatures(one_each(FRENCH), target_language="fr-CA")["bleu_tok_lc"]
    fields = dict(field.split(":") for field in found.split("|"))
    assert (fields["case"], fields["tok"], fields["nrefs"]) == ("lc", "none", "1")
    assert fields["prepared"].startswith(
        "lower-case,MosesPunctNormalizer(fr),MosesTokenizer(fr,escape),sacremoses-"
    )
    assert "seed" not in fields


def test_each_language_parts_its_own_words():
    texts = ["L’homme « voit »  Bob's chien…"]
    assert tokenised_lower_case(texts, "fr") == [
        "l&apos; homme &quot; voit &quot; bob&apos; s chien ..."
    ]
    assert tokenised_lower_case(["Bob's dog."], "en") == ["bob &apos;s dog ."]


def test_a_region_changes_nothing_and_an_unknown_language_is_read_as_english():
    texts = ["L'homme et Bob's chien."]
    assert tokenised_lower_case(texts, "fr_CA") == tokenised_lower_case(texts, "fr")
    assert tokenised_lower_case(texts, "xx") == tokenised_lower_case(texts, "en")
    assert tokenised_lower_case(texts, "fr") != tokenised_lower_case(texts, "en")


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


def test_a_single_group_has_the_score_of_the_whole():
    hypotheses = ["Un homme voit l'eau.", "Deux enfants jouent dans un parc.", "Tom a vu le chien."]
    references = [[FRENCH[0], "Un homme voit l'eau."], [FRENCH[1]], [FRENCH[2]]]
    metrics = length_metrics(["a b"] * 3, hypotheses, references, target_language="fr")
    assert list(metrics) == ["bleu_tok_lc_words_1_8"]
    expected = score(hypotheses, references)["bleu_tok_lc"]
    assert metrics["bleu_tok_lc_words_1_8"] == pytest.approx(expected)


def test_sources_that_do_not_fit_are_refused():
    with pytest.raises(ValueError):
        length_metrics(["a"], FRENCH, one_each(FRENCH), target_language="fr")
