"""A small English-French grammar: noun phrases that agree, negation, pronouns and elision.

It makes the sentences of `data.pairs.sample`.
"""

import dataclasses
import random
import re


def _table(text: str) -> list[list[str]]:
    """The cells of entries that a bar or a line end parts; an underscore stands for a space."""
    entries = [entry.split() for entry in text.replace("|", "\n").splitlines()]
    return [[cell.replace("_", " ") for cell in entry] for entry in entries if entry]


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
# English; French masculine singular and plural, feminine singular and plural; where that is another
# one, the masculine singular before a vowel. These stand before the noun, as in English.
SIZES = _table("""
small petit petits petite petites | pretty joli jolis jolie jolies
old vieux vieux vieille vieilles vieil | beautiful beau beaux belle belles bel
new nouveau nouveaux nouvelle nouvelles nouvel
""")
# The same, but these stand behind the noun: of beings and of things.
MOODS = _table("""
happy heureux heureux heureuse heureuses | tired fatigué fatigués fatiguée fatiguées
calm calme calmes calme calmes | strange étrange étranges étrange étranges
""")
COLOURS = _table("""
red rouge rouges rouge rouges | green vert verts verte vertes | blue bleu bleus bleue bleues
white blanc blancs blanche blanches | black noir noirs noire noires
heavy lourd lourds lourde lourdes
""")
# English for I and for he; French for je, il, nous and ils. Done to beings, and to things.
TO_BEINGS = _table("""
see sees vois voit voyons voient | hear hears entends entend entendons entendent
love loves aime aime aimons aiment | wait_for waits_for attends attend attendons attendent
look_for looks_for cherche cherche cherchons cherchent
""")
TO_THINGS = _table("""
see sees vois voit voyons voient | carry carries porte porte portons portent
buy buys achète achète achetons achètent | draw draws dessine dessine dessinons dessinent
choose chooses choisis choisit choisissons choisissent
look_for looks_for cherche cherche cherchons cherchent
""")
PLACES = (
    ("near", "près de"),
    ("next to", "à côté de"),
    ("behind", "derrière"),
    ("in front of", "devant"),
)
OBJECTS = (("him", "le"), ("her", "la"), ("them", "les"))


@dataclasses.dataclass(frozen=True)
class Subject:
    """Who does it; `person` counts je, il or elle, nous, ils or elles from 0."""

    english: str
    french: str
    person: int
    feminine: bool = False

    @property
    def plural(self) -> bool:
        """Whether there are several."""
        return self.person > 1


PRONOUNS = (
    Subject("I", "je", 0),
    Subject("he", "il", 1),
    Subject("she", "elle", 1, feminine=True),
    Subject("we", "nous", 2),
    Subject("they", "ils", 3),
)


@dataclasses.dataclass(frozen=True)
class NounPhrase:
    """An article or pronoun, perhaps adjectives, and a noun, which they agree with.

    Attributes:
        determiner: `the`, `a`, `my` or `this`; the plural of `a` is `some`.
        noun: A row of `BEINGS` or `THINGS`.
        plural: Whether there are several.
        size: A row of `SIZES`, or None.
        quality: A row of `MOODS` or `COLOURS`, or None.
    """

    determiner: str
    noun: list[str]
    plural: bool
    size: list[str] | None = None
    quality: list[str] | None = None

    def english(self, *, negated: bool = False) -> str:
        """The English words; `negated` if a negated verb has this as its object."""
        words = [adjective[0] for adjective in (self.size, self.quality) if adjective]
        words.append(self.noun[self.plural])
        determiner = self.determiner
        if self.plural:
            several = {"a": "any" if negated else "some", "this": "these"}
            determiner = several.get(determiner, determiner)
        elif determiner == "a" and words[0][0] in "aeiou":
            determiner = "an"
        return " ".join([determiner, *words])

    def french(self, *, negated: bool = False) -> str:
        """The French words, not yet elided."""
        noun = self.noun[2 + self.plural]
        words = [noun]
        if self.size:
            alone = not self.feminine and not self.plural and _starts_with_vowel(noun)
            form = self.size[-1] if alone and self.size[5:] else agree(self.size, self)
            words.insert(0, form)
        if self.quality:
            words.append(agree(self.quality, self))
        vowel = _starts_with_vowel(words[0])
        if self.determiner == "a" and negated:
            determiner = "de"
        elif self.plural:
            some = "de" if self.size else "des"
            determiner = {"the": "les", "a": some, "my": "mes", "this": "ces"}[self.determiner]
        elif self.feminine:
            mine = "mon" if vowel else "ma"
            determiner = {"the": "la", "a": "une", "my": mine, "this": "cette"}[self.determiner]
        else:
            this = "cet" if vowel else "ce"
            determiner = {"the": "le", "a": "un", "my": "mon", "this": this}[self.determiner]
        return " ".join([determiner, *words])

    @property
    def feminine(self) -> bool:
        """The gender of the noun."""
        return self.noun[4] == "f"

    def as_subject(self) -> Subject:
        """The same as a subject."""
        return Subject(self.english(), self.french(), 3 if self.plural else 1, self.feminine)


def agree(adjective: list[str], owner: NounPhrase | Subject) -> str:
    """The French form of an adjective that says something of `owner`."""
    return adjective[1 + 2 * owner.feminine + owner.plural]


def _starts_with_vowel(word: str) -> bool:
    # Every "h" of this lexicon is mute.
    return word[0] in "aehiouyéœ"


def elided(french: str) -> str:
    """Elides before vowels and merges "de" with the article behind it."""
    french = re.sub(r"\bde des?\b", "de", french)
    french = re.sub(r"\b(je|le|la|ne|de) (?=[aehiouyéœ])", lambda match: match[1][0] + "'", french)
    return re.sub(r"\bde les\b", "des", re.sub(r"\bde le\b", "du", french))


def _finished(text: str) -> str:
    return text[0].upper() + text[1:] + "."


def _negate(verb: str, negated: bool) -> str:
    return f"ne {verb} pas" if negated else verb


def statement(
    subject: Subject,
    verb: list[str],
    thing: NounPhrase | tuple[str, str],
    *,
    negated: bool,
    place: tuple[str, str] = ("", ""),
) -> tuple[str, str]:
    """Somebody does something to a thing, or to one of `OBJECTS`; English and French."""
    one = subject.person == 1
    english = f"{'does' if one else 'do'} not {verb[0]}" if negated else verb[one]
    french = verb[2 + subject.person]
    if isinstance(thing, NounPhrase):
        english = f"{english} {thing.english(negated=negated)}"
        french = f"{_negate(french, negated)} {thing.french(negated=negated)}"
    else:
        english = f"{english} {thing[0]}"
        french = _negate(f"{thing[1]} {french}", negated)
    english = f"{subject.english} {english} {place[0]}".strip()
    french = f"{subject.french} {french} {place[1]}".strip()
    return _finished(english), _finished(elided(french))


def description(subject: Subject, adjective: list[str], *, negated: bool) -> tuple[str, str]:
    """Somebody or something is so, or is not; English and French."""
    english = f"{'are' if subject.plural else 'is'}{' not' if negated else ''}"
    french = _negate("sont" if subject.plural else "est", negated)
    return (
        _finished(f"{subject.english} {english} {adjective[0]}"),
        _finished(elided(f"{subject.french} {french} {agree(adjective, subject)}")),
    )


def existence(
    thing: NounPhrase, *, negated: bool, place: tuple[str, str] = ("", "")
) -> tuple[str, str]:
    """There is an indefinite thing, or is none; English and French."""
    english = thing.english()
    if negated:
        english = f"no {english.partition(' ')[2]}"
    english = f"there {'are' if thing.plural else 'is'} {english} {place[0]}".strip()
    french = f"il {_negate('y a', negated)} {thing.french(negated=negated)} {place[1]}".strip()
    return _finished(english), _finished(elided(french))


def random_pair(generator: random.Random) -> tuple[str, str]:
    """A random English sentence and its translation."""
    pick, chance = generator.choice, generator.random
    negated = chance() < 0.3
    about_being = chance() < 0.5
    thing_noun, place_noun = generator.sample(THINGS, 2)
    subject_noun, object_noun = generator.sample(BEINGS, 2)

    def phrase(noun: list[str], determiner: str = "", *, bare: bool = False) -> NounPhrase:
        qualities = MOODS if noun in BEINGS else COLOURS
        return NounPhrase(
            determiner or pick(("the", "the", "a", "a", "my", "this")),
            noun,
            plural=chance() < 0.4,
            size=pick(SIZES) if chance() < 0.3 else None,
            quality=pick(qualities) if not bare and chance() < 0.4 else None,
        )

    place = ("", "")
    if chance() < 0.4:
        (english, french), where = pick(PLACES), phrase(place_noun, bare=True)
        place = (f"{english} {where.english()}", f"{french} {where.french()}")
    subject = pick(PRONOUNS) if chance() < 0.4 else phrase(subject_noun).as_subject()
    kind = generator.choices(("act", "refer", "describe", "exist"), (9, 4, 4, 3))[0]
    if kind == "act":
        verb = pick(TO_BEINGS if about_being else TO_THINGS)
        thing = phrase(object_noun if about_being else thing_noun)
        return statement(subject, verb, thing, negated=negated, place=place)
    if kind == "refer":
        return statement(subject, pick(TO_BEINGS), pick(OBJECTS), negated=negated, place=place)
    if kind == "exist":
        thing = phrase(object_noun if about_being else thing_noun, "a")
        return existence(thing, negated=negated, place=place)
    # French tells the sex of "I" and "we" here, English does not.
    noun = subject_noun if about_being else thing_noun
    if not about_being or subject.french in ("je", "nous"):
        subject = phrase(noun, bare=True).as_subject()
    return description(subject, pick(MOODS if noun in BEINGS else COLOURS), negated=negated)
