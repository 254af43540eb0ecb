import gzip
import re
from collections import defaultdict

import pytest

from common.errors import UserError
from data.pairs import sample
from data.pairs.sample import finished, noun_phrase, pairs, write_translation_sample
from data.pairs.sources import load_pairs

VOWELS = "aeiouyéèêœh"
MASCULINE, FEMININE = "m", "f"
# What each determiner says of its noun; the elided and merged ones leave the gender open.
DETERMINERS = {
    "le": {(MASCULINE, 1)},
    "la": {(FEMININE, 1)},
    "l'": {(MASCULINE, 1), (FEMININE, 1)},
    "les": {(MASCULINE, 2), (FEMININE, 2)},
    "un": {(MASCULINE, 1)},
    "une": {(FEMININE, 1)},
    "des": {(MASCULINE, 2), (FEMININE, 2)},
    "du": {(MASCULINE, 1)},
    # Feminine nouns take it too, before a vowel.
    "mon": {(MASCULINE, 1), (FEMININE, 1)},
    "ma": {(FEMININE, 1)},
    "mes": {(MASCULINE, 2), (FEMININE, 2)},
    "ce": {(MASCULINE, 1)},
    "cet": {(MASCULINE, 1)},
    "cette": {(FEMININE, 1)},
    "ces": {(MASCULINE, 2), (FEMININE, 2)},
}


def forms_of_the_lexicon():
    """Gender and number that each noun form and each adjective form can have."""
    nouns, adjectives = defaultdict(set), defaultdict(set)
    for _, _, singular, plural, gender in sample.BEINGS + sample.THINGS:
        nouns[singular].add((gender, 1))
        nouns[plural].add((gender, 2))
    cells = [(MASCULINE, 1), (MASCULINE, 2), (FEMININE, 1), (FEMININE, 2)]
    for _, *forms in sample.SIZES + sample.MOODS + sample.COLOURS:
        for form, cell in zip(forms, cells, strict=True):
            adjectives[form].add(cell)
    for form in ("bel", "nouvel"):
        adjectives[form].add((MASCULINE, 1))
    return dict(nouns), dict(adjectives)


NOUNS, ADJECTIVES = forms_of_the_lexicon()
SAMPLE = pairs(3_000, seed=5)


def words_of(french):
    return re.findall(r"\w+'?", french.rstrip(".").lower())


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


def test_every_noun_phrase_agrees():
    checked = 0
    for english, french in SAMPLE:
        words = words_of(french)
        for position, noun in enumerate(words):
            if noun not in NOUNS:
                continue
            possible = set(NOUNS[noun])
            before = position - 1
            if words[before] in ADJECTIVES:
                possible &= ADJECTIVES[words[before]]
                before -= 1
            determiner = words[before]
            assert determiner in DETERMINERS or determiner in ("de", "d'"), french
            possible &= DETERMINERS.get(determiner, possible)
            after = words[position + 1] if position + 1 < len(words) else ""
            if after in ADJECTIVES:
                possible &= ADJECTIVES[after]
            assert possible, (english, french)
            checked += 1
    assert checked > 4_000


def test_words_elide_exactly_before_vowels():
    for _, french in SAMPLE:
        text = french.lower()
        assert not re.search(rf"\b(le|la|je|ne|de|ce|ma) [{VOWELS}]", text), french
        assert not re.search(rf"'[^{VOWELS}]|' ", text), french
        assert not re.search(r"\bde (le|les|des|de)\b", text), french
        assert not re.search(rf"\b(bel|nouvel|cet) [^{VOWELS}]", text), french


def test_a_negation_stands_around_the_verb_and_changes_the_article():
    negated = 0
    for english, french in SAMPLE:
        has_not = bool(re.search(r"\b(not|no)\b", english))
        words = words_of(french)
        assert has_not == ("pas" in words) == bool({"ne", "n'"} & set(words)), french
        if has_not:
            negated += 1
            assert 1 < words.index("pas") - min(
                words.index(word) for word in ("ne", "n'") if word in words
            )
            assert not re.search(r"\bpas (un|une|des)\b", french), french
    assert 0.2 < negated / len(SAMPLE) < 0.4


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
