from __future__ import annotations

import warnings

import numpy as np
import pytest
from support.fits import gaussian_blobs

from winnow.heads.models import neighbours
from winnow.heads.models.neighbours import CosineNeighbours, NearestMean, _largest


def test_nearest_mean_by_hand():
    # means (1, 0) and (0, 1); squared distances from (0.6, 0.8): 0.8 and 0.4
    head = NearestMean(temperature=0.4).fit(np.array([[2.0, 0], [0, 3]]), np.array(["a", "b"]))
    assert head.predict_proba([[3, 4]])[0, 0] == pytest.approx(1 / (1 + np.exp(1)))


def test_neighbours_by_hand():
    # cosines of (1, 0) with the three: 1, 0.8, 0; the nearest two vote with e^(1/0.1) and e^(0.8/0.1)
    head = CosineNeighbours(n_neighbors=2, temperature=0.1)
    head.fit(np.array([[5.0, 0], [4, 3], [0, 1]]), np.array(["a", "b", "b"]))
    assert head.predict_proba([[2, 0]])[0] == pytest.approx(np.array([np.exp(2), 1]) / (np.exp(2) + 1))


def test_ties_are_broken_by_row_order():
    # twelve equal vectors, the first six of class 0, then one of class 1 that is nearer
    X = np.array([[1.0, 0]] * 12 + [[3, 4]])
    y = np.array([0] * 6 + [1] * 7)
    for k, votes in ((1, [1.0, 0]), (6, [1.0, 0]), (8, [6 / 8, 2 / 8])):
        head = CosineNeighbours(n_neighbors=k).fit(X, y)
        assert head.predict_proba([[2, 0]])[0] == pytest.approx(votes)
    assert CosineNeighbours(n_neighbors=1).fit(X, y).predict([[6, 8]]).tolist() == [1]


@pytest.mark.parametrize("k", [1, 5, 40])
def test_largest_equals_a_stable_sort(k):
    values = np.random.default_rng(0).integers(6, size=(50, 40)).astype(float)
    np.testing.assert_array_equal(_largest(values, k), np.argsort(-values, axis=1, kind="stable")[:, :k])


def test_similarities_are_computed_in_blocks(monkeypatch):
    X, y = gaussian_blobs([20, 20], d=6, scale=0.15)
    head = CosineNeighbours(n_neighbors=3).fit(X, y)
    proba, sizes, largest = head.predict_proba(X), [], neighbours._largest
    monkeypatch.setattr(neighbours, "_ROWS", 16)
    monkeypatch.setattr(neighbours, "_largest", lambda values, k: sizes.append(len(values)) or largest(values, k))
    np.testing.assert_allclose(head.predict_proba(X), proba, rtol=1e-12)
    assert sizes == [16, 16, 8]


def test_with_fewer_rows_than_neighbours_all_rows_vote():
    head = CosineNeighbours(n_neighbors=20).fit(np.eye(2), np.array([0, 1]))
    assert head.predict(np.eye(2)).tolist() == [0, 1]


def test_a_vector_of_zeros_has_finite_probabilities():
    for head in (NearestMean(), CosineNeighbours()):
        head.fit(np.array([[0.0, 0], [0, 1], [1, 0]]), np.array([0, 1, 0]))
        assert np.isfinite(head.predict_proba(np.zeros((1, 2)))).all()


@pytest.mark.slow
@pytest.mark.parametrize("head", [NearestMean(), CosineNeighbours()])
def test_it_passes_scikit_learns_estimator_checks(head):
    from sklearn.utils.estimator_checks import check_estimator

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the checks warn of what they skip
        check_estimator(head)
