"""Tables on stdout that fit the terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import NamedTuple

from winnow.commands.console import printable

PIPED_WIDTH = 140  # characters, where stdout is no terminal and COLUMNS is not set
LONGEST_FIXED = 16  # characters: columns with longer cells may be wrapped


class Column(NamedTuple):
    """The title of a column, and the width in characters that the terminal must have for it to be shown."""

    title: str
    least_width: int = 0


def print_table(
    columns: Sequence[str | Column], rows: Sequence[Sequence[str]], title: str = "", best: int | None = None
) -> None:
    """Print a table: the first column left-aligned, the others right-aligned, the row `best` marked with a star.

    A cell that is too long for the terminal is wrapped, never cut: its end may be all that tells two rows apart.
    """
    from rich import box
    from rich.cells import cell_len
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    follows_terminal = sys.stdout.isatty() or "COLUMNS" in os.environ
    console = Console(width=None if follows_terminal else PIPED_WIDTH, highlight=False)
    named = [Column(column) if isinstance(column, str) else column for column in columns]
    shown = [number for number, column in enumerate(named) if console.width >= column.least_width]
    table = Table(title=Text(title) if title else None, title_justify="left", box=box.SIMPLE_HEAD, title_style="bold")
    for number in shown:
        width = max(cell_len(printable(text)) for text in (named[number].title, *(row[number] for row in rows)))
        fixed = number > 0 and width <= LONGEST_FIXED
        table.add_column(
            named[number].title,
            justify="right" if number else "left",
            no_wrap=fixed,
            overflow="fold",
            min_width=width if fixed else None,
        )
    for index, row in enumerate(rows):
        mark = "" if best is None else "* " if index == best else "  "
        cells = [Text((mark if number == 0 else "") + printable(row[number])) for number in shown]
        table.add_row(*cells, style="bold green" if index == best else None)
    console.print(table)
