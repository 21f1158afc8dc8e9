"""Groups are what shared keys connect, directly or through others."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from curate.duplicates import connected


def test_without_shared_keys_each_is_alone():
    groups = connected(["a", "b", "c"])
    assert groups.tolist() == [0, 1, 2]
    assert groups.dtype == np.int64


def test_a_shared_key_joins_and_groups_are_numbered_as_they_appear():
    assert connected(["b", "a", "b", "c", "a"]).tolist() == [0, 1, 0, 2, 1]


def test_none_shares_with_nobody():
    assert connected([None, None, "a", None, "a"]).tolist() == [0, 1, 2, 3, 2]


def test_different_kinds_of_keys_join_through_each_other():
    pixels = ["p", "q", "p", "r", None]
    phash = [1, 2, 3, 2, 3]
    assert connected(pixels, phash).tolist() == [0, 1, 0, 1, 0]


def test_the_same_value_as_another_kind_of_key_joins_nothing():
    assert connected(["x", "y"], ["y", "x"]).tolist() == [0, 1]


def test_nothing_has_no_groups():
    assert connected([]).tolist() == []
    assert connected([], []).dtype == np.int64


KEYS = st.lists(st.tuples(*[st.none() | st.integers(0, 6)] * 2), max_size=25)


@given(KEYS)
def test_groups_are_the_finest_that_keep_equal_keys_together(rows):
    columns = [list(column) for column in zip(*rows, strict=True)] or [[], []]
    groups = connected(*columns).tolist()
    expected = list(range(len(rows)))  # join by hand until nothing changes
    for _ in rows:
        for i, first in enumerate(rows):
            for j, second in enumerate(rows):
                if any(a is not None and a == b for a, b in zip(first, second, strict=True)):
                    expected[i] = expected[j] = min(expected[i], expected[j])
    assert [[a == b for b in groups] for a in groups] == [[a == b for b in expected] for a in expected]
    assert list(dict.fromkeys(groups)) == list(range(len(set(groups))))
