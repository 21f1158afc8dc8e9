"""The README of a materialized folder: what it holds, and what was left out, by whom, when and why."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from winnow import __version__
from winnow.common.paths import to_text
from winnow.curate.export.decided_pictures import DecidedPicture, MaterializeResult

LISTED = 1000  # the most pictures that a table lists


def format_readme(images: Path, pictures: Sequence[DecidedPicture], result: MaterializeResult) -> str:
    """Write the README as Markdown, with names escaped. Parameters: `pictures`, all of the manifest."""
    decided = [(picture, picture.line) for picture in pictures if picture.line]
    dropped = [
        (picture.path, picture.label_as_found, line.reason, line.who, line.when[:16])
        for picture, line in decided
        if picture.is_dropped
    ]
    relabelled = [
        (picture.path, picture.label_as_found, picture.label, line.who, line.when[:16])
        for picture, line in decided
        if line.verdict == "relabel" and not picture.problem and picture.path not in result.problems
    ]
    unreadable = [(picture.path, picture.problem) for picture in pictures if picture.problem and not picture.is_dropped]
    kind = "copies of" if result.copied else "links to"
    return "\n".join(
        [
            f"# {_escape(to_text(images.name))}, as decided\n",
            f"{result.written} pictures, {kind} the files in {_escape(to_text(str(images)))}, written on "
            f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC by Winnow {__version__}.\n",
            _table(("label", "found", "written"), _count_labels(pictures, result)),
            _section(
                "Dropped", ("picture", "label", "reason", "who", "when"), sorted(dropped, key=lambda row: str(row[2]))
            ),
            _section("Relabelled", ("picture", "from", "to", "who", "when"), relabelled),
            _section("With a problem", ("picture", "problem"), [*unreadable, *result.problems.items()]),
        ]
    )


def _count_labels(pictures: Sequence[DecidedPicture], result: MaterializeResult) -> list[tuple[str, int, int]]:
    """Label, pictures found and pictures written, exact copies counted once."""
    as_found = Counter(picture.label_as_found for picture in pictures if not picture.problem)
    labels = sorted({label for label in (*result.labels, *as_found) if label is not None})
    rows = [(label, as_found[label], result.labels.get(label, 0)) for label in labels]
    return rows + ([("(no label)", as_found[None], result.unlabelled)] if as_found[None] else [])


def _section(title: str, columns: Sequence[str], rows: Sequence[Sequence[str | None]]) -> str:
    return f"## {title}: {len(rows)}\n" + (f"\n{_table(columns, rows)}" if rows else "")


def _table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    cells = [[_escape("" if value is None else str(value)) for value in row] for row in rows[:LISTED]]
    lines = [f"| {' | '.join(line)} |\n" for line in (columns, ["---"] * len(columns), *cells)]
    return "".join(lines) + (f"\n… and {len(rows) - LISTED} more.\n" if len(rows) > LISTED else "")


def _escape(text: str) -> str:
    """Escape text so that Markdown and HTML show it literally, on one line."""
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    text = re.sub(r"([\\`*_\[\]|~$#!])", r"\\\1", text)
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
