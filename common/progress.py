"""How long-running work reports progress and messages, independent of where they are shown."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from winnow.common.errors import InputError

OnMessage = Callable[[str], None]  # called with one line of text for the user
OnProgress = Callable[[int, int], None]  # called with (done, total)


@dataclass(frozen=True)
class Reporter:
    """Callbacks through which a workflow reports to its user interface.

    progress: called with the name of a stage, returns a context manager that yields an `OnProgress` callback.
    message: called with one line of text for the user.
    command: the command line that started the work, as it was typed; the report quotes it.
    describe_error: gives the text of an error that does not end the work; the command line adds the remedy.
    """

    progress: Callable[[str], AbstractContextManager[OnProgress]]
    message: OnMessage
    command: str
    describe_error: Callable[[InputError], str] = str


def ignore_message(message: str) -> None:
    """An `OnMessage` that discards the message."""


def ignore_progress(done: int, total: int) -> None:
    """An `OnProgress` that discards the numbers."""
