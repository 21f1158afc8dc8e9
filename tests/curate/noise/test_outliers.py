"""Off-topic pictures have the highest scores, whatever the folder is like."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.project import Photographs
from support.vectors import ODD_KINDS, around, odd_pictures, two_classes

from winnow.curate.noise.outliers import score_off_topic


def test_the_picture_that_points_elsewhere_stands_out():
    x = np.array([[10, 0], [10, 1], [10, -1], [10, 2], [10, -2], [0, 10]], dtype=np.float32)
    score = score_off_topic(x, x, np.zeros(6, dtype=int), np.arange(6))
    assert score.dtype == np.float64
    assert score.argmax() == 5
    assert score[5] > 0.99
    assert (score[:5] < 0.5).all()
    assert score_off_topic(7 * x, x / 3, np.zeros(6, dtype=int), np.arange(6)) == pytest.approx(score, abs=1e-3)


def test_half_is_two_robust_deviations_out():
    x = around([1, 0, 0, 0], 500, spread=0.3)
    score = score_off_topic(x, x, np.zeros(500, dtype=int), np.arange(500))
    z = 2 + np.log(score / (1 - score)) / 2
    assert np.median(z) == pytest.approx(0, abs=1e-6)
    assert 1.4826 * np.median(np.abs(z)) == pytest.approx(1, abs=1e-6)


def test_a_picture_of_the_neighbouring_class_stands_out():
    x, labels = two_classes()
    labels[3] = 1
    score = score_off_topic(x, x, labels, np.arange(60))
    assert score.argmax() == 3
    assert score[3] > 0.9


def test_a_clump_of_noise_does_not_hide_itself():
    """Twenty pictures of one parade among eighty roses, beside eighty tulips."""
    x = np.concatenate([two_classes(80)[0], around([0, 0, 0, 3], 20, 3, 0.001)])
    labels = np.concatenate([two_classes(80)[1], np.zeros(20, dtype=int)])
    score = score_off_topic(x, x, labels, np.arange(180))
    assert set(np.argsort(-score)[:20]) == set(range(160, 180))


def test_duplicates_count_once():
    x = np.concatenate([around([1, 0, 0, 0], 30), np.tile(around([0, 0, 0, 1], 1), (40, 1))])
    labels, groups = np.zeros(70, dtype=int), np.concatenate([np.arange(30), np.full(40, 30)])
    assert (score_off_topic(x, x, labels, groups)[30:] > 0.99).all()
    different = score_off_topic(x, x, labels, np.arange(70))
    assert (different[30:] < 0.5).all()  # as different pictures they are the majority


def test_pictures_without_a_label_are_one_group():
    x, labels = np.concatenate([around([1, 0, 0, 0], 20), around([0, 1, 0, 0], 20)]), np.repeat([0, -1], 20)
    x[25] = [1, 0, 0, 0]
    score = score_off_topic(x, x, labels, np.arange(40))
    assert score.argmax() == 25
    unlabelled = score_off_topic(x[20:], x[20:], labels[20:], np.arange(20))
    assert unlabelled.argmax() == 5


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("kind", ODD_KINDS)
def test_few_or_odd_pictures_get_scores(count, kind):
    x, labels, groups = odd_pictures(kind, count)
    score = score_off_topic(x, x[:, :3], labels, groups)
    assert ((score >= 0) & (score <= 1)).all()
    if kind in ("alike", "zero", "a class each"):  # nothing to compare with, or nothing that differs
        assert score == pytest.approx(np.full(count, 1 / (1 + np.exp(4))))


@settings(max_examples=20)
@given(st.integers(0, 1000), st.integers(2, 40))
def test_the_order_of_rows_does_not_matter(seed, count):
    rng = np.random.default_rng(seed)
    x, labels, groups = rng.normal(1, 1, (count, 6)), rng.integers(-1, 3, count), rng.integers(0, count, count)
    x = x[groups]
    order = rng.permutation(count)
    score = score_off_topic(x, x[:, :4], labels, groups)
    shuffled = score_off_topic(x[order], x[order, :4], labels[order], groups[order])
    assert shuffled == pytest.approx(score[order], abs=1e-3)


@pytest.mark.slow
def test_the_natural_noise_of_the_photographs_ranks_high(photographs: Photographs):
    """Average precision 0.82 on the half with public verdicts."""
    from sklearn.metrics import average_precision_score

    labels, is_known = photographs.labels, photographs.noise != "doubtful"
    score = score_off_topic(photographs.pooled, photographs.bottleneck, labels, np.arange(len(labels)))
    assert average_precision_score(photographs.noise[is_known] == "off_topic", score[is_known]) >= 0.75
