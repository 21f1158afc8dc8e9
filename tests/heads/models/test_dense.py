from __future__ import annotations

import subprocess
import sys
import warnings
from functools import partial

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import SkipTestWarning
from sklearn.utils.estimator_checks import parametrize_with_checks
from support.fits import gaussian_blobs

from winnow.heads.models.dense import DenseHead
from winnow.heads.models.dense_training import validation_rows
from winnow.heads.models.temperature import temperature

blobs = partial(gaussian_blobs, d=8, scale=0.2)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"lr": 0}, r"The 'lr' parameter of DenseHead must be a float in the range \(0.0, inf\). Got 0 instead."),
        ({"momentum": 1.5}, r"'momentum' .* must be a float in the range \[0.0, 1.0\]. Got 1.5 instead."),
        ({"dropout": 1.0}, r"'dropout' .* must be a float in the range \[0.0, 1.0\). Got 1.0 instead."),
        ({"epochs": 0}, r"'epochs' .* must be an int in the range \[1, inf\). Got 0 instead."),
        ({"calibration": "sigmoid"}, r"'calibration' .* must be a str among {.*}. Got 'sigmoid' instead."),
        ({"monitor": "f1"}, r"'monitor' .* must be a str among {.*}. Got 'f1' instead."),
        ({"hidden": (8, 0)}, r"'hidden' .* must be a tuple of ints that are at least 1. Got \(8, 0\) instead."),
        ({"hidden": 8}, r"'hidden' .* must be an instance of 'tuple' or an instance of 'list'. Got 8 instead."),
        ({"schedule": "linear"}, r"'schedule' .* must be a str among {.*'cosine'.*}. Got 'linear' instead."),
        ({"warmup": -1}, r"'warmup' .* must be an int in the range \[0, inf\). Got -1 instead."),
        ({"warmup": 5, "epochs": 5}, r"'warmup' .* must be less than 'epochs', 5. Got 5 instead."),
        ({"factor": 1.0}, r"'factor' .* must be a float in the range \(0.0, 1.0\). Got 1.0 instead."),
        ({"step_size": 0}, r"'step_size' .* must be an int in the range \[1, inf\) or None. Got 0 instead."),
        ({"momentum_end": 1.0}, r"'momentum_end' .* must be a float in the range \[0.0, 1.0\) or None. Got 1.0 inst"),
        (
            {"momentum_end": 0.5, "momentum": 1},
            r"'momentum' .* must be less than 1 with a 'momentum_end'. Got 1 instead.",
        ),
        ({"patience": 0}, r"'patience' .* must be an int in the range \[1, inf\) or None. Got 0 instead."),
        (
            {"class_weight": "even"},
            "'class_weight' .* a str among {'balanced'}, an instance of 'dict' or None. Got 'even'",
        ),
    ],
)
def test_invalid_parameters_are_named_with_what_is_expected(params, message):
    X, y = blobs([2, 2])
    with pytest.raises(ValueError, match=message):
        DenseHead(**params).fit(X, y)


def test_one_class_is_refused():
    with pytest.raises(ValueError, match="at least two classes in y, got one class"):
        DenseHead().fit(np.zeros((3, 2)), ["a", "a", "a"])


def test_validation_labels_must_be_known():
    with pytest.raises(ValueError, match=r"validation_data holds labels that y does not: \['c'\]"):
        DenseHead().fit(np.eye(2), ["a", "b"], validation_data=(np.eye(2), ["a", "c"]))


@pytest.mark.slow
def test_temperature_calibration_lowers_the_log_loss_and_changes_no_label():
    from winnow.heads.evaluation.metrics import log_loss
    from winnow.heads.models.dense import fit_batch

    X, y = blobs([60, 60, 60], scale=0.6)
    val_X, val_y = blobs([40, 40, 40], scale=0.6, seed=1)
    params = {"hidden": (16,), "epochs": 60, "lr": 0.3, "momentum": 0.9, "monitor": "weighted_f1"}
    plain, scaled = DenseHead(**params), DenseHead(**params, calibration="temperature")
    fit_batch([scaled, plain], X, y, validation_data=(val_X, val_y))
    assert plain.temperature_ == 1
    assert scaled.temperature_ > 1.1
    assert scaled.history_ == plain.history_
    np.testing.assert_array_equal(scaled.predict(val_X), plain.predict(val_X))
    assert log_loss(val_y, scaled.predict_proba(val_X)) < log_loss(val_y, plain.predict_proba(val_X)) - 0.01
    logits = np.log(plain.predict_proba(val_X).astype(float)) / scaled.temperature_
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(scaled.predict_proba(val_X), expected, atol=1e-5)
    np.testing.assert_allclose(scaled.model_(val_X).numpy(), expected, atol=1e-5)  # the exported model


def test_init_stores_parameters_unchanged():
    hidden = [8, 4]
    head = DenseHead(hidden=hidden, momentum=1)
    assert head.hidden is hidden
    assert clone(head).get_params() == head.get_params()


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 2**31 - 1])
def test_the_smallest_and_the_largest_seed_work(seed):
    X, y = blobs([4, 4])
    head = DenseHead(hidden=(4, 4), dropout=0.1, epochs=1, seed=seed).fit(X, y)
    assert np.isfinite(head.predict_proba(X)).all()


class TestValidationRows:
    def test_a_tenth_of_each_class_rounded_up(self):
        codes = np.repeat([0, 1, 2, 3], [100, 11, 2, 1])
        assert np.bincount(codes[validation_rows(codes, None, 0)], minlength=4).tolist() == [10, 2, 1, 0]

    @pytest.mark.filterwarnings("ignore:The least populated class")
    def test_scikit_learns_tenth_leaves_small_classes_out(self):
        from sklearn.model_selection import StratifiedGroupKFold

        codes = np.repeat([0, 1, 2], [60, 5, 3])
        _, tenth = next(StratifiedGroupKFold(10, shuffle=True, random_state=0).split(codes, codes, np.arange(68)))
        assert set(codes[tenth]) != {0, 1, 2} == set(codes[validation_rows(codes, None, 0)])

    def test_the_seed_draws_the_rows(self):
        codes = np.repeat([0, 1], 50)
        np.testing.assert_array_equal(validation_rows(codes, None, 1), validation_rows(codes, None, 1))
        assert validation_rows(codes, None, 1).tolist() != validation_rows(codes, None, 2).tolist()

    def test_groups_stay_whole(self):
        codes = np.repeat([0, 1], 60)
        groups = np.arange(120) // 3
        rows = validation_rows(codes, groups, 0)
        assert np.bincount(codes[rows]).tolist() == [6, 6]
        assert np.bincount(groups[rows]).max() == 3
        assert not set(groups[rows]) & set(np.delete(groups, rows))

    def test_a_group_that_is_too_large_stays_in_training(self):
        codes, groups = np.repeat([0, 1], 10), np.zeros(20)
        assert validation_rows(codes, groups, 0).tolist() == []

    def test_with_augmented_rows_one_image_of_a_small_class_is_taken(self):
        codes, groups = np.tile(np.repeat([0, 1, 2], [5, 2, 1]), 8), np.tile(np.arange(8), 8)
        rows = validation_rows(codes, groups, 0)
        assert np.bincount(codes[rows], minlength=3).tolist() == [8, 8, 0]
        assert sorted(np.bincount(groups[rows]).tolist())[-2:] == [8, 8]


@pytest.mark.slow
def test_without_tensorflow_the_error_has_the_line_that_installs_it():
    code = """
import sys
sys.modules["tensorflow"] = None
import numpy as np
from winnow.common.errors import InputError
from winnow.heads.models.dense import DenseHead
try:
    DenseHead().fit(np.eye(4), [0, 0, 1, 1])
except InputError as error:
    print(error)
"""
    output = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert output == 'the dense head needs TensorFlow, which is not installed (pip install "winnow-images[train]")\n'


@pytest.mark.slow
class TestTraining:
    def test_separate_classes_are_learned(self):
        X, y = blobs([40, 40, 40])
        labels = np.array(["tulip", "rose", "été"])[y]
        head = DenseHead(hidden=(16,), lr=0.1, epochs=30).fit(X, labels)
        unseen, truth = blobs([20, 20, 20], seed=1)
        assert head.classes_.tolist() == ["rose", "tulip", "été"]
        assert (head.predict(unseen) == np.array(["tulip", "rose", "été"])[truth]).mean() > 0.95
        proba = head.predict_proba(unseen)
        assert proba.dtype == np.float32
        np.testing.assert_allclose(proba.sum(axis=1), 1, rtol=1e-5)
        np.testing.assert_array_equal(head.predict(unseen), head.classes_[proba.argmax(axis=1)])

    @pytest.mark.parametrize(("momentum", "nesterov"), [(0, False), (0.9, False), (0.9, True), (1, False)])
    def test_epochs_are_those_of_keras(self, momentum, nesterov):
        """Three epochs of one batch, against `fit` of Keras with the same initial weights."""
        from winnow.embed.keras_import import import_keras

        keras, _ = import_keras("this test")
        X, y = blobs([6, 6])
        head = DenseHead(hidden=(4,), lr=0.5, momentum=momentum, nesterov=nesterov, epochs=3, batch_size=12)
        head.fit(X, y, validation_data=(X, y))
        twin = DenseHead(hidden=(4,))
        twin.n_features_in_, twin.classes_ = 8, np.arange(2)
        model = twin._build(keras)
        model.compile(keras.optimizers.SGD(0.5, float(momentum), nesterov), "sparse_categorical_crossentropy")
        history = model.fit(X, y, batch_size=12, epochs=3, verbose=0, validation_data=(X, y)).history
        np.testing.assert_allclose(head.history_["loss"], history["loss"], rtol=1e-4)
        np.testing.assert_allclose(head.history_["val_loss"], history["val_loss"], rtol=1e-4)
        if head.best_epoch_ == 2:
            np.testing.assert_allclose(head.predict_proba(X), model.predict(X, verbose=0), atol=1e-5)

    def test_the_last_smaller_batch_is_trained_on_too(self):
        X, y = blobs([5, 5])
        head = DenseHead(hidden=(), epochs=1, batch_size=4, lr=0.5).fit(X, y, validation_data=(X, y))
        first = DenseHead(hidden=(), epochs=1, batch_size=4, lr=0.5).fit(X[:8], y[:8], validation_data=(X, y))
        assert np.abs(head.predict_proba(X) - first.predict_proba(X)).max() > 1e-4

    @pytest.mark.parametrize("monitor", ["loss", "accuracy", "weighted_f1"])
    def test_the_best_epoch_is_restored(self, monitor):
        from winnow.heads.evaluation.metrics import metrics

        X, y = blobs([30, 30, 30], scale=0.6)
        val_X, val_y = blobs([20, 20, 20], scale=0.6, seed=1)
        head = DenseHead(lr=1.0, epochs=25, monitor=monitor).fit(X, y, validation_data=(val_X, val_y))
        curve = np.array(head.history_[f"val_{monitor}"])
        best = curve.argmin() if monitor == "loss" else curve.argmax()
        assert head.best_epoch_ == best < 24
        scores = metrics(val_y, head.predict_proba(val_X))
        assert scores["log_loss" if monitor == "loss" else monitor] == pytest.approx(curve[best], rel=1e-5)

    def test_the_probabilities_are_those_of_the_keras_model(self):
        X, y = blobs([10, 10, 10])
        head = DenseHead(hidden=(8, 4), dropout=0.2, epochs=2).fit(X, y)
        np.testing.assert_allclose(head.predict_proba(X), head.model_.predict(X, verbose=0), atol=1e-6)

    def test_the_history_has_a_finite_number_per_epoch(self):
        X, y = blobs([10, 10])
        head = DenseHead(epochs=3).fit(X, y)
        names = {"loss", "val_loss", "accuracy", "val_accuracy", "weighted_f1", "val_weighted_f1", "lr", "momentum"}
        assert set(head.history_) == names
        assert all(len(values) == 3 and np.isfinite(values).all() for values in head.history_.values())

    def test_the_same_seed_gives_the_same_head_and_no_global_seed_is_used(self):
        import random

        X, y = blobs([20, 20])
        params = {"epochs": 5, "dropout": 0.3, "l2": 1e-3, "momentum": 0.9}
        random.seed(0)
        np.random.seed(0)  # noqa: NPY002
        before = random.getstate(), np.random.get_state()[1].copy()  # noqa: NPY002
        a, b, c = (DenseHead(**params, seed=seed).fit(X, y).predict_proba(X) for seed in (1, 1, 2))
        np.testing.assert_array_equal(a, b)
        assert np.abs(a - c).max() > 1e-3
        assert random.getstate() == before[0]
        np.testing.assert_array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002

    def test_dropout_and_l2_change_what_is_learned(self):
        X, y = blobs([20, 20])
        plain, dropped, decayed = (
            DenseHead(lr=0.1, epochs=5, **params).fit(X, y).predict_proba(X)
            for params in ({}, {"dropout": 0.5}, {"l2": 0.1})
        )
        assert np.abs(plain - dropped).max() > 1e-3
        assert np.abs(plain - decayed).max() > 1e-3

    def test_a_fit_that_diverges_restores_its_best_finite_epoch(self):
        X, y = blobs([20, 20])
        head = DenseHead(hidden=(8, 8), lr=1e12, momentum=1, epochs=20).fit(X * 1e6, y)
        assert len(head.history_["loss"]) < 20
        assert head.best_epoch_ < len(head.history_["loss"])
        assert all(np.isfinite(values).all() for values in head.history_.values())
        assert np.isfinite(head.predict_proba(X)).all()

    def test_a_fit_without_a_finite_epoch_keeps_the_initial_weights(self):
        X, y = blobs([20, 20])
        head = DenseHead(hidden=(8,), lr=1e38, epochs=3).fit(X * 1e3, y)
        assert head.best_epoch_ == -1
        assert head.history_["loss"] == []
        assert np.isfinite(head.predict_proba(X)).all()

    def test_a_schedule_is_that_of_keras(self):
        """Losses and learning rate with a warm-up and a cosine decay."""
        from winnow.embed.keras_import import import_keras

        keras, _ = import_keras("this test")
        X, y = blobs([6, 6])
        head = DenseHead(hidden=(4,), lr=0.5, momentum=0.9, schedule="cosine", warmup=1, epochs=5, batch_size=12)
        head.fit(X, y, validation_data=(X, y))
        twin = DenseHead(hidden=(4,))
        twin.n_features_in_, twin.classes_ = 8, np.arange(2)
        model = twin._build(keras)
        lr = keras.optimizers.schedules.CosineDecay(0.0, 4, warmup_target=0.5, warmup_steps=1)
        model.compile(keras.optimizers.SGD(lr, 0.9), "sparse_categorical_crossentropy")
        history = model.fit(X, y, batch_size=12, epochs=5, verbose=0, validation_data=(X, y)).history
        np.testing.assert_allclose(head.history_["loss"], history["loss"], rtol=1e-4)
        np.testing.assert_allclose(head.history_["val_loss"], history["val_loss"], rtol=1e-4)
        assert head.history_["lr"] == pytest.approx([float(lr(step)) for step in range(5)])
        assert head.history_["momentum"] == [0.9] * 5

    def test_the_rates_of_an_epoch_are_those_of_its_last_step(self):
        X, y = blobs([10, 10])
        head = DenseHead(lr=0.4, momentum=0.5, momentum_end=0.0, warmup=2, epochs=3, batch_size=5)
        head.fit(X, y, validation_data=(X, y))
        assert head.history_["lr"] == pytest.approx([0.4 * 3 / 8, 0.4 * 7 / 8, 0.4])
        left = 1 - np.array([3, 7, 11]) / 12
        np.testing.assert_allclose(head.history_["momentum"], 0.5 * left / (0.5 + 0.5 * left))

    def test_training_stops_after_patience_epochs_without_improvement(self):
        X, y = blobs([30, 30, 30], scale=0.6)
        val = blobs([20, 20, 20], scale=0.6, seed=1)
        whole, short = (DenseHead(lr=1.0, epochs=40, patience=patience).fit(X, y, None, val) for patience in (None, 3))
        assert len(whole.history_["loss"]) == 40
        assert len(short.history_["loss"]) == short.best_epoch_ + 4 < 40
        assert short.history_ == {name: values[: short.best_epoch_ + 4] for name, values in whole.history_.items()}

    def test_a_plateau_of_the_validation_loss_lowers_the_rate(self):
        X, y = blobs([30, 30, 30], scale=0.6)
        head = DenseHead(lr=1.0, schedule="plateau", step_size=4, factor=0.5, epochs=30)
        head.fit(X, y, validation_data=blobs([20, 20, 20], scale=0.6, seed=1))
        best = int(np.argmin(head.history_["val_loss"][:10]))
        assert head.history_["lr"][: best + 5] == [1.0] * (best + 5)
        assert head.history_["lr"][best + 5] == 0.5

    def test_balanced_weights_are_those_of_keras(self):
        from winnow.embed.keras_import import import_keras

        keras, _ = import_keras("this test")
        X, y = blobs([9, 3])
        head = DenseHead(hidden=(4,), lr=0.5, epochs=3, batch_size=12, class_weight="balanced")
        head.fit(X, y, validation_data=(X, y))
        assert head.class_weight_.tolist() == [12 / 18, 2]
        twin = DenseHead(hidden=(4,))
        twin.n_features_in_, twin.classes_ = 8, np.arange(2)
        model = twin._build(keras)
        model.compile(keras.optimizers.SGD(0.5), "sparse_categorical_crossentropy")
        weights = {0: 12 / 18, 1: 2}
        history = model.fit(
            X, y, batch_size=12, epochs=3, verbose=0, validation_data=(X, y), class_weight=weights
        ).history
        np.testing.assert_allclose(head.history_["loss"], history["loss"], rtol=1e-4)
        np.testing.assert_allclose(head.history_["val_loss"], history["val_loss"], rtol=1e-4)

    def test_balanced_weights_raise_the_recall_of_a_small_class(self):
        X, y = blobs([240, 12], scale=0.6)
        unseen, truth = blobs([200, 200], scale=0.6, seed=1)
        plain, balanced = (
            np.mean(DenseHead(lr=0.1, epochs=40, class_weight=weight).fit(X, y).predict(unseen)[truth == 1])
            for weight in (None, "balanced")
        )
        assert plain < 0.5 < balanced - 0.2

    def test_class_weights_do_not_weight_the_rows_of_the_temperature(self):
        X, y = blobs([60, 12], scale=0.6)
        unseen = blobs([40, 40], scale=0.6, seed=1)
        params = {"lr": 0.1, "epochs": 10, "class_weight": "balanced"}
        plain, scaled = (DenseHead(**params, calibration=name) for name in ("none", "temperature"))
        for head in (plain, scaled):
            head.fit(X, y, validation_data=unseen)
        assert plain.temperature_ == 1 != scaled.temperature_
        assert scaled.temperature_ == temperature(plain._logits(unseen[0]), unseen[1])

    def test_only_the_ratio_of_class_weights_matters(self):
        X, y = blobs([9, 3])
        labels = np.array(["a", "b"])[y]
        params = {"hidden": (4,), "lr": 0.5, "epochs": 3}
        balanced, scaled, other = (
            DenseHead(**params, class_weight=weight).fit(X, labels).predict_proba(X)
            for weight in ("balanced", {"a": 10, "b": 80 / 2.0}, {"b": 2})
        )
        np.testing.assert_allclose(scaled, balanced, atol=1e-5)
        assert np.abs(other - balanced).max() > 1e-3

    def test_one_image_per_class(self):
        head = DenseHead(hidden=(), lr=1.0, epochs=20).fit(np.eye(3), ["a", "b", "c"])
        assert head.predict(np.eye(3)).tolist() == ["a", "b", "c"]

    def test_a_class_may_be_missing_from_the_validation_part(self):
        X, y = blobs([10, 10, 1])
        head = DenseHead(epochs=2, monitor="weighted_f1").fit(X, y)
        assert head.predict_proba(X).shape == (21, 3)

    def test_it_works_in_a_grid_search(self):
        from sklearn.model_selection import GridSearchCV

        X, y = blobs([20, 20])
        search = GridSearchCV(DenseHead(hidden=(), epochs=15), {"lr": [1e-6, 0.5]}, cv=2, scoring="f1_weighted")
        assert search.fit(X, y).best_params_ == {"lr": 0.5}


@pytest.mark.slow
@parametrize_with_checks([DenseHead(hidden=(16,), lr=0.5, epochs=15)])
def test_it_passes_scikit_learns_estimator_checks(estimator, check):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SkipTestWarning)
        check(estimator)
