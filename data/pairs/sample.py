"""Writes generated English-French sentences in the format of Multi30k, to try everything offline.

`python -m data.pairs.sample --data-dir DIR` takes about a second. No dictionary gets such
sentences right: French articles and adjectives follow the gender and number of their noun, most
adjectives stand behind it, vowels elide ("l'arbre", "n'aime"), a negation stands around the verb
and a pronoun before it, and "de" merges with an article ("du livre") or replaces it ("pas de
livre", "de beaux livres"). A small recurrent network with attention learns that in minutes.
"""

import gzip
import random
import re
from pathlib import Path
from typing import NamedTuple

from common.errors import UserError
from common.files import atomic_path, write_text
from data.download import data_directory
from data.pairs.files import GENERATED_NOTE
from data.sample_command import sample_command


def _table(text: str) -> list[list[str]]:
    """Returns the words of entries between bars or line ends; an underscore is a space."""
    entries = [entry.split() for entry in text.strip().replace("|", "\n").splitlines()]
    return [[word.replace("_", " ") for word in entry] for entry in entries]


# English singular and plural, French singular and plural, gender.
BEINGS = _table("""
man men homme hommes m | woman women femme femmes f | boy boys garçon garçons m
girl girls fille filles f | child children enfant enfants m | dog dogs chien chiens m
cat cats chat chats m | horse horses cheval chevaux m | bird birds oiseau oiseaux m
cow cows vache vaches f | student students élève élèves m | queen queens reine reines f
""")
THINGS = _table("""
apple apples pomme pommes f | book books livre livres m | house houses maison maisons f
tree trees arbre arbres m | car cars voiture voitures f | hat hats chapeau chapeaux m
shirt shirts chemise chemises f | boat boats bateau bateaux m | egg eggs œuf œufs m
orange oranges orange oranges f | umbrella umbrellas parapluie parapluies m
chair chairs chaise chaises f | picture pictures image images f | ladder ladders échelle échelles f
""")
# English; French masculine singular and plural, feminine singular and plural. Sizes stand before
# the noun, moods of beings and colours of things behind it.
SIZES = _table("""
small petit petits petite petites | pretty joli jolis jolie jolies | big grand grands grande grandes
beautiful beau beaux belle belles | new nouveau nouveaux nouvelle nouvelles
""")
MOODS = _table("""
happy heureux heureux heureuse heureuses | tired fatigué fatigués fatiguée fatiguées
calm calme calmes calme calmes | strange étrange étranges étrange étranges
""")
COLOURS = _table("""
red rouge rouges rouge rouges | green vert verts verte vertes | blue bleu bleus bleue bleues
white blanc blancs blanche blanches | black noir noirs noire noires
heavy lourd lourds lourde lourdes
""")
# English for I and for he; French for je, il, nous and ils.
TO_BEINGS = _table("""
see sees vois voit voyons voient | look_for looks_for cherche cherche cherchons cherchent
hear hears entends entend entendons entendent | love loves aime aime aimons aiment
wait_for waits_for attends attend attendons attendent
""")
TO_THINGS = _table("""
see sees vois voit voyons voient | look_for looks_for cherche cherche cherchons cherchent
carry carries porte porte portons portent | buy buys achète achète achetons achètent
draw draws dessine dessine dessinons dessinent
""")
PLACES = _table("near près_de | next_to à_côté_de | behind derrière | in_front_of devant")
OBJECTS = _table("him le | her la | them les")
# French masculine, feminine and plural.
DETERMINERS = {
    "the": ("le", "la", "les"),
    "a": ("un", "une", "des"),
    "my": ("mon", "ma", "mes"),
    "this": ("ce", "cette", "ces"),
}
VOWELS = "aehiouyéœ"  # Every "h" of these words is mute.
_BEFORE_VOWELS = {"beau": "bel", "nouveau": "nouvel", "ma": "mon", "ce": "cet"}


class Phrase(NamedTuple):
    """A subject or an object; `person` counts je, il or elle, nous, ils or elles from 0."""

    english: str
    french: str
    person: int
    feminine: bool = False

    @property
    def plural(self) -> bool:
        """Whether there are several."""
        return self.person > 1

    def form(self, adjective: list[str]) -> str:
        """Returns the French form of an adjective that agrees with this."""
        return adjective[1 + 2 * self.feminine + self.plural]


PRONOUNS = [Phrase("I", "je", 0), Phrase("he", "il", 1), Phrase("she", "elle", 1, True)]
PRONOUNS += [Phrase("we", "nous", 2), Phrase("they", "ils", 3)]


def noun_phrase(
    noun: list[str],
    determiner: str,
    *,
    plural: bool = False,
    size: list[str] | None = None,
    quality: list[str] | None = None,
    negated: bool = False,
) -> Phrase:
    """Returns a noun with its determiner and adjectives; `negated` as the object of "not"."""
    feminine = noun[4] == "f"
    bare = Phrase(noun[plural], noun[2 + plural], 3 if plural else 1, feminine)
    english, french = [determiner], [DETERMINERS[determiner][2 if plural else feminine]]
    if plural:
        several = {"a": "any" if negated else "some", "this": "these"}
        english = [several.get(determiner, determiner)]
    if determiner == "a" and (negated or (plural and size)):
        french = ["de"]
    english += [adjective[0] for adjective in (size, quality) if adjective] + [bare.english]
    french += [bare.form(size) if size else "", bare.french, bare.form(quality) if quality else ""]
    return bare._replace(english=" ".join(english), french=" ".join(filter(None, french)))


def finished(english: str, french: str) -> tuple[str, str]:
    """Adapts words to the vowel behind them, merges "de" with articles, and adds the full stop."""
    english = re.sub(r"\ba (?=[aeiou])", "an ", english)
    french = re.sub(r"\bde des?\b", "de", french)
    changed = "|".join(_BEFORE_VOWELS)
    french = re.sub(
        rf"\b({changed}) (?=[{VOWELS}])", lambda match: f"{_BEFORE_VOWELS[match[1]]} ", french
    )
    french = re.sub(rf"\b(je|le|la|ne|de) (?=[{VOWELS}])", lambda match: f"{match[1][0]}'", french)
    french = re.sub(r"\bde les\b", "des", re.sub(r"\bde le\b", "du", french))
    return tuple(text[0].upper() + text[1:] + "." for text in (english, french))


def random_pair(generator: random.Random) -> tuple[str, str]:
    """Returns a random English sentence and its translation."""
    pick, chance = generator.choice, generator.random
    negated = chance() < 0.3

    def phrase(nouns: list, qualities: list, determiner: str = "", **options) -> Phrase:
        return noun_phrase(
            pick(nouns),
            determiner or pick("the the a a my this".split()),
            plural=chance() < 0.4,
            size=pick(SIZES) if chance() < 0.3 else None,
            quality=pick(qualities) if qualities and chance() < 0.4 else None,
            **options,
        )

    def around(verb: str) -> str:
        return f"ne {verb} pas" if negated else verb

    nouns, qualities, verbs = pick([(BEINGS, MOODS, TO_BEINGS), (THINGS, COLOURS, TO_THINGS)])
    subject = pick(PRONOUNS) if chance() < 0.4 else phrase(BEINGS, MOODS)
    kind = generator.choices(("act", "refer", "describe", "exist"), (9, 4, 4, 3))[0]
    if kind == "describe":
        # French tells the gender of "I" and "we", English does not.
        if nouns is THINGS or subject.person in (0, 2):
            subject = phrase(nouns, [])
        adjective, be = pick(qualities), ("is", "are")[subject.plural]
        english = f"{subject.english} {be}{' not' * negated} {adjective[0]}"
        french = around(("est", "sont")[subject.plural])
        return finished(english, f"{subject.french} {french} {subject.form(adjective)}")
    if kind == "exist":
        thing = phrase(nouns, qualities, "a", negated=negated)
        noun = f"no {thing.english.partition(' ')[2]}" if negated else thing.english
        english = f"there {('is', 'are')[thing.plural]} {noun}"
        french = f"il {around('y a')} {thing.french}"
    else:
        verb = pick(TO_BEINGS if kind == "refer" else verbs)
        singular = subject.person == 1
        english = f"{'does' if singular else 'do'} not {verb[0]}" if negated else verb[singular]
        french = verb[2 + subject.person]
        if kind == "refer":
            pronoun = pick(OBJECTS)
            english, french = f"{english} {pronoun[0]}", around(f"{pronoun[1]} {french}")
        else:
            thing = phrase(nouns, qualities, negated=negated)
            english, french = f"{english} {thing.english}", f"{around(french)} {thing.french}"
        english, french = f"{subject.english} {english}", f"{subject.french} {french}"
    if chance() < 0.4:
        place, thing = pick(PLACES), phrase(THINGS, [])
        english += f" {place[0]} {thing.english}"
        french += f" {place[1]} {thing.french}"
    return finished(english, french)


def pairs(count: int, *, seed: int) -> list[tuple[str, str]]:
    """Returns pairs with distinct English sentences."""
    generator = random.Random(seed)
    translations = {}
    while len(translations) < count:
        english, french = random_pair(generator)
        translations[english] = french
    return list(translations.items())


def write_translation_sample(
    data_dir: Path, *, train: int = 6_000, validation: int = 300, test: int = 300, seed: int = 0
) -> Path:
    """Writes the files of a generated Multi30k, which `load_pairs("multi30k", ...)` opens.

    No English sentence stands in two splits; the same seed writes the same bytes. The numbers are
    of pairs, `test` for each of the two tests.

    Raises:
        UserError: If the folder has other pairs, which generated ones must not replace.
    """
    folder = data_dir / "multi30k"
    if not (folder / GENERATED_NOTE).exists() and folder.is_dir() and any(folder.iterdir()):
        raise UserError(f"{folder} has other data already: name another --data-dir.")
    sizes = {"train": train, "val": validation, "test_2016_flickr": test, "test_2017_flickr": test}
    rows = pairs(sum(sizes.values()), seed=seed)
    write_text(folder / GENERATED_NOTE, "Generated by `python -m data.pairs.sample`.\n")
    for split, size in sizes.items():
        part, rows = rows[:size], rows[size:]
        for language, sentences in zip(("en", "fr"), zip(*part, strict=True), strict=True):
            text = "".join(f"{sentence}\n" for sentence in sentences)
            with atomic_path(folder / f"{split}.{language}.gz") as draft:
                # Without a time in the header, so that the bytes are always the same.
                draft.write_bytes(gzip.compress(text.encode(), mtime=0))
    return folder


def main() -> None:
    """Writes the sample."""
    with sample_command("Writes generated pairs in Multi30k's format.") as parser:
        print(write_translation_sample(data_directory(parser.parse_args().data_dir)))


if __name__ == "__main__":
    main()
