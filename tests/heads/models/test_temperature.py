from __future__ import annotations

import warnings

import numpy as np
import pytest

from winnow.heads.models.calibration import SpreadFolds
from winnow.heads.models.temperature import TemperatureScaled, temperature


def drawn(n, n_classes=4, sureness=1.0, seed=0):
    """Logits, and classes drawn by their softmax; then the logits are multiplied by the sureness."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=2, size=(n, n_classes))
    proba = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    codes = (rng.random(n)[:, None] > proba.cumsum(axis=1)).sum(axis=1)
    return sureness * logits, codes


@pytest.mark.parametrize("sureness", [0.5, 1, 3])
def test_the_temperature_undoes_what_the_logits_were_multiplied_by(sureness):
    assert temperature(*drawn(20_000, sureness=sureness)) == pytest.approx(sureness, rel=0.03)


def test_it_has_the_least_cross_entropy_by_hand():
    # three of four right by the same margin: best is p = 3/4, or with Platt's targets (3 · 5/6 + 1/6) / 4 = 2/3
    logits = np.array([[2.0, 0], [2, 0], [0, 2], [2, 0]])
    found = temperature(logits, np.array([0, 0, 1, 1]))
    assert 1 / (1 + np.exp(-2 / found)) == pytest.approx(2 / 3, abs=1e-4)


def test_rows_count_by_their_weights():
    # as above, where the wrong one counts twice: best is p = (3 · 5/6 + 2 · 1/6) / 5
    logits = np.array([[2.0, 0], [2, 0], [0, 2], [2, 0]])
    weighted = temperature(logits, np.array([0, 0, 1, 1]), np.array([1, 1, 1, 2]))
    assert 1 / (1 + np.exp(-2 / weighted)) == pytest.approx((3 * 5 / 6 + 2 / 6) / 5, abs=1e-4)


def test_pictures_that_are_all_right_are_no_reason_to_be_sure_without_end():
    logits = np.repeat([[3.0, 0], [0, 3]], 20, axis=0)
    found = temperature(logits, np.repeat([0, 1], 20))
    assert 1 / (1 + np.exp(-3 / found)) == pytest.approx(41 / 42, abs=1e-3)


def blobs(n, n_classes, seed=0):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % n_classes
    return np.eye(6)[y] + rng.normal(scale=0.6, size=(n, 6)), y


@pytest.mark.parametrize("n_classes", [2, 4])
def test_of_many_pictures_it_is_scikit_learns(n_classes):
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.linear_model import LogisticRegression

    X, y = blobs(2000, n_classes)
    head = LogisticRegression(C=1000)
    ours = TemperatureScaled(head, cv=SpreadFolds()).fit(X, y)
    theirs = CalibratedClassifierCV(head, method="temperature", ensemble=False, cv=SpreadFolds()).fit(X, y)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=0.003)


def test_a_forest_that_is_not_sure_enough_becomes_so_and_keeps_its_labels():
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
def test_it_is_a_scikit_learn_estimator():
    from sklearn.linear_model import LogisticRegression
    from sklearn.utils.estimator_checks import check_estimator

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the checks warn of what they skip
        check_estimator(TemperatureScaled(LogisticRegression(), cv=SpreadFolds()))
