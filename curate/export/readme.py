"""What a materialized folder says of itself: what it holds, what was left out, by whom, when and why."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from winnow.common.paths import to_text
from winnow.common.versions import installed_version

if TYPE_CHECKING:
    from winnow.curate.export.materialize import Picture

LISTED = 1000  # pictures that a list names


def readme(images: Path, pictures: Sequence[Picture], result: Mapping[str, Any]) -> str:
    """Markdown, names escaped. Parameters: `pictures`, of the manifest; `result`, what `materialize` returns."""
    moved = {problem["path"]: problem["message"] for problem in result["problems"]}
    decided = [(picture, picture.line) for picture in pictures if picture.line]
    dropped = [
        (picture.path, picture.found, line.reason, line.who, line.when[:16])
        for picture, line in decided
        if picture.is_dropped
    ]
    relabelled = [
        (picture.path, picture.found, picture.label, line.who, line.when[:16])
        for picture, line in decided
        if line.verdict == "relabel" and not picture.problem and picture.path not in moved
    ]
    bad = [(picture.path, picture.problem) for picture in pictures if picture.problem and not picture.is_dropped]
    kind = "copies of" if result["copied"] else "links to"
    return "\n".join(
        [
            f"# {_plain(to_text(images.name))}, as decided\n",
            f"{result['written']} pictures, {kind} the files in {_plain(to_text(str(images)))}, written on "
            f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC by Winnow {installed_version('winnow-images')}.\n",
            _table(("label", "found", "written"), _counts(pictures, result)),
            _section(
                "Dropped", ("picture", "label", "reason", "who", "when"), sorted(dropped, key=lambda row: str(row[2]))
            ),
            _section("Relabelled", ("picture", "from", "to", "who", "when"), relabelled),
            _section("With a problem", ("picture", "problem"), [*bad, *moved.items()]),
        ]
    )


def _counts(pictures: Sequence[Picture], result: Mapping[str, Any]) -> list[tuple[str, int, int]]:
    """Of every label: pictures found and written, exact copies counted once."""
    found = Counter(picture.found for picture in pictures if not picture.problem)
    written = result["labels"]
    rows = [(label, found[label], written.get(label, 0)) for label in sorted({*written, *found} - {None})]
    return rows + ([("(no label)", found[None], result["unlabelled"])] if found[None] else [])


def _section(title: str, columns: Sequence[str], rows: Sequence[Sequence[str | None]]) -> str:
    return f"## {title}: {len(rows)}\n" + (f"\n{_table(columns, rows)}" if rows else "")


def _table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    cells = [[_plain("" if value is None else str(value)) for value in row] for row in rows[:LISTED]]
    lines = [f"| {' | '.join(line)} |\n" for line in (columns, ["---"] * len(columns), *cells)]
    return "".join(lines) + (f"\n… and {len(rows) - LISTED} more.\n" if len(rows) > LISTED else "")


def _plain(text: str) -> str:
    """Text that Markdown and HTML show as it is, on one line."""
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    text = re.sub(r"([\\`*_\[\]|~$#!])", r"\\\1", text)
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
