"""Pictures that tests draw, and a hand-built backbone whose vectors are their mean colours."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np


def picture(seed: int = 0, size: tuple[int, int] = (48, 32)) -> np.ndarray:
    """Soft seeded colours, uint8 (height, width, 3) from `size` = (width, height)."""
    from PIL import Image

    small = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(small).resize(size, Image.Resampling.BICUBIC))


HUES = {"red": (220, 60, 50), "green": (60, 200, 70), "blue": (50, 70, 210)}


def paint(file: Path, hue: tuple[int, int, int], seed: int) -> None:
    """Write a picture of one hue (red, green, blue) in soft patches; every seed gives another one."""
    from PIL import Image

    rng = np.random.default_rng(seed)
    patches = np.clip(rng.normal(hue, 40, (12, 10, 3)), 0, 255).astype(np.uint8)
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(patches).resize((48, 40), Image.Resampling.BICUBIC).save(file, quality=92)


def paint_hues(folder: Path) -> Path:
    """Write sixty pictures, twenty of each class, that the backbone of `write_colours` separates; always the same."""
    for index, (label, hue) in enumerate(HUES.items()):
        for number in range(20):
            paint(folder / label / f"{number:02d}.jpg", hue, 100 * index + number)
    return folder


def write_colours(file: Path) -> Path:
    """Write a backbone for pictures of 96 x 96 without a network.

    Its embedding is the mean colour: red, green and blue from 0 to 1; its bottleneck is the mean of red and of green.
    Returns: file.
    """
    import onnx
    from onnx import TensorProto, helper

    from winnow.embed.recipe import Recipe

    nodes = [
        helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["pixels", "most"], ["light"]),
        helper.make_node("ReduceMean", ["light"], ["embedding"], axes=[1, 2], keepdims=0),
        helper.make_node("Slice", ["embedding", "zero", "two", "one"], ["bottleneck"]),
    ]
    numbers = [helper.make_tensor("most", TensorProto.FLOAT, [], [255.0])]
    numbers += [
        helper.make_tensor(name, TensorProto.INT64, [1], [value])
        for name, value in (("zero", 0), ("one", 1), ("two", 2))
    ]
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", 96, 96, 3])
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", width])
        for name, width in (("embedding", 3), ("bottleneck", 2))
    ]
    graph = helper.make_graph(nodes, "colours", [image], outputs, numbers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    metadata = {"graph": Recipe(size=96).graph_options(), "weights": "c" * 64, "weights_name": "imagenet"}
    metadata |= {"parity": 0.0, "dimension": [3], "bottleneck": 2}
    helper.set_model_props(model, {"winnow_backbone": json.dumps(metadata)})
    onnx.save(model, file)
    return file
