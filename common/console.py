"""How every command talks to its user: results plainly, asides dimly, warnings in yellow."""

from rich.console import Console
from rich.markup import escape


def open_console(*, stderr: bool = False) -> Console:
    """Returns a console that leaves long lines and numbers as they are.

    Args:
        stderr: Write to standard error, where standard output is for a program to read.
    """
    return Console(stderr=stderr, soft_wrap=True, highlight=False, emoji=False)


def aside(console: Console, line: str) -> None:
    """Prints what a user may skip: where something lies, what it runs on."""
    console.print(f"[dim]{escape(line)}[/dim]")


def warn(console: Console, line: str) -> None:
    """Prints what a user should know before trusting a result."""
    console.print(f"[yellow]warning:[/yellow] {escape(line)}")
