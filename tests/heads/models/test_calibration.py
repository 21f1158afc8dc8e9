from __future__ import annotations

import numpy as np
import pytest

from winnow.heads.models.calibration import SpreadFolds


@pytest.mark.parametrize("counts", [[2, 2], [2, 2, 2], [2, 3, 30], [1, 9], [1, 1, 2, 7]])
def test_every_fold_trains_on_every_class(counts):
    y = np.repeat(np.arange(len(counts)), counts)
    folds = list(SpreadFolds().split(y, y))
    assert sorted(np.concatenate([test for _, test in folds])) == list(range(len(y)))
    for train, test in folds:
        assert len(test) > 0
        assert len(train) > len(counts)
        assert set(y[train]) == set(y)


def folds_of(y, groups):
    return list(SpreadFolds(groups=groups).split(y, y))


@pytest.mark.parametrize("counts", [[2, 2], [2, 3, 30], [1, 1, 2, 7]])
def test_groups_of_one_row_give_the_folds_of_rows(counts):
    y = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))
    numbers = np.random.default_rng(1).permutation(len(y)) + 5
    for plain, grouped in zip(folds_of(y, None), folds_of(y, numbers), strict=True):
        for a, b in zip(plain, grouped, strict=True):
            np.testing.assert_array_equal(a, b)


def test_a_group_is_never_on_both_sides_of_a_fold():
    groups = np.repeat(np.arange(20), 3)  # three augmented versions of twenty images
    y = np.repeat(np.arange(20) % 3, 3)
    folds = folds_of(y, groups)
    assert len(folds) == 4
    assert sorted(np.concatenate([test for _, test in folds])) == list(range(60))
    for train, test in folds:
        assert not set(groups[train]) & set(groups[test])
        assert set(y[train]) == {0, 1, 2}


def test_a_class_that_is_one_group_is_in_the_training_part_of_every_fold():
    y, groups = np.array([0, 0, 0, 1, 1, 1, 1]), np.array([7, 7, 7, 1, 2, 3, 4])
    folds = folds_of(y, groups)
    assert all({0, 1, 2} <= set(train) for train, _ in folds)
    assert sum({0, 1, 2} <= set(test) for _, test in folds) == 1
    assert len(folds_of(y, np.zeros(7, int))) == 1


@pytest.mark.filterwarnings("ignore:The least populated class")
def test_scikit_learns_folds_leave_a_class_of_one_group_out_of_a_training_part():
    from sklearn.model_selection import StratifiedGroupKFold

    y, groups = np.array([0] * 8 + [1, 1]), np.array([*range(8), 8, 8])
    assert any(set(y[train]) == {0} for train, _ in StratifiedGroupKFold(4).split(y, y, groups))
    assert all(set(y[train]) == {0, 1} for train, _ in folds_of(y, groups))
