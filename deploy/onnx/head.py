"""A fitted head -> one ONNX file that says labels and probabilities, compared with the head before it is kept."""

from __future__ import annotations

import copy
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from winnow.common.atomic_write import atomic_write
from winnow.common.errors import InputError
from winnow.common.versions import installed_version
from winnow.deploy.onnx import calibration
from winnow.deploy.onnx import nodes as export_nodes
from winnow.embed import keras_import
from winnow.heads.evaluation.fit import HeadSpec

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
    bare, _ = calibration.uncalibrated(estimator)
    if type(bare).__name__ == "MetricHead":
        tail.append(onnx.helper.make_node("Identity", ["head/projected"], [PROJECTION]))
        outputs.append(tensor(PROJECTION, onnx.TensorProto.FLOAT, ["batch", bare.dim]))
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
    file: str | Path,
    estimator: Any,
    head: HeadSpec,
    classes: list[str],
    X: np.ndarray,
    extra: dict[str, str] | None = None,
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
        "winnow": installed_version("winnow-images") or "unknown",
        "parity": f"{parity:.3g}",
    }
    onnx.helper.set_model_props(model, said | (extra or {}))
    file = Path(file)
    try:
        with atomic_write(file) as stream:
            stream.write(model.SerializeToString())
    except OSError as error:
        raise InputError(f"{file}: {error.strerror}; make room there") from None
    return parity


def labels(model: Any) -> list[str]:
    """The labels of a head's graph, in the order of its probabilities."""
    return json.loads({prop.key: prop.value for prop in model.metadata_props}["labels"])


def _core(estimator: Any, dimension: int) -> tuple[Any, str]:
    """A graph from `embedding` to float32 (batch, K) probabilities of the estimator's own classes, and their name."""
    bare, calibrated = calibration.uncalibrated(estimator)
    if calibrated is None:
        return _scores(estimator, dimension)
    graph, scores = _scores(bare, dimension, decisions=calibration.decides(bare))
    return calibration.append(graph, scores, calibrated)


def _scores(estimator: Any, dimension: int, decisions: bool = False) -> tuple[Any, str]:
    """As `_core` without calibration; with `decisions` decision values instead of probabilities."""
    own = {
        "DenseHead": _dense,
        "DummyClassifier": export_nodes.dummy,
        "NearestMean": export_nodes.nearest_mean,
        "CosineNeighbours": export_nodes.neighbours,
        "MetricHead": _metric,
        "FineTunedHead": _tail_head,
    }
    kind = type(estimator).__name__
    return own[kind](estimator, dimension) if kind in own else _sklearn(estimator, dimension, decisions)


def _tail_head(estimator: Any, dimension: int) -> tuple[Any, str]:
    return _dense(estimator, dimension, estimator.model_.input_shape[1:])


def _dense(estimator: Any, dimension: int, shape: tuple[int, ...] = (-1,)) -> tuple[Any, str]:
    """Of a Keras network; shape: of one row as it takes it."""
    _, tf = keras_import.import_keras("exporting this head", remedy="other-heads")
    network, shape = estimator.model_, (-1, *(dimension if side == -1 else side for side in shape))
    function = tf.function(lambda embedding: network(tf.reshape(embedding, shape), training=False))
    signature = [tf.TensorSpec((None, dimension), tf.float32, name="embedding")]
    model = keras_import.function_to_onnx(function, signature, OPSET)
    return model.graph, model.graph.output[0].name


def _sklearn(estimator: Any, dimension: int, decisions: bool) -> tuple[Any, str]:
    from onnx.utils import Extractor
    from skl2onnx import to_onnx as convert
    from skl2onnx.common.data_types import FloatTensorType

    estimator = _folded(estimator)
    last = estimator.steps[-1][1] if hasattr(estimator, "steps") else estimator
    options = {id(last): {"zipmap": False} | ({"raw_scores": True} if decisions else {})}
    with warnings.catch_warnings():  # skl2onnx looks at two attributes of SVC that scikit-learn is giving up
        warnings.filterwarnings("ignore", "Attribute `prob[AB]_` was deprecated", FutureWarning)
        model = convert(
            estimator,
            initial_types=[("embedding", FloatTensorType([None, dimension]))],
            target_opset={"": OPSET, "ai.onnx.ml": ML_OPSET},
            options=options,
        )
    raw = model.graph.output[1].name
    graph = Extractor(model).extract_model(["embedding"], [raw]).graph  # without what made scikit-learn's own label
    return graph, raw


def _folded(estimator: Any) -> Any:
    """A pipeline that ends in principal components and a linear classifier, as one that needs no components: the same
    decisions from C x D numbers instead of N x D. Others as they are."""
    from sklearn.decomposition import PCA

    steps = list(getattr(estimator, "named_steps", {}).values())
    if len(steps) < 2 or type(steps[-2]) is not PCA or steps[-2].whiten:
        return estimator
    made = copy.deepcopy(estimator)
    components, linear = steps[-2], made[-1]
    linear.coef_ = linear.coef_ @ components.components_
    linear.intercept_ = linear.intercept_ - linear.coef_ @ components.mean_
    linear.n_features_in_ = components.n_features_in_
    made.steps.pop(-2)
    return made


def _metric(estimator: Any, dimension: int) -> tuple[Any, str]:
    return export_nodes.metric(estimator, *_core(estimator.classifier_, estimator.dim))


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
