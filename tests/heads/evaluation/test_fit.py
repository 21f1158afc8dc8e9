from __future__ import annotations

import time
import warnings
from dataclasses import replace

import numpy as np
import pytest
from support.fits import CLASSES, data

from winnow.common.errors import InputError
from winnow.heads.evaluation.fit import FitOptions, HeadSpec, Split, Task, _predict, build, fit_estimator, fit_head
from winnow.heads.evaluation.metrics import confusion, ece, metrics
from winnow.heads.kinds import HEADS
from winnow.heads.models.baselines import BASELINES


class TestSmallClasses:
    """Classes of five images, three of them in train, are enough for every head, without a warning."""

    @pytest.mark.parametrize(
        ("kind", "twins"),
        [
            pytest.param("dense", False, marks=pytest.mark.slow),
            pytest.param("dense", True, marks=pytest.mark.slow),
            *((kind, False) for kind in HEADS if kind not in ("dense", "finetune")),
        ],
    )
    def test_every_head_can_be_fitted(self, kind, twins):
        rng = np.random.default_rng(0)
        y = np.repeat(np.arange(4), [5, 5, 40, 200])
        X = (np.eye(8)[y] + rng.normal(scale=0.2, size=(250, 8))).astype(np.float32)
        groups = np.arange(250)
        groups[2] = 1 if twins else 2  # two of the three in train
        parts = [
            np.flatnonzero(np.isin(np.arange(250), rows))
            for rows in ([3, 8, *range(10, 250, 6)], [4, 9, *range(11, 250, 6)])
        ]
        train = np.setdiff1d(np.arange(250), np.concatenate(parts))
        assert np.bincount(y[train])[:2].tolist() == [3, 3]
        few = {"dense": {"epochs": 5, "lr": 0.5}, "forest": {"n_estimators": 20}}.get(kind, {})
        _, fit = fit_head(HeadSpec(kind, kind, few), Task(X, y, list("abcd")), Split(train, *parts, groups))
        assert fit.proba["test"].shape == (len(parts[1]), 4)
        assert np.isfinite(fit.metrics["test"]["log_loss"])
        if kind in ("centroid", "logistic", "svm-linear", "svm-rbf"):
            assert fit.metrics["test"]["macro_f1"] > 0.9


class TestFitHead:
    def test_every_part_is_evaluated(self):
        X, y, (split, _) = data()
        estimator, fit = fit_head(HeadSpec("k", "knn"), Task(X, y, CLASSES), split)
        for part in ("train", "val", "test"):
            rows = getattr(split, part)
            proba = estimator.predict_proba(X[rows])
            assert fit.metrics[part] == pytest.approx(metrics(y[rows], proba), rel=1e-5)
            assert fit.confusion[part] == confusion(y[rows], proba.argmax(axis=1), 3).tolist()
        assert fit.proba["test"].dtype == np.float32
        np.testing.assert_array_equal(fit.y["val"], y[split.val])
        assert sum(fit.reliability.count) == len(split.test)
        assert ece(fit.reliability) == fit.metrics["test"]["ece"]
        assert fit.history is None
        assert fit.best_epoch is None
        assert fit.fit_seconds > 0

    def test_only_train_is_used_to_fit(self):
        X, y, (split, _) = data()
        centroid, task = HeadSpec("c", "centroid"), Task(X, y, CLASSES)
        before = fit_estimator(centroid, task, split).means_
        elsewhere = np.setdiff1d(np.arange(len(y)), split.train)
        X[elsewhere], y[elsewhere] = np.nan, 2 - y[elsewhere]
        np.testing.assert_array_equal(before, fit_estimator(centroid, task, split).means_)

    def test_a_class_missing_from_train_has_probability_0(self):
        X, y, (split, _) = data()
        split = replace(split, train=split.train[y[split.train] != 1])
        _, fit = fit_head(HeadSpec("c", "centroid"), Task(X, y, CLASSES), split)
        assert fit.proba["test"].shape == (len(split.test), 3)
        assert (fit.proba["test"][:, 1] == 0).all()
        assert np.isfinite(fit.metrics["test"]["log_loss"])

    def test_float16_vectors_are_accepted(self):
        X, y, (split, _) = data()
        _, fit = fit_head(HeadSpec("l", "logistic"), Task(X.astype(np.float16), y, CLASSES), split)
        assert fit.metrics["test"]["accuracy"] > 0.5

    def test_an_invalid_value_is_an_error_with_the_name_of_the_head(self):
        X, y, (split, _) = data()
        with pytest.raises(
            InputError, match="head 'mine': The 'n_neighbors' parameter of CosineNeighbours must be an int"
        ):
            fit_head(HeadSpec("mine", "knn", {"n_neighbors": 0}), Task(X, y, CLASSES), split)

    @pytest.mark.parametrize(
        ("kind", "params", "message"),
        [
            ("lda", {"solver": "svd"}, "shrinkage not supported with 'svd' solver."),
            ("lda", {"n_components": 10}, "n_components cannot be larger than"),
            ("logistic", {"solver": "liblinear"}, "The 'liblinear' solver does not support multiclass"),
            ("svm-linear", {"kernel": "precomputed"}, "X should be a square kernel matrix"),
            ("mlp", {"hidden_layer_sizes": (-5, 3)}, "hidden_layer_sizes must be > 0"),
            ("forest", {"class_weight": {7: 1.0}}, "The classes, "),
        ],
    )
    def test_an_error_of_a_classifier_is_one_line(self, kind, params, message):
        X, y, (split, _) = data()
        with pytest.raises(InputError) as raised:
            fit_head(HeadSpec("mine", kind, params), Task(X, y, CLASSES), split)
        assert str(raised.value).startswith(f"head 'mine': {message}")
        assert "\n" not in str(raised.value)

    def test_seeds_wrap_around(self):
        assert build(HeadSpec("f", "forest"), 2**31 + 3).random_state == 3
        assert build(HeadSpec("d", "dense"), 2**31 - 1).seed == 2**31 - 1
        assert build(HeadSpec("d", "dense"), 2**31).seed == 0

    @pytest.mark.parametrize("params", [{}, {"calibration": "temperature"}])
    def test_calibration_keeps_groups_on_one_side(self, monkeypatch, params):
        from winnow.heads.models.calibration import SpreadFolds

        X, y, (split, _) = data()
        fold_groups, split_rows = [], SpreadFolds.split

        def recording(self, X, y, groups=None):
            fold_groups.append(self.groups)
            return split_rows(self, X, y)

        monkeypatch.setattr(SpreadFolds, "split", recording)
        split = replace(split, groups=np.arange(len(y)) // 2 * 10)
        fit_estimator(HeadSpec("s", "svm-linear", params), Task(X, y, CLASSES), split)
        assert len(fold_groups) == 1
        np.testing.assert_array_equal(fold_groups[0], split.groups[split.train])

    def test_imports_do_not_count_as_fitting_time(self, monkeypatch):
        dummy, sleeps = BASELINES["dummy"], []

        def slow_at_first(**params):
            if not sleeps:
                sleeps.append(time.sleep(0.5))
            return dummy(**params)

        monkeypatch.setitem(BASELINES, "dummy", slow_at_first)
        X, y, (split, _) = data()
        assert fit_head(HeadSpec("d", "dummy"), Task(X, y, CLASSES), split)[1].fit_seconds < 0.4

    def test_a_head_that_does_not_converge_does_not_warn(self):
        X, y, (split, _) = data()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            fit_head(HeadSpec("mlp", "mlp", {"max_iter": 1}), Task(X, y, CLASSES), split)
        assert [str(warning.message) for warning in caught] == []

    def test_a_seed_among_the_parameters_takes_precedence(self):
        X, y, (split, _) = data()
        head = HeadSpec("f", "forest", {"n_estimators": 3, "seed": 5})
        assert fit_estimator(head, Task(X, y, CLASSES), split).random_state == 5


@pytest.mark.slow
class TestDense:
    HEAD = HeadSpec("d", "dense", {"hidden": (8,), "epochs": 4, "lr": 0.1})

    def test_validation_val_chooses_the_epoch_on_val(self):
        X, y, (split, _) = data()
        _, fit = fit_head(self.HEAD, Task(X, y, CLASSES), split, FitOptions(validation="val"))
        assert fit.metrics["val"]["log_loss"] == pytest.approx(min(fit.history["val_loss"]), rel=1e-5)
        _, own = fit_head(self.HEAD, Task(X, y, CLASSES), split)
        assert own.metrics["val"]["log_loss"] != pytest.approx(min(own.history["val_loss"]), rel=1e-3)

    def test_without_a_finite_epoch_there_is_no_history(self):
        X, y, (split, _) = data()
        head = HeadSpec("d", "dense", {"lr": 1e38, "epochs": 2})
        _, fit = fit_head(head, Task(X * 1e3, y, CLASSES), split)
        assert fit.history is None
        assert fit.best_epoch is None


class TestPredict:
    @pytest.mark.parametrize(("numbers_at_once", "batch_sizes"), [(2**25, [4]), (3, [3, 1]), (0, [1, 1, 1, 1])])
    def test_probabilities_of_several_rows_are_averaged_in_batches(self, monkeypatch, numbers_at_once, batch_sizes):
        class RecordingHead:
            classes_, sizes = np.array([0, 1]), []

            def predict_proba(self, X):
                self.sizes.append(len(X))
                return np.column_stack([X[:, 0], 1 - X[:, 0]])

        monkeypatch.setattr("winnow.heads.evaluation.fit.PREDICTED_AT_ONCE", numbers_at_once)
        X, head = np.array([[0.0], [0.2], [1.0], [0.6]]), RecordingHead()
        probabilities = _predict(head, X, np.array([[0, 2], [1, 3]]), 3)
        np.testing.assert_allclose(probabilities, [[0.5, 0.5, 0], [0.4, 0.6, 0]], atol=1e-6)
        assert head.sizes == batch_sizes
