"""Train, val and test: stratified, seeded, groups whole, and stable when pictures come or go."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence

import numpy as np

SHARES = {"test": 0.15, "val": 0.15}  # the rest is train
SPLITS = ("train", "val", "test")
LEAST_GROUPS = 4  # two to learn from, one to choose by, one to report on


def split_pictures(ids: Sequence[str], labels: Sequence[str | None], groups: np.ndarray, seed: int) -> np.ndarray:
    """A part for every picture: `split_labelled`; those to which it gives none are divided among themselves.

    They do not change what the others get. A group of both kinds is on the side of its labelled pictures.
    """
    parts = split_labelled(ids, labels, groups, seed)
    return _complete(parts, np.where(parts == "", "train", ""), tuple(SHARES), ids, groups, seed)


def split_labelled(ids: Sequence[str], labels: Sequence[str | None], groups: np.ndarray, seed: int) -> np.ndarray:
    """70/15/15 by class: (N,) of "train", "val", "test", or "" without a label, or with one of too few groups.

    Groups are taken in the order of sha256(seed, smallest id): a class fills its test part first, then val, and the
    rest is train. So the result does not depend on the order of rows, and a picture more or less moves only few others.
    Parameters: `ids` (N,) distinct; `labels` (N,), None for none; `groups` int (N,), a group is never divided: it
    counts for the label that most of its members have. Labels that so have few groups of their own are divided
    together.
    """
    small = undersized_labels(labels, groups)
    members: dict[int, list[int]] = {}
    for row, group in enumerate(groups.tolist()):
        if labels[row] is not None and labels[row] not in small:
            members.setdefault(group, []).append(row)
    strata: dict[str, list[list[int]]] = {}
    for rows in members.values():
        strata.setdefault(_majority([str(labels[row]) for row in rows]), []).append(rows)
    few = [label for label, of_label in strata.items() if len(of_label) < LEAST_GROUPS]
    together = [rows for label in few for rows in strata.pop(label)]
    parts = np.full(len(ids), "", dtype="<U5")
    for stratum in (*strata.values(), together):
        for part, rows_of_part in _fill(stratum, ids, seed).items():
            parts[rows_of_part] = part
    return parts


def _majority(labels: Sequence[str]) -> str:
    if len(labels) == 1:  # as nearly all groups are
        return labels[0]
    return min(Counter(labels).items(), key=lambda item: (-item[1], item[0]))[0]


def undersized_labels(labels: Sequence[str | None], groups: np.ndarray) -> dict[str, int]:
    """Labels that are in fewer than `LEAST_GROUPS` groups, and how many pictures they have; None is no label."""
    pairs = {(label, group) for label, group in zip(labels, groups.tolist(), strict=True) if label is not None}
    of_label, counts = Counter(label for label, _ in pairs), Counter(labels)
    return {label: counts[label] for label in sorted(of_label) if of_label[label] < LEAST_GROUPS}


def _fill(groups: list[list[int]], ids: Sequence[str], seed: int) -> dict[str, list[int]]:
    """Rows of each part: a group goes to the first part that it does not overfill by more than half of itself."""
    groups = sorted(
        groups, key=lambda rows: hashlib.sha256(f"{seed} {min(ids[row] for row in rows)}".encode()).digest()
    )
    if len(groups) < LEAST_GROUPS:
        return {"train": [row for rows in groups for row in rows]}
    total = sum(map(len, groups))
    quota = {part: max(1.0, share * total) for part, share in SHARES.items()}
    filled = dict.fromkeys(SPLITS, 0)
    chosen: dict[str, list[list[int]]] = {part: [] for part in SPLITS}
    for rows in groups:
        part = next((part for part in quota if filled[part] + len(rows) / 2 <= quota[part]), "train")
        chosen[part].append(rows)
        filled[part] += len(rows)
    for part in SPLITS:
        if not chosen[part]:  # the groups are too unequal: the part that has most of them gives its smallest
            giver = max(chosen.values(), key=len)
            smallest = min(giver, key=len)
            giver.remove(smallest)
            chosen[part].append(smallest)
    return {part: [row for rows in taken for row in rows] for part, taken in chosen.items()}


def complete_splits(
    given: Sequence[str | None], ids: Sequence[str], labels: Sequence[str | None], groups: np.ndarray, seed: int
) -> tuple[np.ndarray, int]:
    """Splits that the folders give: (N,) parts as in `split_pictures`, and how many labelled pictures were left out.

    A missing val or test part is taken from train, stratified and seeded. Pictures without a given split, and those of
    train or val with a duplicate in a later part (test before val before train), get "": no duplicate on both sides.
    Pictures without a label get what is given too, unless a duplicate with a label is elsewhere; they change nothing
    for the others.
    """
    wanted = np.array([part or "" for part in given], dtype="<U5")
    labelled = np.array([label is not None for label in labels], dtype=bool)
    parts = _without_twins(np.where(labelled, wanted, ""), groups)
    left_out = int((parts[labelled] == "").sum())
    train = np.flatnonzero(parts == "train")
    missing = [part for part in SHARES if part not in parts]
    if missing:
        rows = train.tolist()
        own = split_labelled([ids[row] for row in rows], [labels[row] for row in rows], groups[train], seed)
        for part in missing:
            parts[train[own == part]] = part
    return _complete(parts, np.where(labelled, "", wanted), missing, ids, groups, seed), left_out


def _without_twins(parts: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Parts, "" for pictures of train or val that have a duplicate in a later part."""
    parts = parts.copy()
    for part, later in (("val", ("test",)), ("train", ("val", "test"))):
        there = set(groups[np.isin(parts, later)].tolist())
        parts[(parts == part) & np.isin(groups, list(there))] = ""
    return parts


def _complete(
    parts: np.ndarray, wanted: np.ndarray, missing: Sequence[str], ids: Sequence[str], groups: np.ndarray, seed: int
) -> np.ndarray:
    """Parts (N,), also of the pictures that have none in `parts` but one in `wanted`, "" where there is none.

    Those that have a duplicate in `parts` go where it is, when that is what they want or was taken from it; the rest
    get what they want, and the parts that are `missing` are taken from those that want train.
    """
    side = {group: part for group, part in zip(groups.tolist(), parts.tolist(), strict=True) if part}
    beside = np.array([side.get(group, "") for group in groups.tolist()], dtype="<U5")
    follows = (wanted == beside) | ((wanted == "train") & np.isin(beside, missing))
    parts = np.where((wanted != "") & (beside != "") & follows, beside, parts)
    free = _without_twins(np.where(beside == "", wanted, ""), groups)
    members: dict[int, list[int]] = {}
    for row in np.flatnonzero(free == "train").tolist():
        members.setdefault(int(groups[row]), []).append(row)
    for part, rows in _fill(list(members.values()), ids, seed).items():
        if part in missing:
            free[rows] = part
    return np.where(free != "", free, parts)
