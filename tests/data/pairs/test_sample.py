import gzip
import itertools
import re
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from common.errors import UserError
from data.pairs import grammar
from data.pairs.grammar import NounPhrase, description, elided, existence, statement
from data.pairs.sample import pairs, write_translation_sample
from data.pairs.sources import load_pairs
from tests.helpers import write_pairs_tsv

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
    for _, _, singular, plural, gender in grammar.BEINGS + grammar.THINGS:
        nouns[singular].add((gender, 1))
        nouns[plural].add((gender, 2))
    cells = [(MASCULINE, 1), (MASCULINE, 2), (FEMININE, 1), (FEMININE, 2), (MASCULINE, 1)]
    for _, *forms in grammar.SIZES + grammar.MOODS + grammar.COLOURS:
        for form, cell in zip(forms, cells, strict=False):
            adjectives[form].add(cell)
    return dict(nouns), dict(adjectives)


NOUNS, ADJECTIVES = forms_of_the_lexicon()
SAMPLE = pairs(3_000, seed=5)
MAN, HORSE, STUDENT, QUEEN = (grammar.BEINGS[row] for row in (0, 7, 10, 11))
APPLE, BOOK, TREE, ORANGE, PICTURE = (grammar.THINGS[row] for row in (0, 1, 3, 9, 12))
OLD, NEW = grammar.SIZES[2], grammar.SIZES[4]
WHITE = grammar.COLOURS[3]
TIRED = grammar.MOODS[1]
SEE, LOVE, LOOK_FOR = (grammar.TO_BEINGS[row] for row in (0, 2, 4))
ME, SHE, WE = (grammar.PRONOUNS[row] for row in (0, 2, 3))


def words_of(french):
    return re.findall(r"\w+'?", french.rstrip(".").lower())


@pytest.mark.parametrize(
    ("phrase", "english", "french"),
    [
        (NounPhrase("the", APPLE, False), "the apple", "la pomme"),
        (NounPhrase("the", TREE, False, OLD), "the old tree", "le vieil arbre"),
        (NounPhrase("the", TREE, True, OLD), "the old trees", "les vieux arbres"),
        (NounPhrase("a", ORANGE, False), "an orange", "une orange"),
        (NounPhrase("a", APPLE, True, None, WHITE), "some white apples", "des pommes blanches"),
        (NounPhrase("a", APPLE, True, OLD), "some old apples", "de vieilles pommes"),
        (NounPhrase("a", BOOK, False, OLD, WHITE), "an old white book", "un vieux livre blanc"),
        (NounPhrase("my", ORANGE, False), "my orange", "mon orange"),
        (NounPhrase("my", ORANGE, False, NEW), "my new orange", "ma nouvelle orange"),
        (NounPhrase("this", MAN, False), "this man", "cet homme"),
        (NounPhrase("this", MAN, False, NEW), "this new man", "ce nouvel homme"),
        (NounPhrase("this", HORSE, True), "these horses", "ces chevaux"),
        (NounPhrase("this", PICTURE, False, NEW), "this new picture", "cette nouvelle image"),
    ],
)
def test_noun_phrases_are_those_of_a_grammar_book(phrase, english, french):
    assert phrase.english() == english
    assert elided(phrase.french()) == french


def test_sentences_are_those_of_a_grammar_book():
    a_book, the_man = NounPhrase("a", BOOK, False), NounPhrase("the", MAN, False)
    queens = NounPhrase("the", QUEEN, True)
    her, them = ("her", "la"), ("them", "les")
    near = ("near the trees", "près de les arbres")
    beside = ("next to the book", "à côté de le livre")
    behind = ("near some old books", "près de de vieux livres")
    orange = NounPhrase("a", ORANGE, False)
    made = [
        statement(ME, LOVE, the_man, negated=False),
        statement(ME, LOVE, the_man, negated=True),
        statement(SHE, LOOK_FOR, a_book, negated=False, place=beside),
        statement(SHE, SEE, a_book, negated=True, place=near),
        statement(WE, SEE, orange, negated=True, place=behind),
        statement(the_man.as_subject(), LOVE, her, negated=False),
        statement(queens.as_subject(), SEE, her, negated=True),
        statement(ME, LOVE, them, negated=True),
        description(queens.as_subject(), TIRED, negated=True),
        description(SHE, TIRED, negated=False),
        existence(orange, negated=True, place=near),
        existence(NounPhrase("a", STUDENT, True, OLD), negated=False),
    ]
    assert made == [
        ("I love the man.", "J'aime l'homme."),
        ("I do not love the man.", "Je n'aime pas l'homme."),
        ("She looks for a book next to the book.", "Elle cherche un livre à côté du livre."),
        ("She does not see a book near the trees.", "Elle ne voit pas de livre près des arbres."),
        (
            "We do not see an orange near some old books.",
            "Nous ne voyons pas d'orange près de vieux livres.",
        ),
        ("The man loves her.", "L'homme l'aime."),
        ("The queens do not see her.", "Les reines ne la voient pas."),
        ("I do not love them.", "Je ne les aime pas."),
        ("The queens are not tired.", "Les reines ne sont pas fatiguées."),
        ("She is tired.", "Elle est fatiguée."),
        ("There is no orange near the trees.", "Il n'y a pas d'orange près des arbres."),
        ("There are some old students.", "Il y a de vieux élèves."),
    ]


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


def test_every_adjective_after_to_be_agrees_with_its_subject():
    checked = 0
    for _, french in SAMPLE:
        words = words_of(french)
        verb = next((word for word in words if word in ("est", "sont")), None)
        if verb is None:
            continue
        number = 1 if verb == "est" else 2
        pronouns = {"il": MASCULINE, "elle": FEMININE, "ils": MASCULINE}
        genders = {pronouns[words[0]]} if words[0] in pronouns else set()
        for word in words[: words.index(verb)]:
            genders |= {gender for gender, count in NOUNS.get(word, ()) if count == number}
        (gender,) = genders
        assert (gender, number) in ADJECTIVES[words[-1]], french
        checked += 1
    assert checked > 300


def test_words_elide_exactly_before_vowels():
    for _, french in SAMPLE:
        text = french.lower()
        assert not re.search(rf"\b(le|la|je|ne|de|ce|ma) [{VOWELS}]", text), french
        assert not re.search(rf"'[^{VOWELS}]|' ", text), french
        assert not re.search(r"\bde (le|les|des|de)\b", text), french
        assert not re.search(rf"\b(vieil|bel|nouvel|cet) [^{VOWELS}]", text), french


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


def test_colours_and_moods_follow_their_noun_and_sizes_precede_it():
    sizes = {form for row in grammar.SIZES for form in row[1:]}
    behind = {form for row in grammar.MOODS + grammar.COLOURS for form in row[1:]}
    for _, french in SAMPLE:
        words = words_of(french)
        for first, second in itertools.pairwise(words):
            assert not (first in behind and second in NOUNS), french
            assert not (first in NOUNS and second in sizes), french


def test_word_by_word_translation_fails():
    train, test = SAMPLE[:2_500], SAMPLE[2_500:]
    # The best French words for each English one by the expectation maximisation of IBM model 1.
    table = defaultdict(lambda: 1.0)
    corpus = [(words_of(english), words_of(french)) for english, french in train]
    for _ in range(4):
        counts, totals = Counter(), Counter()
        for english, french in corpus:
            for target in french:
                shares = [table[source, target] for source in english]
                for source, share in zip(english, shares, strict=True):
                    counts[source, target] += share / sum(shares)
                    totals[source] += share / sum(shares)
        table = defaultdict(float, {key: n / totals[key[0]] for key, n in counts.items()})
    best = {}
    for (source, target), share in table.items():
        if share > best.get(source, ("", 0.0))[1]:
            best[source] = (target, share)
    right = sum(
        [best[word][0] for word in words_of(english) if word in best] == words_of(french)
        for english, french in test
    )
    assert right / len(test) < 0.1


def test_the_sample_is_distinct_and_the_same_for_the_same_seed():
    assert len({english for english, _ in SAMPLE}) == len(SAMPLE)
    assert pairs(50, seed=5) == SAMPLE[:50]
    assert pairs(50, seed=6) != SAMPLE[:50]


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


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


def test_the_same_seed_writes_the_same_bytes_and_replaces_its_own(tmp_path):
    options = {"train": 30, "validation": 5, "test": 5}
    first = contents(write_translation_sample(tmp_path / "a", **options))
    assert len(first) == 9
    assert contents(write_translation_sample(tmp_path / "b", **options)) == first
    other = contents(write_translation_sample(tmp_path / "a", seed=1, **options))
    assert all(other[name] != first[name] for name in first if name.endswith(".gz"))
    assert contents(write_translation_sample(tmp_path / "a", **options)) == first


def test_generated_pairs_do_not_replace_others(tmp_path):
    other = tmp_path / "multi30k" / "train.en.gz"
    other.parent.mkdir()
    other.write_bytes(gzip.compress(b"A man.\n"))
    with pytest.raises(UserError, match="holds other data already: name another --data-dir"):
        write_translation_sample(tmp_path, train=30, validation=5, test=5)
    assert list(other.parent.iterdir()) == [other]


def test_a_table_of_ones_own_loads(tmp_path):
    path = write_pairs_tsv(tmp_path / "own.tsv", rows=200, seed=2)
    loaded = load_pairs(str(path), data_dir=tmp_path)
    assert sum(len(split.source) for split in loaded.splits.values()) == 200


def test_the_command_writes_6000_pairs_in_a_second(tmp_path):
    command = [sys.executable, "-m", "data.pairs.sample", "--data-dir", str(tmp_path)]
    root = Path(__file__).parents[3]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout == f"{tmp_path / 'multi30k'}\n"
    lines = {
        path.name: gzip.decompress(path.read_bytes()).count(b"\n")
        for path in (tmp_path / "multi30k").glob("*.gz")
    }
    expected = {"train": 6_000, "val": 300, "test_2016_flickr": 300, "test_2017_flickr": 300}
    assert lines == {
        f"{name}.{code}.gz": n for name, n in expected.items() for code in ("en", "fr")
    }
    (tmp_path / "multi30k" / "GENERATED.txt").unlink()
    again = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert (again.returncode, again.stderr.count("\n")) == (2, 1)
    assert "Traceback" not in again.stderr
