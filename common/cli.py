"""How every command talks to its user: flags, one-line errors, printed lines and tables."""

import contextlib
import dataclasses
import functools
import io
import itertools
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import tyro
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from common.errors import UserError, in_one_line

# The colours of words for and against a verdict.
SUPPORT, OPPOSE = (33, 113, 181), (230, 97, 1)
# Of `model.fit`: a progress bar in a terminal, else a line an epoch.
VERBOSITY = 1 if sys.stdout.isatty() else 2


def run_command(
    function: Callable[..., Any],
    *,
    prog: str,
    description: str,
    arguments: Sequence[str] | None = None,
) -> None:
    """Runs `function` with the flags of the command line, and ends the process.

    A mistake of the user (`UserError`, or an operating system's error such as a full disk) becomes
    one line on standard error and exit status 2. Ctrl-C becomes one line and exit status 130.

    Args:
        function: Its parameters become flags; a dataclass parameter gives one flag a field.
        prog: The command as the user types it.
        description: What the command does, for `--help`.
        arguments: Instead of the process's own.
    """
    try:
        with in_one_line():
            parse_call(function, prog=prog, description=description, arguments=arguments)()
    except KeyboardInterrupt:
        how = "; the training goes on with --resume" if prog.endswith(".train") else ""
        print(f"Stopped{how}.", file=sys.stderr)
        sys.exit(130)


def parse_call(
    function: Callable[..., Any],
    *,
    prog: str,
    description: str,
    arguments: Sequence[str] | None = None,
) -> Callable[[], Any]:
    """Turns flags into a call of `function` that is ready to be made.

    Raises:
        UserError: If a flag is unknown or its value is not accepted.
        SystemExit: After `--help` was printed.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)

    # Parsing and running are kept apart, so that only what the parser prints is held back.
    @functools.wraps(function)
    def prepare(*args: Any, **kwargs: Any) -> Callable[[], Any]:
        return functools.partial(function, *args, **kwargs)

    captured = io.StringIO()
    try:
        with contextlib.redirect_stderr(captured):
            call = tyro.cli(
                prepare,
                prog=prog,
                description=description,
                args=arguments,
                config=(tyro.conf.OmitArgPrefixes,),
            )
            return _with_given(call, arguments)
    except SystemExit as stop:
        if not stop.code:
            raise
    raise UserError(f"{_one_line(captured.getvalue())} All flags: {prog} --help")


def _with_given(call: functools.partial, arguments: Sequence[str]) -> functools.partial:
    """Tells each dataclass argument that has a field `given` which flags were typed."""
    typed = (word[2:].partition("=")[0] for word in arguments if word.startswith("--"))
    names = {name.replace("-", "_") for name in typed}
    # `--no-baselines` gives `baselines` its value.
    given = frozenset(names | {name.removeprefix("no_") for name in names})
    keywords = {
        name: dataclasses.replace(value, given=given) if hasattr(value, "given") else value
        for name, value in call.keywords.items()
    }
    return functools.partial(call.func, *call.args, **keywords)


def check_png(picture: Path | None) -> None:
    """Raises a `UserError` if a picture that is to be written is no PNG file or has no place."""
    if picture is None:
        return
    if picture.suffix.lower() != ".png":
        raise UserError(f"--picture {picture} must end in .png.")
    folder = next(parent for parent in picture.parents if parent.exists())
    if picture.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
        what = "is a folder" if picture.is_dir() else f"cannot be written to {folder}"
        raise UserError(f"--picture {picture} {what}: name another file.")


def split_list(text: str) -> tuple[str, ...]:
    """Returns the parts of a list that is separated by commas."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _one_line(boxed: str) -> str:
    """Returns the parser's framed message as one line, without what it repeats of the help."""
    lines = [line.strip("│╭╮╰╯─ ") for line in boxed.splitlines()[1:]]
    kept = itertools.takewhile(
        lambda line: not line.startswith(("Argument helptext", "For full helptext")), lines
    )
    message = " ".join(" ".join(kept).split()).removeprefix("Error parsing config: ")
    return message if message.endswith((".", "!")) else f"{message}."


def open_console(*, stderr: bool = False) -> Console:
    """Returns a console that leaves long lines, numbers and square brackets as they are.

    `stderr` is for commands whose standard output a program reads.
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

    Raises:
        UserError: If there is no text to `verb`, or a line is not UTF-8.
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
    """Returns the background of a word, `(red, green, blue)`: white at 0, blue above, orange below.

    The colour is full at the greatest absolute score of the text.
    """
    strength = 0.85 * min(1.0, abs(score) / greatest) if greatest else 0.0
    full = SUPPORT if score > 0 else OPPOSE
    return tuple(int(round(255 + strength * (part - 255))) for part in full)


def new_table(title: str, words: Iterable[str], figures: Iterable[str] = ()) -> Table:
    """Returns a table without rows: columns of words, which are folded, then of whole figures."""
    table = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        header_style="dim",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    for name in words:
        table.add_column(name, overflow="fold")
    for name in figures:
        table.add_column(name, justify="right", no_wrap=True)
    return table
