"""From the table of scores to what a person looks at next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from winnow.curate.noise import active_learning

if TYPE_CHECKING:
    import pyarrow as pa


class Look(NamedTuple):
    """What to look at next: manifest paths, the highest first and the random probes last, and what is likely left."""

    paths: list[str]
    outlook: active_learning.Outlook


def look(table: pa.Table) -> Look:
    """The next ten to look at, of the table that `score` returned."""
    first = _first_rows(table)
    scored = [row for row in first if row["off_topic"] is not None]
    ids = [row["id"] for row in scored]
    off_topic = np.array([row["off_topic"] for row in scored], dtype=np.float64)
    given = verdict_codes(ids, {row["id"]: (row["verdict"], row["reason"]) for row in scored})
    rows = active_learning.next_batch(ids, off_topic, given)
    return Look([scored[row]["path"] for row in rows.tolist()], active_learning.outlook(ids, off_topic, given))


def suspects(table: pa.Table) -> list[dict[str, Any]]:
    """Undecided pictures, one row an id, by the larger of the percentile ranks of off-topic and label-suspect."""
    open_ = [row for row in _first_rows(table) if row["verdict"] is None and row["off_topic"] is not None]
    ranks = np.maximum(*(_percentiles([row[name] for row in open_]) for name in ("off_topic", "label_suspect")))
    names = ("path", "label", "off_topic", "label_suspect", "suggested_label", "duplicate_group")
    return [{name: open_[row][name] for name in names} for row in np.argsort(-ranks, kind="stable").tolist()]


def document(table: pa.Table) -> dict[str, Any]:
    """What `score --json` prints of the table that `score` returned."""
    first, (paths, outlook) = _first_rows(table), look(table)
    groups: dict[int, list[str | None]] = {}  # labels of what is not dropped
    for row in first:
        if row["duplicate_group"] is not None and row["verdict"] != "drop":
            groups.setdefault(row["duplicate_group"], []).append(row["label"])
    doubled = [labels for labels in groups.values() if len(labels) > 1]
    return {
        "suspects": suspects(table),
        "next": paths,
        "outlook": outlook._asdict(),
        "duplicate_groups": len(doubled),
        "near_duplicates": sum(map(len, doubled)) - len(doubled),
        "mixed_groups": sum(len(set(labels)) > 1 for labels in doubled),
        "quality": dict(Counter(rule for row in first if row["verdict"] != "drop" for rule in row["quality"] or ())),
        "verdicts": dict(Counter(row["verdict"] for row in first if row["verdict"])),
    }


def mixed(table: pa.Table, ids: Sequence[str]) -> int:
    """How many of these pictures are in a group of near-duplicates with several labels."""
    labels: dict[int, set[str | None]] = {}
    group_of: dict[str, int] = {}
    for row in table.select(["id", "label", "duplicate_group"]).to_pylist():
        if row["duplicate_group"] is not None:
            labels.setdefault(row["duplicate_group"], set()).add(row["label"])
            group_of[row["id"]] = row["duplicate_group"]
    return sum(id in group_of and len(labels[group_of[id]]) > 1 for id in ids)


def verdict_codes(ids: Sequence[str], verdicts: dict[str, tuple[str | None, str | None]]) -> np.ndarray:
    """Verdicts as `feedback` takes them: int8 (N,), 1 off-topic, 0 on topic, -2 dropped otherwise, -1 undecided."""
    codes = []
    for id in ids:
        verdict, reason = verdicts.get(id, (None, None))
        codes.append(-1 if verdict is None else 0 if verdict != "drop" else 1 if reason == "off_topic" else -2)
    return np.array(codes, dtype=np.int8)


def _first_rows(table: pa.Table) -> list[dict[str, Any]]:
    """The first row of every id that can be read."""
    first: dict[str, dict[str, Any]] = {}
    for row in table.to_pylist():
        if row["problem"] is None:
            first.setdefault(row["id"], row)
    return list(first.values())


def _percentiles(values: Sequence[float | None]) -> np.ndarray:
    """Percentile ranks, equal values sharing the mean of theirs, 0 for None: float64 (N,) in 0 to 1."""
    numbers = np.array([np.nan if value is None else value for value in values], dtype=np.float64)
    known = np.sort(numbers[np.isfinite(numbers)])
    ranks = (np.searchsorted(known, numbers) + np.searchsorted(known, numbers, side="right") + 1) / 2
    return np.where(np.isfinite(numbers), ranks / max(1, len(known)), 0.0)
