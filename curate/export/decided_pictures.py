"""The pictures of a manifest with what was decided on them, and the result of writing them to a folder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from winnow.curate.dataset import majority_labels
from winnow.curate.journal import REASONS, Line
from winnow.curate.splits import SPLITS

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class DecidedPicture:
    """One id of the manifest and its current verdict."""

    id: str
    path: str  # manifest path: the first of the id with the decided label, else the first
    label_as_found: str | None
    split: str | None  # where the folders give one
    problem: str | None  # message of the problem
    bytes: int
    mtime_ns: int
    line: Line | None  # journal line with the current verdict

    @property
    def label(self) -> str | None:
        """The label after the verdict."""
        return self.line.label if self.line and self.line.verdict == "relabel" else self.label_as_found

    @property
    def is_dropped(self) -> bool:
        """Whether the verdict is a drop."""
        return self.line is not None and self.line.verdict == "drop"


@dataclass(frozen=True)
class MaterializeResult:
    """What `materialize` wrote, and what it left out."""

    written: int
    labels: dict[str, int]  # label -> pictures written
    unlabelled: int
    dropped: dict[str, int]  # reason -> pictures
    relabelled: int  # pictures written under another label than found
    problems: dict[str, str]  # path of a picture that changed or vanished since the scan -> message
    out: Path
    copied: bool  # False: links

    def to_json(self) -> dict[str, Any]:
        """The document of `materialize --json`."""
        problems = [{"path": path, "message": message} for path, message in self.problems.items()]
        return vars(self) | {"out": str(self.out), "problems": problems}


def read_pictures(table: pa.Table, verdicts: Mapping[str, Line]) -> list[DecidedPicture]:
    """Join the rows of a manifest with the current verdicts.

    Returns: every id once, in the order of paths; also those with a problem, and files without an id, one per path.
    """
    labels = majority_labels(table)
    copies: dict[str, list[dict[str, Any]]] = {}
    for row in table.drop_columns(["thumbnail"]).to_pylist():
        copies.setdefault(row["id"] or f"no id {row['path']}", []).append(row)
    order = (None, *SPLITS)
    pictures = []
    for id, rows in copies.items():
        line = verdicts.get(id)
        label = labels.get(id, rows[0]["label"])
        decided_label = line.label if line and line.verdict == "relabel" else label
        row = next((row for row in rows if row["label"] == decided_label), rows[0])
        split = max((row["split"] for row in rows), key=order.index)
        pictures.append(
            DecidedPicture(id, row["path"], label, split, row["problem_message"], row["bytes"], row["mtime_ns"], line)
        )
    return pictures


def count_written(
    pictures: Sequence[DecidedPicture],
    written: Sequence[DecidedPicture],
    problems: dict[str, str],
    out: Path,
    copy: bool,
) -> MaterializeResult:
    """Count what was written. Parameters: `pictures`, all of the manifest; the others as in `MaterializeResult`."""
    labels = Counter(picture.label for picture in written)
    dropped = Counter(
        (picture.line.reason if picture.line else None) or "other" for picture in pictures if picture.is_dropped
    )
    return MaterializeResult(
        written=len(written),
        labels={label: labels[label] for label in sorted(label for label in labels if label is not None)},
        unlabelled=labels[None],
        dropped={reason: dropped[reason] for reason in REASONS if dropped[reason]},
        relabelled=sum(picture.label != picture.label_as_found for picture in written),
        problems=problems,
        out=out,
        copied=copy,
    )
