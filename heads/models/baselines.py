"""The heads in scikit-learn's style: BASELINES maps a kind to a function that returns an unfitted classifier.

`predict` of all of them is `classes_[predict_proba.argmax(axis=1)]`, so labels and probabilities always agree. X is
float (N, D); `params` are those of the classifier, by scikit-learn's names. The defaults, and the figures in the
docstrings, are by mean weighted F1 on the validation parts of ten splits of 1,000 flower photographs (1280 pooled
MobileNetV2 features each). Vectors are normalised to length 1 first, except where that did not help.

class_weight "balanced" gives the rows of class c the weight n / (C n_c), so that all classes have the same weight:
G. King, L. Zeng, Logistic regression in rare events data, Political Analysis 9 (2001) 137-163. Heads that do not
support it raise an error. The calibration is weighted, too: see `calibration.WeightedCalibration`.

calibration: how scores become probabilities, one of `CALIBRATIONS`. All but "none" fit the calibration on out-of-fold
scores, which takes five fits instead of one, and apply it to a classifier that is fitted on all rows. Mean log loss on
the same validation parts for "none", "sigmoid" and "temperature": logistic 0.35, 0.40, 0.32; lda 0.77, 0.42, 0.31; knn
0.45, 0.38, 0.41; forest 0.80, –, 0.44; mlp 0.38, –, 0.33; svm-linear –, 0.53, 0.48; svm-rbf –, 0.49, 0.45 ("isotonic"
0.43, the only head for which it is best). A temperature never changes a label; the sigmoid of lda does, and gains.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from winnow.common.errors import InputError

_STRATEGIES = ("prior", "most_frequent", "uniform")
_WEIGHTED = "dense, logistic, svm-linear, svm-rbf, lda, forest"  # heads that support class_weight


def dummy(random_state: int = 0, calibration: str = "none", **params: Any) -> Any:
    """DummyClassifier: always the most frequent class; its probabilities are the shares of the classes in training.

    Strategies that draw labels at random or need a label are not supported.
    """
    from sklearn.dummy import DummyClassifier

    head = _set(DummyClassifier(strategy="prior", random_state=random_state), params)
    if head.strategy not in _STRATEGIES:
        raise InputError(f"strategy of the dummy head is one of {', '.join(_STRATEGIES)}, got {head.strategy!r}")
    return _calibrated(head, calibration)


def centroid(random_state: int = 0, calibration: str = "none", **params: Any) -> Any:
    """NearestMean: 0.801. The temperature only changes the log loss: 0.70 at 0.02, 0.60 at 0.05, 0.81 at 0.1."""
    from winnow.heads.models.neighbours import NearestMean

    return _calibrated(_set(NearestMean(), params), calibration)


def knn(random_state: int = 0, calibration: str = "none", **params: Any) -> Any:
    """CosineNeighbours: 0.879 for 10, 0.881 for 20 and 30; KNeighborsClassifier has 0.861 at most."""
    from winnow.heads.models.neighbours import CosineNeighbours

    return _calibrated(_set(CosineNeighbours(), params), calibration)


def logistic(random_state: int = 0, calibration: str = "none", class_weight: Any = None, **params: Any) -> Any:
    """LogisticRegression. C is large because the vectors have length 1: 0.883 at 1, 0.893 at 10, 0.885 at 100."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import Normalizer

    head = LogisticRegression(C=10, max_iter=1000, random_state=random_state)
    return _pipeline(Normalizer(), _calibrated(_set(head, params), calibration, class_weight))


def svm_linear(random_state: int = 0, calibration: str = "sigmoid", class_weight: Any = None, **params: Any) -> Any:
    """SVC with a linear kernel, calibrated: 0.893 at C=1, 0.889 at 3, 0.883 at 10."""
    from sklearn.preprocessing import Normalizer
    from sklearn.svm import SVC

    head = SVC(kernel="linear", C=1)
    return _pipeline(Normalizer(), _calibrated(_set(head, params), calibration, class_weight))


def svm_rbf(random_state: int = 0, calibration: str = "sigmoid", class_weight: Any = None, **params: Any) -> Any:
    """SVC with a Gaussian kernel, calibrated: 0.891 at C=1, 0.892 at 3 and 10."""
    from sklearn.preprocessing import Normalizer
    from sklearn.svm import SVC

    head = SVC(kernel="rbf", C=3)
    return _pipeline(Normalizer(), _calibrated(_set(head, params), calibration, class_weight))


def lda(random_state: int = 0, calibration: str = "sigmoid", class_weight: Any = None, **params: Any) -> Any:
    """LinearDiscriminantAnalysis with half of the covariance shrunk to a multiple of the identity, calibrated: 0.898.

    The PCA keeps all components and only rotates the space, so that the covariance has at most as many rows as there
    are images. Ledoit and Wolf's shrinkage is far too small here (0.829); without calibration the log loss doubles.
    """
    from sklearn.decomposition import PCA
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    from sklearn.preprocessing import Normalizer

    head = _set(LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.5), params)
    components = PCA(svd_solver="full", random_state=random_state)
    return _pipeline(Normalizer(), components, _calibrated(head, calibration, class_weight))


def forest(random_state: int = 0, calibration: str = "none", class_weight: Any = None, **params: Any) -> Any:
    """RandomForestClassifier: 0.847 for 300 trees; 200, because it is the slowest of these heads."""
    from sklearn.ensemble import RandomForestClassifier

    head = RandomForestClassifier(n_estimators=200, random_state=random_state)
    return _calibrated(_set(head, params), calibration, class_weight)


def mlp(random_state: int = 0, calibration: str = "none", **params: Any) -> Any:
    """MLPClassifier, one hidden layer of 128 as in the dense head, Adam: 0.883 for any alpha up to 0.01."""
    from sklearn.neural_network import MLPClassifier

    return _calibrated(_set(MLPClassifier((128,), random_state=random_state), params), calibration)


def triplet(random_state: int = 0, calibration: str = "none", **params: Any) -> Any:
    """MetricHead with semi-hard triplets: 0.878 with a linear layer, 0.879 with neighbours; see supcon."""
    return _calibrated(_metric("triplet", random_state, params), calibration)


def supcon(random_state: int = 0, calibration: str = "none", **params: Any) -> Any:
    """MetricHead with the supervised contrastive loss: 0.890 with a linear layer, 0.889 with neighbours.

    On the same splits (not those of the figures above) knn has 0.868, logistic 0.878, lda 0.889.
    """
    return _calibrated(_metric("supcon", random_state, params), calibration)


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
    if "class_weight" in unknown:
        name = type(estimator).__name__
        why = "ignores how many pictures a class has" if name == "NearestMean" else "takes no class_weight"
        raise InputError(f"{name} {why}; heads that take class_weight: {_WEIGHTED}")
    if unknown:
        raise InputError(
            f"{type(estimator).__name__} has no parameter {unknown[0]!r}; it has {', '.join(sorted(known))}"
        )
    return estimator.set_params(**params)


def _metric(loss: str, random_state: int, params: dict[str, Any]) -> Any:
    from winnow.heads.models.metric import MetricHead

    if "loss" in params:
        raise InputError("the loss of a triplet or supcon head is fixed by its kind")
    return _set(MetricHead(loss, random_state=random_state), params)


def _pipeline(*steps: Any) -> Any:
    from sklearn.pipeline import make_pipeline

    return make_pipeline(*steps)


def _calibrated(estimator: Any, method: str, class_weight: Any = None) -> Any:
    if method not in CALIBRATIONS:
        raise InputError(f"calibration of a head is one of {', '.join(CALIBRATIONS)}, got {method!r}")
    supported = method in ("sigmoid", "isotonic") or "class_weight" in estimator.get_params()
    if class_weight is not None and not supported:
        name = type(estimator).__name__
        raise InputError(f"{name} takes class_weight with calibration sigmoid or isotonic, not with {method}")
    return CALIBRATIONS[method](estimator, class_weight)


def _uncalibrated(estimator: Any, class_weight: Any) -> Any:
    if not hasattr(estimator, "predict_proba"):
        raise InputError(
            f"{type(estimator).__name__} has no probabilities without calibration: sigmoid, isotonic or temperature"
        )
    return estimator if class_weight is None else estimator.set_params(class_weight=class_weight)


def _one_vs_rest(method: str, estimator: Any, class_weight: Any) -> Any:
    """Calibrate each class against the rest: Platt's sigmoid, or a monotone function (Zadrozny & Elkan, 2002)."""
    from sklearn.calibration import CalibratedClassifierCV

    from winnow.heads.models.calibration import SpreadFolds, WeightedCalibration

    if class_weight is None:
        return CalibratedClassifierCV(estimator, method=method, ensemble=False, cv=SpreadFolds())
    return WeightedCalibration(estimator, class_weight=class_weight, method=method, ensemble=False, cv=SpreadFolds())


def _temperature_scaled(estimator: Any, class_weight: Any) -> Any:
    from winnow.heads.models.calibration import SpreadFolds
    from winnow.heads.models.temperature import TemperatureScaled

    return TemperatureScaled(estimator, cv=SpreadFolds(), class_weight=class_weight)


CALIBRATIONS: dict[str, Callable[[Any, Any], Any]] = {
    "none": _uncalibrated,
    "sigmoid": partial(_one_vs_rest, "sigmoid"),
    "isotonic": partial(_one_vs_rest, "isotonic"),
    "temperature": _temperature_scaled,
}
