"""A small hand-built convolutional network, and what int8 may cost."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from winnow.embed.recipe import Recipe
from winnow.workflow import int8

CONVOLUTIONS = 9
INT8_EFFECT = int8.Int8Effect(
    calibrated_on=100,
    calibration="c" * 64,
    fp32="f" * 64,
    measured_on=300,
    cosine_mean=0.9941,
    cosine_min=0.984,
    weighted_f1=int8.F1Comparison(0.88, 0.879, -0.001, -0.005, 0.004, on=300, splits=10),
    speedup=1.4,
    pays=True,
)


def a_network(convolutions=CONVOLUTIONS, size=32):
    """Seeded convolutions 3 x 3 of 16 channels, each with ReLU6, added up in pairs, for pictures of size x size."""
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["pixels", "scale"], ["light"]),
        helper.make_node("Transpose", ["light"], ["0"], perm=[0, 3, 1, 2]),
    ]
    numbers = {"scale": np.float32(1 / 128), "least": np.float32(0), "most": np.float32(6)}
    for n in range(convolutions):
        channels = 16 if n else 3
        numbers[f"w{n}"] = rng.normal(scale=(2 / 9 / channels) ** 0.5, size=(16, channels, 3, 3)).astype(np.float32)
        numbers[f"b{n}"] = rng.uniform(0, 0.1, 16).astype(np.float32)
        inputs = [str(n), f"w{n}", f"b{n}"]
        nodes += [
            helper.make_node(
                "Conv", inputs, [f"raw{n}"], f"conv{n}", pads=[1] * 4, strides=[1 if n else size // 32] * 2
            ),
            helper.make_node("Clip", [f"raw{n}", "least", "most"], [f"clipped{n}"], f"clip{n}"),
            helper.make_node("Add", [f"clipped{n}", str(n)] if n % 2 else [f"clipped{n}"] * 2, [str(n + 1)], f"add{n}"),
        ]
    for name, map_ in (("bottleneck", f"raw{convolutions - 1}"), ("embedding", str(convolutions))):
        nodes.append(helper.make_node("ReduceMean", [map_], [name], axes=[2, 3], keepdims=0))
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", size, size, 3])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 16]) for name in ("embedding", "bottleneck")],
        [numpy_helper.from_array(value, name) for name, value in numbers.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {"winnow_backbone": "{}"})
    return model


def write_network(file: Path) -> Path:
    """Write the network as a backbone for pictures of 96 x 96. Returns: file."""
    model = a_network(size=96)
    metadata = {"graph": Recipe(size=96).graph_options(), "weights": "n" * 64, "weights_name": "imagenet"}
    metadata |= {"parity": 0.0, "dimension": [16], "bottleneck": 16}
    helper.set_model_props(model, {"winnow_backbone": json.dumps(metadata)})
    onnx.save(model, file)
    return file
