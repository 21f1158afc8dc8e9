"""Standard output as a terminal of some width."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from contextlib import redirect_stdout

import pytest


class Terminal(io.StringIO):
    """Says that it is a terminal."""

    def isatty(self) -> bool:
        """Always."""
        return True


def printed_lines(show: Callable[[], None], width: int) -> list[str]:
    """What a function prints on a terminal of `width` columns, without colours."""
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(Terminal()) as terminal:
        patch.setenv("COLUMNS", str(width))
        show()
    return re.sub(r"\x1b\[[0-9;]*m", "", terminal.getvalue()).splitlines()
