"""Fused models made by hand: a picture's mean colour, the nearest of three hues. No network, no TensorFlow."""

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
STRANGENESS = 12.0  # familiarity is exp(-this times the squared distance to the nearest hue)


def fused(file: Path, labels: Sequence[str] = tuple(sorted(HUES)), any_size: bool = False, **changes: Any) -> Path:
    """A model as `winnow export` writes it, by hand; `labels` belong to blue, green, red and then to greys.

    It takes pictures of 96 x 96, with `any_size` of any size. Parameters: `changes`, of the metadata: a text, or what
    becomes JSON; None: left out. Returns: file.
    """
    onnx.save(proto(labels, any_size, **changes), file)
    return file


def proto(labels: Sequence[str] = tuple(sorted(HUES)), any_size: bool = False, **changes: Any) -> onnx.ModelProto:
    """What `fused` writes, to be damaged before it is written."""
    value = helper.make_tensor_value_info
    batch = 1 if any_size else "batch"
    shape = ["height", "width", 3] if any_size else ["batch", SIZE, SIZE, 3]
    ends = (
        [value("image", TensorProto.UINT8, shape)],
        [
            value("label", TensorProto.STRING, [batch]),
            value("probabilities", TensorProto.FLOAT, [batch, len(labels)]),
            value("embedding", TensorProto.FLOAT, [batch, 3]),
            value("familiarity", TensorProto.FLOAT, [batch]),
        ],
    )
    graph = helper.make_graph(_nodes(any_size), "winnow", *ends, _constants(labels))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    said = metadata(labels, any_size) | changes
    texts = {
        name: text if isinstance(text, str) else json.dumps(text) for name, text in said.items() if text is not None
    }
    helper.set_model_props(model, texts)
    onnx.checker.check_model(model, full_check=True)
    return model


def metadata(labels: Sequence[str], any_size: bool) -> dict[str, Any]:
    """What a model says of itself; JSON is not encoded yet."""
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
    first = (
        [node("Unsqueeze", ["image", "zero"], ["images"])] if any_size else [node("Identity", ["image"], ["images"])]
    )
    return [
        *first,
        node("Cast", ["images"], ["pixels"], to=TensorProto.FLOAT),
        node("Div", ["pixels", "most"], ["light"]),
        node("ReduceMean", ["light"], ["embedding"], axes=[1, 2], keepdims=0),
        node("Unsqueeze", ["embedding", "one"], ["row"]),  # (batch, 1, 3)
        node("Sub", ["row", "centres"], ["apart"]),  # (batch, C, 3)
        node("ReduceSumSquare", ["apart"], ["distance"], axes=[2], keepdims=0),
        node("Mul", ["distance", "sharpness"], ["logits"]),
        node("Softmax", ["logits"], ["probabilities"], axis=1),
        node("ArgMax", ["probabilities"], ["largest"], axis=1, keepdims=0),
        node("Gather", ["labels", "largest"], ["label"]),
        node("ReduceMin", ["distance"], ["nearest"], axes=[1], keepdims=0),
        node("Mul", ["nearest", "strangeness"], ["exponent"]),
        node("Exp", ["exponent"], ["familiarity"]),
    ]


def _constants(labels: Sequence[str]) -> list[onnx.TensorProto]:
    hues = [HUES[name] for name in sorted(HUES)]
    greys = [(255 - number,) * 3 for number in range(len(labels))]
    text: list[Any] = [label.encode() for label in labels]
    arrays = {
        "most": np.float32(255),
        "centres": np.array((hues + greys)[: len(labels)], dtype=np.float32) / 255,
        "sharpness": np.float32(-SHARPNESS),
        "strangeness": np.float32(-STRANGENESS),
        "zero": np.array([0]),
        "one": np.array([1]),
    }
    tensors = [numpy_helper.from_array(np.asarray(array), name) for name, array in arrays.items()]
    return [*tensors, helper.make_tensor("labels", TensorProto.STRING, [len(labels)], text)]
