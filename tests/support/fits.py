"""Small classification tasks, and a comparison of fits, for the tests of heads."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from winnow.heads.evaluation.fit import Fit, Split

CLASSES = ["daisy", "rose", "été"]


def gaussian_blobs(counts, d, scale, seed=0):
    """Class c is a Gaussian around the c-th unit vector, with counts[c] rows: X float32 (N, d), y int64 (N,)."""
    rng = np.random.default_rng(seed)
    y = np.repeat(np.arange(len(counts)), counts)
    return (np.eye(d)[y] + rng.normal(scale=scale, size=(len(y), d))).astype(np.float32), y


def data(n=90, repeats=2, d=6):
    """Three classes around unit vectors, and seeded splits of them: X (N, D), y (N,), splits."""
    rng = np.random.default_rng(0)
    y = np.arange(n) % 3
    X = (np.eye(d)[y] + rng.normal(scale=0.5, size=(n, d))).astype(np.float32)
    splits = []
    for _ in range(repeats):
        train, val, test = np.split(rng.permutation(n), [int(0.7 * n), int(0.85 * n)])
        splits.append(Split(train, val, test, np.arange(n)))
    return X, y, splits


def assert_equal_fits(a: Fit, b: Fit) -> None:
    seconds = {"fit_seconds": 0, "predict_seconds": 0}
    assert a.proba.keys() == b.proba.keys()
    for part in a.proba:
        np.testing.assert_array_equal(a.proba[part], b.proba[part])
        np.testing.assert_array_equal(a.y[part], b.y[part])
    a, b = (replace(fit, proba={}, y={}, **seconds) for fit in (a, b))
    assert a == b
