"""A fitted head -> one ONNX file that says labels and probabilities, compared with the head before it is kept."""

from __future__ import annotations

import copy
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from embed import quiet_keras
from embed.errors import InputError
from embed.versions import installed
from embed.whole import whole_file
from heads.fit import Head

OPSET = 17  # the same as the backbone's, so that the two can be joined
ML_OPSET = 3
PROJECTION = "projection"  # output of a head that learned one
TOLERANCE = 1e-4  # largest difference of a probability that an export may show


def to_onnx(estimator: Any, classes: list[str], dimension: int) -> Any:
    """The graph of a fitted head, an `onnx.ModelProto` without external data, opset 17, checked.

    Input `embedding`, float32 (batch, D); outputs `label`, string (batch,), and `probabilities`, float32 (batch, C)
    in the order of classes; of a MetricHead `projection`, too, float32 (batch, dim). The estimator's classes_ are
    indexes into classes or members of it; those it lacks get probability 0. Of equal probabilities the label is the
    first. The metadata holds `labels` as JSON.

    Raises: InputError when TensorFlow or tf2onnx is missing for a dense head.
    """
    import onnx

    core, raw = _core(estimator, dimension)
    core = onnx.compose.add_prefix_graph(core, "head/", rename_inputs=False, rename_value_infos=False)
    tail, constants = _tail(f"head/{raw}", _columns(estimator, classes), classes)
    tensor = onnx.helper.make_tensor_value_info
    outputs = [tensor("label", onnx.TensorProto.STRING, ["batch"])]
    outputs.append(tensor("probabilities", onnx.TensorProto.FLOAT, ["batch", len(classes)]))
    if type(estimator).__name__ == "MetricHead":
        tail.append(onnx.helper.make_node("Identity", ["head/projected"], [PROJECTION]))
        outputs.append(tensor(PROJECTION, onnx.TensorProto.FLOAT, ["batch", estimator.dim]))
    graph = onnx.helper.make_graph(
        [*core.node, *tail],
        "head",
        [tensor("embedding", onnx.TensorProto.FLOAT, ["batch", dimension])],
        outputs,
        [*core.initializer, *constants],
    )
    domains = {node.domain for node in graph.node}
    opsets = [onnx.helper.make_opsetid("", OPSET)]
    if "ai.onnx.ml" in domains:
        opsets.append(onnx.helper.make_opsetid("ai.onnx.ml", ML_OPSET))
    model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8, producer_name="winnow")
    onnx.helper.set_model_props(model, {"labels": json.dumps(classes, ensure_ascii=False)})
    onnx.checker.check_model(model, full_check=True)
    return model


def check_parity(model: Any, estimator: Any, X: np.ndarray) -> float:
    """The largest difference between the graph's probabilities and the head's own over X, float (n, D).

    Raises: InputError when it passes 1e-4, or a label is not the head's (save where its two best are closer than that).
    """
    import onnxruntime

    classes = labels(model)
    X = np.ascontiguousarray(X, dtype=np.float32)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    said, proba = session.run(["label", "probabilities"], {"embedding": X})
    expected = np.zeros((len(X), len(classes)))
    expected[:, _columns(estimator, classes)] = estimator.predict_proba(X)
    difference = float(np.abs(proba - expected).max(initial=0))
    if not difference <= TOLERANCE:  # NaN is refused too
        raise InputError(
            f"the exported head differs from {type(estimator).__name__} by {difference:.2g} in a probability, "
            f"more than {TOLERANCE:g}: not kept"
        )
    chosen = expected[np.arange(len(X)), [classes.index(label) for label in said]]
    wrong = int((chosen < expected.max(axis=1, initial=0) - 2 * TOLERANCE).sum())
    if wrong:
        raise InputError(f"the exported head gives {wrong} of {len(X)} pictures another label: not kept")
    return difference


def save_head(
    file: str | Path, estimator: Any, head: Head, classes: list[str], X: np.ndarray, extra: dict[str, str] | None = None
) -> float:
    """Write the head to file when it agrees with the estimator on X, float (n, D); gives the largest difference.

    The metadata says labels, kind, params (JSON), winnow (version), parity, and what extra holds. The file appears
    whole or not at all. Raises: InputError (see `to_onnx`, `check_parity`), also when it cannot be written.
    """
    import onnx

    model = to_onnx(estimator, classes, X.shape[1])
    parity = check_parity(model, estimator, X)
    said = {
        "labels": json.dumps(classes, ensure_ascii=False),
        "kind": head.kind,
        "params": json.dumps(head.params, default=str),
        "winnow": installed("winnow-images") or "unknown",
        "parity": f"{parity:.3g}",
    }
    onnx.helper.set_model_props(model, said | (extra or {}))
    file = Path(file)
    try:
        with whole_file(file) as stream:
            stream.write(model.SerializeToString())
    except OSError as error:
        raise InputError(f"{file}: {error.strerror}; make room there") from None
    return parity


def labels(model: Any) -> list[str]:
    """The labels of a head's graph, in the order of its probabilities."""
    return json.loads({prop.key: prop.value for prop in model.metadata_props}["labels"])


def _core(estimator: Any, dimension: int) -> tuple[Any, str]:
    """A graph from `embedding` to float32 (batch, K) probabilities of the estimator's own classes, and their name."""
    own = {
        "DenseHead": _dense,
        "DummyClassifier": _dummy,
        "NearestMean": _nearest_mean,
        "CosineNeighbours": _neighbours,
        "MetricHead": _metric,
    }
    return own.get(type(estimator).__name__, _sklearn)(estimator, dimension)


def _dense(estimator: Any, dimension: int) -> tuple[Any, str]:
    _, tf = quiet_keras.import_keras("exporting the dense head", "choose other heads")
    network = estimator.model_
    function = tf.function(lambda embedding: network(embedding, training=False))
    signature = [tf.TensorSpec((None, dimension), tf.float32, name="embedding")]
    model = quiet_keras.to_onnx(function, signature, OPSET)
    return model.graph, model.graph.output[0].name


def _sklearn(estimator: Any, dimension: int) -> tuple[Any, str]:
    from onnx.utils import Extractor
    from skl2onnx import to_onnx as convert
    from skl2onnx.common.data_types import FloatTensorType

    with warnings.catch_warnings():  # skl2onnx looks at two attributes of SVC that scikit-learn is giving up
        warnings.filterwarnings("ignore", "Attribute `prob[AB]_` was deprecated", FutureWarning)
        model = convert(
            _folded(estimator),
            initial_types=[("embedding", FloatTensorType([None, dimension]))],
            target_opset={"": OPSET, "ai.onnx.ml": ML_OPSET},
            options={"zipmap": False},
        )
    raw = model.graph.output[1].name
    graph = Extractor(model).extract_model(["embedding"], [raw]).graph  # without what made scikit-learn's own label
    return graph, raw


def _folded(estimator: Any) -> Any:
    """A pipeline that ends in principal components and a calibrated linear classifier, as one that needs no components:
    the same decisions from C x D numbers instead of N x D. Others as they are."""
    from sklearn.decomposition import PCA

    steps = list(getattr(estimator, "named_steps", {}).values())
    if len(steps) < 2 or type(steps[-2]) is not PCA or steps[-2].whiten:
        return estimator
    made = copy.deepcopy(estimator)
    (calibrated,) = made[-1].calibrated_classifiers_
    components, linear = steps[-2], calibrated.estimator
    linear.coef_ = linear.coef_ @ components.components_
    linear.intercept_ = linear.intercept_ - linear.coef_ @ components.mean_
    linear.n_features_in_ = components.n_features_in_
    made.steps.pop(-2)
    made[-1].n_features_in_ = components.n_features_in_
    return made


def _dummy(estimator: Any, dimension: int) -> tuple[Any, str]:
    """The same probabilities for every row."""
    from onnx.helper import make_node

    proba = estimator.predict_proba(np.zeros((1, dimension)))
    nodes = [
        make_node("Shape", ["embedding"], ["batch"], start=0, end=1),
        make_node("Concat", ["batch", "columns"], ["shape"], axis=0),
        make_node("Expand", ["proba", "shape"], ["raw"]),
    ]
    return _graph(nodes, proba=proba.astype(np.float32), columns=np.array([proba.shape[1]]))


def _nearest_mean(estimator: Any, dimension: int) -> tuple[Any, str]:
    from onnx.helper import make_node

    weights, bias = estimator.weights()
    nodes = [
        *_unit_nodes(),
        make_node("MatMul", ["unit", "weights"], ["product"]),
        make_node("Add", ["product", "bias"], ["logits"]),
        make_node("Softmax", ["logits"], ["wide"], axis=1),
        make_node("Cast", ["wide"], ["raw"], to=_FLOAT),
    ]
    return _graph(nodes, tiny=_TINY, weights=weights, bias=bias)


def _neighbours(estimator: Any, dimension: int) -> tuple[Any, str]:
    """In float64 like the estimator: in float32 the k-th and the next neighbour would now and then change places."""
    from onnx.helper import make_node

    codes = estimator.codes_
    nodes = [
        *_unit_nodes(),
        make_node("Cast", ["vectors"], ["wide_vectors"], to=_DOUBLE),
        make_node("MatMul", ["unit", "wide_vectors"], ["similarity"]),
        make_node("TopK", ["similarity", "k"], ["best", "nearest"], axis=1),
        make_node("Div", ["best", "temperature"], ["logits"]),
        make_node("Softmax", ["logits"], ["wide"], axis=1),
        make_node("Cast", ["wide"], ["weights"], to=_FLOAT),
        make_node("Unsqueeze", ["weights", "axis"], ["row"]),
        make_node("Gather", ["votes", "nearest"], ["cast"]),
        make_node("MatMul", ["row", "cast"], ["sum"]),
        make_node("Squeeze", ["sum", "axis"], ["raw"]),
    ]
    return _graph(
        nodes,
        tiny=_TINY,
        vectors=np.ascontiguousarray(estimator.vectors_.T),
        k=np.array([min(estimator.n_neighbors, len(codes))]),
        temperature=np.array(estimator.temperature, dtype=np.float64),
        axis=np.array([1]),
        votes=np.eye(len(estimator.classes_), dtype=np.float32)[codes],
    )


def _metric(estimator: Any, dimension: int) -> tuple[Any, str]:
    """The projection, and the graph of the classifier on it."""
    from onnx.compose import add_prefix_graph

    from heads.metric import nodes

    wanted, constants = nodes(estimator.layers_)
    core, raw = _core(estimator.classifier_, estimator.dim)
    kept = {"rename_inputs": False, "rename_value_infos": False}
    core = add_prefix_graph(core, "then/", **kept, name_map={"embedding": "projected"})
    made, _ = _graph([*_unit_nodes(), *wanted, *core.node], tiny=_TINY, **constants)
    made.initializer.extend(core.initializer)
    return made, f"then/{raw}"


_FLOAT, _DOUBLE = 1, 11  # onnx.TensorProto.FLOAT and DOUBLE
_TINY = np.array(1e-300)


def _unit_nodes() -> list[Any]:
    """embedding -> unit: float64 rows of length 1, where a row of zeros stays."""
    from onnx.helper import make_node

    return [
        make_node("Cast", ["embedding"], ["wide_embedding"], to=_DOUBLE),
        make_node("ReduceL2", ["wide_embedding"], ["length"], axes=[1], keepdims=1),
        make_node("Max", ["length", "tiny"], ["divisor"]),
        make_node("Div", ["wide_embedding", "divisor"], ["unit"]),
    ]


def _graph(nodes: list[Any], **constants: np.ndarray) -> tuple[Any, str]:
    """Nodes from `embedding` to `raw`, and their constants, as a graph."""
    import onnx

    tensor = onnx.helper.make_tensor_value_info
    initializers = [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()]
    ends = [tensor("embedding", _FLOAT, None)], [tensor("raw", _FLOAT, None)]
    return onnx.helper.make_graph(nodes, "core", *ends, initializers), "raw"


def _tail(raw: str, columns: list[int], classes: list[str]) -> tuple[list[Any], list[Any]]:
    """raw (batch, K) -> probabilities (batch, C), raw's in `columns` and 0 elsewhere; label, that of the largest."""
    import onnx
    from onnx.helper import make_node

    text: list[Any] = [label.encode() for label in classes]
    constants = [onnx.helper.make_tensor("labels", onnx.TensorProto.STRING, [len(classes)], text)]
    if columns == list(range(len(classes))):
        nodes = [make_node("Identity", [raw], ["probabilities"])]
    else:
        nodes = [make_node("MatMul", [raw, "columns"], ["probabilities"])]
        constants.append(onnx.numpy_helper.from_array(np.eye(len(classes), dtype=np.float32)[columns], "columns"))
    nodes += [
        make_node("ArgMax", ["probabilities"], ["largest"], axis=1, keepdims=0),
        make_node("Gather", ["labels", "largest"], ["label"]),
    ]
    return nodes, constants


def _columns(estimator: Any, classes: list[str]) -> list[int]:
    """Where in classes the estimator's own are, (K,)."""
    own = estimator.classes_
    return own.tolist() if np.issubdtype(own.dtype, np.integer) else [classes.index(name) for name in own]
