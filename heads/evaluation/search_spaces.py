"""The search space of each kind of head, and candidates drawn from it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from winnow.common.errors import InputError
from winnow.heads.evaluation.fit import SEEDS, HeadSpec, build

Draw = Callable[[np.random.Generator], Any]


def _log(low: float, high: float) -> Draw:
    """Log-uniform, rounded to three significant digits, so that it can be typed."""
    return lambda rng: float(f"{math.exp(rng.uniform(math.log(low), math.log(high))):.3g}")


def _count(low: int, high: int) -> Draw:
    """Log-uniform, an integer."""
    return lambda rng: round(math.exp(rng.uniform(math.log(low), math.log(high))))


def _share(low: float, high: float) -> Draw:
    """Uniform, rounded to two decimals."""
    return lambda rng: round(rng.uniform(low, high), 2)


def _among(*choices: Any) -> Draw:
    return lambda rng: choices[rng.integers(len(choices))]


_PROJECTED: dict[str, Draw] = {
    "hidden": _among((), (128,), (256,)),
    "dim": _among(32, 64, 128),
    "lr": _log(0.003, 0.1),
    "l2": _log(1e-5, 1e-2),
    "C": _log(0.1, 10),
}
# kind -> parameter -> function that draws a value. dummy and centroid have no parameter that changes a prediction.
# n_estimators of the forest is left out, because more trees are better and slower; so is unfreeze of finetune, because
# the stored feature maps depend on it.
SPACES: dict[str, dict[str, Draw]] = {
    "dense": {
        "hidden": _among((), (64,), (128,), (256,)),
        "lr": _log(0.001, 0.3),
        "momentum": _among(0.0, 0.5, 0.9, 0.95),
        "nesterov": _among(False, True),
        "dropout": _among(0.0, 0.2, 0.5),
        "l2": _log(1e-6, 1e-2),
    },
    "knn": {"n_neighbors": _count(1, 100), "temperature": _log(0.01, 0.5)},
    "logistic": {"C": _log(0.1, 1000)},
    "svm-linear": {"C": _log(0.01, 100)},
    "svm-rbf": {"C": _log(0.1, 1000), "gamma": _log(0.1, 10)},
    "lda": {"shrinkage": _share(0.02, 0.98)},
    "forest": {"max_features": _log(0.005, 0.5), "min_samples_leaf": _count(1, 10)},
    "mlp": {
        "hidden_layer_sizes": _among((64,), (128,), (256,)),
        "alpha": _log(1e-6, 1),
        "learning_rate_init": _log(1e-4, 1e-2),
    },
    "triplet": _PROJECTED | {"margin": _log(0.05, 0.8)},
    "supcon": _PROJECTED | {"temperature": _log(0.01, 0.2)},
    "finetune": {"lr": _log(0.002, 0.05), "epochs": _among(8, 16, 24), "label_smoothing": _among(0.0, 0.1, 0.2)},
}
# Searched on all images in one round: their best settings depend on the number of images (steps per epoch, neighbours).
WHOLE = ("dense", "knn", "triplet", "supcon", "finetune")
SLOW = ("finetune",)  # a fit takes up to a minute: fewer folds and candidates
CANDIDATES, FEW_CANDIDATES = 30, 6


def candidates(kind: str, count: int | None = None, seed: int = 0) -> list[HeadSpec]:
    """The default settings and count − 1 random ones; a larger count adds candidates to those of a smaller one.

    Parameters: `count`, None: CANDIDATES, or FEW_CANDIDATES for a head that is slow to fit.
    Raises: InputError for a kind that is unknown or has no search space.
    """
    default = HeadSpec(kind, kind)
    build(default, seed)
    if kind not in SPACES:
        raise InputError(f"the {kind} head has no settings worth a search; those that have: {', '.join(SPACES)}")
    count = count or (FEW_CANDIDATES if kind in SLOW else CANDIDATES)
    rng = np.random.default_rng(seed % SEEDS)
    space = SPACES[kind].items()
    return [default, *(HeadSpec(kind, kind, {name: draw(rng) for name, draw in space}) for _ in range(count - 1))]
