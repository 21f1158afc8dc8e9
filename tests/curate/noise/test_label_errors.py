"""Wrong labels have the highest scores, and the right ones are suggested."""

from __future__ import annotations

import numpy as np
import pytest
from support.project import Photographs
from support.vectors import ODD_KINDS, around, odd_pictures, two_classes

from winnow.curate.noise.label_errors import score_label_errors


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("kind", ODD_KINDS)
def test_few_or_odd_pictures_get_scores(count, kind):
    x, labels, groups = odd_pictures(kind, count)
    errors = score_label_errors(x, x[:, :3], labels, groups)
    assert (np.isnan(errors.score) == (labels < 0)).all()
    assert not (np.nan_to_num(errors.score) > 1).any()
    if len(set(labels.tolist())) == 1:
        assert (errors.suggested == -1).all()


def test_the_wrong_label_comes_first_and_the_right_one_is_suggested():
    x, labels = two_classes()
    labels[[4, 40]] = [1, 0]
    errors = score_label_errors(x, x, 10 * labels, np.arange(60))
    assert set(np.argsort(-errors.score)[:2]) == {4, 40}
    assert errors.score[[4, 40]].min() > 0.8
    assert errors.suggested[[4, 40]].tolist() == [0, 10]
    assert (np.delete(errors.suggested, [4, 40]) == -1).all()
    assert np.delete(errors.score, [4, 40]).max() < 0.3


def test_copies_of_a_wrongly_labelled_picture_do_not_vote_for_each_other():
    x, labels = two_classes()
    x[:12], labels[:12] = x[0], 1
    groups = np.concatenate([np.zeros(12, dtype=int), np.arange(1, 49)])
    errors = score_label_errors(x, x, labels, groups)
    assert errors.score[:12].min() > 0.7
    assert errors.score[12:].max() < 0.4
    assert (errors.suggested[:12] == 0).all()


def test_a_picture_without_a_label_gets_a_suggestion_and_no_score():
    x, labels = two_classes()
    labels[[0, 59]] = -1
    errors = score_label_errors(x, x, labels, np.arange(60))
    assert np.isnan(errors.score[[0, 59]]).all()
    assert errors.suggested[[0, 59]].tolist() == [0, 1]


def test_one_class_has_no_label_errors():
    x, _ = two_classes()
    errors = score_label_errors(x, x, np.zeros(60, dtype=int), np.arange(60))
    assert (errors.score == 0).all()
    assert (errors.suggested == -1).all()


def test_a_class_of_one_scores_zero_and_does_not_disturb():
    x, labels = two_classes()
    labels[4] = 1
    x, labels = np.concatenate([x, around([0, 0, 0, 3], 1)]), np.append(labels, 2)
    errors = score_label_errors(x, x, labels, np.arange(61))
    assert errors.score[60] == 0
    assert errors.score.argmax() == 4
    assert errors.suggested[4] == 0


def test_the_seed_decides_the_folds():
    x, labels = two_classes(40)
    x += np.random.default_rng(5).normal(0, 1, x.shape).astype(np.float32)
    scores = [score_label_errors(x, x, labels, np.arange(80), seed).score for seed in (0, 0, 1)]
    assert (scores[0] == scores[1]).all()
    assert (scores[0] != scores[2]).any()


@pytest.mark.slow
def test_flipped_labels_of_the_photographs_rank_high(photographs: Photographs):
    """AUROC 0.99 and average precision 0.92."""
    from sklearn.metrics import average_precision_score, roc_auc_score

    pooled, bottleneck, labels = photographs.pooled, photographs.bottleneck, photographs.labels
    rng = np.random.default_rng(0)
    wrong = rng.choice(len(labels), 100, replace=False)
    flipped = labels.copy()
    flipped[wrong] = (labels[wrong] + rng.integers(1, 5, 100)) % 5
    errors = score_label_errors(pooled, bottleneck, flipped, np.arange(len(labels)))
    truth = flipped != labels
    assert roc_auc_score(truth, errors.score) >= 0.95
    assert average_precision_score(truth, errors.score) >= 0.80
    assert (errors.suggested[wrong] == labels[wrong]).mean() >= 0.8
