"""Splits are stratified, seeded, keep groups whole, and hardly change when a picture comes or goes."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from winnow.curate.splits import SPLITS, complete_splits, split_labelled, split_pictures, undersized_labels


def ids_and_labels(*counts: int) -> tuple[list[str], list[str]]:
    """Ids and labels of classes "a", "b", … with these numbers of pictures."""
    labels = [chr(97 + number) for number, count in enumerate(counts) for _ in range(count)]
    return [f"id{row}" for row in range(len(labels))], labels


def alone(ids) -> np.ndarray:
    """Each picture in a group of its own."""
    return np.arange(len(ids))


def counted(assigned, labels=None) -> dict:
    """Pictures of each split, or of each (label, split)."""
    return dict(Counter(assigned.tolist() if labels is None else zip(labels, assigned.tolist(), strict=True)))


@pytest.mark.parametrize(
    ("count", "train", "val", "test"),
    [(4, 2, 1, 1), (5, 3, 1, 1), (7, 5, 1, 1), (10, 6, 2, 2), (20, 14, 3, 3), (100, 70, 15, 15), (200, 140, 30, 30)],
)
def test_every_class_is_divided_70_15_15(count, train, val, test):
    ids, labels = ids_and_labels(count, count)
    assigned = split_labelled(ids, labels, alone(ids), 0)
    for label in "ab":
        class_splits = assigned[np.array(labels) == label]
        assert counted(class_splits) == {"train": train, "val": val, "test": test}


@pytest.mark.parametrize(
    ("five", "least"),
    [([0, 1, 2, 3, 4], (3, 1, 1)), ([0, 0, 1, 2, 3], (2, 1, 1)), ([0, 1, 1, 2, 3], (2, 1, 1))],
)
def test_five_pictures_reach_every_split_with_every_seed(five, least):
    """Also when two of them are copies; beside a class as small and two larger ones."""
    ids, labels = ids_and_labels(5, 5, 40, 200)
    groups = alone(ids) + 10
    groups[:5] = five
    for seed in range(100):
        assigned = split_labelled(ids, labels, groups, seed)
        for rows, wanted in ((slice(5), least), (slice(5, 10), (3, 1, 1))):
            counts = Counter(assigned[rows].tolist())
            assert all(counts[split] >= n for split, n in zip(SPLITS, wanted, strict=True))
            assert counts.total() == 5
        assert len({assigned[row] for row in range(5) if groups[row] == groups[1]}) == 1


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_class_of_fewer_than_four_is_left_out(count):
    ids, labels = ids_and_labels(20, count)
    assigned = split_labelled(ids, labels, alone(ids), 0)
    assert set(assigned[20:]) == {""}
    assert "" not in assigned[:20]


def test_four_copies_of_one_picture_count_as_one_group():
    ids, labels = ids_and_labels(20, 6)
    groups = alone(ids)
    groups[20:24] = 20  # three different pictures
    assert set(split_labelled(ids, labels, groups, 0)[20:]) == {""}


def test_undersized_labels_are_found_by_groups_and_counted_in_pictures():
    labels = ["a"] * 4 + ["b"] * 3 + ["c"] * 9
    groups = np.array([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 9, 9, 9, 9])
    assert undersized_labels(labels, groups) == {"b": 3, "c": 9}


def test_a_class_whose_groups_count_for_another_is_divided_all_the_same():
    """Five days on which both were photographed, and two on which only b was."""
    ids, labels = ids_and_labels(5, 7)
    groups = np.array([0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 5, 6])
    assigned = split_labelled(ids, labels, groups, 0)
    assert (assigned[:5] == assigned[5:10]).all()
    assert counted(assigned[:5]) == {"train": 3, "val": 1, "test": 1}
    assert assigned[10:].tolist() == ["train", "train"]


def test_classes_with_few_groups_of_their_own_are_divided_together():
    labels = ["a", "b", "c"] * 4
    groups = np.repeat(np.arange(4), 3)
    groups[groups == 3] = [3, 4, 5]  # a counts for groups 0 to 3, b for 4, c for 5
    ids = [f"id{row}" for row in range(12)]
    assigned = split_labelled(ids, labels, groups, 0)
    assert set(assigned[:10]) == {"train", "val", "test"}
    assert assigned[10:].tolist() == ["train", "train"]


def test_no_pictures_give_no_splits():
    assert split_labelled([], [], np.empty(0, dtype=np.int64), 0).tolist() == []


def test_only_ids_labels_groups_and_seed_matter():
    ids, labels = ids_and_labels(60, 60)
    first = split_labelled(ids, labels, alone(ids), 0)
    assert (split_labelled(ids, labels, alone(ids), 0) == first).all()
    assert (split_labelled(ids, labels, alone(ids) * 7 + 3, 0) == first).all()
    other = split_labelled(ids, labels, alone(ids), 1)
    assert 20 < (other != first).sum() < 100
    assert first[:20].tolist() == split_labelled(ids, labels, alone(ids), 0)[:20].tolist()


def test_a_known_split_stays_as_it_is():
    """Stored runs name only the seed: another order of the same pictures would silently change them."""
    ids, labels = ids_and_labels(8)
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
    ids, labels = ids_and_labels(40)
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
def test_groups_stay_whole_and_every_used_class_is_in_every_split(pictures, seed):
    ids = [f"id{row}" for row in range(len(pictures))]
    labels, groups = [label for label, _ in pictures], np.array([group for _, group in pictures], dtype=np.int64)
    assigned = split_labelled(ids, labels, groups, seed)
    small = undersized_labels(labels, groups)
    assert [split == "" for split in assigned] == [label in small for label in labels]
    by_majority: dict[str, list[str]] = {}
    for group in set(groups.tolist()):
        rows = [row for row in np.flatnonzero(groups == group) if labels[row] not in small]
        assert len(set(assigned[rows])) <= 1
        if rows:
            majority = min(Counter(labels[row] for row in rows).items(), key=lambda item: (-item[1], item[0]))[0]
            by_majority.setdefault(majority, []).append(assigned[rows[0]])
    for class_splits in by_majority.values():
        assert len(class_splits) < 4 or set(class_splits) == set(SPLITS)


@given(st.integers(4, 120), st.integers(0, 5))
def test_a_picture_more_moves_few_others(count, seed):
    ids, labels = ids_and_labels(count)
    before = split_labelled(ids, labels, alone(ids), seed)
    after = split_labelled([*ids, "new"], [*labels, "a"], np.arange(count + 1), seed)[:-1]
    assert (before != after).sum() <= 3


@given(st.integers(4, 60), st.integers(0, 5))
def test_a_class_more_moves_nothing(count, seed):
    ids, labels = ids_and_labels(count)
    more, more_labels = ids_and_labels(count, 10)
    assert (
        split_labelled(more, more_labels, alone(more), seed)[:count] == split_labelled(ids, labels, alone(ids), seed)
    ).all()


@settings(max_examples=200)
@given(st.lists(st.integers(1, 40), min_size=4, max_size=12), st.integers(0, 9))
def test_one_huge_group_does_not_empty_a_split(sizes, seed):
    groups = np.repeat(np.arange(len(sizes)), sizes)
    ids, labels = ids_and_labels(len(groups))
    assert set(split_labelled(ids, labels, groups, seed)) == set(SPLITS)


def test_even_groups_come_near_to_the_shares():
    groups = np.repeat(np.arange(100), 3)
    ids, labels = ids_and_labels(300)
    assert counted(split_labelled(ids, labels, groups, 0)) == {"train": 210, "val": 45, "test": 45}


def test_given_splits_are_kept():
    ids, labels = ids_and_labels(3, 3)
    given_splits = ["train", "val", "test"] * 2
    assigned, left_out = complete_splits(given_splits, ids, labels, alone(ids), 0)
    assert assigned.tolist() == given_splits
    assert left_out == 0


def test_a_picture_without_a_given_split_is_left_out():
    ids, labels = ids_and_labels(4)
    assigned, left_out = complete_splits(["train", None, "val", "test"], ids, labels, alone(ids), 0)
    assert assigned.tolist() == ["train", "", "val", "test"]
    assert left_out == 1


@pytest.mark.parametrize(
    ("given_splits", "kept"),
    [
        (["train", "test", "val", "train"], ["", "test", "val", "train"]),
        (["train", "val", "test", "train"], ["", "val", "test", "train"]),
        (["val", "test", "train", "val"], ["", "test", "train", "val"]),
        (["test", "test", "train", "val"], ["test", "test", "train", "val"]),
    ],
)
def test_of_duplicates_in_two_splits_the_one_in_the_later_split_stays(given_splits, kept):
    ids, labels = ids_and_labels(4)
    groups = np.array([0, 0, 1, 2])
    assigned, left_out = complete_splits(given_splits, ids, labels, groups, 0)
    assert assigned.tolist() == kept
    assert left_out == kept.count("")


def test_a_missing_split_is_taken_from_train_alone():
    ids, labels = ids_and_labels(60, 60)
    given_splits = ["test" if row % 3 == 0 else "train" for row in range(120)]
    assigned, left_out = complete_splits(given_splits, ids, labels, alone(ids), 0)
    assert left_out == 0
    assert [split == "test" for split in assigned] == [split == "test" for split in given_splits]
    assert counted(assigned, labels) == {
        ("a", "test"): 20,
        ("a", "val"): 6,
        ("a", "train"): 34,
        ("b", "test"): 20,
        ("b", "val"): 6,
        ("b", "train"): 34,
    }


def test_only_train_given_is_divided_as_without_splits():
    ids, labels = ids_and_labels(40, 40)
    assigned, _ = complete_splits(["train"] * 80, ids, labels, alone(ids), 3)
    assert assigned.tolist() == split_labelled(ids, labels, alone(ids), 3).tolist()


def test_a_small_class_of_train_stays_in_train():
    ids, labels = ids_and_labels(40, 2)
    assigned, _ = complete_splits(["train"] * 42, ids, labels, alone(ids), 0)
    assert set(assigned[40:]) == {"train"}


def test_a_train_split_of_duplicates_only_becomes_empty():
    ids, labels = ids_and_labels(2)
    assigned, left_out = complete_splits(["train", "test"], ids, labels, np.array([0, 0]), 0)
    assert assigned.tolist() == ["", "test"]
    assert left_out == 1


GIVEN = st.lists(st.tuples(st.sampled_from([None, *SPLITS]), st.integers(0, 15)), max_size=40)


@given(GIVEN, st.integers(0, 3))
def test_no_group_is_ever_in_two_splits(rows, seed):
    ids, labels = ids_and_labels(len(rows))
    groups = np.array([group for _, group in rows], dtype=np.int64)
    assigned, _ = complete_splits([split for split, _ in rows], ids, labels, groups, seed)
    for group in set(groups.tolist()):
        assert len(set(assigned[groups == group]) - {""}) <= 1


def unzip(pictures) -> tuple[list[str], list[str | None], np.ndarray]:
    ids = [f"id{row}" for row in range(len(pictures))]
    return ids, [label for label, *_ in pictures], np.array([group for _, group, *_ in pictures], dtype=np.int64)


SOME_NAMED = st.lists(st.tuples(st.sampled_from(["a", "b", "c", None]), st.integers(0, 40)), max_size=60)


@given(SOME_NAMED, st.integers(0, 3))
def test_pictures_without_a_label_change_nothing_for_the_others(pictures, seed):
    ids, labels, groups = unzip(pictures)
    rows = [row for row, label in enumerate(labels) if label is not None]
    labelled_only = split_labelled([ids[row] for row in rows], [labels[row] for row in rows], groups[rows], seed)
    assert split_labelled(ids, labels, groups, seed)[rows].tolist() == labelled_only.tolist()
    assigned = split_pictures(ids, labels, groups, seed)
    assert [a for a, b in zip(assigned[rows], labelled_only, strict=True) if b] == [b for b in labelled_only if b]


@given(SOME_NAMED, st.integers(0, 3))
def test_everything_is_divided_and_groups_stay_whole(pictures, seed):
    ids, labels, groups = unzip(pictures)
    assigned = split_pictures(ids, labels, groups, seed)
    assert set(assigned.tolist()) <= set(SPLITS)
    for group in set(groups.tolist()):
        assert len(set(assigned[groups == group])) == 1


def test_pictures_without_a_label_are_divided_70_15_15_among_themselves():
    ids, labels = ids_and_labels(20, 100)
    assigned = split_pictures(ids, labels[:20] + [None] * 100, alone(ids), 0)
    assert counted(assigned[20:]) == {"train": 70, "val": 15, "test": 15}
    assert assigned[:20].tolist() == split_labelled(ids[:20], labels[:20], alone(ids)[:20], 0).tolist()


def test_undersized_classes_are_divided_together_with_unlabelled_pictures():
    ids, labels = ids_and_labels(20, 3, 3, 4)
    assigned = split_pictures(ids, [*labels[:26], None, None, None, None], alone(ids), 0)
    assert counted(assigned[20:]) == {"train": 6, "val": 2, "test": 2}


def test_an_unlabelled_picture_follows_its_labelled_duplicate():
    ids, labels = ids_and_labels(40)
    groups = np.arange(40)
    groups[20:] = groups[:20]
    assigned = split_pictures(ids, labels[:20] + [None] * 20, groups, 0)
    assert assigned[20:].tolist() == assigned[:20].tolist()
    assert set(assigned) == set(SPLITS)


@pytest.mark.parametrize(
    ("given_splits", "kept"),
    [
        (["test", "train", "val"], ["test", "", "val"]),  # the second has a labelled duplicate in test
        (["train", "train", "val"], ["train", "train", "val"]),
        (["train", "test", "val"], ["train", "", "val"]),
        (["test", None, None], ["test", "", ""]),
    ],
)
def test_a_given_split_counts_for_a_picture_without_a_label_too(given_splits, kept):
    others = ["test", "val", "train"]
    ids, labels = ids_and_labels(3, 3)
    assigned, left_out = complete_splits(
        given_splits + others, ids, ["a", None, None, "b", "b", "b"], np.array([0, 0, 1, 2, 3, 4]), 0
    )
    assert assigned.tolist() == kept + others
    assert left_out == 0


def test_of_unlabelled_duplicates_the_one_in_the_later_split_stays():
    ids, _ = ids_and_labels(6)
    given_splits = ["train", "test", "val", "train", "val", "test"]
    labels = [None, None, None, "a", "a", "a"]
    assigned, _ = complete_splits(given_splits, ids, labels, np.array([0, 0, 0, 1, 2, 3]), 0)
    assert assigned.tolist() == ["", "test", "", "train", "val", "test"]


def test_a_missing_split_is_taken_also_from_unlabelled_training_pictures():
    ids, labels = ids_and_labels(40, 60, 40)
    some: list[str | None] = [*labels[:40], *[None] * 60, *labels[40:80]]
    groups = alone(ids)
    groups[40:60] = groups[:20]  # duplicates of labelled ones
    assigned, _ = complete_splits(["train"] * 100 + ["test"] * 40, ids, some, groups, 0)
    assert counted(assigned[60:100]) == {"train": 34, "val": 6}
    assert assigned[40:60].tolist() == assigned[:20].tolist()
    only = [*range(40), *range(100, 140)]
    without, _ = complete_splits(
        ["train"] * 40 + ["test"] * 40, [ids[row] for row in only], ["a"] * 40 + ["b"] * 40, groups[only], 0
    )
    assert assigned[only].tolist() == without.tolist()


GIVEN_OR_NOT = st.lists(
    st.tuples(st.sampled_from(["a", "b", None]), st.integers(0, 20), st.sampled_from([None, *SPLITS])), max_size=40
)


@given(GIVEN_OR_NOT, st.integers(0, 3))
def test_given_splits_never_divide_a_group_and_unlabelled_pictures_change_nothing(pictures, seed):
    ids, labels, groups = unzip(pictures)
    given_splits = [split for *_, split in pictures]
    assigned, left_out = complete_splits(given_splits, ids, labels, groups, seed)
    rows = [row for row, label in enumerate(labels) if label is not None]
    few, few_left_out = complete_splits(
        [given_splits[row] for row in rows],
        [ids[row] for row in rows],
        [labels[row] for row in rows],
        groups[rows],
        seed,
    )
    assert (assigned[rows].tolist(), left_out) == (few.tolist(), few_left_out)
    for group in set(groups.tolist()):
        assert len(set(assigned[groups == group]) - {""}) <= 1
    assert not [row for row, split in enumerate(given_splits) if split is None and assigned[row]]
