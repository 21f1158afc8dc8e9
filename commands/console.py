"""Messages and questions on stderr, one JSON document on stdout, and the workspace that a command works on."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from winnow.curate.workspace import Workspace


def message(text: str) -> None:
    """Print a message on stderr, without control characters that a file name in it may hold."""
    click.echo("\n".join(map(printable, text.split("\n"))), err=True)


def printable(text: str) -> str:
    """A text on one line: control characters, which a terminal would obey, are written as escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def ask(question: str) -> bool:
    """Ask a question on standard error, and read the answer from standard input."""
    return click.confirm(question, err=True)


def confirm(question: str) -> bool:
    """Ask on the terminal; False where there is none."""
    return sys.stdin.isatty() and sys.stderr.isatty() and click.confirm(question, err=True)


def print_json(value: Any) -> None:
    """Print the one JSON document of a command. Raises: OSError when not all of it can be written."""
    from winnow.common.json_files import to_json

    sys.stdout.flush()
    content, written = f"{to_json(value)}\n".encode(), 0
    while written < len(content):  # an unbuffered stream may write less than it is given
        written += sys.stdout.buffer.write(memoryview(content)[written:])
    sys.stdout.buffer.flush()


def open_workspace(images: Path | None, workspace: Path | None) -> Workspace:
    """The workspace that a command works on, after printing which one it is. Raises: InputError."""
    from winnow.curate.workspace import find_workspace

    located = find_workspace(images, workspace)
    message(f"Pictures: {printable(str(located.images))}   Workspace: {printable(str(located.folder))}")
    return located


def print_next(command: str, images: Path | None, workspace: Path | None) -> None:
    """Print the command that makes sense next, with the folders as they were given to this one."""
    words = ["winnow", command]
    if images is not None:
        words.append(f"./{images}" if str(images).startswith("-") else str(images))
    if workspace is not None:
        words += ["--workspace", str(workspace)]
    message(f"Next: {shlex.join(words)}")
