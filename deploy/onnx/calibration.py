"""Calibrated probabilities as ONNX nodes, from the scores of the classifier that was calibrated."""

from __future__ import annotations

from typing import Any

import numpy as np

_NAME = "calibration/"  # before every name, so that none is in the classifier's own graph
_NARROWEST = 1e-7  # of a step of an isotonic function, as a part of its place: float32 resolves no narrower one


def uncalibrated(estimator: Any) -> tuple[Any, Any]:
    """A fitted head without its calibration, and the fitted CalibratedClassifierCV or TemperatureScaled, or None."""
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.pipeline import Pipeline

    from winnow.heads.models.temperature import TemperatureScaled

    *before, (name, last) = getattr(estimator, "steps", [("", estimator)])
    if isinstance(last, CalibratedClassifierCV):
        inner = last.calibrated_classifiers_[0].estimator
    elif isinstance(last, TemperatureScaled):
        inner = last.estimator_
    elif type(last).__name__ == "LinearDiscriminantAnalysis":  # of two classes skl2onnx takes the decision twice
        inner, last = last, TemperatureScaled(last)
        last.estimator_, last.classes_, last.temperature_ = inner, inner.classes_, 1.0
    else:
        return estimator, None
    return (Pipeline([*before, (name, inner)]) if before else inner), last


def decides(estimator: Any) -> bool:
    """Whether calibration looks at decision values, and not at probabilities."""
    return hasattr(estimator, "decision_function")


def append(graph: Any, scores: str, calibrated: Any) -> tuple[Any, str]:
    """The graph with nodes from `scores` to probabilities, float32 (batch, C) both, and the name of these.

    scores: probabilities, or decision values, with two classes −d and d.
    """
    import onnx

    made = onnx.GraphProto()
    made.CopyFrom(graph)
    nodes, constants = (_scaled if hasattr(calibrated, "temperature_") else _by_class)(calibrated)
    used = {name for node in nodes for name in node.input}  # ONNX Runtime warns of constants that are not
    for node in nodes:
        node.input[:] = [scores if name == "scores" else _NAME + name for name in node.input]
        node.output[:] = [_NAME + name for name in node.output]
    made.node.extend(nodes)
    for name in sorted(used & set(constants)):
        value = constants[name] if constants[name].dtype == np.int64 else constants[name].astype(np.float32)
        made.initializer.append(onnx.numpy_helper.from_array(value, _NAME + name))
    return made, f"{_NAME}proba"


def _scaled(calibrated: Any) -> tuple[list[Any], dict[str, np.ndarray]]:
    from onnx.helper import make_node

    from winnow.heads.models.temperature import LEAST

    factor = 1 / calibrated.temperature_
    nodes = []
    if decides(calibrated.estimator_):
        factor /= 2 if len(calibrated.classes_) == 2 else 1
        nodes += [make_node("Identity", ["scores"], ["logits"])]
    else:
        nodes += [make_node("Max", ["scores", "least"], ["some"]), make_node("Log", ["some"], ["logits"])]
    nodes += [make_node("Mul", ["logits", "factor"], ["scaled"]), make_node("Softmax", ["scaled"], ["proba"], axis=1)]
    return nodes, {"factor": np.array(factor), "least": np.array(LEAST)}


def _by_class(calibrated: Any) -> tuple[list[Any], dict[str, np.ndarray]]:
    """With two classes the second is calibrated and the first gets the rest; more are divided by their sum.

    Where all are 0 they become equal, as in scikit-learn.
    """
    from onnx.helper import make_node

    (fitted,) = calibrated.calibrated_classifiers_
    two = len(calibrated.classes_) == 2
    nodes, constants = (_sigmoid if fitted.method == "sigmoid" else _isotonic)(fitted.calibrators)
    constants |= {"columns": np.arange(1 if two else 0, len(calibrated.classes_)), "one": np.array(1.0)}
    constants |= {"zero": np.array(0.0), "across": np.array([1])}
    nodes = [make_node("Gather", ["scores", "columns"], ["columnwise"], axis=1), *nodes]
    if two:
        nodes += [
            make_node("Sub", ["one", "each"], ["rest"]),
            make_node("Concat", ["rest", "each"], ["proba"], axis=1),
        ]
        return nodes, constants
    nodes += [
        make_node("ReduceSum", ["each", "across"], ["sum"]),
        make_node("Equal", ["sum", "zero"], ["none"]),
        make_node("Where", ["none", "one", "each"], ["some"]),
        make_node("ReduceSum", ["some", "across"], ["total"]),
        make_node("Div", ["some", "total"], ["proba"]),
    ]
    return nodes, constants


def _sigmoid(calibrators: list[Any]) -> tuple[list[Any], dict[str, np.ndarray]]:
    """columnwise (batch, K) -> each: 1 / (1 + exp(a s + b))."""
    from onnx.helper import make_node

    nodes = [
        make_node("Mul", ["columnwise", "slopes"], ["sloped"]),
        make_node("Add", ["sloped", "offsets"], ["exponents"]),
        make_node("Sigmoid", ["exponents"], ["each"]),
    ]
    slopes, offsets = np.array([[-fitted.a_, -fitted.b_] for fitted in calibrators]).T
    return nodes, {"slopes": slopes, "offsets": offsets}


def _isotonic(calibrators: list[Any]) -> tuple[list[Any], dict[str, np.ndarray]]:
    """columnwise (batch, K) -> each: y_0 + Σ_i (y_i+1 − y_i) min(max(s − x_i, 0), w_i) / w_i, w_i = x_i+1 − x_i.

    skl2onnx takes the nearest y_i instead.
    """
    from onnx.helper import make_node

    steps = max(2, *(len(fitted.X_thresholds_) for fitted in calibrators)) - 1
    x, widths, rises = np.zeros((len(calibrators), steps)), np.ones((len(calibrators), steps)), []
    for k, fitted in enumerate(calibrators):
        places, values = fitted.X_thresholds_.astype(np.float64), fitted.y_thresholds_
        x[k, : len(places) - 1] = places[:-1]
        widths[k, : len(places) - 1] = np.maximum(np.diff(places), _NARROWEST * np.maximum(np.abs(places[:-1]), 1))
        rises.append(np.pad(np.diff(values), (0, steps - len(places) + 1)))
    nodes = [
        make_node("Unsqueeze", ["columnwise", "last"], ["wide"]),
        make_node("Sub", ["wide", "places"], ["beyond"]),
        make_node("Max", ["beyond", "zero"], ["positive"]),
        make_node("Min", ["positive", "widths"], ["within"]),
        make_node("Mul", ["within", "gradients"], ["risen"]),
        make_node("ReduceSum", ["risen", "last"], ["height"], keepdims=0),
        make_node("Add", ["height", "lowest"], ["each"]),
    ]
    lowest = np.array([fitted.y_thresholds_[0] for fitted in calibrators])
    constants = {"places": x, "widths": widths, "gradients": np.array(rises) / widths, "lowest": lowest}
    return nodes, constants | {"last": np.array([2])}
