"""From the manifest to the pictures that heads are trained on: each id once, with its label, group and splits."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from winnow.common.errors import InputError
from winnow.curate import labels, manifest, splits
from winnow.curate.journal import REASONS, Line
from winnow.curate.noise import duplicates
from winnow.curate.workspace import Workspace

if TYPE_CHECKING:
    import pyarrow as pa

LEAST_TRAIN = 2  # training pictures of a class: a head needs two to be calibrated
Labels = Sequence[str | None]  # a row a picture; None: it is not to be used


@dataclass(frozen=True)
class Dataset:
    """Labelled pictures, rows (N,) in the order of paths, and the parts that they are divided into, J times."""

    ids: list[str]
    paths: list[str]  # manifest paths, the first of each id
    labels: list[str]
    groups: np.ndarray  # int64 (N,): pictures that no split may separate
    splits: list[np.ndarray]  # J arrays (N,) of "train", "val", "test" or ""
    split_rule: str  # how the parts were made, in words
    left_out: dict[str, int]  # classes too small to be divided -> pictures
    dropped: dict[str, int]  # reason -> pictures that verdicts took out
    relabelled: int  # pictures whose label is a verdict's and not the folder's
    as_found_counts: dict[str, int]  # part -> pictures of the first division before any verdict
    warnings: list[str]

    @cached_property
    def classes(self) -> list[str]:
        """Labels in the order of their names."""
        return sorted(set(self.labels))

    @cached_property
    def y(self) -> np.ndarray:
        """Index into `classes` of every row: int64 (N,)."""
        index = {label: number for number, label in enumerate(self.classes)}
        return np.fromiter(map(index.__getitem__, self.labels), dtype=np.int64, count=len(self.labels))

    def split_counts(self) -> dict[str, dict[str, int]]:
        """Part -> label -> pictures, of the first division."""
        found = Counter(zip(self.splits[0].tolist(), self.labels, strict=True))
        return {part: {label: found[part, label] for label in self.classes} for part in splits.SPLITS}


def read(
    workspace: Workspace,
    *,
    repeats: int,
    seed: int = 0,
    group_by: str | None = None,
    among: Container[str] | None = None,
    near: Mapping[str, int] | None = None,
    verdicts: Mapping[str, Line] | None = None,
) -> Dataset:
    """The labelled, readable pictures, divided `repeats` times with the seeds `seed`, `seed` + 1, …

    Copies of one picture under several labels take the label of the majority, and are left out when there is none.
    Splits that the folders give are honoured; then there is one division, whatever `repeats` says.
    Pictures are divided as found, those without a label too; only then dropped ones leave and relabels apply: no
    verdict moves a picture to another part.
    Parameters: `group_by`, a CSV file (path,group) or a regular expression on manifest paths, whose first group (else
    the whole match) names the burst, product or camera: pictures of one stay on one side of every split; `among`, the
    only ids to take, those that have a vector (None: all); `near`, ids of near-duplicates -> the number of their group
    (None: pictures with the same perceptual hash); `verdicts`, ids -> the line that holds (None: the folder as found).
    Raises: InputError when fewer than two classes or no pictures of a part are left, or `group_by` cannot be used.
    """
    verdicts = verdicts or {}
    pictures = _pictures(manifest.read(workspace), workspace.images, group_by, among, near)
    groups = np.array([picture.group for picture in pictures], dtype=np.int64)
    found: Labels = [picture.label for picture in pictures]
    decided = [_decided(picture, verdicts) for picture in pictures]
    division = _divide(pictures, groups, repeats, seed)
    used, before = (_usable(named, groups, division) for named in (decided, found))
    warnings = _out(pictures, decided, verdicts) + used.warnings
    if lacking := _lacks(decided, used, division):
        by_verdicts = not _lacks(found, before, division)
        raise InputError(_refusal(lacking, decided, group_by, warnings, by_verdicts))
    rows = used.rows
    return Dataset(
        ids=[pictures[row].id for row in rows],
        paths=[pictures[row].path for row in rows],
        labels=[str(decided[row]) for row in rows],
        groups=groups[rows],
        splits=[part[rows] for part in division.parts],
        split_rule=f"{division.rule}; duplicates{' and groups' if group_by else ''} kept together",
        left_out=used.left_out,
        dropped=_dropped(pictures, verdicts),
        relabelled=sum(decided[row] != found[row] for row in rows),
        as_found_counts=dict(Counter(division.parts[0][before.rows].tolist())),
        warnings=warnings,
    )


def majority_labels(rows: pa.Table) -> dict[str, str | None]:
    """Id -> label as found, of every readable picture of a manifest: that of most of its copies, None when none is."""
    good = _readable(rows)
    named = good["label"].to_pylist()
    return {id: _majority([named[row] for row in copies]) for id, copies in _copies(good).items()}


class _Picture(NamedTuple):
    id: str
    path: str
    label: str | None  # as found
    is_conflict: bool  # it has several labels, none of them that of most copies
    split: str | None
    group: int


class _Division(NamedTuple):
    parts: list[np.ndarray]  # J arrays (N,) of "train", "val", "test" or "", of all pictures, used or not
    is_given: bool  # by the folders
    rule: str


class _Usable(NamedTuple):
    rows: list[int]
    left_out: dict[str, int]
    warnings: list[str]


def _readable(rows: pa.Table) -> pa.Table:
    import pyarrow.compute as pc

    return rows.filter(pc.is_null(rows["problem"]))


def _copies(rows: pa.Table) -> dict[str, list[int]]:
    """Id -> its rows."""
    copies: dict[str, list[int]] = {}
    for row, id in enumerate(rows["id"].to_pylist()):
        copies.setdefault(id, []).append(row)
    return copies


def _majority(named: Labels) -> str | None:
    if len(named) == 1:
        return named[0]
    ranked = Counter(label for label in named if label is not None).most_common(2)
    return ranked[0][0] if len(ranked) == 1 or (ranked and ranked[0][1] > ranked[1][1]) else None


def _pictures(
    rows: pa.Table,
    images: Path,
    group_by: str | None,
    among: Container[str] | None,
    near: Mapping[str, int] | None,
) -> list[_Picture]:
    """Every readable id among `among`, in the order of paths."""
    rows = _readable(rows)
    ids, paths, named, given = (rows[name].to_pylist() for name in ("id", "path", "label", "split"))
    alike = rows["phash"].to_pylist() if near is None else [near.get(id) for id in ids]
    keys = [ids, rows["pixels"].to_pylist(), alike]
    groups = duplicates.connected_groups(*keys, *([_given_groups(group_by, paths, images)] if group_by else []))
    order = (None, *splits.SPLITS)  # a copy in test keeps the picture out of train
    pictures = []
    for id, copies in _copies(rows).items():
        if among is None or id in among:
            label = _majority([named[row] for row in copies])
            is_conflict = label is None and any(named[row] is not None for row in copies)
            split = max((given[row] for row in copies), key=order.index)
            pictures.append(_Picture(id, paths[copies[0]], label, is_conflict, split, int(groups[copies[0]])))
    return pictures


def _decided(picture: _Picture, verdicts: Mapping[str, Line]) -> str | None:
    """The label as decided; None when the picture is dropped or has none."""
    line = verdicts.get(picture.id)
    if line is None or line.verdict not in ("drop", "relabel"):
        return picture.label
    return line.label if line.verdict == "relabel" else None


def _dropped(pictures: list[_Picture], verdicts: Mapping[str, Line]) -> dict[str, int]:
    lines = [verdicts[picture.id] for picture in pictures if picture.id in verdicts]
    counts = Counter(line.reason or "other" for line in lines if line.verdict == "drop")
    return {reason: counts[reason] for reason in REASONS if counts[reason]}


def _divide(pictures: list[_Picture], groups: np.ndarray, repeats: int, seed: int) -> _Division:
    """All pictures as found, those too that cannot be used as found: a relabel may bring them in."""
    ids, named = [picture.id for picture in pictures], [picture.label for picture in pictures]
    if any(picture.split for picture in pictures if picture.label is not None):
        parts, _ = splits.complete_splits([picture.split for picture in pictures], ids, named, groups, seed)
        return _Division([parts], True, f"as the folders give them; what is missing was taken from train, seed {seed}")
    rule = f"70/15/15, stratified by class, seed {seed}" + (f" to {seed + repeats - 1}" if repeats > 1 else "")
    return _Division(
        [splits.split_pictures(ids, named, groups, seed + repeat) for repeat in range(repeats)], False, rule
    )


def _usable(named: Labels, groups: np.ndarray, division: _Division) -> _Usable:
    """The rows that have a label (`named`, None: not to be used) and a part, and belong to classes that can be learnt.

    A class must be in train, everywhere, with `LEAST_TRAIN` pictures; without given splits, in enough groups too.
    """
    train = [
        Counter(label for label, p in zip(named, part.tolist(), strict=True) if p == "train") for part in division.parts
    ]
    counts = Counter(label for label in named if label is not None)
    small = {} if division.is_given else splits.undersized_labels(named, groups)
    scarce = {label for label in counts if any(of[label] < LEAST_TRAIN for of in train)} - small.keys()
    rows = [
        row
        for row, label in enumerate(named)
        if label is not None and division.parts[0][row] != "" and label not in small and label not in scarce
    ]
    warnings = []
    if division.is_given:
        if lost := counts.total() - len(rows):
            why = f"no split of their own, a copy in another one, or a class with fewer than {LEAST_TRAIN} in train"
            warnings.append(f"left out, {lost} pictures with {why}")
        return _Usable(rows, {}, warnings)
    if small:
        warnings.append(f"left out, fewer than {splits.LEAST_GROUPS} different pictures: {_counted(small)}")
    few = {label: counts[label] for label in sorted(scarce)}
    if few:
        warnings.append(f"left out, fewer than {LEAST_TRAIN} pictures in train in some division: {_counted(few)}")
    return _Usable(rows, small | few, warnings)


def _out(pictures: list[_Picture], decided: Labels, verdicts: Mapping[str, Line]) -> list[str]:
    """Warnings: what has no label for want of a verdict, and which classes the verdicts emptied."""
    undecided = [
        picture
        for picture, label in zip(pictures, decided, strict=True)
        if label is None and (picture.id not in verdicts or verdicts[picture.id].verdict != "drop")
    ]
    conflicts = [picture.path for picture in undecided if picture.is_conflict]
    warnings = []
    if conflicts:
        warnings.append(f"left out, {len(conflicts)} pictures with copies under different labels, as {conflicts[0]}")
    if unlabelled := len(undecided) - len(conflicts):
        warnings.append(f"left out, {unlabelled} pictures without a label")
    left = set(decided)
    emptied = Counter(picture.label for picture in pictures if picture.label is not None and picture.label not in left)
    if emptied:
        warnings.append(f"left out, all pictures dropped or relabelled: {_counted(dict(sorted(emptied.items())))}")
    return warnings


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{label} ({count})" for label, count in counts.items())


def _lacks(named: Labels, used: _Usable, division: _Division) -> str:
    """What is wanting in a dataset: "classes", the name of a part without pictures, or ""."""
    if len({named[row] for row in used.rows}) < 2:
        return "classes"
    return next((part for part in splits.SPLITS if any(part not in of[used.rows] for of in division.parts)), "")


def _refusal(lacking: str, named: Labels, group_by: str | None, warnings: list[str], by_verdicts: bool) -> str:
    why = f" ({'; '.join(warnings)})" if warnings else ""
    if lacking == "classes":
        each = (
            f"in at least {splits.LEAST_GROUPS} groups" if group_by else f"of {splits.LEAST_GROUPS} different pictures"
        )
        found = ", ".join(sorted({label for label in named if label is not None})[:5]) or "none"
        what = f"a classifier needs two classes {each} each; labels found: {found}{why}"
        advice = "Put the pictures of each class in a folder of its own, or use --labels FILE.csv"
    else:
        what = f"no picture is left for {lacking}"
        advice = "add some, or leave the division into folders to Winnow"
    if by_verdicts:
        return f"{what}. The verdicts did that: `winnow undo` takes back the last ones, --as-found ignores them all"
    return f"{what}{'. ' if lacking == 'classes' else ': '}{advice}"


def _given_groups(group_by: str, paths: Sequence[str], images: Path) -> list[str | None]:
    if Path(group_by).suffix.lower() == ".csv":
        return labels.read_groups(Path(group_by), paths, images)
    try:
        pattern = re.compile(group_by)
    except re.error as error:
        raise InputError(f"--group-by takes a CSV file or a regular expression; {group_by!r}: {error}") from None
    found = [pattern.search(path) for path in paths]
    if not any(found):
        raise InputError(f"--group-by {group_by!r} matches none of the paths, as {paths[0] if paths else 'none'}")
    return [match and (match[1] if pattern.groups else match[0]) for match in found]
