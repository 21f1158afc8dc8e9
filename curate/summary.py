"""What curation did to a folder, as plain data: for the report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from winnow.curate import dataset, manifest
from winnow.curate.journal import Journal, Line, current_verdicts
from winnow.curate.workspace import Workspace

if TYPE_CHECKING:
    import pyarrow as pa

DROPPED = 60  # pictures of a gallery; the counts beside it are of all
SUSPECTS = 12
GROUPS = 12
LINES = 100


def summarize_curation(workspace: Workspace, table: pa.Table) -> dict[str, Any]:
    """Counts before and after, what was dropped and why, duplicates, label suspects, and the journal's last lines.

    Parameters: `table`, of `curate.ranking.score`; without rows: no duplicates and no suspects.
    """
    rows = manifest.read(workspace)
    lines = Journal(workspace.folder).lines()
    held = current_verdicts(lines)
    found = dataset.majority_labels(rows)
    scored = [_now(row, held) for row in table.to_pylist()]
    decided = {id: line for id, line in held.items() if id in found}
    dropped = [line for line in decided.values() if line.verdict == "drop"]
    return {
        "verdicts": dict(Counter(line.verdict for line in decided.values())),
        "reasons": dict(Counter(line.reason or "other" for line in dropped).most_common()),
        "dropped": [_row(line, found) for line in sorted(dropped, key=_by_reason)[:DROPPED]],
        "relabelled": [_row(line, found) for line in decided.values() if line.verdict == "relabel"][:DROPPED],
        "classes": _classes(found, decided),
        "duplicates": _duplicates(scored),
        "suspects": _suspects(scored),
        "journal": [asdict(line) for line in lines[: -LINES - 1 : -1]],
        "lines": len(lines),
    }


def _now(row: dict[str, Any], held: dict[str, Line]) -> dict[str, Any]:
    """A row of scores with the verdict that holds now, which may be younger than the scores."""
    line = held.get(row["id"])
    label = {"label": line.label} if line and line.verdict == "relabel" else {}
    return row | {"verdict": line.verdict if line else None} | label


def _by_reason(line: Line) -> tuple[str, float, str]:
    return line.reason or "", -(line.score or 0), line.path


def _row(line: Line, found: dict[str, str | None]) -> dict[str, Any]:
    return {"path": line.path, "label": found[line.id], "reason": line.reason, "to": line.label}


def _classes(found: dict[str, str | None], decided: dict[str, Line]) -> list[dict[str, Any]]:
    """A row a class: pictures as found and as decided, each id once; label None for those without one."""
    after = {
        id: line.label if (line := decided.get(id)) and line.verdict == "relabel" else label
        for id, label in found.items()
        if id not in decided or decided[id].verdict != "drop"
    }
    before_of, after_of = Counter(found.values()), Counter(after.values())
    labels = sorted(before_of.keys() | after_of.keys(), key=lambda label: (label is None, label or ""))
    return [{"label": label, "found": before_of[label], "decided": after_of[label]} for label in labels]


def _duplicates(scored: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Groups of near-duplicates, those that straddle labels first; the one kept stands first in its group."""
    groups: dict[int, dict[str, dict[str, Any]]] = {}
    for row in scored:
        if row["duplicate_group"] is not None:
            groups.setdefault(row["duplicate_group"], {}).setdefault(row["id"], row)
    made: list[dict[str, Any]] = []
    for members in groups.values():
        ordered = sorted(members.values(), key=lambda row: not row["duplicate_keep"])
        pictures = [
            {"path": row["path"], "label": row["label"], "dropped": row["verdict"] == "drop"} for row in ordered
        ]
        made.append({"mixed": len({row["label"] for row in ordered}) > 1, "pictures": pictures})
    made.sort(key=lambda group: (not group["mixed"], -len(group["pictures"])))
    mixed = sum(group["mixed"] for group in made)
    return {"groups": made[:GROUPS], "count": len(made), "mixed": mixed}


def _suspects(scored: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Undecided pictures whose label looks wrong, the most suspect first, with the label that is suggested."""
    first: dict[str, dict[str, Any]] = {}
    for row in scored:
        if row["label_suspect"] is not None and row["verdict"] is None:
            first.setdefault(row["id"], row)
    wrong = [row for row in first.values() if row["suggested_label"] not in (None, row["label"])]
    wrong.sort(key=lambda row: -row["label_suspect"])
    names = ("path", "label", "suggested_label", "label_suspect")
    return [{name: row[name] for name in names} for row in wrong[:SUSPECTS]]
