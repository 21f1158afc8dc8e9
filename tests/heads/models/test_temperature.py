from __future__ import annotations

import warnings

import numpy as np
import pytest

from winnow.heads.models.calibration import SpreadFolds
from winnow.heads.models.temperature import TemperatureScaled, temperature


def sample(n, n_classes=4, factor=1.0, seed=0):
    """Logits multiplied by the factor, and classes drawn by the softmax of the logits before that."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=2, size=(n, n_classes))
    proba = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    codes = (rng.random(n)[:, None] > proba.cumsum(axis=1)).sum(axis=1)
    return factor * logits, codes


@pytest.mark.parametrize("factor", [0.5, 1, 3])
def test_the_temperature_is_the_factor_of_the_logits(factor):
    assert temperature(*sample(20_000, factor=factor)) == pytest.approx(factor, rel=0.03)


def test_the_least_cross_entropy_by_hand():
    # three of four right by the same margin: best is p = 3/4, or with Platt's targets (3 · 5/6 + 1/6) / 4 = 2/3
    logits = np.array([[2.0, 0], [2, 0], [0, 2], [2, 0]])
    t = temperature(logits, np.array([0, 0, 1, 1]))
    assert 1 / (1 + np.exp(-2 / t)) == pytest.approx(2 / 3, abs=1e-4)


def test_rows_are_weighted():
    # as above, with the wrong one twice: best is p = (3 · 5/6 + 2 · 1/6) / 5
    logits = np.array([[2.0, 0], [2, 0], [0, 2], [2, 0]])
    weighted = temperature(logits, np.array([0, 0, 1, 1]), np.array([1, 1, 1, 2]))
    assert 1 / (1 + np.exp(-2 / weighted)) == pytest.approx((3 * 5 / 6 + 2 / 6) / 5, abs=1e-4)


def test_correct_predictions_alone_do_not_give_a_temperature_of_0():
    logits = np.repeat([[3.0, 0], [0, 3]], 20, axis=0)
    t = temperature(logits, np.repeat([0, 1], 20))
    assert 1 / (1 + np.exp(-3 / t)) == pytest.approx(41 / 42, abs=1e-3)


def blobs(n, n_classes, seed=0):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % n_classes
    return np.eye(6)[y] + rng.normal(scale=0.6, size=(n, 6)), y


@pytest.mark.parametrize("n_classes", [2, 4])
def test_for_many_rows_it_is_that_of_scikit_learn(n_classes):
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.linear_model import LogisticRegression

    X, y = blobs(2000, n_classes)
    head = LogisticRegression(C=1000)
    scaled = TemperatureScaled(head, cv=SpreadFolds()).fit(X, y)
    expected = CalibratedClassifierCV(head, method="temperature", ensemble=False, cv=SpreadFolds()).fit(X, y)
    np.testing.assert_allclose(scaled.predict_proba(X), expected.predict_proba(X), atol=0.003)


def test_an_underconfident_forest_is_sharpened_and_keeps_its_labels():
    from sklearn.ensemble import RandomForestClassifier

    from winnow.heads.evaluation.metrics import log_loss

    X, y = blobs(400, 3)
    unseen, truth = blobs(400, 3, seed=1)
    names = np.array(["a", "b", "c"])
    forest = RandomForestClassifier(50, max_depth=2, random_state=0)
    before = forest.fit(X, names[y])
    after = TemperatureScaled(forest, cv=SpreadFolds()).fit(X, names[y])
    assert after.temperature_ < 0.8
    assert log_loss(truth, after.predict_proba(unseen)) < log_loss(truth, before.predict_proba(unseen)) - 0.05
    np.testing.assert_array_equal(after.predict(unseen), before.predict(unseen))
    np.testing.assert_array_equal(after.predict(unseen), names[after.predict_proba(unseen).argmax(axis=1)])


@pytest.mark.slow
def test_it_passes_scikit_learns_estimator_checks():
    from sklearn.linear_model import LogisticRegression
    from sklearn.utils.estimator_checks import check_estimator

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the checks warn of what they skip
        check_estimator(TemperatureScaled(LogisticRegression(), cv=SpreadFolds()))
