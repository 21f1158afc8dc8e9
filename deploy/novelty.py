"""Out-of-distribution (OOD) detection for exported models: the OOD score, its conformal p-value, and both in ONNX.

The p-value is the output `familiarity` of an exported model: about the share of held-out pictures of known classes
whose OOD score is at least as high. A picture that differs from the training pictures gets a value near 0.

**The OOD score.** A picture is a vector x, its L2-normalised pooled vector and its L2-normalised bottleneck vector side
by side: the pooled vector separates neighbouring classes, the bottleneck vector separates rooms from flowers. Each
class c has a function f_c that is 1 on its own training vectors, 0 on those of other classes, and falls to 0 away from
all of them: regularised least squares with a Gaussian kernel k on M landmarks z (the mean of a Gaussian process,
one-vs-rest).

    f_c(x) = sum_m a_mc k(x, z_m),   k(x, z) = exp(-w |x - z|²),   (KᵀK + λ K_z) a = KᵀT
    ood_score(x) = 1 - max_c f_c(x) + g min_m w |x - z_m|²

A vector between two classes gets a high score from the first part, a vector far from all training vectors from both.

**The p-value.** The score is compared with those of m held-out pictures: p = (1 + |{i: s_i >= s}|) / (m + 1), the
conformal p-value for outlier detection. Under exchangeability P(p <= t) <= t for a picture of the known distribution.

References
----------
R. Rifkin, G. Yeo, T. Poggio, Regularized Least-Squares Classification, 2003 (the classifier).
C. Williams, M. Seeger, Using the Nyström Method to Speed Up Kernel Machines, NIPS 2001 (the landmarks).
S. Padhy et al., Revisiting One-vs-All Classifiers for Predictive Uncertainty and Out-of-Distribution Detection in
Neural Networks, 2020 (the score 1 - max_c f_c).
J. Liu et al., Simple and Principled Uncertainty Estimation ... via Distance Awareness, NeurIPS 2020, and Y. Sun et al.,
Out-of-Distribution Detection with Deep Nearest Neighbors, ICML 2022 (the distance to the nearest vector).
V. Vovk, A. Gammerman, G. Shafer, Algorithmic Learning in a Random World, 2005 (conformal p-values).
S. Bates et al., Testing for Outliers with Conformal p-values, Annals of Statistics 51(1), 2023 (their use).

`benchmarks/familiarity.py` compares the score with other OOD scores.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from winnow.common.errors import InputError

LANDMARKS = 1000  # training vectors kept: 3.2 MB as float16 for MobileNetV2, and 4 kB for each class
MAX_FITTED = 20_000  # training vectors that the weights are fitted on, drawn from the classes in turn
KERNEL_WIDTH = 2.0  # w times the mean squared distance between two training vectors
RIDGE = 0.1  # λ
NEAREST_WEIGHT = 0.125  # g; w, λ and g were tuned by AUROC on other splits and drawn pictures than the benchmark's
MAX_KNOTS = 1000  # held-out scores that a calibration keeps, denser towards high scores
_CHUNK = 4096  # vectors scored at a time, to bound memory
_SEED = 0
_TINY = 1e-12  # smallest divisor of a normalisation: a vector of zeros stays zero
_FLOAT, _DOUBLE = 1, 11  # onnx.TensorProto.FLOAT and DOUBLE
Step = tuple[str, list[str], str, dict[str, Any]]  # operator, inputs, output, attributes


@dataclass(frozen=True)
class OodModel:
    """The fitted OOD score: M landmarks, at most `LANDMARKS`, and their weights for C classes.

    landmarks : float16 (M, D + B), normalised pooled and normalised bottleneck vector side by side.
    weights : float32 (M, C), a in the module's formula.
    width : w in the module's formula.
    """

    landmarks: np.ndarray
    weights: np.ndarray
    width: float


@dataclass(frozen=True)
class ConformalCalibration:
    """A strictly falling curve from OOD score to p-value: linear between knots, a hyperbola beyond both ends.

    knots : float64 (K,), OOD scores, strictly rising, K >= 2.
    p_values : float64 (K,), at the knots, strictly falling, within (0, 1).
    scale : of the hyperbolas, in units of the OOD score.
    """

    knots: np.ndarray
    p_values: np.ndarray
    scale: float


def fit_ood_model(pooled: np.ndarray, bottleneck: np.ndarray, y: np.ndarray) -> OodModel:
    """Fit the OOD score on training vectors, float (N, D) and (N, B), with class codes y, int (N,).

    The result is deterministic. Of more than `MAX_FITTED` vectors a seeded sample is used that keeps small classes
    whole. Raises: InputError when N is 0.
    """
    if not len(y):
        raise InputError("familiarity needs the vectors of at least one training picture: there is none")
    rows = _balanced_order(y)[:MAX_FITTED]
    classes, codes = np.unique(y[rows], return_inverse=True)
    x = _features(pooled[rows], bottleneck[rows])
    landmarks = x[:LANDMARKS].astype(np.float16)
    mean_squared_distance = 2 * float((x**2).sum(axis=1).mean() - (x.mean(axis=0) ** 2).sum())
    width = KERNEL_WIDTH / mean_squared_distance if mean_squared_distance > _TINY else 1.0
    kernel = np.exp(-_scaled_distances(x, landmarks, width))  # K, (N, M)
    targets = np.zeros((len(classes), len(landmarks)))  # TᵀK: the kernel rows summed by class, (C, M)
    np.add.at(targets, codes, kernel)
    landmark_kernel = np.exp(-_scaled_distances(landmarks.astype(np.float64), landmarks, width))  # K_z, (M, M)
    gram = kernel.T @ kernel + RIDGE * landmark_kernel
    gram += 1e-9 * np.trace(gram) / len(gram) * np.eye(len(gram))  # equal landmarks would leave it singular
    return OodModel(landmarks, np.linalg.solve(gram, targets.T).astype(np.float32), width)


def ood_score(model: OodModel, pooled: np.ndarray, bottleneck: np.ndarray) -> np.ndarray:
    """OOD scores of vectors, float (n, D) and (n, B): float64 (n,), higher is further out of distribution.

    About 0 among the training vectors of one class, above 1 far from all of them.
    """
    scores = np.empty(len(pooled))
    for start in range(0, len(pooled), _CHUNK):
        part = slice(start, start + _CHUNK)
        distances = _scaled_distances(_features(pooled[part], bottleneck[part]), model.landmarks, model.width)
        class_values = np.exp(-distances) @ model.weights.astype(np.float64)  # f_c(x), (n, C)
        scores[part] = 1 - class_values.max(axis=1) + NEAREST_WEIGHT * distances.min(axis=1)
    return scores


def ood_score_nodes(model: OodModel, pooled: str, bottleneck: str, prefix: str) -> tuple[list[Any], list[Any], str]:
    """`ood_score` in ONNX, opset 17: nodes, initializers, and the name of the result, float32 (batch,).

    Parameters: the names of the two inputs, float32 (batch, D) and (batch, B); a prefix for all new names. Products of
    unit vectors are float32, what follows is float64: the result agrees with NumPy to about 1e-6.
    """
    landmarks = model.landmarks.T.astype(np.float64)
    constants = {
        "tiny": np.array(_TINY, dtype=np.float32),
        "landmarks": np.ascontiguousarray(model.landmarks.T),
        "landmark_squares": (landmarks**2).sum(axis=0),
        "weights": model.weights,
        "minus_two": np.array(-2.0),
        "width": np.array(model.width),
        "nearest_weight": np.array(NEAREST_WEIGHT),
        "one": np.array(1.0),
    }
    steps: list[Step] = []
    for name in ("pooled", "bottleneck"):
        steps += [
            ("ReduceL2", [name], f"{name}_length", {"axes": [1], "keepdims": 1}),
            ("Max", [f"{name}_length", "tiny"], f"{name}_divisor", {}),
            ("Div", [name, f"{name}_divisor"], f"{name}_unit", {}),
        ]
    steps += [
        ("Concat", ["pooled_unit", "bottleneck_unit"], "x", {"axis": 1}),
        ("Cast", ["landmarks"], "single_landmarks", {"to": _FLOAT}),
        ("MatMul", ["x", "single_landmarks"], "product", {}),
        ("Cast", ["product"], "double_product", {"to": _DOUBLE}),
        ("Mul", ["double_product", "minus_two"], "cross_term", {}),
        ("ReduceSumSquare", ["x"], "square", {"axes": [1], "keepdims": 1}),
        ("Cast", ["square"], "double_square", {"to": _DOUBLE}),
        ("Add", ["double_square", "landmark_squares"], "both_squares", {}),
        ("Add", ["both_squares", "cross_term"], "distance", {}),
        ("Mul", ["distance", "width"], "scaled_distance", {}),
        ("Neg", ["scaled_distance"], "exponent", {}),
        ("Exp", ["exponent"], "kernel", {}),
        ("Cast", ["weights"], "double_weights", {"to": _DOUBLE}),
        ("MatMul", ["kernel", "double_weights"], "class_values", {}),
        ("ReduceMax", ["class_values"], "largest_value", {"axes": [1], "keepdims": 0}),
        ("Sub", ["one", "largest_value"], "class_part", {}),
        ("ReduceMin", ["scaled_distance"], "least_distance", {"axes": [1], "keepdims": 0}),
        ("Mul", ["least_distance", "nearest_weight"], "distance_part", {}),
        ("Add", ["class_part", "distance_part"], "double_ood_score", {}),
        ("Cast", ["double_ood_score"], "ood_score", {"to": _FLOAT}),
    ]
    return *_graph_parts(steps, constants, prefix, {"pooled": pooled, "bottleneck": bottleneck}), f"{prefix}ood_score"


def calibrate(scores: np.ndarray) -> ConformalCalibration:
    """Calibrate p-values on the OOD scores of held-out pictures of known classes, float (m,).

    At the held-out score s_i the curve is (1 + |{j != i: s_j >= s_i}|) / (m + 1), the conformal p-value of Bates et al.
    (2023); between two of them it is linear, so that on average a share t of pictures like the held-out ones lies below
    t. Values below 1 / (m + 1) are extrapolated. Raises: InputError when m is 0.
    """
    ordered = np.sort(np.asarray(scores, dtype=np.float64))
    count = len(ordered)
    if not count:
        raise InputError("familiarity needs held-out pictures to be calibrated on: there is none")
    values = np.unique(ordered)
    kept = len(values) - np.unique(np.geomspace(1, len(values), MAX_KNOTS).round().astype(int))[::-1]
    knots = values[kept]
    p_values = (count - np.searchsorted(ordered, knots)) / (count + 1)
    scale = max(knots[-1] - float(np.median(ordered)), 1e-6 * abs(knots[-1]), _TINY)
    first_knot, first_p_value = knots[0] - scale, (1 + p_values[0]) / 2
    return ConformalCalibration(np.append(first_knot, knots), np.append(first_p_value, p_values), float(scale))


def conformal_p_value(calibration: ConformalCalibration, scores: np.ndarray) -> np.ndarray:
    """The familiarity of OOD scores, float (n,): float64 (n,) within 0 to 1, strictly falling with the score."""
    s = np.asarray(scores, dtype=np.float64)
    knots, p_values, scale = calibration.knots, calibration.p_values, calibration.scale
    above, below = np.maximum(s - knots[-1], 0), np.maximum(knots[0] - s, 0)
    return np.interp(s, knots, p_values) * (scale / (scale + above)) + (1 - p_values[0]) * (below / (scale + below))


def p_value_nodes(
    calibration: ConformalCalibration, score: str, output: str, prefix: str
) -> tuple[list[Any], list[Any]]:
    """`conformal_p_value` in ONNX, opset 17: nodes and initializers from `score` to `output`, both float32 (batch,).

    ONNX has no interpolation: the curve is the first p-value less the drops between knots, each in proportion to how
    far the score has passed its interval.
    """
    knots, p_values, scale = calibration.knots, calibration.p_values, calibration.scale
    constants = {
        "column": np.array([1]),
        "knots": knots[:-1],
        "widths": np.diff(knots),
        "drops": -np.diff(p_values),
        "zero": np.array(0.0),
        "one": np.array(1.0),
        "first_knot": knots[0],
        "last_knot": knots[-1],
        "first_p_value": p_values[0],
        "remainder": 1 - p_values[0],
        "scale": np.array(scale),
    }
    steps: list[Step] = [
        ("Cast", ["score"], "s", {"to": _DOUBLE}),
        ("Unsqueeze", ["s", "column"], "row", {}),
        ("Sub", ["row", "knots"], "excess", {}),
        ("Div", ["excess", "widths"], "share", {}),
        ("Max", ["share", "zero"], "positive_share", {}),
        ("Min", ["positive_share", "one"], "clipped_share", {}),
        ("MatMul", ["clipped_share", "drops"], "drop", {}),
        ("Sub", ["first_p_value", "drop"], "interpolated", {}),
        ("Sub", ["s", "last_knot"], "from_last", {}),
        ("Max", ["from_last", "zero"], "above", {}),
        ("Add", ["above", "scale"], "above_plus_scale", {}),
        ("Div", ["scale", "above_plus_scale"], "shrinkage", {}),
        ("Mul", ["interpolated", "shrinkage"], "inner_part", {}),
        ("Sub", ["first_knot", "s"], "to_first", {}),
        ("Max", ["to_first", "zero"], "below", {}),
        ("Add", ["below", "scale"], "below_plus_scale", {}),
        ("Div", ["below", "below_plus_scale"], "growth", {}),
        ("Mul", ["growth", "remainder"], "outer_part", {}),
        ("Add", ["inner_part", "outer_part"], "double_p_value", {}),
        ("Cast", ["double_p_value"], "p_value", {"to": _FLOAT}),
    ]
    return _graph_parts(steps, constants, prefix, {"score": score, "p_value": output})


def _balanced_order(y: np.ndarray) -> np.ndarray:
    """All rows, int64 (N,), in a seeded random order that takes one row of each class in turn."""
    shuffled = np.random.default_rng(_SEED).permutation(len(y))
    by_class = shuffled[np.argsort(y[shuffled], kind="stable")]
    _, starts, sizes = np.unique(y[by_class], return_index=True, return_counts=True)
    return by_class[np.argsort(np.arange(len(y)) - np.repeat(starts, sizes), kind="stable")]


def _features(pooled: np.ndarray, bottleneck: np.ndarray) -> np.ndarray:
    """Normalised pooled and normalised bottleneck vectors side by side: float64 (n, D + B)."""
    parts = [np.asarray(part, dtype=np.float64) for part in (pooled, bottleneck)]
    return np.hstack([part / np.maximum(np.linalg.norm(part, axis=1, keepdims=True), _TINY) for part in parts])


def _scaled_distances(x: np.ndarray, landmarks: np.ndarray, width: float) -> np.ndarray:
    """w |x - z|²: float64 (n, M) of float64 (n, D + B) and float16 (M, D + B)."""
    z = landmarks.astype(np.float64)
    return width * ((x**2).sum(axis=1)[:, None] + (z**2).sum(axis=1) - 2 * x @ z.T)


def _graph_parts(
    steps: list[Step], constants: dict[str, np.ndarray], prefix: str, outer_names: dict[str, str]
) -> tuple[list[Any], list[Any]]:
    """Nodes and initializers of a graph whose names get the prefix, except those mapped by `outer_names`."""
    from onnx import helper, numpy_helper

    def full_name(name: str) -> str:
        return outer_names.get(name, prefix + name)

    nodes = [
        helper.make_node(operator, [full_name(name) for name in inputs], [full_name(output)], **attributes)
        for operator, inputs, output, attributes in steps
    ]
    return nodes, [numpy_helper.from_array(np.asarray(value), prefix + name) for name, value in constants.items()]
