"""Summary of the table of scores: what to review next, and how much noise there is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from winnow.curate.noise import active_learning

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class ReviewBatch:
    """The pictures to review next.

    paths : manifest paths, the highest ranked first and the random probes last.
    outlook : estimate of how many off-topic pictures are left.
    """

    paths: list[str]
    outlook: active_learning.Outlook


@dataclass(frozen=True)
class Suspect:
    """An undecided picture and its scores, which are 0 to 1, higher is worse; None where there is none."""

    path: str
    label: str | None
    off_topic: float
    label_suspect: float | None  # how likely the label is wrong
    suggested_label: str | None
    duplicate_group: int | None


@dataclass(frozen=True)
class ScoreSummary:
    """What `score` reports. Counts of duplicates and of quality leave out what is dropped.

    suspects : undecided pictures, the most likely noise first.
    review_batch : the pictures to review next.
    duplicate_groups : groups of near-duplicates.
    near_duplicates : pictures in these groups beyond one each.
    mixed_groups : groups whose pictures have several labels.
    quality : name of a quality rule -> pictures that break it.
    verdicts : verdict -> pictures.
    """

    suspects: list[Suspect]
    review_batch: ReviewBatch
    duplicate_groups: int
    near_duplicates: int
    mixed_groups: int
    quality: dict[str, int]
    verdicts: dict[str, int]

    def to_json(self) -> dict[str, Any]:
        """The summary under the keys of `score --json`."""
        return {
            "suspects": [asdict(suspect) for suspect in self.suspects],
            "next": self.review_batch.paths,
            "outlook": self.review_batch.outlook.to_json(),
            "duplicate_groups": self.duplicate_groups,
            "near_duplicates": self.near_duplicates,
            "mixed_groups": self.mixed_groups,
            "quality": self.quality,
            "verdicts": self.verdicts,
        }


def next_to_review(table: pa.Table) -> ReviewBatch:
    """Choose the next ten pictures to review from the table that `score_table.score` returned."""
    scored = [row for row in _first_rows(table) if row["off_topic"] is not None]
    ids = [row["id"] for row in scored]
    off_topic = np.array([row["off_topic"] for row in scored], dtype=np.float64)
    verdicts = active_learning.encode_verdicts(ids, {row["id"]: (row["verdict"], row["reason"]) for row in scored})
    batch = active_learning.next_batch(ids, off_topic, verdicts)
    outlook = active_learning.estimate_outlook(ids, off_topic, verdicts)
    return ReviewBatch([scored[row]["path"] for row in batch.tolist()], outlook)


def rank_suspects(table: pa.Table) -> list[Suspect]:
    """Rank undecided pictures, one per id, by the larger of their percentile ranks of off-topic and label error."""
    undecided = [row for row in _first_rows(table) if row["verdict"] is None and row["off_topic"] is not None]
    ranks = np.maximum(*(_percentiles([row[name] for row in undecided]) for name in ("off_topic", "label_suspect")))
    names = Suspect.__dataclass_fields__
    order = np.argsort(-ranks, kind="stable").tolist()
    return [Suspect(**{name: undecided[index][name] for name in names}) for index in order]


def summarize(table: pa.Table) -> ScoreSummary:
    """Summarize the table that `score_table.score` returned."""
    rows = _first_rows(table)
    remaining = [row for row in rows if row["verdict"] != "drop"]
    labels_by_group: dict[int, list[str | None]] = {}
    for row in remaining:
        if row["duplicate_group"] is not None:
            labels_by_group.setdefault(row["duplicate_group"], []).append(row["label"])
    groups = [labels for labels in labels_by_group.values() if len(labels) > 1]
    return ScoreSummary(
        suspects=rank_suspects(table),
        review_batch=next_to_review(table),
        duplicate_groups=len(groups),
        near_duplicates=sum(map(len, groups)) - len(groups),
        mixed_groups=sum(len(set(labels)) > 1 for labels in groups),
        quality=dict(Counter(rule for row in remaining for rule in row["quality"] or ())),
        verdicts=dict(Counter(row["verdict"] for row in rows if row["verdict"])),
    )


def count_in_mixed_groups(table: pa.Table, ids: Sequence[str]) -> int:
    """Count how many of these pictures are in a group of near-duplicates with several labels."""
    labels: dict[int, set[str | None]] = {}
    group_of: dict[str, int] = {}
    for row in table.select(["id", "label", "duplicate_group"]).to_pylist():
        if row["duplicate_group"] is not None:
            labels.setdefault(row["duplicate_group"], set()).add(row["label"])
            group_of[row["id"]] = row["duplicate_group"]
    return sum(id in group_of and len(labels[group_of[id]]) > 1 for id in ids)


def _first_rows(table: pa.Table) -> list[dict[str, Any]]:
    """Return the first row of every id that can be read."""
    first: dict[str, dict[str, Any]] = {}
    for row in table.to_pylist():
        if row["problem"] is None:
            first.setdefault(row["id"], row)
    return list(first.values())


def _percentiles(values: Sequence[float | None]) -> np.ndarray:
    """Compute percentile ranks, equal values sharing their mean rank and None having 0: float64 (N,), 0 to 1."""
    numbers = np.array([np.nan if value is None else value for value in values], dtype=np.float64)
    finite = np.sort(numbers[np.isfinite(numbers)])
    ranks = (np.searchsorted(finite, numbers) + np.searchsorted(finite, numbers, side="right") + 1) / 2
    return np.where(np.isfinite(numbers), ranks / max(1, len(finite)), 0.0)
