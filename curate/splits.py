"""Train, val and test: stratified, seeded, groups whole, and stable when pictures come or go."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence

import numpy as np

SHARES = {"test": 0.15, "val": 0.15}  # the rest is train
PARTS = ("train", "val", "test")
LEAST_GROUPS = 4  # two to learn from, one to choose by, one to report on


def assign(ids: Sequence[str], labels: Sequence[str], groups: np.ndarray, seed: int) -> np.ndarray:
    """70/15/15 by class: (N,) of "train", "val", "test", or "" for classes of fewer than `LEAST_GROUPS` groups.

    Groups are taken in the order of sha256(seed, smallest id): a class fills its test part first, then val, and the
    rest is train. So the result does not depend on the order of rows, and a picture more or less moves only few others.
    Parameters: `ids` (N,) distinct; `labels` (N,); `groups` int (N,), a group is never divided: it counts for the label
    that most of its members have. Labels that so have few groups of their own are divided together.
    """
    small = too_small(labels, groups)
    members: dict[int, list[int]] = {}
    for row, group in enumerate(groups.tolist()):
        if labels[row] not in small:
            members.setdefault(group, []).append(row)
    strata: dict[str, list[list[int]]] = {}
    for rows in members.values():
        majority = min(Counter(labels[row] for row in rows).items(), key=lambda item: (-item[1], item[0]))[0]
        strata.setdefault(majority, []).append(rows)
    few = [label for label, of_label in strata.items() if len(of_label) < LEAST_GROUPS]
    together = [rows for label in few for rows in strata.pop(label)]
    parts = np.full(len(ids), "", dtype="<U5")
    for stratum in (*strata.values(), together):
        stratum.sort(key=lambda rows: hashlib.sha256(f"{seed} {min(ids[row] for row in rows)}".encode()).digest())
        for part, rows_of_part in _fill(stratum).items():
            parts[rows_of_part] = part
    return parts


def too_small(labels: Sequence[str], groups: np.ndarray) -> dict[str, int]:
    """Labels that are in fewer than `LEAST_GROUPS` groups, and how many pictures they have."""
    pairs = set(zip(labels, groups.tolist(), strict=True))
    of_label, counts = Counter(label for label, _ in pairs), Counter(labels)
    return {label: counts[label] for label in sorted(of_label) if of_label[label] < LEAST_GROUPS}


def _fill(groups: list[list[int]]) -> dict[str, list[int]]:
    """Rows of each part: a group goes to the first part that it does not overfill by more than half of itself."""
    if len(groups) < LEAST_GROUPS:
        return {"train": [row for rows in groups for row in rows]}
    total = sum(map(len, groups))
    quota = {part: max(1.0, share * total) for part, share in SHARES.items()}
    filled = dict.fromkeys(PARTS, 0)
    chosen: dict[str, list[list[int]]] = {part: [] for part in PARTS}
    for rows in groups:
        part = next((part for part in quota if filled[part] + len(rows) / 2 <= quota[part]), "train")
        chosen[part].append(rows)
        filled[part] += len(rows)
    for part in PARTS:
        if not chosen[part]:  # the groups are too unequal: the part that has most of them gives its smallest
            giver = max(chosen.values(), key=len)
            smallest = min(giver, key=len)
            giver.remove(smallest)
            chosen[part].append(smallest)
    return {part: [row for rows in taken for row in rows] for part, taken in chosen.items()}


def honour(
    given: Sequence[str | None], ids: Sequence[str], labels: Sequence[str], groups: np.ndarray, seed: int
) -> tuple[np.ndarray, int]:
    """Splits that the folders give: (N,) parts as in `assign`, and how many pictures were left out.

    A missing val or test part is taken from train, stratified and seeded. Pictures without a given split, and those of
    train or val with a duplicate in a later part (test before val before train), get "": no duplicate on both sides.
    """
    parts = np.array([part or "" for part in given], dtype="<U5")
    for row_part, later in (("val", ("test",)), ("train", ("val", "test"))):
        there = set(groups[np.isin(parts, later)].tolist())
        parts[(parts == row_part) & np.isin(groups, list(there))] = ""
    left_out = int((parts == "").sum())
    train = np.flatnonzero(parts == "train")
    missing = [part for part in SHARES if part not in parts]
    if missing:
        rows = train.tolist()
        own = assign([ids[row] for row in rows], [labels[row] for row in rows], groups[train], seed)
        for part in missing:
            parts[train[own == part]] = part
    return parts, left_out
