"""Two classifiers by distance that scikit-learn does not have: nearest class mean and cosine nearest neighbours."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from scipy.special import softmax
from sklearn.preprocessing import normalize
from sklearn.utils.validation import check_is_fitted, validate_data

from winnow.heads.models.base import Constraints, HeadClassifier, integer, real

_ROWS = 1024  # rows of the similarity matrix that are in memory at a time


class NearestMean(HeadClassifier):
    """p(c | x) = softmax over classes of -|x - m_c|^2 / temperature, x of length 1 and m_c the mean of the class.

    The prototypes of J. Snell, K. Swersky, R. Zemel, Prototypical Networks for Few-shot Learning, NeurIPS 2017,
    equation 2. In scikit-learn's NearestCentroid `predict` and `predict_proba` use different distances and disagree.

    Attributes: classes_ (C,), means_ float64 (C, D).
    """

    _parameter_constraints: ClassVar[Constraints] = {"temperature": [real(0, closed="neither")]}

    def __init__(self, temperature: float = 0.05) -> None:
        self.temperature = temperature

    def fit(self, X: np.ndarray, y: np.ndarray) -> NearestMean:
        """X float (N, D), y (N,) labels."""
        X, codes = normalized_training_data(self, X, y)
        self.means_ = np.stack([X[codes == c].mean(axis=0) for c in range(len(self.classes_))])
        return self

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """(n, D) float -> (n, C) float64 probabilities."""
        X = normalized_input(self, X)
        weights, bias = self.weights()
        return softmax(X @ weights + bias, axis=1)

    def weights(self) -> tuple[np.ndarray, np.ndarray]:
        """W float64 (D, C) and b (C,) of the logits x W + b; |x|^2 is the same for all classes and cancels."""
        return 2 * self.means_.T / self.temperature, -(self.means_**2).sum(axis=1) / self.temperature


class CosineNeighbours(HeadClassifier):
    """k nearest neighbours by cosine similarity s, each voting with weight exp(s / temperature).

    Z. Wu, Y. Xiong, S. Yu, D. Lin, Unsupervised Feature Learning via Non-Parametric Instance Discrimination, CVPR
    2018, section 3.4. Unlike the 1/distance of scikit-learn's KNeighborsClassifier the weight is finite for a training
    image. With fewer than n_neighbors training vectors all of them vote.

    Attributes: classes_ (C,), vectors_ float32 (N, D) of length 1, codes_ int64 (N,), their classes.
    """

    _parameter_constraints: ClassVar[Constraints] = {
        "n_neighbors": [integer(1)],
        "temperature": [real(0, closed="neither")],
    }

    def __init__(self, n_neighbors: int = 20, temperature: float = 0.05) -> None:
        self.n_neighbors = n_neighbors
        self.temperature = temperature

    def fit(self, X: np.ndarray, y: np.ndarray) -> CosineNeighbours:
        """X float (N, D), y (N,) labels."""
        X, self.codes_ = normalized_training_data(self, X, y)
        self.vectors_ = X.astype(np.float32)
        return self

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """(n, D) float -> (n, C) float64 probabilities."""
        X = normalized_input(self, X)
        vectors = self.vectors_.T.astype(np.float64)
        k = min(self.n_neighbors, len(self.codes_))
        proba = np.empty((len(X), len(self.classes_)))
        for start in range(0, len(X), _ROWS):
            similarity = X[start : start + _ROWS] @ vectors
            nearest = _largest(similarity, k)
            weights = softmax(np.take_along_axis(similarity, nearest, axis=1) / self.temperature, axis=1)
            votes = np.eye(len(self.classes_))[self.codes_[nearest]]  # (n, k, C)
            proba[start : start + _ROWS] = np.einsum("nk,nkc->nc", weights, votes)
        return proba


def normalized_training_data(estimator: HeadClassifier, X: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Check data for `fit` and set classes_: (N, D) float64 rows of length 1 and (N,) int64 class indexes."""
    estimator._validate_params()
    X, y = validate_data(estimator, X, y, dtype=np.float64)
    return normalize(X), estimator._encode_labels(y)


def normalized_input(estimator: HeadClassifier, X: np.ndarray) -> np.ndarray:
    """Check data for a prediction: (n, D) float64 rows of length 1; a row of zeros stays."""
    check_is_fitted(estimator)
    return normalize(validate_data(estimator, X, dtype=np.float64, reset=False))


def _largest(values: np.ndarray, k: int) -> np.ndarray:
    """Columns (n, k) of the largest values of each row, descending; ties in column order, as in TopK of ONNX."""
    columns = np.sort(np.argpartition(values, -k, axis=1)[:, -k:], axis=1)
    best = np.take_along_axis(values, columns, axis=1)
    tied = (values >= best.min(axis=1, keepdims=True)).sum(axis=1) > k  # argpartition chose among equal values
    columns = np.take_along_axis(columns, np.argsort(-best, axis=1, kind="stable"), axis=1)
    columns[tied] = np.argsort(-values[tied], axis=1, kind="stable")[:, :k]
    return columns
