"""Resize a picture of any size to a square inside an ONNX graph.

Every pixel equals that of `embed.images.resize_to_square` with Pillow 13.

Pillow's antialiased bicubic resize multiplies by one matrix for the columns and then by another for the rows, or first
for the rows where a picture loses far more height than width; each result is rounded to 8 bits. The matrices depend on
the size of the picture, so the graph computes them. Weights are whole multiples of 2**-22, as in Pillow, and sums of
bytes times such weights are exact in float64.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from winnow.embed.images import CROP_SHARE

SUPPORT = 2.0  # pixels that the bicubic filter reaches to either side when it does not shrink
WEIGHT_STEPS = 2.0**22  # weights are multiples of 1 / WEIGHT_STEPS, as in Pillow
GREY = 128  # value of the padding
MAX_BLOCKS = 8  # output pixels are computed in up to this many blocks, each from the input pixels that it needs

_UINT8, _INT64, _DOUBLE = 2, 7, 11  # onnx.TensorProto.UINT8, INT64 and DOUBLE
_SWAP_ROWS_AND_COLUMNS = [1, 0, 2]


class GraphBuilder:
    """Collects the nodes and constants of a graph: a call adds a node and returns the name of its output.

    Inputs are names, or numbers that become constants: a Python float or an array by its own type, int as int64.
    """

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []

    def __call__(self, op: str, *inputs: str | float | list[int] | np.ndarray, **attributes: Any) -> str:
        """Add a node with one output. Returns: the name of the output."""
        from onnx.helper import make_node

        name = f"{self.prefix}{op}_{len(self.nodes)}"
        names = [value if isinstance(value, str) else self.constant(value) for value in inputs]
        self.nodes.append(make_node(op, names, [name], **attributes))
        return name

    def extend(self, nodes: Iterable[Any], initializers: Iterable[Any]) -> None:
        """Add nodes and constants that already have names."""
        self.nodes += nodes
        self.initializers += initializers

    def constant(self, value: float | list[int] | np.ndarray) -> str:
        """Add a constant. Returns: its name."""
        from onnx.numpy_helper import from_array

        name = f"{self.prefix}constant_{len(self.initializers)}"
        self.initializers.append(from_array(np.asarray(value), name))
        return name


def resize_nodes(image: str, size: int, resize: str, prefix: str) -> tuple[list[Any], list[Any], str]:
    """`embed.images.resize_to_square` in ONNX, opset 17: from uint8 (H, W, 3) to uint8 (1, size, size, 3).

    Parameters: `image`, the name of the input; `resize`, a key of `AXES`; `prefix`, of all new names.

    Returns: nodes, constants, and the name of the result.
    """
    op = GraphBuilder(prefix)
    shape = op("Cast", op("Shape", image), to=_DOUBLE)
    height, width = op("Gather", shape, 0), op("Gather", shape, 1)
    columns_first = op("Not", _rows_first(op, height, width, size, resize))
    first, second = op("Where", columns_first, width, height), op("Where", columns_first, height, width)
    pixels, inside = _swap_axes_if(op, columns_first, image), []
    for side, other in ((first, second), (second, first)):  # the side that is resized is always the first axis
        axis = AXES[resize](op, side, other, size)
        pixels = _resample(op, pixels, *_taps(op, side, axis, size), size)
        pixels = op("Transpose", pixels, perm=_SWAP_ROWS_AND_COLUMNS)
        inside.append(axis.inside)
    if resize == "pad":
        is_picture = op("And", op("Unsqueeze", inside[0], [1, 2]), op("Unsqueeze", inside[1], [0, 2]))
        pixels = op("Where", is_picture, pixels, np.array(GREY, dtype=np.uint8))
    return op.nodes, op.initializers, op("Unsqueeze", _swap_axes_if(op, columns_first, pixels), [0])


def _rows_first(op: GraphBuilder, height: str, width: str, size: int, resize: str) -> str:
    """Whether Pillow (from 13 on) resizes the rows first: it drops over twice as many rows as columns. Bool scalar."""
    lengths = [
        _length(op, *sides, size) if resize == "pad" else float(size) for sides in ((height, width), (width, height))
    ]
    lost_rows, lost_columns = op("Sub", height, lengths[0]), op("Sub", width, lengths[1])
    return op("Greater", lost_rows, op("Max", op("Mul", lost_columns, 2.0), 0.0))


def _swap_axes_if(op: GraphBuilder, condition: str, pixels: str) -> str:
    """Swap rows and columns of uint8 (n, m, 3) where `condition`, a bool scalar, is true."""
    from onnx.helper import make_graph, make_node, make_tensor_value_info

    branches = {}
    for branch, node in (
        ("then_branch", make_node("Transpose", [pixels], [f"{pixels}/swapped"], perm=_SWAP_ROWS_AND_COLUMNS)),
        ("else_branch", make_node("Identity", [pixels], [f"{pixels}/unchanged"])),
    ):
        branches[branch] = make_graph(
            [node], branch, [], [make_tensor_value_info(node.output[0], _UINT8, [None, None, 3])]
        )
    return op("If", condition, **branches)


@dataclass(frozen=True)
class Axis:
    """How one axis of a picture is resized; strings are names of values in the graph.

    start : where the part that is kept begins, in input pixels.
    scale : input pixels per output pixel.
    positions : float64 (size,), the number of each output pixel, counted from `start`.
    inside : bool (size,), which output pixels are not padding; "" if all are.
    """

    start: str | float
    scale: str
    positions: str | np.ndarray
    inside: str = ""


def _crop(op: GraphBuilder, side: str, other: str, size: int) -> Axis:
    kept = op("Mul", op("Min", side, other), CROP_SHARE)
    start = op("Mul", op("Sub", side, kept), 0.5)
    return Axis(start, op("Div", kept, float(size)), np.arange(float(size)))


def _squash(op: GraphBuilder, side: str, other: str, size: int) -> Axis:
    return Axis(0.0, op("Div", side, float(size)), np.arange(float(size)))


def _pad(op: GraphBuilder, side: str, other: str, size: int) -> Axis:
    length = _length(op, side, other, size)
    before = op("Round", op("Mul", op("Sub", float(size), length), 0.5))
    number = op("Sub", np.arange(float(size)), before)
    last = op("Sub", length, 1.0)
    inside = op("And", op("GreaterOrEqual", number, 0.0), op("LessOrEqual", number, last))
    scale = op("Div", side, op("Max", length, 1.0))  # the shorter side of a very thin picture may become 0 pixels
    return Axis(0.0, scale, op("Max", op("Min", number, last), 0.0), inside)


def _length(op: GraphBuilder, side: str, other: str, size: int) -> str:
    """Output pixels of a side when the longer side becomes `size`."""
    return op("Round", op("Mul", op("Div", side, op("Max", side, other)), float(size)))


AXES: dict[str, Callable[[GraphBuilder, str, str, int], Axis]] = {"crop": _crop, "squash": _squash, "pad": _pad}


def _taps(op: GraphBuilder, side: str, axis: Axis, size: int) -> tuple[str, str]:
    """The input pixels of each block of output pixels, int64 (blocks, n), and their weights for each output pixel.

    The weights are in multiples of 1 / `WEIGHT_STEPS`, float64 (blocks, pixels, n). The computation follows
    `precompute_coeffs` and `normalize_coeffs_8bpc` in Pillow's Resample.c.
    """
    blocks = max(n for n in range(1, MAX_BLOCKS + 1) if size % n == 0)
    stretch = op("Max", axis.scale, 1.0)
    reach = op("Mul", stretch, SUPPORT)
    centre = op("Add", op("Mul", op("Add", axis.positions, 0.5), axis.scale), axis.start)
    centre = op("Reshape", centre, [blocks, -1, 1])
    first = op("Cast", op("Add", op("Sub", centre, reach), 0.5), to=_INT64)
    first = op("Max", first, 0)
    end = op("Cast", op("Min", op("Add", op("Add", centre, reach), 0.5), side), to=_INT64)
    block_start = op("ReduceMin", first, axes=[1], keepdims=1)
    count = op("ReduceMax", op("Sub", end, block_start), keepdims=0)
    taps = op("Add", block_start, op("Range", 0, count, 1))  # (blocks, 1, n)
    distance = op("Add", op("Sub", op("Cast", taps, to=_DOUBLE), centre), 0.5)
    weights = _bicubic(op, op("Mul", distance, op("Reciprocal", stretch)))
    used = op("And", op("GreaterOrEqual", taps, first), op("Less", taps, end))
    weights = op("Where", used, weights, 0.0)
    weights = op("Div", weights, op("ReduceSum", weights, [2], keepdims=1))
    steps = op("Mul", weights, WEIGHT_STEPS)
    half = op("Mul", op("Sign", steps), 0.5)
    steps = op("Cast", op("Cast", op("Add", steps, half), to=_INT64), to=_DOUBLE)
    last = op("Sub", op("Cast", side, to=_INT64), 1)  # taps beyond it have weight 0
    return op("Min", op("Squeeze", taps, [1]), last), steps


def _bicubic(op: GraphBuilder, x: str) -> str:
    """Keys' cubic convolution kernel with a = -0.5 (1981, doi:10.1109/TASSP.1981.1163711), in Pillow's order."""
    x = op("Abs", x)
    near = op("Mul", op("Mul", op("Sub", op("Mul", x, 1.5), 2.5), x), x)
    near = op("Add", near, 1.0)
    far = op("Add", op("Mul", op("Sub", x, 5.0), x), 8.0)
    far = op("Mul", op("Sub", op("Mul", far, x), 4.0), -0.5)
    outside = op("Where", op("Less", x, 2.0), far, 0.0)
    return op("Where", op("Less", x, 1.0), near, outside)


def _resample(op: GraphBuilder, pixels: str, taps: str, weights: str, size: int) -> str:
    """Resize the first axis: uint8 (side, other, 3) -> uint8 (size, other, 3)."""
    lines = op("Gather", pixels, taps)  # (blocks, n, other, 3)
    lines = op("Cast", op("Reshape", lines, [0, 0, -1]), to=_DOUBLE)
    sums = op("MatMul", weights, lines)  # (blocks, pixels, 3 other)
    rounded = op("Floor", op("Add", op("Mul", sums, 1 / WEIGHT_STEPS), 0.5))
    return op("Reshape", op("Cast", op("Clip", rounded, 0.0, 255.0), to=_UINT8), [size, -1, 3])
