"""How long work reports what it does: progress and messages, wherever they are shown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

OnMessage = Callable[[str], None]


@dataclass(frozen=True)
class Reporter:
    """Who is told what goes on.

    progress: gives, for the name of a piece of work, a context manager that gives a `Progress` function.
    message: takes a message for the person.
    command: the command as it was typed, for the report.
    """

    progress: Callable[[str], Any]
    message: OnMessage
    command: str
