"""How every command shows a table."""

from collections.abc import Iterable

from rich.box import SIMPLE_HEAD
from rich.table import Table


def new_table(title: str, words: Iterable[str], figures: Iterable[str] = ()) -> Table:
    """Returns a table without rows.

    Args:
        title: What stands above it.
        words: Titles of the columns that come first, set to the left; long ones are folded.
        figures: Titles of the columns of numbers, set to the right, which stay whole.
    """
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
