import pytest

from apps.sentiment.spans import sentence_spans

pytestmark = pytest.mark.no_backend

TEXT = "The plot is thin. I loved it!<br /><br />Would I see it again? Yes. Of course I would."


def test_a_span_is_one_to_three_sentences_in_a_row():
    sentences = [
        "The plot is thin.",
        "I loved it!",
        "Would I see it again?",
        "Of course I would.",
    ]
    allowed = {
        " ".join(sentences[start:stop])
        for start in range(4)
        for stop in range(start + 1, min(4, start + 3) + 1)
    }
    assert set(sentence_spans([TEXT], count=200, seed=1)) == allowed


def test_spans_stand_in_the_order_of_their_texts_and_depend_on_the_seed_alone():
    spans = list(sentence_spans([TEXT, "Short"], count=3, seed=1))
    assert spans[3:] == ["Short"] * 3
    assert spans == list(sentence_spans([TEXT, "Short"], count=3, seed=1))
    assert len({tuple(sentence_spans([TEXT], count=9, seed=seed)) for seed in range(5)}) > 1
