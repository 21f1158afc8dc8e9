"""Drawn vectors of one or two classes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def around(centre: list[float], count: int, seed: int = 0, spread: float = 0.05) -> np.ndarray:
    """`count` float32 vectors near a centre."""
    array = np.array(centre, dtype=np.float32)
    return array + np.random.default_rng(seed).normal(0, spread, (count, len(array))).astype(np.float32)


def two_classes(count: int = 30) -> tuple[np.ndarray, np.ndarray]:
    """Vectors (2 count, 4) of two classes whose largest component is the same, and their labels."""
    x = np.concatenate([around([3, 1, 0, 0], count, 1), around([3, 0, 1, 0], count, 2)])
    return x, np.repeat([0, 1], count)


ODD_KINDS = ("one class", "a class each", "unlabelled", "alike", "zero", "one group")


def odd_pictures(kind: str, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vectors (count, 4), labels and groups of a folder in which little can be compared, one of `ODD_KINDS`."""
    x = around([1, 0, 0, 0], count, spread=0.5)
    labels, groups = np.zeros(count, dtype=int), np.arange(count)
    if kind == "a class each":
        labels = np.arange(count)
    elif kind == "unlabelled":
        labels -= 1
    elif kind == "alike":
        x[:] = x[0]
    elif kind == "zero":
        x[:] = 0
    elif kind == "one group":
        groups[:], labels[: count // 2] = 0, 1
    return x, labels, groups


class AugmentedStore:
    """A table of vectors of the images a, b and c: one number, 10 times the augmentation plus that of the image."""

    def read(self, ids: Sequence[str], column: str = "vector", augmentation: int = 0) -> np.ndarray:
        """float32 (N, 1), in the order of ids."""
        return np.array([[10.0 * augmentation + "abc".index(id)] for id in ids], dtype=np.float32)
