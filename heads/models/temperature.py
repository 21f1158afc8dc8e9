"""Temperature scaling: one number that adjusts the confidence of a classifier to its accuracy."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from scipy.special import logsumexp, softmax
from sklearn.base import clone
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.validation import check_is_fitted, validate_data

from winnow.heads.models.base import Constraints, HeadClassifier, one_of, with_methods

LEAST = float(np.finfo(np.float32).eps)  # smaller probabilities are raised to it, as in `metrics.log_loss`
_LARGEST = 7.0  # of |ln T|


def temperature(logits: np.ndarray, codes: np.ndarray, weights: np.ndarray | None = None) -> float:
    """The T > 0 that minimises the cross-entropy of softmax(logits / T).

    logits: float (n, C); codes: (n,) class indexes; weights: (n,) weights of the rows, or None for 1.

    C. Guo, G. Pleiss, Y. Sun, K. Weinberger, On Calibration of Modern Neural Networks, ICML 2017, section 4.2. The
    predicted class does not change. As in J. Platt, Probabilistic Outputs for Support Vector Machines, 1999, section
    2.2, the target of the true class is (n + 1) / (n + 2), not 1, and the other classes share the rest: otherwise T
    would go to 0 where a few images are all predicted correctly.
    """
    from scipy.optimize import minimize_scalar

    n, n_classes = logits.shape
    target = np.full(logits.shape, 1 / ((n + 2) * (n_classes - 1)))
    target[np.arange(n), codes] = (n + 1) / (n + 2)
    logits = logits.astype(np.float64)

    def cross_entropy(log_t: float) -> float:
        scaled = logits / np.exp(log_t)
        losses = logsumexp(scaled, axis=1) - (target * scaled).sum(axis=1)
        return float(np.average(losses, weights=weights))

    return float(np.exp(minimize_scalar(cross_entropy, bounds=(-_LARGEST, _LARGEST), method="bounded").x))


class TemperatureScaled(HeadClassifier):
    """p(c | x) = softmax(z(x) / T), z the logits of a classifier that is fitted on all rows.

    T is `temperature` of its out-of-fold logits: decision values where it has them (d of two classes as −d/2 and d/2),
    else logarithms of its probabilities. scikit-learn's CalibratedClassifierCV(method="temperature") is the same
    without Platt's targets: where all out-of-fold predictions are correct it returns probabilities of 1 and 0.

    class_weight: as in scikit-learn's classifiers, for the classifier, which takes sample_weight, and for T; or None.
    Attributes: classes_ (C,), estimator_, the fitted classifier, temperature_ float.
    """

    _parameter_constraints: ClassVar[Constraints] = {
        "estimator": [with_methods("fit", "predict_proba"), with_methods("fit", "decision_function")],
        "cv": ["cv_object"],
        "class_weight": [one_of("balanced"), dict, None],
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
        codes = self._encode_labels(y)
        weights = None if self.class_weight is None else compute_sample_weight(self.class_weight, y)
        weighted = {} if weights is None else {"sample_weight": weights}
        scores = cross_val_predict(self.estimator, X, y, cv=self.cv, method=self._method(), params=weighted)
        self.temperature_ = temperature(self._logits(scores), codes, weights)
        self.estimator_ = clone(self.estimator).fit(X, y, **weighted)
        return self

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """(n, D) float -> (n, C) float64 probabilities."""
        check_is_fitted(self)
        scores = getattr(self.estimator_, self._method())(X)
        return softmax(self._logits(scores) / self.temperature_, axis=1)

    def _method(self) -> str:
        return "decision_function" if hasattr(self.estimator, "decision_function") else "predict_proba"

    def _logits(self, scores: np.ndarray) -> np.ndarray:
        scores = scores.astype(np.float64)
        if self._method() == "predict_proba":
            return np.log(np.maximum(scores, LEAST))
        return scores if scores.ndim == 2 else scores[:, None] * [-0.5, 0.5]
