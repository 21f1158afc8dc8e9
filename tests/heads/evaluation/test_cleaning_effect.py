from __future__ import annotations

import numpy as np
import pytest

from winnow.heads.evaluation.cleaning_effect import in_words, summary
from winnow.heads.evaluation.compare import compare
from winnow.heads.evaluation.fit import FitOptions, HeadSpec, Split, Task


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
        before.append(Split(train + 120, val + 120, test, groups, also=test))
        after.append(Split(train, val, test, groups, also=test))
    heads = [HeadSpec("logistic", "logistic"), HeadSpec("dummy", "dummy")]
    return heads, *(compare(heads, Task(X, y, ["a", "b"]), splits) for splits in (before, after)), before, after


def test_wrong_labels_in_training_cost_a_head_that_learns_and_not_the_dummy():
    said = summary(*arms())
    logistic, dummy = said["heads"]
    assert said["repeats"] == 3
    assert (logistic["name"], dummy["name"]) == ("logistic", "dummy")
    row = logistic["as_found"]
    assert row["after"] > row["before"] + 0.05
    assert row["difference"] == pytest.approx(row["after"] - row["before"])
    assert row["low"] < row["difference"] < row["high"]
    assert logistic["as_decided"] == row  # the test pictures were not touched by the verdicts


@pytest.mark.slow
def test_with_one_split_the_interval_is_a_bootstrap_over_its_test_pictures():
    row = summary(*arms(repeats=1))["heads"][0]["as_found"]
    assert row["low"] < row["high"]
    assert 0 <= row["p"] <= 1
    assert row["difference"] == pytest.approx(row["after"] - row["before"])


def said(difference, low, high, **counts):
    row = {"difference": difference, "low": low, "high": high}
    counts = {"dropped": 0, "relabelled": 0, "added": 0, "classes_changed": False} | counts
    beside = {"difference": 0.03, "low": 0.02, "high": 0.04}
    return {"heads": [{"name": "lda", "as_found": row, "as_decided": beside}]} | counts


def test_the_sentence_says_what_was_done_what_it_bought_and_when_it_bought_nothing():
    assert in_words(said(0.004, -0.001, 0.009, dropped=31)) == (
        "dropping 31: +0.4 points [−0.1, +0.9] of weighted F1 (lda): no clear gain"
    )
    assert in_words(said(-0.02, -0.03, -0.01, dropped=3)).endswith("(lda): it made it worse")
    assert in_words(said(0.0, 0.0, 0.0)).startswith("no change: +0.0 points")


def test_where_labels_changed_the_sentence_gives_the_test_pictures_as_decided_too():
    assert in_words(said(0.02, 0.01, 0.03, dropped=3, relabelled=2, added=1)) == (
        "dropping 3, relabelling 2, adding 1: +2.0 points [+1.0, +3.0] of weighted F1 (lda), "
        "+3.0 points [+2.0, +4.0] on the test pictures as decided"
    )


def test_where_classes_came_or_went_only_the_test_pictures_as_decided_say_anything():
    assert in_words(said(-0.2, -0.3, -0.1, dropped=200, classes_changed=True)) == (
        "dropping 200: +3.0 points [+2.0, +4.0] of weighted F1 (lda) on the test pictures as decided, "
        "for classes came or went"
    )


def test_a_second_test_part_is_kept_with_a_stored_fit(tmp_path):
    heads, _, _, before, _ = arms(repeats=1)
    X, y = np.random.default_rng(0).normal(size=(240, 4)).astype(np.float32), np.tile([0, 1], 120)
    first = compare(heads, Task(X, y, ["a", "b"]), before, FitOptions(cache=tmp_path))
    again = compare(heads, Task(X, y, ["a", "b"]), before, FitOptions(cache=tmp_path))
    np.testing.assert_array_equal(first[0][0].proba["also"], again[0][0].proba["also"])
    assert first[0][0].metrics == again[0][0].metrics
    assert set(first[0][0].metrics) == {"train", "val", "test", "also"}


def test_classes_that_a_head_never_saw_are_cut_off():
    heads, _, _, _, after = arms(repeats=1)
    X, y = np.random.default_rng(0).normal(size=(240, 4)).astype(np.float32), np.tile([0, 1], 120)
    [[fit], _] = compare(heads, Task(X, y, ["a", "b", "gone"]), after)
    cut = fit.of_classes(2)
    assert fit.proba["test"].shape == (30, 3)
    assert cut.proba["test"].shape == (30, 2)
    assert np.array(cut.confusion["test"]).sum() == 30
