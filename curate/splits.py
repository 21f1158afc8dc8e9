"""Train, val and test splits: stratified, seeded, groups whole, and stable when pictures come or go.

Groups are dealt in the order of a hash of their smallest id, instead of by scikit-learn's StratifiedGroupKFold, which
shuffles by row: here one picture more or less must leave nearly all others in the split where they were.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence

import numpy as np

SHARES = {"test": 0.15, "val": 0.15}  # split -> share of the pictures; the rest is train
SPLITS = ("train", "val", "test")
LEAST_GROUPS = 4  # per class: two to learn from, one to select the model by, one to report on


def split_pictures(ids: Sequence[str], labels: Sequence[str | None], groups: np.ndarray, seed: int) -> np.ndarray:
    """Assign every picture to a split, as an array (N,) of "train", "val" and "test".

    Pictures that `split_labelled` assigns to no split are divided among themselves, without effect on the others. A
    group with pictures of both kinds follows its labelled pictures. The parameters are those of `split_labelled`.
    """
    assigned = split_labelled(ids, labels, groups, seed)
    return _assign_remaining(assigned, np.where(assigned == "", "train", ""), tuple(SHARES), ids, groups, seed)


def split_labelled(ids: Sequence[str], labels: Sequence[str | None], groups: np.ndarray, seed: int) -> np.ndarray:
    """Assign the labelled pictures to splits, 70/15/15 within each class.

    Groups are taken in the order of sha256(seed, smallest id): a class fills its test split first, then val, and the
    rest is train. So the result does not depend on the order of the rows, and adding or removing one picture moves only
    few others.
    Parameters: `ids` (N,), distinct; `labels` (N,), None for none; `groups` int (N,): a group is never divided, and
    counts for the label that most of its members have. Labels left with few groups by that rule are divided together.
    Returns: (N,) of "train", "val", "test", or "" for pictures without a label and labels of too few groups.
    """
    undersized = undersized_labels(labels, groups)
    members: dict[int, list[int]] = {}
    for row, group in enumerate(groups.tolist()):
        if labels[row] is not None and labels[row] not in undersized:
            members.setdefault(group, []).append(row)
    strata: dict[str, list[list[int]]] = {}
    for rows in members.values():
        strata.setdefault(_most_common([str(labels[row]) for row in rows]), []).append(rows)
    few = [label for label, stratum in strata.items() if len(stratum) < LEAST_GROUPS]
    joint_stratum = [rows for label in few for rows in strata.pop(label)]
    assigned = np.full(len(ids), "", dtype="<U5")
    for stratum in (*strata.values(), joint_stratum):
        for split, rows in _deal(stratum, ids, seed).items():
            assigned[rows] = split
    return assigned


def _most_common(labels: Sequence[str]) -> str:
    """The label that occurs most often; of several, the first in alphabetical order."""
    if len(labels) == 1:  # true of nearly all groups
        return labels[0]
    return min(Counter(labels).items(), key=lambda item: (-item[1], item[0]))[0]


def undersized_labels(labels: Sequence[str | None], groups: np.ndarray) -> dict[str, int]:
    """Map each label that occurs in fewer than `LEAST_GROUPS` groups to its number of pictures."""
    pairs = {(label, group) for label, group in zip(labels, groups.tolist(), strict=True) if label is not None}
    group_counts, picture_counts = Counter(label for label, _ in pairs), Counter(labels)
    return {label: picture_counts[label] for label in sorted(group_counts) if group_counts[label] < LEAST_GROUPS}


def _deal(groups: list[list[int]], ids: Sequence[str], seed: int) -> dict[str, list[int]]:
    """Deal groups of rows to the splits: each goes to the first one that it overfills by at most half of itself."""
    groups = sorted(
        groups, key=lambda rows: hashlib.sha256(f"{seed} {min(ids[row] for row in rows)}".encode()).digest()
    )
    if len(groups) < LEAST_GROUPS:
        return {"train": [row for rows in groups for row in rows]}
    total = sum(map(len, groups))
    quota = {split: max(1.0, share * total) for split, share in SHARES.items()}
    sizes = dict.fromkeys(SPLITS, 0)
    dealt: dict[str, list[list[int]]] = {split: [] for split in SPLITS}
    for rows in groups:
        split = next((split for split in quota if sizes[split] + len(rows) / 2 <= quota[split]), "train")
        dealt[split].append(rows)
        sizes[split] += len(rows)
    for split in SPLITS:
        if not dealt[split]:  # the groups are too unequal: the split with most of them gives its smallest
            donor = max(dealt.values(), key=len)
            smallest = min(donor, key=len)
            donor.remove(smallest)
            dealt[split].append(smallest)
    return {split: [row for rows in members for row in rows] for split, members in dealt.items()}


def complete_splits(
    given_splits: Sequence[str | None],
    ids: Sequence[str],
    labels: Sequence[str | None],
    groups: np.ndarray,
    seed: int,
) -> tuple[np.ndarray, int]:
    """Use the splits that the folders give, and take a missing val or test split from train, stratified and seeded.

    Labelled pictures without a given split, and those of train or val with a duplicate in a later split (test before
    val before train), get "": no duplicate is on both sides. Pictures without a label keep their given split, unless a
    labelled duplicate is elsewhere; they have no effect on the others.
    Parameters: `given_splits` (N,), a split or None; the others are those of `split_labelled`.
    Returns: (N,) of "train", "val", "test" and "", and the number of labelled pictures that were left out.
    """
    wanted = np.array([split or "" for split in given_splits], dtype="<U5")
    is_labelled = np.array([label is not None for label in labels], dtype=bool)
    assigned = _remove_leaks(np.where(is_labelled, wanted, ""), groups)
    left_out = int((assigned[is_labelled] == "").sum())
    train = np.flatnonzero(assigned == "train")
    missing = [split for split in SHARES if split not in assigned]
    if missing:
        rows = train.tolist()
        divided = split_labelled([ids[row] for row in rows], [labels[row] for row in rows], groups[train], seed)
        for split in missing:
            assigned[train[divided == split]] = split
    return _assign_remaining(assigned, np.where(is_labelled, "", wanted), missing, ids, groups, seed), left_out


def _remove_leaks(assigned: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Replace by "" the split of pictures of train or val that have a duplicate in a later split."""
    assigned = assigned.copy()
    for split, later in (("val", ("test",)), ("train", ("val", "test"))):
        later_groups = set(groups[np.isin(assigned, later)].tolist())
        assigned[(assigned == split) & np.isin(groups, list(later_groups))] = ""
    return assigned


def _assign_remaining(
    assigned: np.ndarray, wanted: np.ndarray, missing: Sequence[str], ids: Sequence[str], groups: np.ndarray, seed: int
) -> np.ndarray:
    """Assign pictures that have no split in `assigned` but one in `wanted` ("" where there is none).

    A picture with a duplicate in `assigned` gets the split of the duplicate if that is its own in `wanted` or one of
    `missing`. The others keep theirs in `wanted`, and the splits in `missing` are taken from those that have train.
    """
    split_by_group = {group: split for group, split in zip(groups.tolist(), assigned.tolist(), strict=True) if split}
    of_duplicate = np.array([split_by_group.get(group, "") for group in groups.tolist()], dtype="<U5")
    joins = (wanted == of_duplicate) | ((wanted == "train") & np.isin(of_duplicate, missing))
    assigned = np.where((wanted != "") & (of_duplicate != "") & joins, of_duplicate, assigned)
    remaining = _remove_leaks(np.where(of_duplicate == "", wanted, ""), groups)
    members: dict[int, list[int]] = {}
    for row in np.flatnonzero(remaining == "train").tolist():
        members.setdefault(int(groups[row]), []).append(row)
    for split, rows in _deal(list(members.values()), ids, seed).items():
        if split in missing:
            remaining[rows] = split
    return np.where(remaining != "", remaining, assigned)
