from __future__ import annotations

import subprocess
import sys
import warnings

import numpy as np
import pytest
from support.fits import gaussian_blobs

from winnow.common.errors import InputError
from winnow.heads.models.baselines import BASELINES, CALIBRATIONS

KINDS = list(BASELINES)


def blobs(counts, d=6, seed=0):
    """`gaussian_blobs` without negative numbers, like features after a ReLU."""
    X, y = gaussian_blobs(counts, d, 0.15, seed)
    return np.abs(X), y


def fitted(kind, X, y, **params):
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.filterwarnings("ignore", "Only one sample available")
        return BASELINES[kind](**params).fit(X, y)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "dummy"])
def test_separate_classes_are_learned(kind):
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
def test_strategies_of_the_dummy_that_draw_labels_are_refused(strategy):
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
def test_every_head_works_in_a_grid_search(kind):
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
    params_of_steps = {name.split("__")[-1]: value for name, value in BASELINES[kind](**params).get_params().items()}
    assert {name: params_of_steps[name] for name in params} == params


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
def test_only_heads_with_margins_are_calibrated_by_default(kind):
    text = str(BASELINES[kind]())
    assert ("CalibratedClassifierCV" in text) == (kind in ("svm-linear", "svm-rbf", "lda"))
    assert "TemperatureScaled" not in text


def test_without_calibration_lda_has_probabilities_and_a_support_vector_machine_has_none():
    X, y = blobs([9, 9])
    assert fitted("lda", X, y, calibration="none").predict_proba(X).shape == (18, 2)
    with pytest.raises(
        InputError, match="SVC has no probabilities without calibration: sigmoid, isotonic or temperature"
    ):
        BASELINES["svm-rbf"](calibration="none")


def test_an_unknown_calibration_is_refused_with_the_known_ones():
    with pytest.raises(InputError, match="one of none, sigmoid, isotonic, temperature, got 'platt'"):
        BASELINES["knn"](calibration="platt")
    assert list(CALIBRATIONS) == ["none", "sigmoid", "isotonic", "temperature"]


def test_an_unknown_parameter_is_refused_with_the_known_ones():
    with pytest.raises(InputError, match="SVC has no parameter 'c'; it has C, break_ties"):
        BASELINES["svm-rbf"](c=1)


WEIGHTED = ["logistic", "svm-linear", "svm-rbf", "lda", "forest"]


def unequal(counts, seed):
    """Overlapping classes of these sizes: X (N, 8), y (N,)."""
    rng = np.random.default_rng(seed)
    y = np.repeat(np.arange(len(counts)), counts)
    return (0.6 * np.eye(8)[y] + rng.normal(scale=0.5, size=(len(y), 8))).astype(np.float32), y


@pytest.mark.parametrize("kind", WEIGHTED)
def test_balanced_weights_raise_the_recall_of_a_small_class(kind):
    """Of classes of 240 and 12 rows the recall of the smaller one, and the macro recall, rise on unseen rows."""
    X, y = unequal([240, 12], seed=0)
    unseen, truth = unequal([300, 300], seed=1)
    few = {"max_depth": 3} if kind == "forest" else {}  # weights have no effect in pure leaves
    plain, balanced = (
        [(fitted(kind, X, y, **few, **params).predict(unseen)[truth == c] == c).mean() for c in (0, 1)]
        for params in ({}, {"class_weight": "balanced"})
    )
    assert plain[1] < 0.3 < balanced[1] - plain[1]
    assert np.mean(balanced) > np.mean(plain) + 0.05


@pytest.mark.parametrize("kind", WEIGHTED[:-1])  # the forest's bootstrap changes with weights
def test_balanced_weights_change_nothing_for_classes_of_equal_size(kind):
    X, y = blobs([20, 20, 20])
    plain, balanced = (fitted(kind, X, y, class_weight=weight) for weight in (None, "balanced"))
    np.testing.assert_allclose(balanced.predict_proba(X), plain.predict_proba(X), atol=1e-6)


@pytest.mark.parametrize("kind", ["svm-linear", "lda"])
def test_the_calibration_of_balanced_classes_is_weighted_too(kind):
    """On features without information both classes are equally probable, whatever their sizes."""
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
    """Of classes of 240 and 12 rows the recall of the smaller one rises, and the log loss on balanced rows falls."""
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
    weighted = [
        name for name, value in params.items() if name.split("__")[-1] == "class_weight" and value == "balanced"
    ]
    assert len(weighted) == 1


@pytest.mark.parametrize("method", ["none", "temperature"])
def test_lda_takes_weights_with_a_calibration_per_class_only(method):
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
def test_heads_without_class_weights_name_the_heads_that_have_them(kind, message):
    with pytest.raises(InputError, match=f"{message}; heads that take class_weight: dense, logistic, svm-linear, svm"):
        BASELINES[kind](class_weight="balanced")


def test_importing_the_kinds_does_not_import_scikit_learn():
    code = (
        "import sys, winnow.heads.models.baselines, winnow.heads.evaluation.compare\n"
        "assert not {'sklearn', 'scipy', 'tensorflow'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
