"""The scikit-learn heads: a name -> a function that gives an unfitted classifier with `predict_proba`.

For all of them `predict` is `classes_[predict_proba.argmax(axis=1)]`: label and probability never disagree. X is
float (N, D); params are those of the classifier named, by scikit-learn's names. The defaults, and the figures beside
them, are by mean weighted F1 on the validation parts of ten splits of 1,000 flower photographs (1280 pooled
MobileNetV2 numbers each). Vectors are scaled to length 1 first, except where that did not help.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from embed.errors import InputError

_STRATEGIES = ("prior", "most_frequent", "uniform")


def dummy(random_state: int = 0, **params: Any) -> Any:
    """DummyClassifier: always the most frequent class; its probabilities are the shares of the classes in training.

    A strategy that draws its probabilities, or needs a label, is refused.
    """
    from sklearn.dummy import DummyClassifier

    head = _set(DummyClassifier(strategy="prior", random_state=random_state), params)
    if head.strategy not in _STRATEGIES:
        raise InputError(f"strategy of the dummy head is one of {', '.join(_STRATEGIES)}, got {head.strategy!r}")
    return head


def centroid(random_state: int = 0, **params: Any) -> Any:
    """NearestMean: 0.801. Its temperature moves only the log loss: 0.70 at 0.02, 0.60 at 0.05, 0.81 at 0.1."""
    from heads.estimators import NearestMean

    return _set(NearestMean(), params)


def knn(random_state: int = 0, **params: Any) -> Any:
    """CosineNeighbours: 0.879 for 10, 0.881 for 20 and 30; KNeighborsClassifier has 0.861 at most."""
    from heads.estimators import CosineNeighbours

    return _set(CosineNeighbours(), params)


def logistic(random_state: int = 0, **params: Any) -> Any:
    """LogisticRegression. C is large because the vectors have length 1: 0.883 at 1, 0.893 at 10, 0.885 at 100."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import Normalizer

    head = LogisticRegression(C=10, max_iter=1000, random_state=random_state)
    return _pipeline(Normalizer(), _set(head, params))


def svm_linear(random_state: int = 0, **params: Any) -> Any:
    """SVC with a linear kernel, calibrated: 0.893 at C=1, 0.889 at 3, 0.883 at 10."""
    from sklearn.preprocessing import Normalizer
    from sklearn.svm import SVC

    return _pipeline(Normalizer(), _calibrated(_set(SVC(kernel="linear", C=1), params)))


def svm_rbf(random_state: int = 0, **params: Any) -> Any:
    """SVC with a Gaussian kernel, calibrated: 0.891 at C=1, 0.892 at 3 and 10."""
    from sklearn.preprocessing import Normalizer
    from sklearn.svm import SVC

    return _pipeline(Normalizer(), _calibrated(_set(SVC(kernel="rbf", C=3), params)))


def lda(random_state: int = 0, **params: Any) -> Any:
    """LinearDiscriminantAnalysis with half of the covariance shrunk to a multiple of the identity, calibrated: 0.898.

    The principal components (all of them) only turn the space, so that the covariance has at most as many rows as
    there are pictures. Ledoit and Wolf's shrinkage is far too small there (0.829); uncalibrated the log loss doubles.
    """
    from sklearn.decomposition import PCA
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    from sklearn.preprocessing import Normalizer

    head = _set(LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.5), params)
    return _pipeline(Normalizer(), PCA(svd_solver="full", random_state=random_state), _calibrated(head))


def forest(random_state: int = 0, **params: Any) -> Any:
    """RandomForestClassifier: 0.847 for 300 trees. It is the slowest by far, so there are 200."""
    from sklearn.ensemble import RandomForestClassifier

    return _set(RandomForestClassifier(n_estimators=200, random_state=random_state), params)


def mlp(random_state: int = 0, **params: Any) -> Any:
    """MLPClassifier, one hidden layer of 128 as in the dense head, Adam: 0.883, and the same for any alpha to 0.01."""
    from sklearn.neural_network import MLPClassifier

    return _set(MLPClassifier((128,), random_state=random_state), params)


def triplet(random_state: int = 0, **params: Any) -> Any:
    """MetricHead with semi-hard triplets: 0.878 with a linear layer, 0.879 with neighbours; see supcon."""
    return _metric("triplet", random_state, params)


def supcon(random_state: int = 0, **params: Any) -> Any:
    """MetricHead with the supervised contrastive loss: 0.890 with a linear layer, 0.889 with neighbours.

    On the same splits, which are not those of the figures above, knn has 0.868, logistic 0.878, lda 0.889.
    """
    return _metric("supcon", random_state, params)


BASELINES: dict[str, Callable[..., Any]] = {
    "dummy": dummy,
    "centroid": centroid,
    "knn": knn,
    "logistic": logistic,
    "svm-linear": svm_linear,
    "svm-rbf": svm_rbf,
    "lda": lda,
    "forest": forest,
    "mlp": mlp,
    "triplet": triplet,
    "supcon": supcon,
}


def _set(estimator: Any, params: dict[str, Any]) -> Any:
    known = estimator.get_params(deep=False)
    unknown = sorted(set(params) - set(known))
    if unknown:
        raise InputError(
            f"{type(estimator).__name__} has no parameter {unknown[0]!r}; it has {', '.join(sorted(known))}"
        )
    return estimator.set_params(**params)


def _metric(loss: str, random_state: int, params: dict[str, Any]) -> Any:
    from heads.metric import MetricHead

    if "loss" in params:
        raise InputError("the loss is the head's own: triplet or supcon")
    return _set(MetricHead(loss, random_state=random_state), params)


def _pipeline(*steps: Any) -> Any:
    from sklearn.pipeline import make_pipeline

    return make_pipeline(*steps)


def _calibrated(estimator: Any) -> Any:
    """Probabilities by Platt's sigmoid on out-of-fold decisions; the classifier itself is fitted on everything."""
    from sklearn.calibration import CalibratedClassifierCV

    from heads.estimators import SpreadFolds

    return CalibratedClassifierCV(estimator, ensemble=False, cv=SpreadFolds())
