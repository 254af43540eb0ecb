import gzip
import re

import pytest

from common.errors import UserError
from data.pairs import sample
from data.pairs.sample import finished, noun_phrase, pairs, write_translation_sample
from data.pairs.sources import load_pairs

VOWELS = "aeiouyéèêœh"


SAMPLE = pairs(3_000, seed=5)


@pytest.mark.parametrize(
    ("noun", "determiner", "options", "english", "french"),
    [
        ("tree", "the", {"size": "new", "plural": True}, "The new trees.", "Les nouveaux arbres."),
        ("apple", "a", {"size": "big", "plural": True}, "Some big apples.", "De grandes pommes."),
        ("apple", "a", {"negated": True, "plural": True}, "Any apples.", "De pommes."),
        ("orange", "my", {}, "My orange.", "Mon orange."),
        ("man", "this", {"size": "beautiful"}, "This beautiful man.", "Ce bel homme."),
    ],
)
def test_noun_phrases_are_those_of_a_grammar_book(noun, determiner, options, english, french):
    rows = {row[0]: row for row in (*sample.BEINGS, *sample.THINGS, *sample.SIZES, *sample.COLOURS)}
    options = {name: rows.get(value, value) for name, value in options.items()}
    phrase = noun_phrase(rows[noun], determiner, **options)
    assert finished(phrase.english, phrase.french) == (english, french)


def test_words_elide_exactly_before_vowels():
    for _, french in SAMPLE:
        text = french.lower()
        assert not re.search(rf"\b(le|la|je|ne|de|ce|ma) [{VOWELS}]", text), french
        assert not re.search(rf"'[^{VOWELS}]|' ", text), french
        assert not re.search(r"\bde (le|les|des|de)\b", text), french
        assert not re.search(rf"\b(bel|nouvel|cet) [^{VOWELS}]", text), french


def test_the_files_load_as_multi30k_and_no_sentence_stands_in_two_splits(tmp_path):
    write_translation_sample(tmp_path, train=300, validation=40, test=30)
    loaded = load_pairs("multi30k", data_dir=tmp_path)
    sizes = {name: len(split.source) for name, split in loaded.splits.items()}
    assert sizes == {
        "train": 300,
        "validation": 40,
        "test_2016_flickr": 30,
        "test_2017_flickr": 30,
    }
    sentences = [sentence for split in loaded.splits.values() for sentence in split.source]
    assert len(set(sentences)) == 400
    rows = pairs(400, seed=0)
    assert loaded.splits["train"].source == [english for english, _ in rows[:300]]
    assert loaded.split("test").target == [french for _, french in rows[340:370]]


def test_generated_pairs_do_not_replace_others(tmp_path):
    other = tmp_path / "multi30k" / "train.en.gz"
    other.parent.mkdir()
    other.write_bytes(gzip.compress(b"A man.\n"))
    with pytest.raises(UserError, match="--data-dir"):
        write_translation_sample(tmp_path, train=30, validation=5, test=5)
    assert list(other.parent.iterdir()) == [other]
