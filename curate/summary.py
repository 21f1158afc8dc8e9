"""Summarize the curation of a folder as a JSON document for the report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from winnow.curate import dataset, manifest
from winnow.curate.journal import Journal, Line, current_verdicts
from winnow.curate.workspace import Workspace

if TYPE_CHECKING:
    import pyarrow as pa

# The most pictures, label errors, groups and lines that the document lists; its counts are of all.
PICTURES = 60
LABEL_ERRORS = 12
GROUPS = 12
LINES = 100
Row = dict[str, Any]


def summarize_curation(workspace: Workspace, table: pa.Table) -> dict[str, Any]:
    """Summarize counts before and after, drops and reasons, duplicates, label errors, and the end of the journal.

    Parameters: `table`, the rows of `scores.lance`; without rows there are no duplicates and no label errors.
    """
    lines = Journal(workspace.folder).lines()
    verdicts = current_verdicts(lines)
    labels = dataset.majority_labels(manifest.read(workspace))
    scores = [_with_current_verdict(row, verdicts) for row in table.to_pylist()]
    decided = {id: line for id, line in verdicts.items() if id in labels}
    dropped = [line for line in decided.values() if line.verdict == "drop"]
    relabelled = [line for line in decided.values() if line.verdict == "relabel"]
    return {
        "verdicts": dict(Counter(line.verdict for line in decided.values())),
        "reasons": dict(Counter(line.reason or "other" for line in dropped).most_common()),
        "dropped": [_picture(line, labels) for line in sorted(dropped, key=_by_reason_and_score)[:PICTURES]],
        "relabelled": [_picture(line, labels) for line in relabelled[:PICTURES]],
        "classes": _count_classes(labels, decided),
        "duplicates": _list_duplicates(scores),
        "suspects": _list_label_errors(scores),
        "journal": [asdict(line) for line in lines[: -LINES - 1 : -1]],
        "lines": len(lines),
    }


def _with_current_verdict(row: Row, verdicts: Mapping[str, Line]) -> Row:
    """A row of scores with the current verdict, which may be newer than the scores."""
    line = verdicts.get(row["id"])
    label = {"label": line.label} if line and line.verdict == "relabel" else {}
    return row | {"verdict": line.verdict if line else None} | label


def _by_reason_and_score(line: Line) -> tuple[str, float, str]:
    return line.reason or "", -(line.score or 0), line.path


def _picture(line: Line, labels: Mapping[str, str | None]) -> Row:
    return {"path": line.path, "label": labels[line.id], "reason": line.reason, "to": line.label}


def _count_classes(labels: Mapping[str, str | None], decided: Mapping[str, Line]) -> list[Row]:
    """One row per class: pictures as found and as decided, each id once; label None for those without one."""
    labels_as_decided = {
        id: line.label if (line := decided.get(id)) and line.verdict == "relabel" else label
        for id, label in labels.items()
        if id not in decided or decided[id].verdict != "drop"
    }
    as_found, as_decided = Counter(labels.values()), Counter(labels_as_decided.values())
    names = sorted(as_found.keys() | as_decided.keys(), key=lambda label: (label is None, label or ""))
    return [{"label": label, "found": as_found[label], "decided": as_decided[label]} for label in names]


def _list_duplicates(scores: Sequence[Row]) -> dict[str, Any]:
    """Groups of near-duplicates, those under several labels first; the picture to keep comes first in its group."""
    groups: dict[int, dict[str, Row]] = {}
    for row in scores:
        if row["duplicate_group"] is not None:
            groups.setdefault(row["duplicate_group"], {}).setdefault(row["id"], row)
    listed: list[Row] = []
    for members in groups.values():
        ordered = sorted(members.values(), key=lambda row: not row["duplicate_keep"])
        pictures = [
            {"path": row["path"], "label": row["label"], "dropped": row["verdict"] == "drop"} for row in ordered
        ]
        listed.append({"mixed": len({row["label"] for row in ordered}) > 1, "pictures": pictures})
    listed.sort(key=lambda group: (not group["mixed"], -len(group["pictures"])))
    return {"groups": listed[:GROUPS], "count": len(listed), "mixed": sum(group["mixed"] for group in listed)}


def _list_label_errors(scores: Sequence[Row]) -> list[Row]:
    """Undecided pictures with a probable label error, the most suspect first, with the suggested label."""
    undecided: dict[str, Row] = {}
    for row in scores:
        if row["label_suspect"] is not None and row["verdict"] is None:
            undecided.setdefault(row["id"], row)
    suspects = [row for row in undecided.values() if row["suggested_label"] not in (None, row["label"])]
    suspects.sort(key=lambda row: -row["label_suspect"])
    names = ("path", "label", "suggested_label", "label_suspect")
    return [{name: row[name] for name in names} for row in suspects[:LABEL_ERRORS]]
