"""How every command talks to its user: results plainly, asides dimly, warnings in yellow."""

import sys

from rich.console import Console
from rich.text import Text

from common.errors import UserError

# The colours of words for and against a verdict.
SUPPORT, OPPOSE = (33, 113, 181), (230, 97, 1)
# Of `model.fit`: a progress bar in a terminal, else a line an epoch.
VERBOSITY = 1 if sys.stdout.isatty() else 2


def open_console(*, stderr: bool = False) -> Console:
    """Returns a console that leaves long lines, numbers and square brackets as they are.

    Args:
        stderr: Write to standard error, where standard output is for a program to read.
    """
    return Console(stderr=stderr, soft_wrap=True, highlight=False, emoji=False, markup=False)


def aside(console: Console, line: str) -> None:
    """Prints what a user may skip: where something lies, what it runs on."""
    console.print(line, style="dim", markup=False)


def warn(console: Console, line: str) -> None:
    """Prints what a user should know before trusting a result."""
    console.print(Text.assemble(("warning:", "yellow"), f" {line}"))


def typed_lines(verb: str) -> list[str]:
    """Returns the lines of standard input without the space around them; a blank line stays one.

    Args:
        verb: What is done with them.

    Raises:
        UserError: If nobody pipes any in, one is not UTF-8, or all are blank.
    """
    if sys.stdin.isatty():
        raise UserError(
            f'Nothing to {verb}: give --text "...", or texts on standard input, one a line.'
        )
    texts = []
    for number, raw in enumerate(sys.stdin.buffer, start=1):
        try:
            texts.append(raw.decode("utf-8").strip())
        except UnicodeDecodeError:
            raise UserError(
                f"Line {number} of standard input is not UTF-8: convert it, e.g. with iconv."
            ) from None
    if not any(texts):
        raise UserError("Standard input holds no text: give one a line.")
    return texts


def word_colour(score: float, greatest: float) -> tuple[int, int, int]:
    """Returns the background of a word: white at 0, blue for, orange against, `(red, green, blue)`.

    Args:
        score: What the word adds to one side; negative speaks for the other.
        greatest: The greatest absolute score of the text.
    """
    strength = 0.85 * min(1.0, abs(score) / greatest) if greatest else 0.0
    full = SUPPORT if score > 0 else OPPOSE
    return tuple(int(round(255 + strength * (part - 255))) for part in full)
