"""Graphs of the heads that scikit-learn does not have, and of the dummy, from `embedding`, float32 (batch, D).

Each gives an onnx.GraphProto and the name of its probabilities, float32 (batch, K) for the head's own K classes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

_FLOAT, _DOUBLE = 1, 11  # onnx.TensorProto.FLOAT and DOUBLE
_TINY = np.array(1e-300)


def dummy(estimator: Any, dimension: int) -> tuple[Any, str]:
    """The same probabilities for every row."""
    from onnx.helper import make_node

    proba = estimator.predict_proba(np.zeros((1, dimension)))
    nodes = [
        make_node("Shape", ["embedding"], ["batch"], start=0, end=1),
        make_node("Concat", ["batch", "columns"], ["shape"], axis=0),
        make_node("Expand", ["proba", "shape"], ["raw"]),
    ]
    return _graph(nodes, proba=proba.astype(np.float32), columns=np.array([proba.shape[1]]))


def nearest_mean(estimator: Any, dimension: int) -> tuple[Any, str]:
    """The softmax of a linear layer."""
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


def neighbours(estimator: Any, dimension: int) -> tuple[Any, str]:
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


def metric(estimator: Any, classifier: Any, proba: str) -> tuple[Any, str]:
    """The projection, as `projected`, float32 (batch, dim), before the graph of the classifier that takes it, with the
    name of its probabilities."""
    from onnx.compose import add_prefix_graph
    from onnx.helper import make_node

    nodes, seen, constants = _unit_nodes(), "unit", {"tiny": _TINY}
    for number, (weights, bias) in enumerate(estimator.layers_):
        product, output = f"product_{number}", f"output_{number}"
        if number:
            nodes.append(make_node("Relu", [seen], [f"hidden_{number}"]))
            seen = f"hidden_{number}"
        nodes.append(make_node("MatMul", [seen, f"weights_{number}"], [product]))
        nodes.append(make_node("Add", [product, f"bias_{number}"], [output]))
        constants |= {f"weights_{number}": weights, f"bias_{number}": bias}
        seen = output
    nodes += [
        make_node("ReduceL2", [seen], ["projected_length"], axes=[1], keepdims=1),
        make_node("Max", ["projected_length", "tiny"], ["projected_divisor"]),
        make_node("Div", [seen, "projected_divisor"], ["wide_projected"]),
        make_node("Cast", ["wide_projected"], ["projected"], to=_FLOAT),
    ]
    kept = {"rename_inputs": False, "rename_value_infos": False}
    classifier = add_prefix_graph(classifier, "then/", **kept, name_map={"embedding": "projected"})
    graph, _ = _graph([*nodes, *classifier.node], **constants)
    graph.initializer.extend(classifier.initializer)
    return graph, f"then/{proba}"


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
