"""What all estimators of this package share: labels, predictions, and checks of parameters.

Parameter constraints use scikit-learn's private `sklearn.utils._param_validation`, which gives the error messages that
its own estimators give. It is imported here only.
"""

from __future__ import annotations

from numbers import Integral, Real

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.multiclass import check_classification_targets

Constraints = dict[str, list[object]]


def real(low: float, high: float | None = None, closed: str = "left") -> Interval:
    """Constraint: a number from low to high; closed: which ends belong to it ("left", "right", "both", "neither")."""
    return Interval(Real, low, high, closed=closed)


def integer(low: int, high: int | None = None, closed: str = "left") -> Interval:
    """Constraint: an integer from low to high, see `real`."""
    return Interval(Integral, low, high, closed=closed)


def one_of(*names: str) -> StrOptions:
    """Constraint: one of these strings."""
    return StrOptions(set(names))


def with_methods(*names: str) -> HasMethods:
    """Constraint: an object that has these methods."""
    return HasMethods(list(names))


def check_layer_sizes(estimator: BaseEstimator, hidden: tuple[int, ...]) -> None:
    """Raises: ValueError unless `hidden` holds integers of at least 1."""
    if not all(isinstance(units, Integral) and units >= 1 for units in hidden):
        raise ValueError(
            f"The 'hidden' parameter of {type(estimator).__name__} must be a tuple of ints that are at least 1. "
            f"Got {hidden!r} instead."
        )


class HeadClassifier(ClassifierMixin, BaseEstimator):
    """Base of the classifiers here: subclasses have `fit` and `predict_proba`.

    Attributes: classes_ (C,), the sorted labels.
    """

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """(n, D) float -> (n, C) probabilities, columns in the order of classes_."""
        raise NotImplementedError

    def predict(self, X: np.ndarray) -> np.ndarray:
        """(n, D) float -> (n,) labels: the class with the largest probability."""
        proba = self.predict_proba(X)  # raises NotFittedError before classes_ is missed
        return self.classes_[proba.argmax(axis=1)]

    def _encode_labels(self, y: np.ndarray) -> np.ndarray:
        """Set classes_ and return the class index of each label, int64 (N,). Raises: ValueError for a single class."""
        check_classification_targets(y)
        self.classes_, codes = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"{type(self).__name__} needs at least two classes in y, got one class")
        return codes
