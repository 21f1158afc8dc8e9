"""Backbone, head and familiarity joined into one ONNX graph: a picture in, its label out."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from winnow.common.errors import InputError
from winnow.deploy.onnx import resize
from winnow.deploy.onnx.head import ML_OPSET, OPSET
from winnow.deploy.onnx.resize import Writer
from winnow.embed.recipe import Recipe

if TYPE_CHECKING:
    from winnow.deploy.novelty import Calibration, Reference

VIEWS = ("none", "flip")
IR_VERSION = 8


def fuse(
    backbone: Any,
    head: Any,
    recipe: Recipe,
    reference: Reference | None,
    calibration: Calibration | None,
    *,
    views: str = "none",
    any_size: bool = False,
) -> Any:
    """One checked `onnx.ModelProto` without external data or metadata: opset 17, ai.onnx.ml 3 where the head needs it.

    Input `image`, uint8 (batch, S, S, 3), or with any_size uint8 (height, width, 3), made square as recipe.resize says
    (batch is then 1). Outputs `label` string (batch,), `probabilities` float32 (batch, C), `embedding` float32
    (batch, D) or (batch, H, W, D), and `familiarity` float32 (batch,), 0 to 1; with calibration None it is
    `strangeness`, higher is stranger, and with reference None it is left out.

    Parameters: backbone, a ModelProto from `image` to `embedding` and `bottleneck` (`embed.backbone`, also quantised);
    head, one from `embedding`, flattened where it is a map, to `label` and `probabilities` (`heads.export.to_onnx`);
    views, one of `VIEWS`: "flip" averages the vectors of a picture and of its mirror image, and where they are maps
    what the head says of each.
    Raises: InputError when views is another, or backbone, head and recipe do not belong together.
    """
    import onnx

    if views not in VIEWS:
        raise InputError(f"The 'views' option must be one of {', '.join(VIEWS)}: {views!r} cannot be inside the file.")
    _check(backbone, head, recipe)
    write = Writer("winnow/")
    image = _square(write, recipe) if any_size else "image"
    if views == "none":
        _add(write, backbone, "backbone/", {"image": image})
    else:
        _add_mirrored(write, backbone, image)
    is_map = recipe.pool == "none"
    if is_map and views == "flip":
        _add_head_of_both(write, head)
    else:
        _add(write, head, "head/", {"embedding": write("Flatten", "embedding")} if is_map else {})
    pooled = (
        write("ReduceMean", "embedding", axes=[1, 2], keepdims=0) if is_map and reference is not None else "embedding"
    )
    last = _add_familiarity(write, reference, calibration, pooled)
    ends = _ends(backbone, head, last, any_size)
    graph = onnx.helper.make_graph(write.nodes, "winnow", *ends, write.initializers)
    opsets = {"": OPSET, "ai.onnx.ml": ML_OPSET}
    used = [onnx.helper.make_opsetid(name, opsets[name]) for name in sorted({node.domain for node in graph.node})]
    model = onnx.helper.make_model(graph, opset_imports=used, ir_version=IR_VERSION, producer_name="winnow")
    onnx.checker.check_model(model, full_check=True)
    return model


def _check(backbone: Any, head: Any, recipe: Recipe) -> None:
    """Raise InputError unless the three belong together."""
    size, wanted = _dims(backbone.graph.input[0])[1], _dims(head.graph.input[0])[1]
    given = math.prod(_dims(_output(backbone, "embedding"))[1:])
    if size != recipe.size:
        raise InputError(f"the backbone sees pictures of {size} x {size}, the recipe says {recipe.size}: use its own")
    if given != wanted:
        raise InputError(f"the head takes {wanted} numbers a picture, the backbone gives {given}: use its own")


def _square(write: Writer, recipe: Recipe) -> str:
    nodes, constants, square = resize.nodes("image", recipe.size, recipe.resize, "square/")
    write.extend(nodes, constants)
    return square


def _add(write: Writer, model: Any, prefix: str, names: dict[str, str]) -> None:
    """A whole graph, all its names but those of its ends begun with prefix; names: how ends are called here."""
    from onnx.compose import add_prefix_graph

    graph = add_prefix_graph(model.graph, prefix, rename_inputs=False, rename_outputs=False, name_map=dict(names))
    write.extend(graph.node, graph.initializer)


def _add_mirrored(write: Writer, backbone: Any, image: str) -> None:
    """The backbone once on pictures and their mirror images together: `embedding` and `bottleneck` are the means."""
    mirrored = write("Slice", image, [-1], [np.iinfo(np.int64).min], [2], [-1])
    names = {name: f"both/{name}" for name in ("embedding", "bottleneck")}
    _add(write, backbone, "backbone/", names | {"image": write("Concat", image, mirrored, axis=0)})
    for name in names:
        _average(write, name)


def _add_head_of_both(write: Writer, head: Any) -> None:
    """The head on the maps of pictures and of their mirror images: `probabilities` are the means, `label` is theirs."""
    from onnx.helper import make_node

    names = {"embedding": write("Flatten", "both/embedding"), "label": "both/label"}
    _add(write, head, "head/", names | {"probabilities": "both/probabilities"})
    _average(write, "probabilities")
    write.nodes += [
        make_node("ArgMax", ["probabilities"], ["both/largest"], axis=1, keepdims=0),
        make_node("Gather", ["head/labels", "both/largest"], ["label"]),
    ]


def _average(write: Writer, name: str) -> None:
    """name: the mean of what `both/name` says of pictures, its first half, and of their mirror images."""
    from onnx.helper import make_node

    halves = [f"both/{name}/seen", f"both/{name}/mirrored"]
    write.nodes += [make_node("Split", [f"both/{name}"], halves, axis=0), make_node("Mean", halves, [name])]


def _add_familiarity(write: Writer, reference: Any, calibration: Any, pooled: str) -> str | None:
    """The name of the last output, None for none."""
    from onnx.helper import make_node

    if reference is None:
        return None
    from winnow.deploy import novelty

    nodes, constants, strangeness = novelty.nodes(reference, pooled, "bottleneck", "familiarity/")
    write.extend(nodes, constants)
    if calibration is None:
        write.nodes.append(make_node("Identity", [strangeness], ["strangeness"]))
        return "strangeness"
    write.extend(*novelty.calibration_nodes(calibration, strangeness, "familiarity", "familiarity/calibration/"))
    return "familiarity"


def _ends(backbone: Any, head: Any, last: str | None, any_size: bool) -> tuple[list[Any], list[Any]]:
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
    if last:
        outputs.append(tensor(last, TensorProto.FLOAT, [batch]))
    return [tensor("image", TensorProto.UINT8, shape)], outputs


def _output(model: Any, name: str) -> Any:
    return next(value for value in model.graph.output if value.name == name)


def _dims(value: Any) -> list[Any]:
    return [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
