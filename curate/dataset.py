"""Build the labelled dataset that heads are trained on: each id once, with its label, group and splits."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from winnow.common.errors import InputError
from winnow.curate import labels, manifest, splits
from winnow.curate.journal import REASONS, Line
from winnow.curate.noise import duplicates
from winnow.curate.workspace import Workspace

if TYPE_CHECKING:
    import pyarrow as pa

LEAST_TRAIN = 2  # training pictures of a class: a head needs two to be calibrated


@dataclass(frozen=True)
class Dataset:
    """N labelled pictures in the order of their paths, and R repeated divisions of them into splits."""

    ids: list[str]
    paths: list[str]  # manifest paths, the first of each id
    labels: list[str]
    groups: np.ndarray  # int64 (N,): pictures of one group are in the same split
    splits: list[np.ndarray]  # R arrays (N,) of "train", "val", "test" or ""
    split_rule: str  # how the splits were made, for people to read
    left_out: dict[str, int]  # classes too small to be divided -> pictures
    dropped: dict[str, int]  # reason -> pictures that verdicts removed
    relabelled: int  # pictures whose label comes from a verdict and not from the folder
    as_found_counts: dict[str, int]  # split -> pictures of the first division, before any verdict
    warnings: list[str]

    @cached_property
    def classes(self) -> list[str]:
        """The distinct labels, sorted."""
        return sorted(set(self.labels))

    @cached_property
    def y(self) -> np.ndarray:
        """Index into `classes` of every picture: int64 (N,)."""
        index = {label: number for number, label in enumerate(self.classes)}
        return np.fromiter(map(index.__getitem__, self.labels), dtype=np.int64, count=len(self.labels))

    def split_counts(self) -> dict[str, dict[str, int]]:
        """Map split and label to the number of pictures, in the first division."""
        counts = Counter(zip(self.splits[0].tolist(), self.labels, strict=True))
        return {split: {label: counts[split, label] for label in self.classes} for split in splits.SPLITS}


def read(
    workspace: Workspace,
    *,
    repeats: int,
    seed: int = 0,
    group_by: str | None = None,
    only_ids: Container[str] | None = None,
    near_duplicates: Mapping[str, int] | None = None,
    verdicts: Mapping[str, Line] | None = None,
) -> Dataset:
    """Read the labelled, readable pictures and divide them `repeats` times with the seeds `seed`, `seed` + 1, …

    Copies of one picture under several labels take the label of the majority, and are left out when there is none.
    Splits that the folders give are used; then there is one division, whatever `repeats` is.
    Pictures are divided as found, including those without a label; only then verdicts remove and relabel some: no
    verdict moves a picture to another split.
    Parameters: `group_by`, a CSV file (path,group) or a regular expression on manifest paths, whose first group (else
    the whole match) names the burst, product or camera: pictures of one stay in the same split; `only_ids`, the ids to
    take, such as those with a vector (None: all); `near_duplicates`, id -> number of its group of near-duplicates
    (None: pictures with the same perceptual hash are a group); `verdicts`, id -> the journal line with its current
    verdict (None: the dataset as found).
    Raises: InputError when fewer than two classes or no pictures of a split are left, or `group_by` cannot be used.
    """
    verdicts = verdicts or {}
    pictures = _read_pictures(manifest.read(workspace), workspace.images, group_by, only_ids, near_duplicates)
    groups = np.array([picture.group for picture in pictures], dtype=np.int64)
    as_found: list[str | None] = [picture.label for picture in pictures]
    as_decided = [_decided_label(picture, verdicts) for picture in pictures]
    division = _divide(pictures, groups, repeats, seed)
    used, used_as_found = (_select_usable(labels, groups, division) for labels in (as_decided, as_found))
    warnings = _unlabelled_warnings(pictures, as_decided, verdicts) + used.warnings
    if lacking := _find_lack(as_decided, used, division):
        by_verdicts = not _find_lack(as_found, used_as_found, division)
        raise _refusal(lacking, as_decided, group_by, warnings, by_verdicts)
    rows = used.rows
    return Dataset(
        ids=[pictures[row].id for row in rows],
        paths=[pictures[row].path for row in rows],
        labels=[str(as_decided[row]) for row in rows],
        groups=groups[rows],
        splits=[assigned[rows] for assigned in division.splits],
        split_rule=f"{division.rule}; duplicates{' and groups' if group_by else ''} kept together",
        left_out=used.left_out,
        dropped=_count_dropped(pictures, verdicts),
        relabelled=sum(as_decided[row] != as_found[row] for row in rows),
        as_found_counts=dict(Counter(division.splits[0][used_as_found.rows].tolist())),
        warnings=warnings,
    )


def majority_labels(rows: pa.Table) -> dict[str, str | None]:
    """Map the id of every readable picture to its label as found: that of most of its copies, None when there is none.

    Parameters: `rows`, of a manifest, with the columns id, label and problem.
    """
    readable = _select_readable(rows)
    labels = readable["label"].to_pylist()
    return {id: _majority([labels[row] for row in copies]) for id, copies in _rows_by_id(readable).items()}


@dataclass(frozen=True, slots=True)
class _Picture:
    """One id of the manifest."""

    id: str
    path: str
    label: str | None  # as found
    is_conflict: bool  # its copies have several labels, none of them the majority
    split: str | None  # where the folders give one
    group: int


@dataclass(frozen=True)
class _Division:
    """The splits of all N pictures, used or not."""

    splits: list[np.ndarray]  # R arrays (N,) of "train", "val", "test" or ""
    is_given: bool  # by the folders
    rule: str


@dataclass(frozen=True)
class _Usable:
    """The rows that can be used, and what was left out."""

    rows: list[int]
    left_out: dict[str, int]
    warnings: list[str]


def _select_readable(rows: pa.Table) -> pa.Table:
    import pyarrow.compute as pc

    return rows.filter(pc.is_null(rows["problem"]))


def _rows_by_id(rows: pa.Table) -> dict[str, list[int]]:
    copies: dict[str, list[int]] = {}
    for row, id in enumerate(rows["id"].to_pylist()):
        copies.setdefault(id, []).append(row)
    return copies


def _majority(labels: Sequence[str | None]) -> str | None:
    if len(labels) == 1:
        return labels[0]
    ranked = Counter(label for label in labels if label is not None).most_common(2)
    return ranked[0][0] if len(ranked) == 1 or (ranked and ranked[0][1] > ranked[1][1]) else None


def _read_pictures(
    rows: pa.Table,
    images: Path,
    group_by: str | None,
    only_ids: Container[str] | None,
    near_duplicates: Mapping[str, int] | None,
) -> list[_Picture]:
    """Every readable id among `only_ids`, in the order of paths."""
    rows = _select_readable(rows)
    ids, paths, row_labels, row_splits = (rows[name].to_pylist() for name in ("id", "path", "label", "split"))
    near = rows["phash"].to_pylist() if near_duplicates is None else [near_duplicates.get(id) for id in ids]
    keys = [ids, rows["pixels"].to_pylist(), near]
    groups = duplicates.connected_groups(*keys, *([_read_group_by(group_by, paths, images)] if group_by else []))
    order = (None, *splits.SPLITS)  # a copy in test keeps the picture out of train
    pictures = []
    for id, copies in _rows_by_id(rows).items():
        if only_ids is None or id in only_ids:
            label = _majority([row_labels[row] for row in copies])
            is_conflict = label is None and any(row_labels[row] is not None for row in copies)
            split = max((row_splits[row] for row in copies), key=order.index)
            pictures.append(_Picture(id, paths[copies[0]], label, is_conflict, split, int(groups[copies[0]])))
    return pictures


def _decided_label(picture: _Picture, verdicts: Mapping[str, Line]) -> str | None:
    """The label after the verdicts; None when the picture is dropped or has none."""
    line = verdicts.get(picture.id)
    if line is None or line.verdict not in ("drop", "relabel"):
        return picture.label
    return line.label if line.verdict == "relabel" else None


def _count_dropped(pictures: list[_Picture], verdicts: Mapping[str, Line]) -> dict[str, int]:
    lines = [verdicts[picture.id] for picture in pictures if picture.id in verdicts]
    counts = Counter(line.reason or "other" for line in lines if line.verdict == "drop")
    return {reason: counts[reason] for reason in REASONS if counts[reason]}


def _divide(pictures: list[_Picture], groups: np.ndarray, repeats: int, seed: int) -> _Division:
    """Divide all pictures as found, also those that cannot be used as found: a relabel may make them usable."""
    ids, labels = [picture.id for picture in pictures], [picture.label for picture in pictures]
    if any(picture.split for picture in pictures if picture.label is not None):
        assigned, _ = splits.complete_splits([picture.split for picture in pictures], ids, labels, groups, seed)
        rule = f"as the folders give them; what is missing was taken from train, seed {seed}"
        return _Division([assigned], True, rule)
    rule = f"70/15/15, stratified by class, seed {seed}" + (f" to {seed + repeats - 1}" if repeats > 1 else "")
    divisions = [splits.split_pictures(ids, labels, groups, seed + repeat) for repeat in range(repeats)]
    return _Division(divisions, False, rule)


def _select_usable(labels: Sequence[str | None], groups: np.ndarray, division: _Division) -> _Usable:
    """Select the rows that have a label (None: not to be used) and a split, and whose class can be learned.

    A class needs `LEAST_TRAIN` training pictures in every division and, unless the folders give the splits,
    `splits.LEAST_GROUPS` groups.
    """
    train_counts = [
        Counter(label for label, split in zip(labels, assigned.tolist(), strict=True) if split == "train")
        for assigned in division.splits
    ]
    counts = Counter(label for label in labels if label is not None)
    undersized = {} if division.is_given else splits.undersized_labels(labels, groups)
    scarce = {label for label in counts if any(train[label] < LEAST_TRAIN for train in train_counts)}
    scarce -= undersized.keys()
    rows = [
        row
        for row, label in enumerate(labels)
        if label is not None and division.splits[0][row] != "" and label not in undersized and label not in scarce
    ]
    warnings = []
    if division.is_given:
        if lost := counts.total() - len(rows):
            why = f"without a given split, with a copy in another split, or of a class with fewer than {LEAST_TRAIN}"
            warnings.append(f"left out: {_count_pictures(lost)} {why} training pictures")
        return _Usable(rows, {}, warnings)
    if undersized:
        warnings.append(f"left out, fewer than {splits.LEAST_GROUPS} different pictures: {_list_counts(undersized)}")
    few = {label: counts[label] for label in sorted(scarce)}
    if few:
        warnings.append(f"left out, fewer than {LEAST_TRAIN} training pictures in some division: {_list_counts(few)}")
    return _Usable(rows, undersized | few, warnings)


def _unlabelled_warnings(
    pictures: list[_Picture], as_decided: Sequence[str | None], verdicts: Mapping[str, Line]
) -> list[str]:
    """Warnings for pictures that have no label because no verdict gives one, and for classes emptied by verdicts."""
    unlabelled = [
        picture
        for picture, label in zip(pictures, as_decided, strict=True)
        if label is None and (picture.id not in verdicts or verdicts[picture.id].verdict != "drop")
    ]
    conflicts = [picture.path for picture in unlabelled if picture.is_conflict]
    warnings = []
    if conflicts:
        warnings.append(
            f"left out: {_count_pictures(len(conflicts))} with copies under different labels, for example "
            f"{conflicts[0]}"
        )
    if count := len(unlabelled) - len(conflicts):
        warnings.append(f"left out: {_count_pictures(count)} without a label")
    remaining = set(as_decided)
    emptied = Counter(
        picture.label for picture in pictures if picture.label is not None and picture.label not in remaining
    )
    if emptied:
        warnings.append(f"left out, all pictures dropped or relabelled: {_list_counts(dict(sorted(emptied.items())))}")
    return warnings


def _count_pictures(count: int) -> str:
    return "1 picture" if count == 1 else f"{count} pictures"


def _list_counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{label} ({count})" for label, count in counts.items())


def _find_lack(labels: Sequence[str | None], used: _Usable, division: _Division) -> str:
    """What a dataset lacks: "classes", the name of a split without pictures, or "" for nothing."""
    if len({labels[row] for row in used.rows}) < 2:
        return "classes"
    empty = (s for s in splits.SPLITS if any(s not in assigned[used.rows] for assigned in division.splits))
    return next(empty, "")


def _refusal(
    lacking: str, labels: Sequence[str | None], group_by: str | None, warnings: list[str], by_verdicts: bool
) -> InputError:
    if lacking == "classes":
        each = "in at least {} groups" if group_by else "of {} different pictures"
        names = ", ".join(sorted({label for label in labels if label is not None})[:5]) or "none"
        message = f"a classifier needs two classes {each.format(splits.LEAST_GROUPS)} each; labels found: {names}"
        message += f" ({'; '.join(warnings)})" if warnings else ""
        return InputError(message, remedy="verdicts" if by_verdicts else "two-classes")
    return InputError(f"no picture is left for {lacking}", remedy="verdicts" if by_verdicts else "empty-split")


def _read_group_by(group_by: str, paths: Sequence[str], images: Path) -> list[str | None]:
    """The group of every manifest path, None without one."""
    if Path(group_by).suffix.lower() == ".csv":
        return labels.read_groups(Path(group_by), paths, images)
    try:
        pattern = re.compile(group_by)
    except re.error as error:
        raise InputError(f"{group_by!r} is not a regular expression: {error}", remedy="group-by") from None
    matches = [pattern.search(path) for path in paths]
    if not any(matches):
        example = f", for example {paths[0]}" if paths else ""
        raise InputError(f"{group_by!r} matches none of the {len(paths)} paths{example}", remedy="group-pattern")
    return [match and (match[1] if pattern.groups else match[0]) for match in matches]
