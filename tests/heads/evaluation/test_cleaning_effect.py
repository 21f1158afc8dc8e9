from __future__ import annotations

import numpy as np
import pytest

from winnow.heads.evaluation.cleaning_effect import (
    BeforeAfter,
    CleaningEffect,
    DatasetChanges,
    HeadEffect,
    measure_cleaning,
)
from winnow.heads.evaluation.compare import compare
from winnow.heads.evaluation.fit import FitOptions, HeadSpec, Split, Task
from winnow.heads.evaluation.metrics import PairedDifference

UNCHANGED = DatasetChanges(0, 0, 0, False)


def arms(repeats=3, flipped=0.4):
    """Two clouds; before cleaning, a part of the training labels of one of them is wrong."""
    rng = np.random.default_rng(0)
    truth = np.tile([0, 1], 60)
    X = (rng.normal(size=(120, 4)) + 1.5 * truth[:, None]).astype(np.float32)
    noisy = np.where((truth == 1) & (rng.random(120) < flipped), 0, truth)
    y = np.concatenate([truth, noisy])  # rows 120 and on: the same pictures with the labels as found
    X = np.concatenate([X, X])
    before, after = [], []
    for seed in range(repeats):
        rows = np.random.default_rng(seed).permutation(120)
        train, val, test = rows[:70], rows[70:90], rows[90:]
        groups = np.tile(np.arange(120), 2)
        before.append(Split(train + 120, val + 120, test, groups, second_test=test))
        after.append(Split(train, val, test, groups, second_test=test))
    heads = [HeadSpec("logistic", "logistic"), HeadSpec("dummy", "dummy")]
    return heads, *(compare(heads, Task(X, y, ["a", "b"]), splits) for splits in (before, after)), before, after


def test_wrong_training_labels_lower_the_score_of_a_head_but_not_of_the_dummy():
    effect = measure_cleaning(*arms(), UNCHANGED)
    logistic, dummy = effect.heads
    assert effect.repeats == 3
    assert (logistic.name, dummy.name) == ("logistic", "dummy")
    row = logistic.as_found
    assert row.after > row.before + 0.05
    assert row.difference.difference == pytest.approx(row.after - row.before)
    assert row.difference.low < row.difference.difference < row.difference.high
    assert logistic.as_decided == row  # both test parts are the same here


@pytest.mark.slow
def test_with_one_split_the_interval_is_a_bootstrap_over_its_test_pictures():
    row = measure_cleaning(*arms(repeats=1), UNCHANGED).heads[0].as_found
    assert row.difference.low < row.difference.high
    assert 0 <= row.difference.p <= 1
    assert row.difference.difference == pytest.approx(row.after - row.before)


def effect_of(difference, low, high, **changes):
    as_found = BeforeAfter(0.8, 0.8 + difference, PairedDifference(difference, low, high, 0.3))
    as_decided = BeforeAfter(0.8, 0.83, PairedDifference(0.03, 0.02, 0.04, 0.01))
    changes = {"dropped": 0, "added": 0, "relabelled": 0, "classes_changed": False} | changes
    return CleaningEffect(10, [HeadEffect("lda", as_found, as_decided)], DatasetChanges(**changes))


def test_the_sentence_has_the_changes_the_gain_and_the_conclusion():
    assert effect_of(0.004, -0.001, 0.009, dropped=31).describe() == (
        "dropping 31: +0.4 points [−0.1, +0.9] of weighted F1 (lda): no clear gain"
    )
    assert effect_of(-0.02, -0.03, -0.01, dropped=3).describe().endswith("(lda): it made it worse")
    assert effect_of(0.0, 0.0, 0.0).describe().startswith("no change: +0.0 points")


def test_where_labels_changed_the_sentence_adds_the_score_on_the_test_pictures_as_decided():
    assert effect_of(0.02, 0.01, 0.03, dropped=3, relabelled=2, added=1).describe() == (
        "dropping 3, relabelling 2, adding 1: +2.0 points [+1.0, +3.0] of weighted F1 (lda), "
        "+3.0 points [+2.0, +4.0] on the test pictures as decided"
    )


def test_where_classes_came_or_went_the_sentence_has_only_the_test_pictures_as_decided():
    assert effect_of(-0.2, -0.3, -0.1, dropped=200, classes_changed=True).describe() == (
        "dropping 200: +3.0 points [+2.0, +4.0] of weighted F1 (lda) on the test pictures as decided, "
        "because classes came or went"
    )


def test_the_document_has_all_fields_and_is_read_back():
    effect = effect_of(0.004, -0.001, 0.009, dropped=31)
    document = effect.to_json()
    assert document["heads"] == [
        {
            "name": "lda",
            "as_found": {"before": 0.8, "after": 0.804, "difference": 0.004, "low": -0.001, "high": 0.009, "p": 0.3},
            "as_decided": {"before": 0.8, "after": 0.83, "difference": 0.03, "low": 0.02, "high": 0.04, "p": 0.01},
        }
    ]
    changes = {"dropped": 31, "added": 0, "relabelled": 0, "classes_changed": False}
    assert {name: value for name, value in document.items() if name != "heads"} == {"repeats": 10} | changes
    assert CleaningEffect.from_json(document) == effect


def test_a_second_test_part_is_kept_with_a_stored_fit(tmp_path):
    heads, _, _, before, _ = arms(repeats=1)
    X, y = np.random.default_rng(0).normal(size=(240, 4)).astype(np.float32), np.tile([0, 1], 120)
    first = compare(heads, Task(X, y, ["a", "b"]), before, FitOptions(cache=tmp_path))
    again = compare(heads, Task(X, y, ["a", "b"]), before, FitOptions(cache=tmp_path))
    np.testing.assert_array_equal(first[0][0].proba["second_test"], again[0][0].proba["second_test"])
    assert first[0][0].metrics == again[0][0].metrics
    assert set(first[0][0].metrics) == {"train", "val", "test", "second_test"}


def test_classes_that_do_not_occur_are_cut_off():
    heads, _, _, _, after = arms(repeats=1)
    X, y = np.random.default_rng(0).normal(size=(240, 4)).astype(np.float32), np.tile([0, 1], 120)
    [[fit], _] = compare(heads, Task(X, y, ["a", "b", "gone"]), after)
    cut = fit.first_classes(2)
    assert fit.proba["test"].shape == (30, 3)
    assert cut.proba["test"].shape == (30, 2)
    assert np.array(cut.confusion["test"]).sum() == 30
