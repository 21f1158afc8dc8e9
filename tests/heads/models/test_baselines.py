from __future__ import annotations

import subprocess
import sys
import warnings

import numpy as np
import pytest

from winnow.common.errors import InputError
from winnow.heads.models.baselines import BASELINES, CALIBRATIONS

KINDS = list(BASELINES)


def blobs(counts, d=6, seed=0):
    """Class c lies around the c-th unit vector: X (N, D), y (N,)."""
    rng = np.random.default_rng(seed)
    y = np.repeat(np.arange(len(counts)), counts)
    return np.abs(np.eye(d)[y] + rng.normal(scale=0.15, size=(len(y), d))).astype(np.float32), y


def fitted(kind, X, y, **params):
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.filterwarnings("ignore", "Only one sample available")
        return BASELINES[kind](**params).fit(X, y)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "dummy"])
def test_separate_classes_are_told_apart(kind):
    X, y = blobs([20, 20, 20])
    unseen, truth = blobs([10, 10, 10], seed=1)
    assert (fitted(kind, X, y).predict(unseen) == truth).mean() > 0.95


def test_dummy_gives_the_shares_of_the_classes():
    head = BASELINES["dummy"]().fit(np.zeros((4, 2)), np.array(["a", "b", "b", "b"]))
    assert head.predict_proba(np.ones((1, 2))).tolist() == [[0.25, 0.75]]
    assert head.predict(np.ones((2, 2))).tolist() == ["b", "b"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("counts", [[30, 30], [30, 20, 10]])
def test_label_and_probability_agree(kind, counts):
    X, y = blobs(counts)
    labels = np.array(["tulip", "rose", "été"])[y]
    head = fitted(kind, X, labels)
    anything = np.random.default_rng(2).normal(size=(300, X.shape[1])).astype(np.float32)
    proba = head.predict_proba(anything)
    assert proba.shape == (300, len(counts))
    np.testing.assert_allclose(proba.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_array_equal(head.predict(anything), head.classes_[proba.argmax(axis=1)])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("counts", [[2, 2], [2, 9, 30]])
def test_a_class_may_have_two_members(kind, counts):
    X, y = blobs(counts)
    assert np.isfinite(fitted(kind, X, y).predict_proba(X)).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("counts", [[1, 9], [1, 1, 9, 9]])
def test_a_class_may_have_one_member(kind, counts):
    X, y = blobs(counts)
    head = fitted(kind, X, y)
    proba = head.predict_proba(X)
    assert np.isfinite(proba).all()
    if kind not in ("dummy", "centroid"):
        assert (proba[y == y[-1]].argmax(axis=1) == y[-1]).all()


@pytest.mark.parametrize("strategy", ["stratified", "constant"])
def test_a_dummy_that_draws_its_probabilities_is_refused(strategy):
    with pytest.raises(InputError, match=f"one of prior, most_frequent, uniform, got '{strategy}'"):
        BASELINES["dummy"](strategy=strategy)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.slow
def test_the_same_seed_gives_the_same_head(kind):
    X, y = blobs([12, 12])
    a, b = (fitted(kind, X, y, random_state=3).predict_proba(X) for _ in range(2))
    np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.slow
def test_grid_search_takes_any_head(kind):
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.model_selection import GridSearchCV

    X, y = blobs([12, 12])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        search = GridSearchCV(BASELINES[kind](), {}, cv=2, scoring="f1_weighted").fit(X, y)
    assert 0 < search.best_score_ <= 1


@pytest.mark.parametrize(
    ("kind", "params"),
    [
        ("centroid", {"temperature": 0.5}),
        ("knn", {"n_neighbors": 3}),
        ("logistic", {"C": 0.5}),
        ("svm-rbf", {"C": 7, "gamma": 0.1}),
        ("lda", {"shrinkage": 0.2}),
        ("forest", {"n_estimators": 5}),
        ("mlp", {"hidden_layer_sizes": (4,)}),
    ],
)
def test_parameters_reach_the_classifier(kind, params):
    inside = {name.split("__")[-1]: value for name, value in BASELINES[kind](**params).get_params().items()}
    assert {name: inside[name] for name in params} == params


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", ["sigmoid", "isotonic", "temperature"])
def test_every_head_can_be_calibrated(kind, method):
    X, y = blobs([2, 30, 30])
    params = {"n_estimators": 20} if kind == "forest" else {}
    head = fitted(kind, X, y, calibration=method, **params)
    anything = np.random.default_rng(2).normal(size=(100, X.shape[1])).astype(np.float32)
    proba = head.predict_proba(anything)
    np.testing.assert_allclose(proba.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_array_equal(head.predict(anything), head.classes_[proba.argmax(axis=1)])


@pytest.mark.parametrize("kind", KINDS)
def test_only_margins_are_calibrated_unless_it_is_asked_for(kind):
    said = str(BASELINES[kind]())
    assert ("CalibratedClassifierCV" in said) == (kind in ("svm-linear", "svm-rbf", "lda"))
    assert "TemperatureScaled" not in said


def test_lda_has_probabilities_without_calibration_and_a_support_vector_machine_has_not():
    X, y = blobs([9, 9])
    assert fitted("lda", X, y, calibration="none").predict_proba(X).shape == (18, 2)
    with pytest.raises(
        InputError, match="SVC has no probabilities without calibration: sigmoid, isotonic or temperature"
    ):
        BASELINES["svm-rbf"](calibration="none")


def test_an_unknown_calibration_is_refused_with_those_there_are():
    with pytest.raises(InputError, match="one of none, sigmoid, isotonic, temperature, got 'platt'"):
        BASELINES["knn"](calibration="platt")
    assert list(CALIBRATIONS) == ["none", "sigmoid", "isotonic", "temperature"]


def test_an_unknown_parameter_is_refused_with_those_there_are():
    with pytest.raises(InputError, match="SVC has no parameter 'c'; it has C, break_ties"):
        BASELINES["svm-rbf"](c=1)


WEIGHTED = ["logistic", "svm-linear", "svm-rbf", "lda", "forest"]


def unequal(counts, seed):
    """Classes that overlap, of such sizes: X (N, 8), y (N,)."""
    rng = np.random.default_rng(seed)
    y = np.repeat(np.arange(len(counts)), counts)
    return (0.6 * np.eye(8)[y] + rng.normal(scale=0.5, size=(len(y), 8))).astype(np.float32), y


@pytest.mark.parametrize("kind", WEIGHTED)
def test_balanced_classes_are_found_as_often_as_each_other(kind):
    """One class of twelve beside one of 240: of its unseen pictures far more are found, and macro recall rises."""
    X, y = unequal([240, 12], seed=0)
    unseen, truth = unequal([300, 300], seed=1)
    few = {"max_depth": 3} if kind == "forest" else {}  # pure leaves leave nothing to weigh
    plain, balanced = (
        [(fitted(kind, X, y, **few, **params).predict(unseen)[truth == c] == c).mean() for c in (0, 1)]
        for params in ({}, {"class_weight": "balanced"})
    )
    assert plain[1] < 0.3 < balanced[1] - plain[1]
    assert np.mean(balanced) > np.mean(plain) + 0.05


@pytest.mark.parametrize("kind", WEIGHTED[:-1])  # a forest draws other pictures when they have weights
def test_of_equal_classes_weights_change_nothing(kind):
    X, y = blobs([20, 20, 20])
    plain, balanced = (fitted(kind, X, y, class_weight=weight) for weight in (None, "balanced"))
    np.testing.assert_allclose(balanced.predict_proba(X), plain.predict_proba(X), atol=1e-6)


@pytest.mark.parametrize("kind", ["svm-linear", "lda"])
def test_the_calibration_of_balanced_classes_is_weighted_too(kind):
    """Where nothing can be told both classes are as likely, whatever their sizes."""
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], [180, 20])
    X = rng.normal(size=(200, 4))
    assert fitted(kind, X, y).predict_proba(X)[:, 1].mean() == pytest.approx(0.1, abs=0.02)
    assert fitted(kind, X, y, class_weight="balanced").predict_proba(X)[:, 1].mean() == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(
    ("kind", "method"),
    [
        *[(kind, method) for kind in ("logistic", "forest") for method in ("sigmoid", "isotonic", "temperature")],
        *[(kind, method) for kind in ("svm-linear", "svm-rbf") for method in ("isotonic", "temperature")],
        ("lda", "isotonic"),
    ],
)
def test_every_calibration_of_balanced_classes_keeps_them_balanced(kind, method):
    """One class of twelve beside one of 240: of its unseen pictures more are found, and of as many of each class the
    probabilities are better."""
    from winnow.heads.evaluation.metrics import log_loss

    X, y = unequal([240, 12], seed=0)
    unseen, truth = unequal([300, 300], seed=1)
    few = {"max_depth": 3, "n_estimators": 30} if kind == "forest" else {}
    plain, balanced = (
        fitted(kind, X, y, calibration=method, class_weight=weight, **few).predict_proba(unseen)
        for weight in (None, "balanced")
    )
    assert (balanced[truth == 1, 1] > 0.5).mean() > (plain[truth == 1, 1] > 0.5).mean() + 0.15
    assert log_loss(truth, balanced) < log_loss(truth, plain) - 0.3


@pytest.mark.parametrize("kind", ["logistic", "forest"])
@pytest.mark.parametrize("method", list(CALIBRATIONS))
def test_classes_are_weighted_once(kind, method):
    params = BASELINES[kind](calibration=method, class_weight="balanced").get_params()
    said = [name for name, value in params.items() if name.split("__")[-1] == "class_weight" and value == "balanced"]
    assert len(said) == 1


@pytest.mark.parametrize("method", ["none", "temperature"])
def test_lda_is_weighted_by_a_calibration_of_each_class_only(method):
    message = f"LinearDiscriminantAnalysis takes class_weight with calibration sigmoid or isotonic, not with {method}"
    with pytest.raises(InputError, match=message):
        BASELINES["lda"](calibration=method, class_weight="balanced")


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("knn", "CosineNeighbours takes no class_weight"),
        ("mlp", "MLPClassifier takes no class_weight"),
        ("dummy", "DummyClassifier takes no class_weight"),
        ("centroid", "NearestMean ignores how many pictures a class has"),
        ("supcon", "MetricHead takes no class_weight"),
    ],
)
def test_heads_without_class_weights_name_those_that_have_them(kind, message):
    with pytest.raises(InputError, match=f"{message}; heads that take class_weight: dense, logistic, svm-linear, svm"):
        BASELINES[kind](class_weight="balanced")


def test_nearest_mean_by_hand():
    # means (1, 0) and (0, 1); squared distances from (0.6, 0.8): 0.8 and 0.4
    head = BASELINES["centroid"](temperature=0.4).fit(np.array([[2.0, 0], [0, 3]]), np.array(["a", "b"]))
    assert head.predict_proba([[3, 4]])[0, 0] == pytest.approx(1 / (1 + np.exp(1)))


def test_neighbours_by_hand():
    # cosines of (1, 0) with the three: 1, 0.8, 0; the nearest two vote with e^(1/0.1) and e^(0.8/0.1)
    head = BASELINES["knn"](n_neighbors=2, temperature=0.1)
    head.fit(np.array([[5.0, 0], [4, 3], [0, 1]]), np.array(["a", "b", "b"]))
    assert head.predict_proba([[2, 0]])[0] == pytest.approx(np.array([np.exp(2), 1]) / (np.exp(2) + 1))


def test_of_equal_neighbours_the_first_vote():
    # twelve equal vectors, the first six of class 0, then one of class 1 that is nearer
    X = np.array([[1.0, 0]] * 12 + [[3, 4]])
    y = np.array([0] * 6 + [1] * 7)
    for k, votes in ((1, [1.0, 0]), (6, [1.0, 0]), (8, [6 / 8, 2 / 8])):
        head = BASELINES["knn"](n_neighbors=k).fit(X, y)
        assert head.predict_proba([[2, 0]])[0] == pytest.approx(votes)
    assert BASELINES["knn"](n_neighbors=1).fit(X, y).predict([[6, 8]]).tolist() == [1]


@pytest.mark.parametrize("k", [1, 5, 40])
def test_the_largest_are_those_of_a_stable_sort(k):
    from winnow.heads.models.neighbours import _largest

    values = np.random.default_rng(0).integers(6, size=(50, 40)).astype(float)
    np.testing.assert_array_equal(_largest(values, k), np.argsort(-values, axis=1, kind="stable")[:, :k])


def test_neighbours_of_many_are_found_in_blocks(monkeypatch):
    from winnow.heads.models import neighbours

    X, y = blobs([20, 20])
    head = BASELINES["knn"](n_neighbors=3).fit(X, y)
    at_once, seen, largest = head.predict_proba(X), [], neighbours._largest
    monkeypatch.setattr(neighbours, "_ROWS", 16)
    monkeypatch.setattr(neighbours, "_largest", lambda values, k: seen.append(len(values)) or largest(values, k))
    np.testing.assert_allclose(head.predict_proba(X), at_once, rtol=1e-12)
    assert seen == [16, 16, 8]


def test_fewer_pictures_than_neighbours_all_vote():
    head = BASELINES["knn"](n_neighbors=20).fit(np.eye(2), np.array([0, 1]))
    assert head.predict(np.eye(2)).tolist() == [0, 1]


def test_a_vector_of_zeros_is_no_reason_to_fail():
    for kind in ("centroid", "knn"):
        head = BASELINES[kind]().fit(np.array([[0.0, 0], [0, 1], [1, 0]]), np.array([0, 1, 0]))
        assert np.isfinite(head.predict_proba(np.zeros((1, 2)))).all()


def test_the_names_of_the_heads_load_no_scikit_learn():
    code = (
        "import sys, winnow.heads.models.baselines, winnow.heads.evaluation.compare\n"
        "assert not {'sklearn', 'scipy', 'tensorflow'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("counts", [[2, 2], [2, 2, 2], [2, 3, 30], [1, 9], [1, 1, 2, 7]])
def test_folds_leave_something_of_every_class(counts):
    from winnow.heads.models.calibration import SpreadFolds

    y = np.repeat(np.arange(len(counts)), counts)
    folds = list(SpreadFolds().split(y, y))
    assert sorted(np.concatenate([test for _, test in folds])) == list(range(len(y)))
    for train, test in folds:
        assert len(test) > 0
        assert len(train) > len(counts)
        assert set(y[train]) == set(y)


def folds_of(y, groups):
    from winnow.heads.models.calibration import SpreadFolds

    return list(SpreadFolds(groups=groups).split(y, y))


@pytest.mark.parametrize("counts", [[2, 2], [2, 3, 30], [1, 1, 2, 7]])
def test_groups_of_one_are_dealt_out_as_rows_are(counts):
    y = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))
    numbers = np.random.default_rng(1).permutation(len(y)) + 5
    for alone, grouped in zip(folds_of(y, None), folds_of(y, numbers), strict=True):
        for a, b in zip(alone, grouped, strict=True):
            np.testing.assert_array_equal(a, b)


def test_a_group_is_never_on_both_sides_of_a_fold():
    groups = np.repeat(np.arange(20), 3)  # three views of each of twenty pictures
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


@pytest.mark.slow
@pytest.mark.parametrize("name", ["NearestMean", "CosineNeighbours"])
def test_they_are_scikit_learn_estimators(name):
    from sklearn.utils.estimator_checks import check_estimator

    from winnow.heads.models import neighbours

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the checks warn of what they skip
        check_estimator(getattr(neighbours, name)())
