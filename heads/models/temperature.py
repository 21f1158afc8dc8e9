"""Temperature scaling: one number that makes a classifier as sure of its predictions as they are right."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.utils._param_validation import HasMethods, StrOptions
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

LEAST = float(np.finfo(np.float32).eps)  # a probability below it counts as this much, as in `evaluate.log_loss`
_LARGEST = 7.0  # of |ln T|


def temperature(logits: np.ndarray, codes: np.ndarray, weights: np.ndarray | None = None) -> float:
    """T > 0 with which softmax(logits / T) has the least cross-entropy; logits float (n, C), codes (n,) class indexes,
    weights (n,), what a row counts, or None for 1.

    C. Guo, G. Pleiss, Y. Sun, K. Weinberger, On Calibration of Modern Neural Networks, ICML 2017, section 4.2. The
    largest logit stays the largest. As in J. Platt, Probabilistic Outputs for Support Vector Machines, 1999, section
    2.2, the truth has the target (n + 1) / (n + 2), not 1, and the other classes share the rest: few pictures that are
    all predicted right are no reason to be sure without end.
    """
    from scipy.optimize import minimize_scalar

    n, n_classes = logits.shape
    target = np.full(logits.shape, 1 / ((n + 2) * (n_classes - 1)))
    target[np.arange(n), codes] = (n + 1) / (n + 2)
    logits = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)

    def cross_entropy(log_t: float) -> float:
        scaled = logits / np.exp(log_t)
        losses = np.log(np.exp(scaled).sum(axis=1)) - (target * scaled).sum(axis=1)
        return float(np.average(losses, weights=weights))

    return float(np.exp(minimize_scalar(cross_entropy, bounds=(-_LARGEST, _LARGEST), method="bounded").x))


class TemperatureScaled(ClassifierMixin, BaseEstimator):
    """p(c | x) = softmax(z(x) / T), z the logits of a classifier that was fitted on everything.

    T is that of `temperature` on its out-of-fold logits: decision values where it has them (d of two classes as
    −d/2 and d/2), else logarithms of its probabilities. scikit-learn's CalibratedClassifierCV(method="temperature")
    is the same without Platt's targets: where all out-of-fold predictions are right it says 1 and 0.

    class_weight: as of scikit-learn's classifiers, for the classifier, which takes sample_weight, and for T; or None.
    Attributes: classes_ (C,), estimator_, the fitted classifier, temperature_ float.
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "estimator": [HasMethods(["fit", "predict_proba"]), HasMethods(["fit", "decision_function"])],
        "cv": ["cv_object"],
        "class_weight": [StrOptions({"balanced"}), dict, None],
    }

    def __init__(self, estimator: Any, cv: Any = None, class_weight: Any = None) -> None:
        self.estimator = estimator
        self.cv = cv
        self.class_weight = class_weight

    def fit(self, X: np.ndarray, y: np.ndarray) -> TemperatureScaled:
        """X float (N, D), y (N,) labels of at least two classes."""
        from sklearn.model_selection import cross_val_predict

        self._validate_params()
        X, y = validate_data(self, X, y)
        check_classification_targets(y)
        self.classes_, codes = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError("TemperatureScaled needs at least two classes in y, got one class")
        weights = None if self.class_weight is None else compute_sample_weight(self.class_weight, y)
        weighted = {} if weights is None else {"sample_weight": weights}
        scores = cross_val_predict(self.estimator, X, y, cv=self.cv, method=self._method(), params=weighted)
        self.temperature_ = temperature(self._logits(scores), codes, weights)
        self.estimator_ = clone(self.estimator).fit(X, y, **weighted)
        return self

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """(n, D) float -> (n, C) float64 probabilities."""
        check_is_fitted(self)
        z = self._logits(getattr(self.estimator_, self._method())(X)) / self.temperature_
        e = np.exp(z - z.max(axis=1, keepdims=True))
        return e / e.sum(axis=1, keepdims=True)

    def predict(self, X: np.ndarray) -> np.ndarray:
        """(n, D) float -> (n,) labels: the class with the largest probability."""
        proba = self.predict_proba(X)  # this also says so when it is not fitted
        return self.classes_[proba.argmax(axis=1)]

    def _method(self) -> str:
        return "decision_function" if hasattr(self.estimator, "decision_function") else "predict_proba"

    def _logits(self, scores: np.ndarray) -> np.ndarray:
        scores = scores.astype(np.float64)
        if self._method() == "predict_proba":
            return np.log(np.maximum(scores, LEAST))
        return scores if scores.ndim == 2 else scores[:, None] * [-0.5, 0.5]
