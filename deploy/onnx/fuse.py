"""Join the backbone, the head and familiarity to one ONNX graph, from a picture to its label."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from winnow.common.errors import InputError
from winnow.deploy.onnx import resize
from winnow.deploy.onnx.head import ML_OPSET, OPSET
from winnow.deploy.onnx.resize import GraphBuilder
from winnow.embed.recipe import Recipe

if TYPE_CHECKING:
    from winnow.deploy.novelty import ConformalCalibration, OodModel

TTA_IN_FILE = ("none", "flip")  # test-time augmentations that a file can compute
IR_VERSION = 8


def fuse(
    backbone: Any,
    head: Any,
    recipe: Recipe,
    ood_model: OodModel | None,
    calibration: ConformalCalibration | None,
    *,
    tta: str = "none",
    any_size: bool = False,
) -> Any:
    """Build one checked `onnx.ModelProto` without external data or metadata: opset 17, ai.onnx.ml 3 if needed.

    Input: `image`, uint8 (batch, S, S, 3), or with `any_size` uint8 (height, width, 3), which the graph makes square as
    recipe.resize says (batch is then 1).
    Outputs: `label`, string (batch,); `probabilities`, float32 (batch, C); `embedding`, float32 (batch, D) or
    (batch, H, W, D); `familiarity`, float32 (batch,), 0 to 1. Without a calibration the last output is `ood_score`
    instead (higher is further out of distribution), without an OOD model there is none.

    Parameters: `backbone`, a ModelProto from `image` to `embedding` and `bottleneck` (see `embed.backbone`, also
    quantised); `head`, a ModelProto from `embedding`, flattened where it is a map, to `label` and `probabilities` (see
    `deploy.onnx.head.to_onnx`); `tta`, one of `TTA_IN_FILE`: "flip" averages the vectors of a picture and its mirror
    image, or, where they are maps, the probabilities that the head gives for each.
    Raises: InputError for another `tta`, or when backbone, head and recipe do not fit together.
    """
    import onnx

    if tta not in TTA_IN_FILE:
        raise InputError(f"The 'tta' option of a file must be one of {', '.join(TTA_IN_FILE)}. Got {tta!r} instead.")
    _check_parts(backbone, head, recipe)
    builder = GraphBuilder("winnow/")
    image = _add_resize(builder, recipe) if any_size else "image"
    if tta == "none":
        _add_model(builder, backbone, "backbone/", {"image": image})
    else:
        _add_flip_averaged_backbone(builder, backbone, image)
    is_map = recipe.pool == "none"
    if is_map and tta == "flip":
        _add_flip_averaged_head(builder, head)
    else:
        _add_model(builder, head, "head/", {"embedding": builder("Flatten", "embedding")} if is_map else {})
    pooled = "embedding"
    if is_map and ood_model is not None:
        pooled = builder("ReduceMean", "embedding", axes=[1, 2], keepdims=0)
    last_output = _add_familiarity(builder, ood_model, calibration, pooled)
    inputs, outputs = _inputs_and_outputs(backbone, head, last_output, any_size)
    graph = onnx.helper.make_graph(builder.nodes, "winnow", inputs, outputs, builder.initializers)
    opsets = {"": OPSET, "ai.onnx.ml": ML_OPSET}
    used = [onnx.helper.make_opsetid(name, opsets[name]) for name in sorted({node.domain for node in graph.node})]
    model = onnx.helper.make_model(graph, opset_imports=used, ir_version=IR_VERSION, producer_name="winnow")
    onnx.checker.check_model(model, full_check=True)
    return model


def _check_parts(backbone: Any, head: Any, recipe: Recipe) -> None:
    """Raises: InputError unless the three fit together."""
    size, head_dimension = _dims(backbone.graph.input[0])[1], _dims(head.graph.input[0])[1]
    backbone_dimension = math.prod(_dims(_output(backbone, "embedding"))[1:])
    if size != recipe.size:
        raise InputError(f"the backbone takes pictures of {size} x {size}, but its recipe says {recipe.size}")
    if backbone_dimension != head_dimension:
        raise InputError(
            f"the head takes vectors of {head_dimension} numbers, but the backbone returns {backbone_dimension}"
        )


def _add_resize(builder: GraphBuilder, recipe: Recipe) -> str:
    nodes, constants, square = resize.resize_nodes("image", recipe.size, recipe.resize, "square/")
    builder.extend(nodes, constants)
    return square


def _add_model(builder: GraphBuilder, model: Any, prefix: str, names: dict[str, str]) -> None:
    """Add a whole graph; its inner names get the prefix, `names` maps those of its inputs and outputs."""
    from onnx.compose import add_prefix_graph

    graph = add_prefix_graph(model.graph, prefix, rename_inputs=False, rename_outputs=False, name_map=dict(names))
    builder.extend(graph.node, graph.initializer)


def _add_flip_averaged_backbone(builder: GraphBuilder, backbone: Any, image: str) -> None:
    """Run the backbone on pictures and their mirror images in one batch; `embedding` and `bottleneck` are the means."""
    mirrored = builder("Slice", image, [-1], [np.iinfo(np.int64).min], [2], [-1])
    names = {name: f"both/{name}" for name in ("embedding", "bottleneck")}
    _add_model(builder, backbone, "backbone/", names | {"image": builder("Concat", image, mirrored, axis=0)})
    for name in names:
        _add_mean_of_halves(builder, name)


def _add_flip_averaged_head(builder: GraphBuilder, head: Any) -> None:
    """Run the head on the maps of pictures and of their mirror images; `probabilities` are the means."""
    from onnx.helper import make_node

    names = {"embedding": builder("Flatten", "both/embedding"), "label": "both/label"}
    _add_model(builder, head, "head/", names | {"probabilities": "both/probabilities"})
    _add_mean_of_halves(builder, "probabilities")
    builder.nodes += [
        make_node("ArgMax", ["probabilities"], ["both/largest"], axis=1, keepdims=0),
        make_node("Gather", ["head/labels", "both/largest"], ["label"]),
    ]


def _add_mean_of_halves(builder: GraphBuilder, name: str) -> None:
    """Compute `name` as the mean of the two halves of `both/name`: pictures first, then their mirror images."""
    from onnx.helper import make_node

    halves = [f"both/{name}/plain", f"both/{name}/mirrored"]
    builder.nodes += [make_node("Split", [f"both/{name}"], halves, axis=0), make_node("Mean", halves, [name])]


def _add_familiarity(
    builder: GraphBuilder, ood_model: OodModel | None, calibration: ConformalCalibration | None, pooled: str
) -> str | None:
    """Add the OOD score and its p-value; the name of the last output, None without an OOD model."""
    from onnx.helper import make_node

    if ood_model is None:
        return None
    from winnow.deploy import novelty

    nodes, constants, score = novelty.ood_score_nodes(ood_model, pooled, "bottleneck", "familiarity/")
    builder.extend(nodes, constants)
    if calibration is None:
        builder.nodes.append(make_node("Identity", [score], ["ood_score"]))
        return "ood_score"
    builder.extend(*novelty.p_value_nodes(calibration, score, "familiarity", "familiarity/calibration/"))
    return "familiarity"


def _inputs_and_outputs(
    backbone: Any, head: Any, last_output: str | None, any_size: bool
) -> tuple[list[Any], list[Any]]:
    """Inputs and outputs of the fused graph, in the order of `fuse`."""
    from onnx import TensorProto
    from onnx.helper import make_tensor_value_info as tensor

    _, *square = _dims(backbone.graph.input[0])
    batch: Any = 1 if any_size else "batch"
    shape: list[Any] = ["height", "width", 3] if any_size else ["batch", *square]
    outputs = [
        tensor("label", TensorProto.STRING, [batch]),
        tensor("probabilities", TensorProto.FLOAT, [batch, _dims(_output(head, "probabilities"))[1]]),
        tensor("embedding", TensorProto.FLOAT, [batch, *_dims(_output(backbone, "embedding"))[1:]]),
    ]
    if last_output:
        outputs.append(tensor(last_output, TensorProto.FLOAT, [batch]))
    return [tensor("image", TensorProto.UINT8, shape)], outputs


def _output(model: Any, name: str) -> Any:
    return next(value for value in model.graph.output if value.name == name)


def _dims(value: Any) -> list[Any]:
    return [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
