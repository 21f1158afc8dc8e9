"""Convert a fitted head to ONNX, and compare the graph with the estimator before it is written."""

from __future__ import annotations

import copy
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from winnow import __version__
from winnow.common.atomic_write import atomic_write
from winnow.common.errors import InputError
from winnow.deploy.onnx import calibration
from winnow.deploy.onnx import nodes as head_nodes
from winnow.embed import keras_import
from winnow.heads.evaluation.fit import HeadSpec

OPSET = 17  # the same as the backbone's, so that the two can be joined
ML_OPSET = 3
TOLERANCE = 1e-4  # largest difference of a probability that an export may show


def to_onnx(estimator: Any, classes: list[str], dimension: int) -> Any:
    """Convert a fitted head to a checked `onnx.ModelProto`, opset 17, without external data.

    Input `embedding`, float32 (batch, D). Outputs `label`, string (batch,), and `probabilities`, float32 (batch, C) in
    the order of `classes`. The estimator's classes_ are indexes into `classes` or members of it; classes that it lacks
    get probability 0. Among equal probabilities the label is the first. The metadata holds `labels` as JSON.

    Raises: InputError when TensorFlow or tf2onnx is missing for a dense head.
    """
    import onnx

    graph, probabilities = _probability_graph(estimator, dimension)
    graph = onnx.compose.add_prefix_graph(graph, "head/", rename_inputs=False, rename_value_infos=False)
    nodes, constants = _label_nodes(f"head/{probabilities}", _class_columns(estimator, classes), classes)
    tensor = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [*graph.node, *nodes],
        "head",
        [tensor("embedding", onnx.TensorProto.FLOAT, ["batch", dimension])],
        [
            tensor("label", onnx.TensorProto.STRING, ["batch"]),
            tensor("probabilities", onnx.TensorProto.FLOAT, ["batch", len(classes)]),
        ],
        [*graph.initializer, *constants],
    )
    opsets = [onnx.helper.make_opsetid("", OPSET)]
    if "ai.onnx.ml" in {node.domain for node in graph.node}:
        opsets.append(onnx.helper.make_opsetid("ai.onnx.ml", ML_OPSET))
    model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8, producer_name="winnow")
    onnx.helper.set_model_props(model, {"labels": json.dumps(classes, ensure_ascii=False)})
    onnx.checker.check_model(model, full_check=True)
    return model


def check_parity(model: Any, estimator: Any, X: np.ndarray) -> float:
    """Compare the graph with the estimator on X, float (n, D); the largest difference of a probability.

    Raises: InputError when it exceeds `TOLERANCE`, or when a label differs, except where the two largest probabilities
    are closer to each other than twice that.
    """
    import onnxruntime

    classes = labels(model)
    X = np.ascontiguousarray(X, dtype=np.float32)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    predicted, proba = session.run(["label", "probabilities"], {"embedding": X})
    expected = np.zeros((len(X), len(classes)))
    expected[:, _class_columns(estimator, classes)] = estimator.predict_proba(X)
    difference = float(np.abs(proba - expected).max(initial=0))
    if not difference <= TOLERANCE:  # written so that NaN is refused
        raise InputError(
            f"the exported head differs from {type(estimator).__name__} by {difference:.2g} in a probability, "
            f"more than {TOLERANCE:g}: not kept"
        )
    chosen = expected[np.arange(len(X)), [classes.index(label) for label in predicted]]
    wrong = int((chosen < expected.max(axis=1, initial=0) - 2 * TOLERANCE).sum())
    if wrong:
        raise InputError(f"the exported head gives {wrong} of {len(X)} pictures another label: not kept")
    return difference


def save_head(
    file: str | Path,
    estimator: Any,
    head: HeadSpec,
    classes: list[str],
    X: np.ndarray,
    extra: dict[str, str] | None = None,
) -> float:
    """Write the head to a file if it agrees with the estimator on X, float (n, D); the largest difference.

    The metadata holds labels, kind, params (JSON), winnow (version), parity, and `extra`. The file is written whole or
    not at all. Raises: InputError as `to_onnx` and `check_parity`, and when it cannot be written.
    """
    import onnx

    model = to_onnx(estimator, classes, X.shape[1])
    parity = check_parity(model, estimator, X)
    metadata = {
        "labels": json.dumps(classes, ensure_ascii=False),
        "kind": head.kind,
        "params": json.dumps(head.params, default=str),
        "winnow": __version__,
        "parity": f"{parity:.3g}",
    }
    onnx.helper.set_model_props(model, metadata | (extra or {}))
    file = Path(file)
    try:
        with atomic_write(file) as stream:
            stream.write(model.SerializeToString())
    except OSError as error:
        raise InputError(f"{file}: {error.strerror}", remedy="disk-full") from None
    return parity


def labels(model: Any) -> list[str]:
    """The labels of a head's graph, in the order of its probabilities."""
    return json.loads({entry.key: entry.value for entry in model.metadata_props}["labels"])


def _probability_graph(estimator: Any, dimension: int) -> tuple[Any, str]:
    """A graph from `embedding` to the probabilities of the estimator's own K classes, float32 (batch, K), and their
    name in it."""
    uncalibrated, calibrator = calibration.split_calibration(estimator)
    if calibrator is None:
        return _score_graph(estimator, dimension)
    graph, scores = _score_graph(uncalibrated, dimension, decisions=calibration.uses_decisions(uncalibrated))
    return calibration.append_calibration(graph, scores, calibrator)


def _score_graph(estimator: Any, dimension: int, decisions: bool = False) -> tuple[Any, str]:
    """As `_probability_graph` without calibration; with `decisions` decision values instead of probabilities."""
    converters = {
        "DenseHead": _convert_dense,
        "DummyClassifier": head_nodes.dummy_graph,
        "NearestMean": head_nodes.nearest_mean_graph,
        "CosineNeighbours": head_nodes.neighbours_graph,
        "MetricHead": _convert_metric,
        "FineTunedHead": _convert_finetuned,
    }
    converter = converters.get(type(estimator).__name__)
    return converter(estimator, dimension) if converter else _convert_sklearn(estimator, dimension, decisions)


def _convert_finetuned(estimator: Any, dimension: int) -> tuple[Any, str]:
    return _convert_dense(estimator, dimension, estimator.model_.input_shape[1:])


def _convert_dense(estimator: Any, dimension: int, shape: tuple[int, ...] = (-1,)) -> tuple[Any, str]:
    """Convert a Keras network; `shape`, of one input row, one side of which may be -1."""
    _, tf = keras_import.import_keras("exporting this head", remedy="other-heads")
    network, shape = estimator.model_, (-1, *(dimension if side == -1 else side for side in shape))
    function = tf.function(lambda embedding: network(tf.reshape(embedding, shape), training=False))
    signature = [tf.TensorSpec((None, dimension), tf.float32, name="embedding")]
    model = keras_import.function_to_onnx(function, signature, OPSET)
    return model.graph, model.graph.output[0].name


def _convert_sklearn(estimator: Any, dimension: int, decisions: bool) -> tuple[Any, str]:
    from onnx.utils import Extractor
    from skl2onnx import to_onnx as convert
    from skl2onnx.common.data_types import FloatTensorType

    estimator = _fold_components(estimator)
    last = estimator.steps[-1][1] if hasattr(estimator, "steps") else estimator
    options = {id(last): {"zipmap": False} | ({"raw_scores": True} if decisions else {})}
    with warnings.catch_warnings():  # skl2onnx reads two attributes of SVC that scikit-learn deprecates
        warnings.filterwarnings("ignore", "Attribute `prob[AB]_` was deprecated", FutureWarning)
        model = convert(
            estimator,
            initial_types=[("embedding", FloatTensorType([None, dimension]))],
            target_opset={"": OPSET, "ai.onnx.ml": ML_OPSET},
            options=options,
        )
    scores = model.graph.output[1].name
    graph = Extractor(model).extract_model(["embedding"], [scores]).graph  # without the nodes of skl2onnx's label
    return graph, scores


def _fold_components(estimator: Any) -> Any:
    """Fold principal components into the linear classifier after them: C x D numbers in the file instead of N x D.

    The decisions stay the same. Other estimators are returned as they are.
    """
    from sklearn.decomposition import PCA

    steps = list(getattr(estimator, "named_steps", {}).values())
    if len(steps) < 2 or type(steps[-2]) is not PCA or steps[-2].whiten:
        return estimator
    folded = copy.deepcopy(estimator)
    components, linear = steps[-2], folded[-1]
    linear.coef_ = linear.coef_ @ components.components_
    linear.intercept_ = linear.intercept_ - linear.coef_ @ components.mean_
    linear.n_features_in_ = components.n_features_in_
    folded.steps.pop(-2)
    return folded


def _convert_metric(estimator: Any, dimension: int) -> tuple[Any, str]:
    return head_nodes.metric_graph(estimator, *_probability_graph(estimator.classifier_, estimator.dim))


def _label_nodes(own_probabilities: str, columns: list[int], classes: list[str]) -> tuple[list[Any], list[Any]]:
    """Nodes and constants for `probabilities` and `label`.

    Parameters: `own_probabilities`, the name of those of the estimator's K classes, (batch, K); `columns`, where they
    belong among all C classes; the others are 0.
    """
    import onnx
    from onnx.helper import make_node

    text: list[Any] = [label.encode() for label in classes]
    constants = [onnx.helper.make_tensor("labels", onnx.TensorProto.STRING, [len(classes)], text)]
    if columns == list(range(len(classes))):
        nodes = [make_node("Identity", [own_probabilities], ["probabilities"])]
    else:
        nodes = [make_node("MatMul", [own_probabilities, "columns"], ["probabilities"])]
        constants.append(onnx.numpy_helper.from_array(np.eye(len(classes), dtype=np.float32)[columns], "columns"))
    nodes += [
        make_node("ArgMax", ["probabilities"], ["largest"], axis=1, keepdims=0),
        make_node("Gather", ["labels", "largest"], ["label"]),
    ]
    return nodes, constants


def _class_columns(estimator: Any, classes: list[str]) -> list[int]:
    """The index of each of the estimator's K classes in `classes`, (K,)."""
    names = estimator.classes_
    return names.tolist() if np.issubdtype(names.dtype, np.integer) else [classes.index(name) for name in names]
