"""How usual a vector is among those that a head was trained on: a score, its calibration, and both as ONNX nodes.

A picture is a vector x, its unit pooled and its unit bottleneck vector side by side: the first tells neighbouring
classes apart, the second rooms from flowers. Each class c has a function that is 1 on its training vectors, 0 on those
of other classes and falls to 0 away from all of them: regularised least squares with a Gaussian kernel on M landmarks z
(the mean of a Gaussian process, one class against the rest).

    f_c(x) = sum_m a_mc k(x, z_m),   k(x, z) = exp(-w |x - z|²),   (KᵀK + λ K_z) a = KᵀT
    strangeness = 1 - max_c f_c(x) + g min_m w |x - z_m|²

So a vector is strange that lies between two classes, and one that is far from all training vectors. Sources: Rifkin,
Yeo and Poggio 2003 (least squares), Williams and Seeger 2001 (landmarks), Padhy et al. 2020 (one against the rest, for
what is out of distribution), Liu et al. 2020 (why distance must count too), Sun et al. 2022 (the nearest vector); Vovk,
Gammerman and Shafer 2005 for the conformal p-value. `benchmarks/familiarity.py` compares it with other scores.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from winnow.common.errors import InputError

LANDMARKS = 1000  # training vectors kept: 3.2 MB as float16 for MobileNetV2, and 4 kB for each class
FITTED = 20_000  # training vectors that the weights are fitted on, the classes taking turns
WIDTH = 2.0  # w times the mean squared distance of two training vectors
RIDGE = 0.1  # λ
NEAREST = 0.125  # g; like w and λ by AUROC, on other splits and drawn pictures than the benchmark prints
KNOTS = 1000  # held-out pictures that a calibration keeps, most of them strange ones
_ROWS = 4096  # vectors at a time: bounded memory
_SEED = 0
_TINY = 1e-12  # what a length is at least: a vector of zeros stays one
_FLOAT, _DOUBLE = 1, 11  # onnx.TensorProto.FLOAT and DOUBLE
Step = tuple[str, list[str], str, dict[str, Any]]  # operator, inputs, output, attributes


class Reference(NamedTuple):
    """What is kept of the training vectors: M landmarks, at most `LANDMARKS`, and the weights of C classes."""

    landmarks: np.ndarray  # float16 (M, D + B), unit pooled and unit bottleneck side by side
    weights: np.ndarray  # float32 (M, C)
    width: float


class Calibration(NamedTuple):
    """A falling curve from strangeness to familiarity: straight between knots, a hyperbola beyond both ends."""

    knots: np.ndarray  # float64 (K,), strictly rising, K >= 2
    heights: np.ndarray  # float64 (K,), strictly falling, within (0, 1)
    scale: float  # of the hyperbolas, in the unit of strangeness


def fit(pooled: np.ndarray, bottleneck: np.ndarray, y: np.ndarray) -> Reference:
    """From training vectors, float (N, D) and (N, B), and class codes, int (N,); the same input gives the same result.

    Of more than `FITTED` vectors a seeded choice is used, in which small classes are whole. Raises: InputError, N is 0.
    """
    if not len(y):
        raise InputError("familiarity needs the vectors of at least one training picture: there is none")
    rows = _turns(y)[:FITTED]
    classes, codes = np.unique(y[rows], return_inverse=True)
    x = _joined(pooled[rows], bottleneck[rows])
    landmarks = x[:LANDMARKS].astype(np.float16)
    spread = 2 * float((x**2).sum(axis=1).mean() - (x.mean(axis=0) ** 2).sum())  # mean squared distance of two
    width = WIDTH / spread if spread > _TINY else 1.0
    near = np.exp(-_far(x, landmarks, width))  # K, (N, M)
    sums = np.zeros((len(classes), len(landmarks)))  # TᵀK
    np.add.at(sums, codes, near)
    inner = np.exp(-_far(landmarks.astype(np.float64), landmarks, width))  # K_z
    left = near.T @ near + RIDGE * inner
    left += 1e-9 * np.trace(left) / len(left) * np.eye(len(left))  # copies among the landmarks leave it singular
    return Reference(landmarks, np.linalg.solve(left, sums.T).astype(np.float32), width)


def strangeness(reference: Reference, pooled: np.ndarray, bottleneck: np.ndarray) -> np.ndarray:
    """float64 (n,) of float (n, D) and (n, B): about 0 among training vectors of one class, above 1 far from all."""
    out = np.empty(len(pooled))
    for start in range(0, len(pooled), _ROWS):
        part = slice(start, start + _ROWS)
        far = _far(_joined(pooled[part], bottleneck[part]), reference.landmarks, reference.width)
        scores = np.exp(-far) @ reference.weights.astype(np.float64)
        out[part] = 1 - scores.max(axis=1) + NEAREST * far.min(axis=1)
    return out


def nodes(reference: Reference, pooled: str, bottleneck: str, prefix: str) -> tuple[list[Any], list[Any], str]:
    """`strangeness` in ONNX, opset 17: nodes, initializers, and the name of its result, float32 (batch,).

    Parameters: names of two values, float32 (batch, D) and (batch, B); a prefix for all new names. The products of
    unit vectors are float32, what follows is float64: it agrees with NumPy to about 1e-6.
    """
    landmarks = reference.landmarks.T.astype(np.float64)
    constants = {
        "tiny": np.array(_TINY, dtype=np.float32),
        "landmarks": np.ascontiguousarray(reference.landmarks.T),
        "squares": (landmarks**2).sum(axis=0),
        "weights": reference.weights,
        "minus_two": np.array(-2.0),
        "width": np.array(reference.width),
        "nearest": np.array(NEAREST),
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
        ("Mul", ["double_product", "minus_two"], "twice", {}),
        ("ReduceSumSquare", ["x"], "square", {"axes": [1], "keepdims": 1}),
        ("Cast", ["square"], "double_square", {"to": _DOUBLE}),
        ("Add", ["double_square", "squares"], "both_squares", {}),
        ("Add", ["both_squares", "twice"], "distance", {}),
        ("Mul", ["distance", "width"], "far", {}),
        ("Neg", ["far"], "exponent", {}),
        ("Exp", ["exponent"], "kernel", {}),
        ("Cast", ["weights"], "double_weights", {"to": _DOUBLE}),
        ("MatMul", ["kernel", "double_weights"], "scores", {}),
        ("ReduceMax", ["scores"], "best", {"axes": [1], "keepdims": 0}),
        ("Sub", ["one", "best"], "unlike", {}),
        ("ReduceMin", ["far"], "least_far", {"axes": [1], "keepdims": 0}),
        ("Mul", ["least_far", "nearest"], "apart", {}),
        ("Add", ["unlike", "apart"], "double_strangeness", {}),
        ("Cast", ["double_strangeness"], "strangeness", {"to": _FLOAT}),
    ]
    return *_graph(steps, constants, prefix, {"pooled": pooled, "bottleneck": bottleneck}), f"{prefix}strangeness"


def calibrate(strangeness: np.ndarray) -> Calibration:
    """From the strangeness of held-out pictures, float (m,): at each, the share of them, and of one more, as strange.

    That is the conformal p-value, straight between two pictures, so that of pictures like those held out about a share
    t is below t; it holds on average, and m pictures say little below 1 / (m + 1). Raises: InputError, m is 0.
    """
    ordered = np.sort(np.asarray(strangeness, dtype=np.float64))
    count = len(ordered)
    if not count:
        raise InputError("familiarity needs held-out pictures to be calibrated on: there is none")
    values = np.unique(ordered)
    kept = len(values) - np.unique(np.geomspace(1, len(values), KNOTS).round().astype(int))[::-1]
    knots = values[kept]
    heights = (count - np.searchsorted(ordered, knots)) / (count + 1)
    scale = max(knots[-1] - float(np.median(ordered)), 1e-6 * abs(knots[-1]), _TINY)
    return Calibration(np.append(knots[0] - scale, knots), np.append((1 + heights[0]) / 2, heights), float(scale))


def familiarity(calibration: Calibration, strangeness: np.ndarray) -> np.ndarray:
    """float64 (n,) in 0 to 1 of float (n,), strictly falling: about the share of held-out pictures as strange."""
    s = np.asarray(strangeness, dtype=np.float64)
    knots, heights, scale = calibration
    above, below = np.maximum(s - knots[-1], 0), np.maximum(knots[0] - s, 0)
    return np.interp(s, knots, heights) * (scale / (scale + above)) + (1 - heights[0]) * (below / (scale + below))


def calibration_nodes(calibration: Calibration, strangeness: str, out: str, prefix: str) -> tuple[list[Any], list[Any]]:
    """`familiarity` in ONNX, opset 17: nodes and initializers, from a value float32 (batch,) to `out`, the same.

    The curve is the first height less the falls of all steps between knots, each as far as it is climbed.
    """
    knots, heights, scale = calibration
    constants = {
        "column": np.array([1]),
        "knots": knots[:-1],
        "steps": np.diff(knots),
        "falls": -np.diff(heights),
        "zero": np.array(0.0),
        "one": np.array(1.0),
        "first": knots[0],
        "last": knots[-1],
        "top": heights[0],
        "rest": 1 - heights[0],
        "scale": np.array(scale),
    }
    steps: list[Step] = [
        ("Cast", ["strangeness"], "s", {"to": _DOUBLE}),
        ("Unsqueeze", ["s", "column"], "row", {}),
        ("Sub", ["row", "knots"], "over", {}),
        ("Div", ["over", "steps"], "share", {}),
        ("Max", ["share", "zero"], "share_up", {}),
        ("Min", ["share_up", "one"], "climbed", {}),
        ("MatMul", ["climbed", "falls"], "fall", {}),
        ("Sub", ["top", "fall"], "height", {}),
        ("Sub", ["s", "last"], "from_last", {}),
        ("Max", ["from_last", "zero"], "above", {}),
        ("Add", ["above", "scale"], "above_scale", {}),
        ("Div", ["scale", "above_scale"], "shrink", {}),
        ("Mul", ["height", "shrink"], "lower", {}),
        ("Sub", ["first", "s"], "to_first", {}),
        ("Max", ["to_first", "zero"], "below", {}),
        ("Add", ["below", "scale"], "below_scale", {}),
        ("Div", ["below", "below_scale"], "grow", {}),
        ("Mul", ["grow", "rest"], "upper", {}),
        ("Add", ["lower", "upper"], "double_familiarity", {}),
        ("Cast", ["double_familiarity"], "familiarity", {"to": _FLOAT}),
    ]
    return _graph(steps, constants, prefix, {"strangeness": strangeness, "familiarity": out})


def _turns(y: np.ndarray) -> np.ndarray:
    """All rows in a seeded order in which the classes take turns: int64 (N,)."""
    shuffled = np.random.default_rng(_SEED).permutation(len(y))
    by_class = shuffled[np.argsort(y[shuffled], kind="stable")]
    _, starts, sizes = np.unique(y[by_class], return_index=True, return_counts=True)
    return by_class[np.argsort(np.arange(len(y)) - np.repeat(starts, sizes), kind="stable")]


def _joined(pooled: np.ndarray, bottleneck: np.ndarray) -> np.ndarray:
    """Unit pooled and unit bottleneck vector side by side: float64 (n, D + B)."""
    wide = [np.asarray(part, dtype=np.float64) for part in (pooled, bottleneck)]
    return np.hstack([part / np.maximum(np.linalg.norm(part, axis=1, keepdims=True), _TINY) for part in wide])


def _far(x: np.ndarray, landmarks: np.ndarray, width: float) -> np.ndarray:
    """w |x - z|²: float64 (n, M) of float64 (n, D + B) and float16 (M, D + B)."""
    z = landmarks.astype(np.float64)
    return width * ((x**2).sum(axis=1)[:, None] + (z**2).sum(axis=1) - 2 * x @ z.T)


def _graph(
    steps: list[Step], constants: dict[str, np.ndarray], prefix: str, ends: dict[str, str]
) -> tuple[list[Any], list[Any]]:
    """Nodes and initializers; a name gets the prefix, or is what `ends` says that it is called outside."""
    from onnx import helper, numpy_helper

    def named(name: str) -> str:
        return ends.get(name, prefix + name)

    made = [helper.make_node(kind, [*map(named, takes)], [named(gives)], **said) for kind, takes, gives, said in steps]
    return made, [numpy_helper.from_array(np.asarray(value), prefix + name) for name, value in constants.items()]
