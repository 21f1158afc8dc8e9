"""From the manifest to the pictures that heads are trained on: each id once, with its label, group and splits."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Container, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from curate import duplicates, labels, manifest, splits
from curate.workspace import Workspace
from embed.errors import InputError

LEAST_TRAIN = 2  # training pictures of a class: a head needs two to be calibrated


@dataclass(frozen=True)
class Dataset:
    """Labelled pictures, rows (N,) in the order of paths, and the parts that they are divided into, J times."""

    ids: list[str]
    paths: list[str]  # manifest paths, the first of each id
    labels: list[str]
    groups: np.ndarray  # int64 (N,): pictures that no split may separate
    parts: list[np.ndarray]  # J arrays (N,) of "train", "val", "test" or ""
    rule: str  # how the parts were made, in words
    left_out: dict[str, int]  # classes too small to be divided -> pictures
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

    def counts(self) -> dict[str, dict[str, int]]:
        """Part -> label -> pictures, of the first division."""
        found = Counter(zip(self.parts[0].tolist(), self.labels, strict=True))
        return {part: {label: found[part, label] for label in self.classes} for part in splits.PARTS}


def read(
    workspace: Workspace,
    *,
    repeats: int,
    seed: int = 0,
    group_by: str | None = None,
    among: Container[str] | None = None,
) -> Dataset:
    """The labelled, readable pictures, divided `repeats` times with the seeds `seed`, `seed` + 1, …

    Copies of one picture under several labels take the label of the majority, and are left out when there is none.
    Splits that the folders give are honoured; then there is one division, whatever `repeats` says.
    Parameters: `group_by`, a CSV file (path,group) or a regular expression on manifest paths, whose first group (else
    the whole match) names the burst, product or camera: pictures of one stay on one side of every split; `among`, the
    only ids to take, those that have a vector (None: all).
    Raises: InputError when fewer than two classes or no pictures of a part are left, or `group_by` cannot be used.
    """
    pictures, warnings = _pictures(workspace, group_by)
    pictures = [picture for picture in pictures if among is None or picture.id in among]
    named = [picture.label for picture in pictures]
    groups = np.array([picture.group for picture in pictures], dtype=np.int64)
    parts, rule = _divide(pictures, groups, repeats, seed, warnings)
    left_out = {} if any(picture.split for picture in pictures) else splits.too_small(named, groups)
    if left_out:
        few = ", ".join(f"{label} ({count})" for label, count in left_out.items())
        warnings.append(f"left out, fewer than {splits.LEAST_GROUPS} different pictures: {few}")
    used = np.flatnonzero(parts[0] != "").tolist()
    result = Dataset(
        ids=[pictures[row].id for row in used],
        paths=[pictures[row].path for row in used],
        labels=[named[row] for row in used],
        groups=groups[used],
        parts=[part[used] for part in parts],
        rule=f"{rule}; duplicates{' and groups' if group_by else ''} kept together",
        left_out=left_out,
        warnings=warnings,
    )
    if len(result.classes) < 2:
        raise InputError(_too_few_classes(named, group_by, warnings))
    for part in splits.PARTS:
        if any(part not in of for of in parts):
            raise InputError(f"no picture is left for {part}: add some, or leave the division into folders to Winnow")
    return result


def _too_few_classes(named: list[str], group_by: str | None, warnings: list[str]) -> str:
    each = f"in at least {splits.LEAST_GROUPS} groups" if group_by else f"of {splits.LEAST_GROUPS} different pictures"
    found = ", ".join(sorted(set(named))[:5]) or "none"
    why = f" ({'; '.join(warnings)})" if warnings else ""
    return (
        f"a classifier needs two classes {each} each; labels found: {found}{why}. "
        "Put the pictures of each class in a folder of its own, or use --labels FILE.csv"
    )


class _Picture(NamedTuple):
    id: str
    path: str
    label: str
    split: str | None
    group: int


def _pictures(workspace: Workspace, group_by: str | None) -> tuple[list[_Picture], list[str]]:
    """Every id that has a label, and warnings about those that have none."""
    import pyarrow.compute as pc

    table = manifest.read(workspace)
    table = table.filter(pc.is_null(table["problem"]))
    ids, paths, named, given = (table[name].to_pylist() for name in ("id", "path", "label", "split"))
    keys = [ids, table["pixels"].to_pylist(), table["phash"].to_pylist()]
    groups = duplicates.connected(*keys, *([_given_groups(group_by, paths, workspace.images)] if group_by else []))
    copies: dict[str, list[int]] = {}
    for row, id in enumerate(ids):
        copies.setdefault(id, []).append(row)
    pictures, conflicts, unlabelled = [], [], 0
    order = (None, *splits.PARTS)  # a copy in test keeps the picture out of train
    for id, rows in copies.items():
        ranked = Counter(named[row] for row in rows if named[row] is not None).most_common(2)
        if not ranked:
            unlabelled += 1
        elif len(ranked) == 2 and ranked[0][1] == ranked[1][1]:
            conflicts.append(paths[rows[0]])
        else:
            split = max((given[row] for row in rows), key=order.index)
            pictures.append(_Picture(id, paths[rows[0]], ranked[0][0], split, int(groups[rows[0]])))
    warnings = []
    if conflicts:
        warnings.append(f"left out, {len(conflicts)} pictures with copies under different labels, as {conflicts[0]}")
    if unlabelled:
        warnings.append(f"left out, {unlabelled} pictures without a label")
    return pictures, warnings


def _divide(
    pictures: list[_Picture], groups: np.ndarray, repeats: int, seed: int, warnings: list[str]
) -> tuple[list[np.ndarray], str]:
    """The parts of every division, and the rule in words; adds to `warnings` what was lost."""
    ids, named = [picture.id for picture in pictures], [picture.label for picture in pictures]
    given = [picture.split for picture in pictures]
    if not any(given):
        rule = f"70/15/15, stratified by class, seed {seed}" + (f" to {seed + repeats - 1}" if repeats > 1 else "")
        return [splits.assign(ids, named, groups, seed + repeat) for repeat in range(repeats)], rule
    parts, lost = splits.honour(given, ids, named, groups, seed)
    known = _only_known(parts, named)
    lost += int((known == "").sum() - (parts == "").sum())
    if lost:
        why = f"no split of their own, a copy in another one, or a class with fewer than {LEAST_TRAIN} in train"
        warnings.append(f"left out, {lost} pictures with {why}")
    return [known], f"as the folders give them; what is missing was taken from train, seed {seed}"


def _only_known(parts: np.ndarray, named: list[str]) -> np.ndarray:
    """Parts without the pictures of classes that a head cannot learn, for want of training pictures."""
    counts = Counter(label for label, part in zip(named, parts.tolist(), strict=True) if part == "train")
    return np.where([counts[label] >= LEAST_TRAIN for label in named], parts, "")


def _given_groups(group_by: str, paths: Sequence[str], images: Path) -> list[str | None]:
    if Path(group_by).suffix.lower() == ".csv":
        return labels.groups_from_csv(Path(group_by), paths, images)
    try:
        pattern = re.compile(group_by)
    except re.error as error:
        raise InputError(f"--group-by takes a CSV file or a regular expression; {group_by!r}: {error}") from None
    found = [pattern.search(path) for path in paths]
    if not any(found):
        raise InputError(f"--group-by {group_by!r} matches none of the paths, as {paths[0] if paths else 'none'}")
    return [match and (match[1] if pattern.groups else match[0]) for match in found]
