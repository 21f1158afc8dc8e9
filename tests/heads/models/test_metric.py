from __future__ import annotations

import warnings
from functools import partial

import numpy as np
import pytest
from support.fits import gaussian_blobs

from winnow.common.errors import InputError
from winnow.heads.evaluation.fit import HeadSpec, Split, Task, build, fit_head
from winnow.heads.models.metric import MetricHead, backward, forward

blobs = partial(gaussian_blobs, d=12, scale=0.3)


def quick(loss="supcon", **params):
    return MetricHead(loss, **{"dim": 4, "epochs": 20, "batch_size": 32, "hidden": ()} | params)


def layers_of(sizes, seed=0):
    rng = np.random.default_rng(seed)
    return [(rng.normal(size=(a, b)), rng.normal(size=b)) for a, b in zip(sizes[:-1], sizes[1:], strict=True)]


class TestGradient:
    @pytest.mark.parametrize("sizes", [[5, 3], [5, 4, 3], [5, 4, 6, 3]])
    def test_is_that_of_finite_differences(self, sizes):
        layers, X = layers_of(sizes), np.random.default_rng(1).normal(size=(6, 5))
        by_z = np.random.default_rng(2).normal(size=(6, sizes[-1]))
        gradients = backward(layers, forward(layers, X), by_z)
        for layer, gradient in zip(layers, gradients, strict=True):
            for array, derivative in zip(layer, gradient, strict=True):
                for index in np.ndindex(array.shape):
                    value = array[index]
                    ends = []
                    for step in (1e-6, -1e-6):
                        array[index] = value + step
                        ends.append((forward(layers, X)[-1] * by_z).sum())
                    array[index] = value
                    assert derivative[index] == pytest.approx((ends[0] - ends[1]) / 2e-6, abs=1e-6)

    def test_forward_by_hand(self):
        layers = [
            (np.array([[1.0, 0], [0, -1]]), np.array([1.0, 1])),
            (np.array([[2.0, 0], [0, 3]]), np.array([0.0, 4])),
        ]
        # (2, 5) -> (3, -4) -> (3, 0) -> (6, 4)
        assert forward(layers, np.array([[2.0, 5]]))[2].tolist() == [[6, 4]]
        np.testing.assert_allclose(forward(layers, np.array([[2.0, 5]]))[-1], [[6 / 52**0.5, 4 / 52**0.5]])


@pytest.mark.parametrize("loss", ["supcon", "triplet"])
@pytest.mark.parametrize("then", ["knn", "linear"])
@pytest.mark.parametrize("hidden", [(), (8,), (8, 6)])
def test_separate_classes_are_learned(loss, then, hidden):
    X, y = blobs([20, 20, 20])
    unseen, truth = blobs([20, 20, 20], seed=1)
    head = quick(loss, then=then, hidden=hidden).fit(X, np.array(["tulip", "rose", "été"])[y])
    assert (head.predict(unseen) == np.array(["tulip", "rose", "été"])[truth]).mean() > 0.9
    proba = head.predict_proba(unseen)
    np.testing.assert_allclose(proba.sum(axis=1), 1)
    np.testing.assert_array_equal(head.predict(unseen), head.classes_[proba.argmax(axis=1)])


@pytest.mark.parametrize("loss", ["supcon", "triplet"])
def test_training_brings_images_of_a_class_together(loss):
    X, y = blobs([30, 30, 30])
    head = quick(loss).fit(X, y)
    z = head.transform(X)
    assert z.shape == (90, 4)
    np.testing.assert_allclose(np.linalg.norm(z, axis=1), 1, atol=1e-6)
    assert (z == z.astype(np.float32)).all()
    same = (y[:, None] == y) & ~np.eye(90, dtype=bool)
    before = X / np.linalg.norm(X, axis=1, keepdims=True)
    gap = [(s @ s.T)[same].mean() - (s @ s.T)[y[:, None] != y].mean() for s in (before, z)]
    assert gap[1] > 1.2 * gap[0]
    assert len(head.loss_curve_) == 20
    assert head.loss_curve_[-1] < head.loss_curve_[0]


@pytest.mark.parametrize("loss", ["supcon", "triplet"])
@pytest.mark.parametrize("counts", [[2, 2], [2, 2, 2], [1, 2], [2, 100]])
def test_small_or_unequal_classes_are_enough(loss, counts):
    X, y = blobs(counts)
    proba = quick(loss).fit(X, y).predict_proba(X)
    assert proba.shape == (len(X), len(counts))
    assert np.isfinite(proba).all()


def test_more_classes_than_fit_in_a_batch():
    X, y = blobs([6] * 12, scale=0.1)
    assert (quick(batch_size=8).fit(X, y).predict(X) == y).mean() > 0.9


def test_one_image_per_class_is_refused():
    with pytest.raises(ValueError, match="needs a class of two pictures or more, to have a pair of the same class"):
        quick().fit(*blobs([1, 1, 1]))


def test_training_that_diverges_is_refused():
    with pytest.raises(ValueError, match="training diverged: take a smaller lr than 1e"):
        quick(lr=1e30, l2=1.0).fit(*blobs([9, 9]))


def test_equal_vectors_have_finite_probabilities():
    X = np.ones((8, 3))
    assert np.isfinite(quick().fit(X, np.arange(8) % 2).predict_proba(X)).all()


def test_the_seed_decides_the_head():
    X, y = blobs([12, 12])
    a, b, c = (quick(random_state=seed).fit(X, y).transform(X) for seed in (3, 3, 4))
    np.testing.assert_array_equal(a, b)
    assert np.abs(a - c).max() > 0.01


class TestKinds:
    def test_the_kind_sets_the_loss_and_takes_the_other_parameters(self):
        assert build(HeadSpec("t", "triplet", {"margin": 0.5}), 3).get_params()["loss"] == "triplet"
        params = {"then": "linear", "dim": 128, "hidden": (64,), "lr": 0.1, "epochs": 5}
        built = build(HeadSpec("s", "supcon", params), 3).get_params()
        assert built | params == built
        assert (built["loss"], built["then"], built["dim"], built["random_state"]) == ("supcon", "linear", 128, 3)

    @pytest.mark.parametrize(
        ("params", "message"),
        [
            ({"loss": "supcon"}, "the loss of a triplet or supcon head is fixed by its kind"),
            ({"lambda": 1}, "MetricHead has no parameter 'lambda'; it has C, batch_size, dim"),
            ({"then": "svm"}, "The 'then' parameter of MetricHead must be a str among {.*}. Got 'svm' instead"),
            (
                {"hidden": (8, 0)},
                r"The 'hidden' parameter of MetricHead must be a tuple of ints .* Got \(8, 0\) instead",
            ),
            ({"dim": 0}, "The 'dim' parameter of MetricHead must be an int in the range .* Got 0 instead"),
        ],
    )
    def test_invalid_parameters_are_refused(self, params, message):
        with pytest.raises(InputError, match=message):
            build(HeadSpec("t", "triplet", params), 0)

    def test_an_error_about_the_data_is_one_line_with_the_name_of_the_head(self):
        X, y = blobs([2, 2])
        with pytest.raises(InputError, match="head 'mine': MetricHead needs a class of two pictures"):
            fit_head(HeadSpec("mine", "triplet"), Task(X, y, ["a", "b"]), Split(*[np.array([0, 2])] * 3, np.arange(4)))


@pytest.mark.slow
@pytest.mark.parametrize(("loss", "then"), [("supcon", "linear"), ("triplet", "knn")])
def test_it_passes_scikit_learns_estimator_checks(loss, then):
    from sklearn.utils.estimator_checks import check_estimator

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the checks warn of what they skip
        check_estimator(quick(loss, then=then))
