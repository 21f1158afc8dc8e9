from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from support.fits import gaussian_blobs

from winnow.heads.evaluation.compare import compare
from winnow.heads.evaluation.fit import FitOptions, HeadSpec, Split, Task
from winnow.heads.models.batched_sgd import SGD, BatchedNetworks, DualInputLayer, InputLayer
from winnow.heads.models.dense import DenseHead, fit_batch

blobs = partial(gaussian_blobs, d=8, scale=0.4)

SETTINGS = [
    {"lr": 0.1},
    {"lr": 0.01, "momentum": 0.9},
    {"lr": 0.05, "momentum": 0.5, "nesterov": True, "l2": 1e-2},
    {"lr": 0.2, "dropout": 0.5, "monitor": "accuracy"},
    {"lr": 0.1, "l2": 0.1},
    {"lr": 1e12, "momentum": 1.0},
    {"lr": 0.1, "schedule": "cosine", "warmup": 2},
    {"lr": 0.2, "schedule": "one-cycle", "momentum": 0.9, "patience": 2},
    {"lr": 0.5, "schedule": "plateau", "step_size": 1, "momentum_end": 0.9, "patience": 1, "class_weight": "balanced"},
]


def test_both_input_layers_take_the_same_steps():
    """With momentum, Nesterov momentum and l2."""
    rng = np.random.default_rng(0)
    X, kernel = rng.normal(size=(14, 20)).astype(np.float32), rng.normal(size=(20, 3)).astype(np.float32)
    heads = [DenseHead(**params) for params in (SETTINGS[2], SETTINGS[1], SETTINGS[4], SETTINGS[0])]
    sgd = SGD(heads)
    assert sgd.n_full == 3
    plain, dual = InputLayer(kernel, X, sgd), DualInputLayer(kernel, X, 10, sgd)
    for _ in range(6):
        rows = rng.permutation(10)[:4]
        delta = rng.normal(size=(4, 4, 3)).astype(np.float32)
        plain.step(rows, delta)
        dual.step(rows, delta)
        np.testing.assert_allclose(dual(slice(10, 14)), plain(slice(10, 14)), rtol=1e-4, atol=1e-4)
    for g in range(4):
        np.testing.assert_allclose(dual.snapshot(g)(), plain.snapshot(g)(), rtol=1e-4, atol=1e-4)


def test_a_step_follows_the_gradient_of_the_loss():
    """The change of one weight of the first layer and one of the last, against a difference quotient."""
    rng = np.random.default_rng(0)
    X, codes = rng.normal(size=(6, 3)).astype(np.float32), np.array([0, 1, 0, 1, 1, 0])
    start = [rng.normal(size=shape).astype(np.float32) for shape in ((3, 4), (4,), (4, 2), (2,))]

    def loss(weights):
        proba = BatchedNetworks(weights, X, 6, [DenseHead()], 0).predict(range(6))[0]
        return -np.log(proba[np.arange(6), codes]).mean()

    networks = BatchedNetworks(start, X, 6, [DenseHead(lr=1.0)], 0)
    networks.step(np.arange(6), codes)
    updated = networks.snapshot(0)()
    for array, index in ((0, (1, 2)), (1, (2,)), (2, (3, 1)), (3, (0,))):
        ahead, behind = ([weights.copy() for weights in start] for _ in range(2))
        ahead[array][index] += 1e-2
        behind[array][index] -= 1e-2
        slope = (loss(ahead) - loss(behind)) / 2e-2
        assert start[array][index] - updated[array][index] == pytest.approx(slope, rel=0.02, abs=1e-3)


@pytest.mark.slow
class TestFitBatch:
    @pytest.mark.parametrize(("counts", "hidden"), [([20, 20, 20], (6, 5)), ([2, 2, 2], ()), ([2, 3, 3], (4,))])
    def test_each_head_equals_its_own_fit(self, counts, hidden):
        """Also beside heads that diverge or stop early, and with more or fewer rows than features."""
        X, y = blobs(counts)
        single = [DenseHead(hidden=hidden, epochs=8, batch_size=4, seed=3, **params).fit(X, y) for params in SETTINGS]
        heads = [DenseHead(hidden=hidden, epochs=8, batch_size=4, seed=3, **params) for params in SETTINGS]
        fit_batch(heads, X, y)
        for a, b in zip(single, heads, strict=True):
            assert (a.best_epoch_, a.history_.keys()) == (b.best_epoch_, b.history_.keys())
            for name in a.history_:
                assert len(a.history_[name]) == len(b.history_[name])
                np.testing.assert_allclose(a.history_[name], b.history_[name], rtol=1e-5)
            np.testing.assert_allclose(a.predict_proba(X), b.predict_proba(X), atol=1e-6)

    @pytest.mark.parametrize("params", [{"momentum": 0.9, "nesterov": True, "l2": 0.01}, {"l2": 0.05}])
    @pytest.mark.parametrize("n", [6, 30])
    def test_l2_and_nesterov_momentum_are_those_of_keras(self, params, n):
        from winnow.embed.keras_import import import_keras

        keras, _ = import_keras("this test")
        X, y = blobs([n, n])
        head = DenseHead(hidden=(4,), lr=0.1, epochs=4, batch_size=2 * n, **params).fit(X, y, validation_data=(X, y))
        twin = DenseHead(hidden=(4,), **params)
        twin.n_features_in_, twin.classes_ = 8, np.arange(2)
        model = twin._build(keras)
        sgd = keras.optimizers.SGD(0.1, params.get("momentum", 0.0), params.get("nesterov", False))
        model.compile(sgd, "sparse_categorical_crossentropy")
        model.fit(X, y, batch_size=2 * n, epochs=4, verbose=0)
        assert head.best_epoch_ == 3
        np.testing.assert_allclose(head.predict_proba(X), model.predict(X, verbose=0), atol=1e-5)

    def test_an_early_stop_is_reported_as_the_last_epoch(self):
        X, y = blobs([20, 20])
        progress: list[tuple[int, int]] = []
        head = DenseHead(epochs=50, patience=2, lr=1e-9, hidden=())
        fit_batch([head], X, y, on_epoch=lambda *counts: progress.append(counts))
        ended = len(head.history_["loss"])
        assert ended < 50
        assert progress == [*((epoch, 50) for epoch in range(1, ended)), (50, 50)]

    def test_heads_of_different_shapes_are_refused(self):
        X, y = blobs([4, 4])
        with pytest.raises(ValueError, match="need the same hidden, epochs, batch_size and seed"):
            fit_batch([DenseHead(), DenseHead(seed=1)], X, y)

    def test_compare_trains_a_grid_in_batches_and_stores_each_fit(self, tmp_path):
        X, y = blobs([20, 20, 20])
        rows = np.random.default_rng(0).permutation(60)
        split = Split(rows[:40], rows[40:50], rows[50:], np.arange(60))
        heads = [
            HeadSpec(str(i), "dense", {"hidden": (4,), "epochs": 3, **params}) for i, params in enumerate(SETTINGS)
        ]

        def run(heads):
            return [
                fit for (fit,) in compare(heads, Task(X, y, ["a", "b", "c"], "k"), [split], FitOptions(cache=tmp_path))
            ]

        single, fits = run(heads[1:2])[0], run(heads)
        assert fits[1].fit_seconds == single.fit_seconds  # it is read from the cache
        assert len({fit.fit_seconds for fit in [fits[0], *fits[2:]]}) == 1  # the time of the batch is divided equally
        assert [fit.fit_seconds for fit in run(heads)] == [fit.fit_seconds for fit in fits]
