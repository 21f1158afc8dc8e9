"""What the heads need and scikit-learn does not have: two nearest-something classifiers, and what lets classes be small
or of unequal sizes: folds, a validation part, weighted calibration."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

_ROWS = 1024  # of similarities that are in memory at a time


class NearestMean(ClassifierMixin, BaseEstimator):
    """p(c | x) = softmax over classes of -|x - m_c|^2 / temperature, x of length 1 and m_c the mean of the class.

    The prototypes of J. Snell, K. Swersky, R. Zemel, Prototypical Networks for Few-shot Learning, NeurIPS 2017,
    equation 2. scikit-learn's NearestCentroid has `predict` and `predict_proba` measure distance in two ways, so that
    they disagree.

    Attributes: classes_ (C,), means_ float64 (C, D).
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "temperature": [Interval(Real, 0, None, closed="neither")]
    }

    def __init__(self, temperature: float = 0.05) -> None:
        self.temperature = temperature

    def fit(self, X: np.ndarray, y: np.ndarray) -> NearestMean:
        """X float (N, D), y (N,) labels."""
        X, codes = _check_fit(self, X, y)
        self.means_ = np.stack([X[codes == c].mean(axis=0) for c in range(len(self.classes_))])
        return self

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """(n, D) float -> (n, C) float64 probabilities."""
        return _softmax(_check_predict(self, X) @ self.weights()[0] + self.weights()[1])

    def predict(self, X: np.ndarray) -> np.ndarray:
        """(n, D) float -> (n,) labels: the class with the largest probability."""
        proba = self.predict_proba(X)  # this also says so when the head is not fitted
        return self.classes_[proba.argmax(axis=1)]

    def weights(self) -> tuple[np.ndarray, np.ndarray]:
        """W float64 (D, C) and b (C,) of the logits x W + b: |x|^2 is the same for all classes and falls out."""
        return 2 * self.means_.T / self.temperature, -(self.means_**2).sum(axis=1) / self.temperature


class CosineNeighbours(ClassifierMixin, BaseEstimator):
    """The k nearest by cosine s vote with weight exp(s / temperature).

    Z. Wu, Y. Xiong, S. Yu, D. Lin, Unsupervised Feature Learning via Non-Parametric Instance Discrimination, CVPR
    2018, section 3.4. Unlike the 1/distance of scikit-learn's KNeighborsClassifier the weight is finite for a picture
    that was trained on. With fewer than n_neighbors training vectors all of them vote.

    Attributes: classes_ (C,), vectors_ float32 (N, D) of length 1, codes_ int64 (N,), their classes.
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "n_neighbors": [Interval(Integral, 1, None, closed="left")],
        "temperature": [Interval(Real, 0, None, closed="neither")],
    }

    def __init__(self, n_neighbors: int = 20, temperature: float = 0.05) -> None:
        self.n_neighbors = n_neighbors
        self.temperature = temperature

    def fit(self, X: np.ndarray, y: np.ndarray) -> CosineNeighbours:
        """X float (N, D), y (N,) labels."""
        X, self.codes_ = _check_fit(self, X, y)
        self.vectors_ = X.astype(np.float32)
        return self

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """(n, D) float -> (n, C) float64 probabilities."""
        X = _check_predict(self, X)
        vectors = self.vectors_.T.astype(np.float64)
        k = min(self.n_neighbors, len(self.codes_))
        proba = np.empty((len(X), len(self.classes_)))
        for start in range(0, len(X), _ROWS):
            similarity = X[start : start + _ROWS] @ vectors
            nearest = _largest(similarity, k)
            weights = _softmax(np.take_along_axis(similarity, nearest, axis=1) / self.temperature)
            votes = np.eye(len(self.classes_))[self.codes_[nearest]]  # (n, k, C)
            proba[start : start + _ROWS] = np.einsum("nk,nkc->nc", weights, votes)
        return proba

    def predict(self, X: np.ndarray) -> np.ndarray:
        """(n, D) float -> (n,) labels: the class with the largest probability."""
        proba = self.predict_proba(X)  # this also says so when the head is not fitted
        return self.classes_[proba.argmax(axis=1)]


@dataclass(frozen=True, eq=False)
class SpreadFolds:
    """Cross-validation folds over which each class is spread: all of them train on something of every class.

    groups: int (N,), rows of one group are tested in one fold; None: every row by itself. A group is dealt out with
    the class of its first row. The rows of a class that are all in one fold, as its only member or group, are in the
    training part of every fold too, and so are judged once by those that saw them.
    scikit-learn's StratifiedKFold needs as many members in a class as there are folds. Four folds are the fewest with
    which two classes of two leave more rows than classes to fit on; five, and ten, score the same.
    """

    folds: int = 4
    groups: np.ndarray | None = None

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """Number of folds for these (N,) labels."""
        return min(self.folds, len(y) if self.groups is None else len(np.unique(self.groups)))

    def split(self, X: Any, y: Any, groups: Any = None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """(train, test) row indexes of each fold; together the test parts are every row once."""
        codes = np.unique(y, return_inverse=True)[1]
        whole = np.arange(len(codes)) if self.groups is None else self.groups
        _, first, group = np.unique(whole, return_index=True, return_inverse=True)
        dealt = np.empty(len(first), np.int64)
        dealt[np.lexsort((first, codes[first]))] = np.arange(len(first)) % self.get_n_splits(X, y)
        fold = dealt[group]
        alone = np.array([len(set(fold[codes == c])) == 1 for c in range(codes.max() + 1)])
        for k in range(self.get_n_splits(X, y)):
            yield np.flatnonzero((fold != k) | alone[codes]), np.flatnonzero(fold == k)


class WeightedCalibration(CalibratedClassifierCV):
    """CalibratedClassifierCV in which rows count by their class, for the classifier and for its calibration.

    Class weights of the classifier alone would be undone: a sigmoid that is fitted on rows that count alike learns the
    shares of the classes again. Of a classifier that takes no weights, as LinearDiscriminantAnalysis, the calibration
    is weighted; that is enough there, since its priors only add a constant to a decision, as the sigmoid does.

    class_weight: as of scikit-learn's classifiers; "balanced": n / (C n_c).
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **CalibratedClassifierCV._parameter_constraints,
        "class_weight": [StrOptions({"balanced"}), dict],
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


def held_out(codes: np.ndarray, groups: np.ndarray | None, seed: int) -> np.ndarray:
    """Rows of a validation part, int64, sorted: a tenth of every class, rounded up, but none of a class of one.

    codes: (N,) class indexes; groups: (N,) anything, rows that stay together, or None for every row by itself. Groups
    are gone through in a seeded random order, and one is taken when no class gets more than its tenth by it; so the
    part may be empty. Where every group has several rows, as the views of a picture, the smallest counts as one.
    """
    members: list[np.ndarray]
    if groups is None:
        members = list(np.arange(len(codes))[:, None])
    else:
        _, group = np.unique(np.asarray(groups), return_inverse=True)
        members = np.split(np.argsort(group, kind="stable"), np.cumsum(np.bincount(group))[:-1])
    counts, one = np.bincount(codes), min(map(len, members))
    quota = np.where(counts > one, np.maximum(one, -(-counts // 10)), 0)
    taken: list[np.ndarray] = []
    for g in np.random.default_rng(seed).permutation(len(members)):
        left = quota - np.bincount(codes[members[g]], minlength=len(counts))
        if (left >= 0).all():
            quota = left
            taken.append(members[g])
    return np.sort(np.concatenate(taken)) if taken else np.empty(0, np.int64)


def _check_fit(estimator: Any, X: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sets classes_; (N, D) float64 rows of length 1 and (N,) int64 codes."""
    estimator._validate_params()
    X, y = validate_data(estimator, X, y, dtype=np.float64)
    check_classification_targets(y)
    estimator.classes_, codes = np.unique(y, return_inverse=True)
    if len(estimator.classes_) < 2:
        raise ValueError(f"{type(estimator).__name__} needs at least two classes in y, got one class")
    return _unit(X), codes


def _check_predict(estimator: Any, X: np.ndarray) -> np.ndarray:
    check_is_fitted(estimator)
    return _unit(validate_data(estimator, X, dtype=np.float64, reset=False))


def _unit(X: np.ndarray) -> np.ndarray:
    """Rows of length 1; a row of zeros stays."""
    length = np.linalg.norm(X, axis=1, keepdims=True)
    return X / np.where(length > 0, length, 1)


def _largest(values: np.ndarray, k: int) -> np.ndarray:
    """Columns (n, k) of the largest of each row, (n, N); the largest first, of equal ones the first, as ONNX' TopK."""
    found = np.sort(np.argpartition(values, -k, axis=1)[:, -k:], axis=1)
    best = np.take_along_axis(values, found, axis=1)
    tied = (values >= best.min(axis=1, keepdims=True)).sum(axis=1) > k  # argpartition took some of equal ones
    found = np.take_along_axis(found, np.argsort(-best, axis=1, kind="stable"), axis=1)
    found[tied] = np.argsort(-values[tied], axis=1, kind="stable")[:, :k]
    return found


def _softmax(logits: np.ndarray) -> np.ndarray:
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)
