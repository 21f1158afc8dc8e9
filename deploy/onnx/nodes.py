"""ONNX graphs of the heads that skl2onnx cannot convert, from `embedding`, float32 (batch, D).

Each function returns an onnx.GraphProto and the name of its probabilities, float32 (batch, K) for the K classes that
the head was fitted on.
"""

from __future__ import annotations

from typing import Any

import numpy as np

_FLOAT, _DOUBLE = 1, 11  # onnx.TensorProto.FLOAT and DOUBLE
_TINY = np.array(1e-300)  # smallest divisor of a normalisation: a vector of zeros stays zero


def dummy_graph(estimator: Any, dimension: int) -> tuple[Any, str]:
    """The graph of scikit-learn's DummyClassifier: the same probabilities for every row."""
    from onnx.helper import make_node

    probabilities = estimator.predict_proba(np.zeros((1, dimension)))
    nodes = [
        make_node("Shape", ["embedding"], ["batch"], start=0, end=1),
        make_node("Concat", ["batch", "columns"], ["shape"], axis=0),
        make_node("Expand", ["constant", "shape"], ["probabilities"]),
    ]
    return _make_graph(nodes, constant=probabilities.astype(np.float32), columns=np.array([probabilities.shape[1]]))


def nearest_mean_graph(estimator: Any, dimension: int) -> tuple[Any, str]:
    """The graph of a NearestMean head: the softmax of a linear layer."""
    from onnx.helper import make_node

    weights, bias = estimator.weights()
    nodes = [
        *_normalise_nodes(),
        make_node("MatMul", ["unit", "weights"], ["product"]),
        make_node("Add", ["product", "bias"], ["logits"]),
        make_node("Softmax", ["logits"], ["double_probabilities"], axis=1),
        make_node("Cast", ["double_probabilities"], ["probabilities"], to=_FLOAT),
    ]
    return _make_graph(nodes, tiny=_TINY, weights=weights, bias=bias)


def neighbours_graph(estimator: Any, dimension: int) -> tuple[Any, str]:
    """The graph of a CosineNeighbours head: votes of the k nearest vectors, weighted by a softmax of similarities.

    It computes in float64 like the estimator: in float32 the k-th and the next neighbour could swap.
    """
    from onnx.helper import make_node

    codes = estimator.codes_
    nodes = [
        *_normalise_nodes(),
        make_node("Cast", ["vectors"], ["double_vectors"], to=_DOUBLE),
        make_node("MatMul", ["unit", "double_vectors"], ["similarity"]),
        make_node("TopK", ["similarity", "k"], ["largest", "nearest"], axis=1),
        make_node("Div", ["largest", "temperature"], ["logits"]),
        make_node("Softmax", ["logits"], ["double_weights"], axis=1),
        make_node("Cast", ["double_weights"], ["weights"], to=_FLOAT),
        make_node("Unsqueeze", ["weights", "axis"], ["weight_rows"]),
        make_node("Gather", ["votes", "nearest"], ["nearest_votes"]),
        make_node("MatMul", ["weight_rows", "nearest_votes"], ["sum"]),
        make_node("Squeeze", ["sum", "axis"], ["probabilities"]),
    ]
    return _make_graph(
        nodes,
        tiny=_TINY,
        vectors=np.ascontiguousarray(estimator.vectors_.T),
        k=np.array([min(estimator.n_neighbors, len(codes))]),
        temperature=np.array(estimator.temperature, dtype=np.float64),
        axis=np.array([1]),
        votes=np.eye(len(estimator.classes_), dtype=np.float32)[codes],
    )


def metric_graph(estimator: Any, classifier: Any, probabilities: str) -> tuple[Any, str]:
    """The graph of a MetricHead: its projection, float32 (batch, dim), followed by the graph of its classifier.

    Parameters: `classifier`, an onnx.GraphProto from `embedding`; `probabilities`, their name in it.
    """
    from onnx.compose import add_prefix_graph
    from onnx.helper import make_node

    nodes, last, constants = _normalise_nodes(), "unit", {"tiny": _TINY}
    for number, (weights, bias) in enumerate(estimator.layers_):
        product, output = f"product_{number}", f"output_{number}"
        if number:
            nodes.append(make_node("Relu", [last], [f"hidden_{number}"]))
            last = f"hidden_{number}"
        nodes.append(make_node("MatMul", [last, f"weights_{number}"], [product]))
        nodes.append(make_node("Add", [product, f"bias_{number}"], [output]))
        constants |= {f"weights_{number}": weights, f"bias_{number}": bias}
        last = output
    nodes += [
        make_node("ReduceL2", [last], ["projection_length"], axes=[1], keepdims=1),
        make_node("Max", ["projection_length", "tiny"], ["projection_divisor"]),
        make_node("Div", [last, "projection_divisor"], ["double_projection"]),
        make_node("Cast", ["double_projection"], ["projection"], to=_FLOAT),
    ]
    inputs = {"embedding": "projection"}
    classifier = add_prefix_graph(
        classifier, "classifier/", rename_inputs=False, rename_value_infos=False, name_map=inputs
    )
    graph, _ = _make_graph([*nodes, *classifier.node], **constants)
    graph.initializer.extend(classifier.initializer)
    return graph, f"classifier/{probabilities}"


def _normalise_nodes() -> list[Any]:
    """Nodes from `embedding` to `unit`: float64 rows of length 1; a row of zeros stays zero."""
    from onnx.helper import make_node

    return [
        make_node("Cast", ["embedding"], ["double_embedding"], to=_DOUBLE),
        make_node("ReduceL2", ["double_embedding"], ["length"], axes=[1], keepdims=1),
        make_node("Max", ["length", "tiny"], ["divisor"]),
        make_node("Div", ["double_embedding", "divisor"], ["unit"]),
    ]


def _make_graph(nodes: list[Any], **constants: np.ndarray) -> tuple[Any, str]:
    """A graph of nodes from `embedding` to `probabilities`, and their constants."""
    import onnx

    tensor = onnx.helper.make_tensor_value_info
    initializers = [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()]
    inputs, outputs = [tensor("embedding", _FLOAT, None)], [tensor("probabilities", _FLOAT, None)]
    return onnx.helper.make_graph(nodes, "head", inputs, outputs, initializers), "probabilities"
