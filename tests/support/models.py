"""Exported models built by hand: the label is the hue nearest to the mean colour. No network, no TensorFlow."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from support.pictures import HUES

from winnow.embed.recipe import Recipe

SIZE = 96
SHARPNESS = 8.0  # of the softmax of squared distances
FALLOFF = 12.0  # familiarity is exp(-FALLOFF times the squared distance to the nearest hue)


def write_model(
    file: Path, labels: Sequence[str] = tuple(sorted(HUES)), any_size: bool = False, **changes: Any
) -> Path:
    """Write a model as `winnow export` does; `labels` belong to blue, green, red and then to greys.

    It takes pictures of 96 x 96, with `any_size` of any size. Parameters: `changes`, to the metadata: a text, or a
    value that is encoded as JSON; None removes the key. Returns: file.
    """
    onnx.save(make_proto(labels, any_size, **changes), file)
    return file


def make_proto(labels: Sequence[str] = tuple(sorted(HUES)), any_size: bool = False, **changes: Any) -> onnx.ModelProto:
    """The model that `write_model` writes, for tests that damage it first."""
    value = helper.make_tensor_value_info
    batch = 1 if any_size else "batch"
    shape = ["height", "width", 3] if any_size else ["batch", SIZE, SIZE, 3]
    inputs_and_outputs = (
        [value("image", TensorProto.UINT8, shape)],
        [
            value("label", TensorProto.STRING, [batch]),
            value("probabilities", TensorProto.FLOAT, [batch, len(labels)]),
            value("embedding", TensorProto.FLOAT, [batch, 3]),
            value("familiarity", TensorProto.FLOAT, [batch]),
        ],
    )
    graph = helper.make_graph(_nodes(any_size), "winnow", *inputs_and_outputs, _constants(labels))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    content = {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in (make_metadata(labels, any_size) | changes).items()
        if value is not None
    }
    helper.set_model_props(model, content)
    onnx.checker.check_model(model, full_check=True)
    return model


def make_metadata(labels: Sequence[str], any_size: bool) -> dict[str, Any]:
    """The metadata of a model, JSON not encoded yet."""
    recipe = Recipe(size=SIZE)
    return {
        "winnow_model": "1",
        "winnow": "0.1.0",
        "labels": list(labels),
        "preprocessing": str(recipe),
        "recipe": asdict(recipe),
        "backbone": "b" * 64,
        "weights": "imagenet",
        "input": "any" if any_size else "square",
        "precision": "fp32",
        "tta": "none",
        "kind": "lda",
        "params": {"shrinkage": 0.1},
        "created": "2026-05-01T12:00:00+00:00",
        "familiarity_threshold": "0.05",
        "familiarity": {"threshold": 0.05, "calibrated_on": 9, "held_out": {"pictures": 9, "rejected": 0.0}},
        "metrics": {
            "weighted_f1": {"mean": 0.91, "low": 0.88, "high": 0.94},
            "accuracy": 0.92,
            "macro_f1": 0.9,
            "splits": 10,
            "pictures": 9,
        },
        "training": {
            "pictures": 42,
            "pictures_as_found": 43,
            "as_found": 62,
            "as_decided": 60,
            "dropped": {"off_topic": 2},
            "relabelled": 1,
            "classes": dict.fromkeys(labels, 14),
        },
        "parity": {
            "pictures": 9,
            "largest_difference": 1e-6,
            "labels_differ": 0,
            "weighted_f1": {"ordinary": 0.91, "file": 0.91},
        },
        "trained_on": [],
    }


def _nodes(any_size: bool) -> list[onnx.NodeProto]:
    node = helper.make_node
    to_batch = (
        [node("Unsqueeze", ["image", "zero"], ["images"])] if any_size else [node("Identity", ["image"], ["images"])]
    )
    return [
        *to_batch,
        node("Cast", ["images"], ["pixels"], to=TensorProto.FLOAT),
        node("Div", ["pixels", "white"], ["scaled"]),
        node("ReduceMean", ["scaled"], ["embedding"], axes=[1, 2], keepdims=0),
        node("Unsqueeze", ["embedding", "one"], ["row"]),  # (batch, 1, 3)
        node("Sub", ["row", "centres"], ["difference"]),  # (batch, C, 3)
        node("ReduceSumSquare", ["difference"], ["distance"], axes=[2], keepdims=0),
        node("Mul", ["distance", "sharpness"], ["logits"]),
        node("Softmax", ["logits"], ["probabilities"], axis=1),
        node("ArgMax", ["probabilities"], ["largest"], axis=1, keepdims=0),
        node("Gather", ["labels", "largest"], ["label"]),
        node("ReduceMin", ["distance"], ["nearest"], axes=[1], keepdims=0),
        node("Mul", ["nearest", "falloff"], ["exponent"]),
        node("Exp", ["exponent"], ["familiarity"]),
    ]


def _constants(labels: Sequence[str]) -> list[onnx.TensorProto]:
    hues = [HUES[name] for name in sorted(HUES)]
    greys = [(255 - number,) * 3 for number in range(len(labels))]
    text: list[Any] = [label.encode() for label in labels]
    arrays = {
        "white": np.float32(255),
        "centres": np.array((hues + greys)[: len(labels)], dtype=np.float32) / 255,
        "sharpness": np.float32(-SHARPNESS),
        "falloff": np.float32(-FALLOFF),
        "zero": np.array([0]),
        "one": np.array([1]),
    }
    tensors = [numpy_helper.from_array(np.asarray(array), name) for name, array in arrays.items()]
    return [*tensors, helper.make_tensor("labels", TensorProto.STRING, [len(labels)], text)]
