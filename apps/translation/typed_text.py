"""Text as people type it: into the form that the models were trained on, and cut into sentences."""

import re

# Typographic quotation marks and apostrophes, which training data hardly have.
_PLAIN_MARKS = str.maketrans({"\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"'})
# The space after a mark that ends a sentence, and what follows; "Mr." and initials end none.
_END = re.compile(
    r"(?<=[.!?\u2026])(?<!\b[A-Z]\.)(?<!\b(?:Mr|Ms|Dr|St)\.)(?<!\bMrs\.)\s+(?=\W{0,2}(\w))"
)
_LONGEST_PHRASE = 8


def normalized(text: str) -> str:
    """Returns a text with plain quotation marks and, if it is all capitals, in small letters."""
    text = text.translate(_PLAIN_MARKS)
    words = [word for word in text.split() if any(letter.isalpha() for letter in word)]
    if len(words) > 1 and text.isupper():
        begin = re.compile(r"(^|[.!?]\s+)(\w)")
        text = begin.sub(lambda match: match[1] + match[2].upper(), text.lower())
    return text


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
