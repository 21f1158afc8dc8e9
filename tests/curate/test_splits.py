"""Splits are stratified, seeded, whole by group, and nearly the same when a picture comes or goes."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from winnow.curate.splits import SPLITS, complete_splits, split_labelled, split_pictures, undersized_labels


def named(*counts: int) -> tuple[list[str], list[str]]:
    """Ids and labels of classes "a", "b", … with so many pictures."""
    labels = [chr(97 + number) for number, count in enumerate(counts) for _ in range(count)]
    return [f"id{row}" for row in range(len(labels))], labels


def alone(ids) -> np.ndarray:
    return np.arange(len(ids))


def counted(parts, labels=None) -> dict:
    return dict(Counter(parts.tolist() if labels is None else zip(labels, parts.tolist(), strict=True)))


@pytest.mark.parametrize(
    ("count", "train", "val", "test"),
    [(4, 2, 1, 1), (5, 3, 1, 1), (7, 5, 1, 1), (10, 6, 2, 2), (20, 14, 3, 3), (100, 70, 15, 15), (200, 140, 30, 30)],
)
def test_every_class_is_divided_70_15_15(count, train, val, test):
    ids, labels = named(count, count)
    parts = split_labelled(ids, labels, alone(ids), 0)
    for label in "ab":
        of_class = parts[np.array(labels) == label]
        assert counted(of_class) == {"train": train, "val": val, "test": test}


@pytest.mark.parametrize(
    ("five", "least"),
    [([0, 1, 2, 3, 4], (3, 1, 1)), ([0, 0, 1, 2, 3], (2, 1, 1)), ([0, 1, 1, 2, 3], (2, 1, 1))],
)
def test_five_pictures_are_in_every_part_with_every_seed(five, least):
    """Also when two of them are copies; beside a class as small and two larger ones."""
    ids, labels = named(5, 5, 40, 200)
    groups = alone(ids) + 10
    groups[:5] = five
    for seed in range(100):
        parts = split_labelled(ids, labels, groups, seed)
        for rows, wanted in ((slice(5), least), (slice(5, 10), (3, 1, 1))):
            counts = Counter(parts[rows].tolist())
            assert all(counts[part] >= n for part, n in zip(SPLITS, wanted, strict=True))
            assert counts.total() == 5
        assert len({parts[row] for row in range(5) if groups[row] == groups[1]}) == 1


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_class_of_fewer_than_four_is_left_out(count):
    ids, labels = named(20, count)
    parts = split_labelled(ids, labels, alone(ids), 0)
    assert set(parts[20:]) == {""}
    assert "" not in parts[:20]


def test_four_copies_of_one_picture_are_one():
    ids, labels = named(20, 6)
    groups = alone(ids)
    groups[20:24] = 20  # three different pictures
    assert set(split_labelled(ids, labels, groups, 0)[20:]) == {""}


def test_what_is_too_small_is_counted_by_groups_and_told_in_pictures():
    labels = ["a"] * 4 + ["b"] * 3 + ["c"] * 9
    groups = np.array([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 9, 9, 9, 9])
    assert undersized_labels(labels, groups) == {"b": 3, "c": 9}


def test_a_class_whose_groups_count_for_another_is_divided_all_the_same():
    """Five days on which both were photographed, and two on which only b was."""
    ids, labels = named(5, 7)
    groups = np.array([0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 5, 6])
    parts = split_labelled(ids, labels, groups, 0)
    assert (parts[:5] == parts[5:10]).all()
    assert counted(parts[:5]) == {"train": 3, "val": 1, "test": 1}
    assert parts[10:].tolist() == ["train", "train"]


def test_classes_with_few_groups_of_their_own_are_divided_together():
    labels = ["a", "b", "c"] * 4
    groups = np.repeat(np.arange(4), 3)
    groups[groups == 3] = [3, 4, 5]  # a counts for groups 0 to 3, b for 4, c for 5
    ids = [f"id{row}" for row in range(12)]
    parts = split_labelled(ids, labels, groups, 0)
    assert set(parts[:10]) == {"train", "val", "test"}
    assert parts[10:].tolist() == ["train", "train"]


def test_nothing_is_divided_into_nothing():
    assert split_labelled([], [], np.empty(0, dtype=np.int64), 0).tolist() == []


def test_the_seed_decides_and_nothing_else():
    ids, labels = named(60, 60)
    first = split_labelled(ids, labels, alone(ids), 0)
    assert (split_labelled(ids, labels, alone(ids), 0) == first).all()
    assert (split_labelled(ids, labels, alone(ids) * 7 + 3, 0) == first).all()
    other = split_labelled(ids, labels, alone(ids), 1)
    assert 20 < (other != first).sum() < 100
    assert first[:20].tolist() == split_labelled(ids, labels, alone(ids), 0)[:20].tolist()


def test_a_known_split_stays_as_it_is():
    """Stored runs name only the seed: another order of the same pictures would silently change them."""
    ids, labels = named(8)
    train = "train"
    assert split_labelled(ids, labels, alone(ids), 0).tolist() == [
        "test",
        train,
        train,
        train,
        "val",
        train,
        train,
        train,
    ]


def test_over_many_seeds_every_picture_is_tested():
    ids, labels = named(40)
    tested = np.mean([split_labelled(ids, labels, alone(ids), seed) == "test" for seed in range(200)], axis=0)
    assert tested.min() > 0.05
    assert tested.max() < 0.27


PICTURES = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 30)), max_size=60)


@given(PICTURES, st.integers(0, 5), st.randoms())
def test_the_order_of_rows_does_not_matter(pictures, seed, random):
    ids = [f"id{row}" for row in range(len(pictures))]
    labels, groups = [label for label, _ in pictures], np.array([group for _, group in pictures], dtype=np.int64)
    order = list(range(len(ids)))
    random.shuffle(order)
    first = split_labelled(ids, labels, groups, seed)
    again = split_labelled([ids[row] for row in order], [labels[row] for row in order], groups[order], seed)
    assert again.tolist() == first[order].tolist()


@given(PICTURES, st.integers(0, 5))
def test_groups_stay_whole_and_every_class_that_is_used_has_every_part(pictures, seed):
    ids = [f"id{row}" for row in range(len(pictures))]
    labels, groups = [label for label, _ in pictures], np.array([group for _, group in pictures], dtype=np.int64)
    parts = split_labelled(ids, labels, groups, seed)
    small = undersized_labels(labels, groups)
    assert [part == "" for part in parts] == [label in small for label in labels]
    by_majority: dict[str, list[str]] = {}
    for group in set(groups.tolist()):
        rows = [row for row in np.flatnonzero(groups == group) if labels[row] not in small]
        assert len(set(parts[rows])) <= 1
        if rows:
            majority = min(Counter(labels[row] for row in rows).items(), key=lambda item: (-item[1], item[0]))[0]
            by_majority.setdefault(majority, []).append(parts[rows[0]])
    for of_class in by_majority.values():
        assert len(of_class) < 4 or set(of_class) == set(SPLITS)


@given(st.integers(4, 120), st.integers(0, 5))
def test_a_picture_more_moves_few_others(count, seed):
    ids, labels = named(count)
    before = split_labelled(ids, labels, alone(ids), seed)
    after = split_labelled([*ids, "new"], [*labels, "a"], np.arange(count + 1), seed)[:-1]
    assert (before != after).sum() <= 3


@given(st.integers(4, 60), st.integers(0, 5))
def test_a_class_more_moves_nothing(count, seed):
    ids, labels = named(count)
    more, more_labels = named(count, 10)
    assert (
        split_labelled(more, more_labels, alone(more), seed)[:count] == split_labelled(ids, labels, alone(ids), seed)
    ).all()


@settings(max_examples=200)
@given(st.lists(st.integers(1, 40), min_size=4, max_size=12), st.integers(0, 9))
def test_one_huge_group_does_not_empty_a_part(sizes, seed):
    groups = np.repeat(np.arange(len(sizes)), sizes)
    ids, labels = named(len(groups))
    assert set(split_labelled(ids, labels, groups, seed)) == set(SPLITS)


def test_even_groups_come_near_to_the_shares():
    groups = np.repeat(np.arange(100), 3)
    ids, labels = named(300)
    assert counted(split_labelled(ids, labels, groups, 0)) == {"train": 210, "val": 45, "test": 45}


def test_given_splits_are_kept():
    ids, labels = named(3, 3)
    given_parts = ["train", "val", "test"] * 2
    parts, left_out = complete_splits(given_parts, ids, labels, alone(ids), 0)
    assert parts.tolist() == given_parts
    assert left_out == 0


def test_a_picture_without_a_given_split_is_left_out():
    ids, labels = named(4)
    parts, left_out = complete_splits(["train", None, "val", "test"], ids, labels, alone(ids), 0)
    assert parts.tolist() == ["train", "", "val", "test"]
    assert left_out == 1


@pytest.mark.parametrize(
    ("given_parts", "kept"),
    [
        (["train", "test", "val", "train"], ["", "test", "val", "train"]),
        (["train", "val", "test", "train"], ["", "val", "test", "train"]),
        (["val", "test", "train", "val"], ["", "test", "train", "val"]),
        (["test", "test", "train", "val"], ["test", "test", "train", "val"]),
    ],
)
def test_of_duplicates_on_both_sides_the_one_to_be_tested_on_stays(given_parts, kept):
    ids, labels = named(4)
    groups = np.array([0, 0, 1, 2])
    parts, left_out = complete_splits(given_parts, ids, labels, groups, 0)
    assert parts.tolist() == kept
    assert left_out == kept.count("")


def test_a_missing_part_is_taken_from_train_alone():
    ids, labels = named(60, 60)
    given_parts = ["test" if row % 3 == 0 else "train" for row in range(120)]
    parts, left_out = complete_splits(given_parts, ids, labels, alone(ids), 0)
    assert left_out == 0
    assert [part == "test" for part in parts] == [part == "test" for part in given_parts]
    assert counted(parts, labels) == {
        ("a", "test"): 20,
        ("a", "val"): 6,
        ("a", "train"): 34,
        ("b", "test"): 20,
        ("b", "val"): 6,
        ("b", "train"): 34,
    }


def test_only_train_given_is_divided_as_without_splits():
    ids, labels = named(40, 40)
    parts, _ = complete_splits(["train"] * 80, ids, labels, alone(ids), 3)
    assert parts.tolist() == split_labelled(ids, labels, alone(ids), 3).tolist()


def test_a_small_class_of_train_stays_in_train():
    ids, labels = named(40, 2)
    parts, _ = complete_splits(["train"] * 42, ids, labels, alone(ids), 0)
    assert set(parts[40:]) == {"train"}


def test_a_train_part_of_nothing_but_duplicates_is_left_empty():
    ids, labels = named(2)
    parts, left_out = complete_splits(["train", "test"], ids, labels, np.array([0, 0]), 0)
    assert parts.tolist() == ["", "test"]
    assert left_out == 1


GIVEN = st.lists(st.tuples(st.sampled_from([None, *SPLITS]), st.integers(0, 15)), max_size=40)


@given(GIVEN, st.integers(0, 3))
def test_no_group_is_ever_on_both_sides(rows, seed):
    ids, labels = named(len(rows))
    groups = np.array([group for _, group in rows], dtype=np.int64)
    parts, _ = complete_splits([part for part, _ in rows], ids, labels, groups, seed)
    for group in set(groups.tolist()):
        assert len(set(parts[groups == group]) - {""}) <= 1


def named_or_not(pictures) -> tuple[list[str], list[str | None], np.ndarray]:
    ids = [f"id{row}" for row in range(len(pictures))]
    return ids, [label for label, *_ in pictures], np.array([group for _, group, *_ in pictures], dtype=np.int64)


SOME_NAMED = st.lists(st.tuples(st.sampled_from(["a", "b", "c", None]), st.integers(0, 40)), max_size=60)


@given(SOME_NAMED, st.integers(0, 3))
def test_pictures_without_a_label_change_nothing_for_the_others(pictures, seed):
    ids, labels, groups = named_or_not(pictures)
    rows = [row for row, label in enumerate(labels) if label is not None]
    alone_parts = split_labelled([ids[row] for row in rows], [labels[row] for row in rows], groups[rows], seed)
    assert split_labelled(ids, labels, groups, seed)[rows].tolist() == alone_parts.tolist()
    parts = split_pictures(ids, labels, groups, seed)
    assert [a for a, b in zip(parts[rows], alone_parts, strict=True) if b] == [b for b in alone_parts if b]


@given(SOME_NAMED, st.integers(0, 3))
def test_everything_is_divided_and_groups_stay_whole(pictures, seed):
    ids, labels, groups = named_or_not(pictures)
    parts = split_pictures(ids, labels, groups, seed)
    assert set(parts.tolist()) <= set(SPLITS)
    for group in set(groups.tolist()):
        assert len(set(parts[groups == group])) == 1


def test_pictures_without_a_label_are_divided_70_15_15_among_themselves():
    ids, labels = named(20, 100)
    parts = split_pictures(ids, labels[:20] + [None] * 100, alone(ids), 0)
    assert counted(parts[20:]) == {"train": 70, "val": 15, "test": 15}
    assert parts[:20].tolist() == split_labelled(ids[:20], labels[:20], alone(ids)[:20], 0).tolist()


def test_classes_that_are_too_small_are_divided_with_what_has_no_label():
    ids, labels = named(20, 3, 3, 4)
    parts = split_pictures(ids, [*labels[:26], None, None, None, None], alone(ids), 0)
    assert counted(parts[20:]) == {"train": 6, "val": 2, "test": 2}


def test_a_picture_without_a_label_goes_where_its_duplicate_with_one_is():
    ids, labels = named(40)
    groups = np.arange(40)
    groups[20:] = groups[:20]
    parts = split_pictures(ids, labels[:20] + [None] * 20, groups, 0)
    assert parts[20:].tolist() == parts[:20].tolist()
    assert set(parts) == set(SPLITS)


@pytest.mark.parametrize(
    ("given_parts", "kept"),
    [
        (["test", "train", "val"], ["test", "", "val"]),  # the second has a labelled duplicate in test
        (["train", "train", "val"], ["train", "train", "val"]),
        (["train", "test", "val"], ["train", "", "val"]),
        (["test", None, None], ["test", "", ""]),
    ],
)
def test_a_given_split_counts_for_a_picture_without_a_label_too(given_parts, kept):
    others = ["test", "val", "train"]
    ids, labels = named(3, 3)
    parts, left_out = complete_splits(
        given_parts + others, ids, ["a", None, None, "b", "b", "b"], np.array([0, 0, 1, 2, 3, 4]), 0
    )
    assert parts.tolist() == kept + others
    assert left_out == 0


def test_of_duplicates_without_a_label_the_one_to_be_tested_on_stays():
    ids, _ = named(6)
    given_parts = ["train", "test", "val", "train", "val", "test"]
    labels = [None, None, None, "a", "a", "a"]
    parts, _ = complete_splits(given_parts, ids, labels, np.array([0, 0, 0, 1, 2, 3]), 0)
    assert parts.tolist() == ["", "test", "", "train", "val", "test"]


def test_a_missing_part_is_taken_also_from_train_without_a_label():
    ids, labels = named(40, 60, 40)
    some: list[str | None] = [*labels[:40], *[None] * 60, *labels[40:80]]
    groups = alone(ids)
    groups[40:60] = groups[:20]  # duplicates of labelled ones
    parts, _ = complete_splits(["train"] * 100 + ["test"] * 40, ids, some, groups, 0)
    assert counted(parts[60:100]) == {"train": 34, "val": 6}
    assert parts[40:60].tolist() == parts[:20].tolist()
    only = [*range(40), *range(100, 140)]
    without, _ = complete_splits(
        ["train"] * 40 + ["test"] * 40, [ids[row] for row in only], ["a"] * 40 + ["b"] * 40, groups[only], 0
    )
    assert parts[only].tolist() == without.tolist()


GIVEN_OR_NOT = st.lists(
    st.tuples(st.sampled_from(["a", "b", None]), st.integers(0, 20), st.sampled_from([None, *SPLITS])), max_size=40
)


@given(GIVEN_OR_NOT, st.integers(0, 3))
def test_given_splits_never_part_a_group_and_what_has_no_label_changes_nothing(pictures, seed):
    ids, labels, groups = named_or_not(pictures)
    given_parts = [part for *_, part in pictures]
    parts, left_out = complete_splits(given_parts, ids, labels, groups, seed)
    rows = [row for row, label in enumerate(labels) if label is not None]
    few, few_left_out = complete_splits(
        [given_parts[row] for row in rows],
        [ids[row] for row in rows],
        [labels[row] for row in rows],
        groups[rows],
        seed,
    )
    assert (parts[rows].tolist(), left_out) == (few.tolist(), few_left_out)
    for group in set(groups.tolist()):
        assert len(set(parts[groups == group]) - {""}) <= 1
    assert not [row for row, part in enumerate(given_parts) if part is None and parts[row]]
