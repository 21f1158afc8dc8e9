"""Calibration on out-of-fold predictions, also with small or weighted classes."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from sklearn.calibration import CalibratedClassifierCV
from sklearn.utils.class_weight import compute_sample_weight

from winnow.heads.models.base import one_of


@dataclass(frozen=True, eq=False)
class SpreadFolds:
    """Cross-validation folds with small classes spread over them: every fold trains on rows of every class.

    groups: int (N,), rows of one group are in one fold; None: every row is its own group. Groups are dealt out class by
    class, by the class of their first row. A class that is in one fold only, because it has one row or group, is also
    in the training part of that fold, where scikit-learn's StratifiedGroupKFold leaves it out. Four folds are the
    fewest with which two classes of two rows leave more rows than classes to fit; five and ten give the same scores.
    """

    folds: int = 4
    groups: np.ndarray | None = None

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """Number of folds for these (N,) labels."""
        return min(self.folds, len(y) if self.groups is None else len(np.unique(self.groups)))

    def split(self, X: Any, y: Any, groups: Any = None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """(train, test) row indexes of each fold; each row is in one test part."""
        codes = np.unique(y, return_inverse=True)[1]
        whole = np.arange(len(codes)) if self.groups is None else self.groups
        _, first, group = np.unique(whole, return_index=True, return_inverse=True)
        fold_of_group = np.empty(len(first), np.int64)
        fold_of_group[np.lexsort((first, codes[first]))] = np.arange(len(first)) % self.get_n_splits(X, y)
        fold = fold_of_group[group]
        single = np.array([len(set(fold[codes == c])) == 1 for c in range(codes.max() + 1)])
        for k in range(self.get_n_splits(X, y)):
            yield np.flatnonzero((fold != k) | single[codes]), np.flatnonzero(fold == k)


class WeightedCalibration(CalibratedClassifierCV):
    """CalibratedClassifierCV that weights rows by their class, for the classifier and for its calibration.

    Class weights of the classifier alone would have no effect: a sigmoid that is fitted on unweighted rows learns the
    shares of the classes again. For a classifier that takes no weights, such as LinearDiscriminantAnalysis, only the
    calibration is weighted, which suffices: its priors only add a constant to a decision, as the sigmoid does.

    class_weight: as in scikit-learn's classifiers; "balanced": n / (C n_c).
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **CalibratedClassifierCV._parameter_constraints,
        "class_weight": [one_of("balanced"), dict],
    }

    def __init__(
        self,
        estimator: Any = None,
        *,
        class_weight: Any = "balanced",
        method: str = "sigmoid",
        cv: Any = None,
        n_jobs: int | None = None,
        ensemble: Any = "auto",
    ) -> None:
        super().__init__(estimator, method=method, cv=cv, n_jobs=n_jobs, ensemble=ensemble)
        self.class_weight = class_weight

    def fit(self, X: np.ndarray, y: np.ndarray) -> WeightedCalibration:
        """X float (N, D), y (N,) labels."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".* does not appear to accept sample_weight")
            return super().fit(X, y, sample_weight=compute_sample_weight(self.class_weight, y))
