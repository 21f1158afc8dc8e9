"""Calibrated probabilities as ONNX nodes, from the scores of the classifier that was calibrated.

skl2onnx converts CalibratedClassifierCV with isotonic regression to a step function, and TemperatureScaled not at all.
"""

from __future__ import annotations

from typing import Any

import numpy as np

_PREFIX = "calibration/"  # of all new names, so that none is in the classifier's graph
_MIN_STEP = 1e-7  # narrowest step of an isotonic function relative to its position: float32 resolves no narrower one
Constants = dict[str, np.ndarray]


def split_calibration(estimator: Any) -> tuple[Any, Any]:
    """A fitted head without its calibration, and its fitted CalibratedClassifierCV or TemperatureScaled, or None."""
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.pipeline import Pipeline

    from winnow.heads.models.temperature import TemperatureScaled

    *before, (name, last) = getattr(estimator, "steps", [("", estimator)])
    if isinstance(last, CalibratedClassifierCV):
        classifier, calibrator = last.calibrated_classifiers_[0].estimator, last
    elif isinstance(last, TemperatureScaled):
        classifier, calibrator = last.estimator_, last
    elif type(last).__name__ == "LinearDiscriminantAnalysis":
        # With two classes skl2onnx doubles the decision value: write the softmax here, as temperature 1.
        classifier, calibrator = last, TemperatureScaled(last)
        calibrator.estimator_, calibrator.classes_, calibrator.temperature_ = classifier, classifier.classes_, 1.0
    else:
        return estimator, None
    return (Pipeline([*before, (name, classifier)]) if before else classifier), calibrator


def uses_decisions(estimator: Any) -> bool:
    """Whether calibration takes decision values of this classifier instead of probabilities."""
    return hasattr(estimator, "decision_function")


def append_calibration(graph: Any, scores: str, calibrator: Any) -> tuple[Any, str]:
    """The graph with nodes from `scores` to probabilities appended, and their name; both float32 (batch, C).

    Parameters: `scores`, the name of probabilities or decision values in the graph; with two classes decision values
    are −d and d.
    """
    import onnx

    extended = onnx.GraphProto()
    extended.CopyFrom(graph)
    is_temperature = hasattr(calibrator, "temperature_")
    nodes, constants = _temperature_nodes(calibrator) if is_temperature else _per_class_nodes(calibrator)
    used = {name for node in nodes for name in node.input}  # ONNX Runtime warns about unused constants
    for node in nodes:
        node.input[:] = [scores if name == "scores" else _PREFIX + name for name in node.input]
        node.output[:] = [_PREFIX + name for name in node.output]
    extended.node.extend(nodes)
    for name in sorted(used & set(constants)):
        value = constants[name] if constants[name].dtype == np.int64 else constants[name].astype(np.float32)
        extended.initializer.append(onnx.numpy_helper.from_array(value, _PREFIX + name))
    return extended, f"{_PREFIX}probabilities"


def _temperature_nodes(calibrator: Any) -> tuple[list[Any], Constants]:
    """softmax(logits / T); probabilities become logits by their logarithm."""
    from onnx.helper import make_node

    from winnow.heads.models.temperature import LEAST

    factor = 1 / calibrator.temperature_
    nodes = []
    if uses_decisions(calibrator.estimator_):
        factor /= 2 if len(calibrator.classes_) == 2 else 1
        nodes += [make_node("Identity", ["scores"], ["logits"])]
    else:
        nodes += [make_node("Max", ["scores", "least"], ["positive"]), make_node("Log", ["positive"], ["logits"])]
    nodes += [
        make_node("Mul", ["logits", "factor"], ["scaled"]),
        make_node("Softmax", ["scaled"], ["probabilities"], axis=1),
    ]
    return nodes, {"factor": np.array(factor), "least": np.array(LEAST)}


def _per_class_nodes(calibrator: Any) -> tuple[list[Any], Constants]:
    """Calibrate each class by itself, then normalise.

    With two classes the second is calibrated and the first gets the rest. With more the values are divided by their
    sum; where all are 0 the probabilities are equal, as in scikit-learn.
    """
    from onnx.helper import make_node

    (fitted,) = calibrator.calibrated_classifiers_
    is_binary = len(calibrator.classes_) == 2
    nodes, constants = (_sigmoid_nodes if fitted.method == "sigmoid" else _isotonic_nodes)(fitted.calibrators)
    constants |= {"columns": np.arange(1 if is_binary else 0, len(calibrator.classes_)), "one": np.array(1.0)}
    constants |= {"zero": np.array(0.0), "class_axis": np.array([1])}
    nodes = [make_node("Gather", ["scores", "columns"], ["class_scores"], axis=1), *nodes]
    if is_binary:
        nodes += [
            make_node("Sub", ["one", "class_values"], ["rest"]),
            make_node("Concat", ["rest", "class_values"], ["probabilities"], axis=1),
        ]
        return nodes, constants
    nodes += [
        make_node("ReduceSum", ["class_values", "class_axis"], ["sum"]),
        make_node("Equal", ["sum", "zero"], ["is_zero"]),
        make_node("Where", ["is_zero", "one", "class_values"], ["positive"]),
        make_node("ReduceSum", ["positive", "class_axis"], ["total"]),
        make_node("Div", ["positive", "total"], ["probabilities"]),
    ]
    return nodes, constants


def _sigmoid_nodes(calibrators: list[Any]) -> tuple[list[Any], Constants]:
    """class_scores s (batch, K) -> class_values 1 / (1 + exp(a s + b)) (Platt, 1999)."""
    from onnx.helper import make_node

    nodes = [
        make_node("Mul", ["class_scores", "slopes"], ["sloped"]),
        make_node("Add", ["sloped", "offsets"], ["exponents"]),
        make_node("Sigmoid", ["exponents"], ["class_values"]),
    ]
    slopes, offsets = np.array([[-fitted.a_, -fitted.b_] for fitted in calibrators]).T
    return nodes, {"slopes": slopes, "offsets": offsets}


def _isotonic_nodes(calibrators: list[Any]) -> tuple[list[Any], Constants]:
    """class_scores s (batch, K) -> class_values y_0 + Σ_i (y_i+1 − y_i) min(max(s − x_i, 0), w_i) / w_i.

    x_i and y_i are the thresholds of the fitted isotonic function, w_i = x_i+1 − x_i; skl2onnx takes the nearest y_i.
    """
    from onnx.helper import make_node

    steps = max(2, *(len(fitted.X_thresholds_) for fitted in calibrators)) - 1
    starts, widths, rises = np.zeros((len(calibrators), steps)), np.ones((len(calibrators), steps)), []
    for k, fitted in enumerate(calibrators):
        x, y = fitted.X_thresholds_.astype(np.float64), fitted.y_thresholds_
        starts[k, : len(x) - 1] = x[:-1]
        widths[k, : len(x) - 1] = np.maximum(np.diff(x), _MIN_STEP * np.maximum(np.abs(x[:-1]), 1))
        rises.append(np.pad(np.diff(y), (0, steps - len(x) + 1)))
    nodes = [
        make_node("Unsqueeze", ["class_scores", "step_axis"], ["columns_of_scores"]),
        make_node("Sub", ["columns_of_scores", "starts"], ["excess"]),
        make_node("Max", ["excess", "zero"], ["positive_excess"]),
        make_node("Min", ["positive_excess", "widths"], ["clipped_excess"]),
        make_node("Mul", ["clipped_excess", "gradients"], ["rise"]),
        make_node("ReduceSum", ["rise", "step_axis"], ["total_rise"], keepdims=0),
        make_node("Add", ["total_rise", "lowest"], ["class_values"]),
    ]
    lowest = np.array([fitted.y_thresholds_[0] for fitted in calibrators])
    constants = {"starts": starts, "widths": widths, "gradients": np.array(rises) / widths, "lowest": lowest}
    return nodes, constants | {"step_axis": np.array([2])}
