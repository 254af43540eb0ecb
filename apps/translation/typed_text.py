"""Text as people type it: into the form that the models were trained on, and cut into sentences."""

import re

# Typographic quotation marks and apostrophes, which training data hardly have.
_PLAIN_MARKS = str.maketrans({"\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"'})
# The space after a mark that ends a sentence, and what follows; "Mr." and initials end none.
_END = re.compile(
    r"(?<=[.!?\u2026])(?<!\b[A-Z]\.)(?<!\b(?:Mr|Ms|Dr|St)\.)(?<!\bMrs\.)\s+(?=\W{0,2}(\w))"
)
_LONGEST_PHRASE = 8
# English as it is typed in a hurry. "id", "ill", "its", "were" and "well" are words too.
_HURRIED = {
    form.replace("'", ""): form
    for form in (
        "don't doesn't didn't isn't aren't wasn't weren't can't couldn't won't wouldn't shouldn't"
        " hasn't haven't hadn't I'm I've you're you've you'll they're they've they'll we've that's"
        " what's where's who's how's there's here's he's she's let's"
    ).split()
} | {"i": "I", "u": "you"}
_AUXILIARIES = (
    "is are am was were do does did can could will would shall should has have had may might must"
    " isn't aren't don't doesn't didn't can't couldn't won't wouldn't"
).split()
_SUBJECTS = "i you he she it we they this that there the my your his her our their anybody".split()
_ASKING = "who where why how which whose whom what's where's who's how's".split()


def normalized(text: str) -> str:
    """Returns a text with plain quotation marks and, if it is all capitals, in small letters."""
    text = text.translate(_PLAIN_MARKS)
    words = [word for word in text.split() if any(letter.isalpha() for letter in word)]
    if len(words) > 1 and text.isupper():
        begin = re.compile(r"(^|[.!?]\s+)(\w)")
        text = begin.sub(lambda match: match[1] + match[2].upper(), text.lower())
    return text


def restored(sentence: str) -> str:
    """Returns an English sentence with the apostrophes, capital and final mark that it may lack."""

    def written(match: re.Match) -> str:
        form = _HURRIED.get(match[0].lower(), match[0])
        return form[0].upper() + form[1:] if match[0][0].isupper() else form

    sentence = re.sub(r"(?<![\w'])[A-Za-z]+(?![\w'])", written, sentence)
    if not sentence[-1:].isalnum():
        return sentence
    first, second = [*sentence.lower().split(), ""][:2]
    asks = (
        first in _ASKING
        or (first in _AUXILIARIES and second in _SUBJECTS)
        or (first in ("what", "when") and second in ("time", "kind", *_AUXILIARIES))
    )
    return sentence[0].upper() + sentence[1:] + ("?" if asks else ".")


def sentences_of(text: str) -> list[str]:
    """Cuts a text into its sentences; none begins with a small letter, but for the first."""
    ends = [match.span() for match in _END.finditer(text) if not match[1].islower()]
    starts = [0, *(after for _, after in ends)]
    stops = [*(before for before, _ in ends), len(text)]
    sentences = [text[start:stop].strip() for start, stop in zip(starts, stops, strict=True)]
    return [sentence for sentence in sentences if sentence]


def without_loops(text: str) -> str:
    """Returns a text in which no phrase of up to eight words stands more than twice in a row."""
    words = text.split()
    keys = [re.sub(r"\W", "", word).casefold() for word in words]
    kept: list[int] = []
    for position in range(len(words)):
        kept.append(position)
        for size in range(1, _LONGEST_PHRASE + 1):
            last = [keys[place] for place in kept[-3 * size :]]
            if len(last) == 3 * size and last[:size] == last[size : 2 * size] == last[2 * size :]:
                del kept[-size:]
                break
    return " ".join(words[place] for place in kept)
