"""Resize an image of any size to a square inside an ONNX graph, as `embed.images.resize_to_square` does with Pillow 13.

Pillow's antialiased bicubic resize is a product with one matrix for the columns and then one with another for the rows,
or first the rows where a picture loses far more height than width; each result is rounded to 8 bits. The matrices
depend on the picture's size, so the graph makes them. Weights are whole multiples of 2**-22, as in Pillow, and sums of
bytes times such weights are exact in float64.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from winnow.embed.images import CROP_SHARE

SUPPORT = 2.0  # pixels that the bicubic filter reaches to either side, where nothing is made smaller
STEPS = 2.0**22  # Pillow's precision of a weight
GREY = 128  # around a padded picture
BLOCKS = 8  # at most: output pixels are made in so many blocks, each from the input pixels that it needs

_UINT8, _INT64, _DOUBLE = 2, 7, 11  # onnx.TensorProto.UINT8, INT64 and DOUBLE
_TURN = [1, 0, 2]


class Writer:
    """Nodes and constants of a graph in the making; a call adds a node and gives the name of what it makes.

    Inputs are names, or numbers that become constants: Python's float or an array by its own type, int as int64.
    """

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []

    def __call__(self, op: str, *inputs: str | float | list[int] | np.ndarray, **attributes: Any) -> str:
        """The name of the one output of a new node of kind op."""
        from onnx.helper import make_node

        name = f"{self.prefix}{op}_{len(self.nodes)}"
        names = [value if isinstance(value, str) else self.constant(value) for value in inputs]
        self.nodes.append(make_node(op, names, [name], **attributes))
        return name

    def extend(self, nodes: Iterable[Any], initializers: Iterable[Any]) -> None:
        """Take over nodes and constants made elsewhere, with names of their own."""
        self.nodes += nodes
        self.initializers += initializers

    def constant(self, value: float | list[int] | np.ndarray) -> str:
        """The name of a new constant."""
        from onnx.numpy_helper import from_array

        name = f"{self.prefix}constant_{len(self.initializers)}"
        self.initializers.append(from_array(np.asarray(value), name))
        return name


def nodes(image: str, size: int, resize: str, prefix: str) -> tuple[list[Any], list[Any], str]:
    """Opset 17 from image, uint8 (H, W, 3), to uint8 (1, size, size, 3) as `embed.images.resize_to_square`.

    Returns: the nodes, their constants, and the name of the result; all names begin with prefix.
    """
    write = Writer(prefix)
    shape = write("Cast", write("Shape", image), to=_DOUBLE)
    height, width = write("Gather", shape, 0), write("Gather", shape, 1)
    turned = write("Not", _rows_first(write, height, width, size, resize))
    first, second = write("Where", turned, width, height), write("Where", turned, height, width)
    pixels, shown = _turn_if(write, turned, image), []
    for side, other in ((first, second), (second, first)):
        start, scale, positions, inside = AXES[resize](write, side, other, size)
        pixels = _resample(write, pixels, *_taps(write, side, start, scale, positions, size), size)
        pixels = write("Transpose", pixels, perm=_TURN)
        shown.append(inside)
    if resize == "pad":
        both = write("And", write("Unsqueeze", shown[0], [1, 2]), write("Unsqueeze", shown[1], [0, 2]))
        pixels = write("Where", both, pixels, np.array(GREY, dtype=np.uint8))
    return write.nodes, write.initializers, write("Unsqueeze", _turn_if(write, turned, pixels), [0])


def _rows_first(write: Writer, height: str, width: str, size: int, resize: str) -> str:
    """Whether Pillow (from 13 on) takes the rows first, as it loses over twice as many as columns: bool scalar."""
    lengths = [
        _length(write, *sides, size) if resize == "pad" else float(size) for sides in ((height, width), (width, height))
    ]
    down, across = write("Sub", height, lengths[0]), write("Sub", width, lengths[1])
    return write("Greater", down, write("Max", write("Mul", across, 2.0), 0.0))


def _turn_if(write: Writer, turned: str, pixels: str) -> str:
    """Rows and columns of uint8 (n, m, 3) change places where `turned`, a bool scalar, is true."""
    from onnx.helper import make_graph, make_node, make_tensor_value_info

    branches = {}
    for branch, node in (
        ("then_branch", make_node("Transpose", [pixels], [f"{pixels}/turned"], perm=_TURN)),
        ("else_branch", make_node("Identity", [pixels], [f"{pixels}/as_it_is"])),
    ):
        branches[branch] = make_graph(
            [node], branch, [], [make_tensor_value_info(node.output[0], _UINT8, [None, None, 3])]
        )
    return write("If", turned, **branches)


Axis = tuple[str | float, str, str | np.ndarray, str]  # see _crop


def _crop(write: Writer, side: str, other: str, size: int) -> Axis:
    """One axis of a picture: where what is kept of it begins, input pixels to an output pixel (both in input pixels),
    float64 (size,) the number of each output pixel counted from there, and which of them are not padding ("": all)."""
    kept = write("Mul", write("Min", side, other), CROP_SHARE)
    start = write("Mul", write("Sub", side, kept), 0.5)
    return start, write("Div", kept, float(size)), np.arange(float(size)), ""


def _squash(write: Writer, side: str, other: str, size: int) -> Axis:
    return 0.0, write("Div", side, float(size)), np.arange(float(size)), ""


def _pad(write: Writer, side: str, other: str, size: int) -> Axis:
    length = _length(write, side, other, size)
    before = write("Round", write("Mul", write("Sub", float(size), length), 0.5))
    number = write("Sub", np.arange(float(size)), before)
    last = write("Sub", length, 1.0)
    inside = write("And", write("GreaterOrEqual", number, 0.0), write("LessOrEqual", number, last))
    scale = write("Div", side, write("Max", length, 1.0))  # a picture may be so thin that nothing of it is left
    return 0.0, scale, write("Max", write("Min", number, last), 0.0), inside


def _length(write: Writer, side: str, other: str, size: int) -> str:
    """Output pixels of a side where the longer one becomes `size`."""
    return write("Round", write("Mul", write("Div", side, write("Max", side, other)), float(size)))


AXES: dict[str, Callable[[Writer, str, str, int], Axis]] = {"crop": _crop, "squash": _squash, "pad": _pad}


def _taps(
    write: Writer, side: str, start: str | float, scale: str, positions: str | np.ndarray, size: int
) -> tuple[str, str]:
    """The input pixels of a block of output pixels, int64 (blocks, n), and their weights for each output pixel of it
    in multiples of 1 / `STEPS`, float64 (blocks, pixels, n).

    As `precompute_coeffs` and `normalize_coeffs_8bpc` in Pillow's Resample.c.
    """
    blocks = max(n for n in range(1, BLOCKS + 1) if size % n == 0)
    stretch = write("Max", scale, 1.0)
    reach = write("Mul", stretch, SUPPORT)
    centre = write("Add", write("Mul", write("Add", positions, 0.5), scale), start)
    centre = write("Reshape", centre, [blocks, -1, 1])
    first = write("Cast", write("Add", write("Sub", centre, reach), 0.5), to=_INT64)
    first = write("Max", first, 0)
    end = write("Cast", write("Min", write("Add", write("Add", centre, reach), 0.5), side), to=_INT64)
    begin = write("ReduceMin", first, axes=[1], keepdims=1)  # of the block
    most = write("ReduceMax", write("Sub", end, begin), keepdims=0)
    taps = write("Add", begin, write("Range", 0, most, 1))  # (blocks, 1, n)
    distance = write("Add", write("Sub", write("Cast", taps, to=_DOUBLE), centre), 0.5)
    weights = _bicubic(write, write("Mul", distance, write("Reciprocal", stretch)))
    used = write("And", write("GreaterOrEqual", taps, first), write("Less", taps, end))
    weights = write("Where", used, weights, 0.0)
    weights = write("Div", weights, write("ReduceSum", weights, [2], keepdims=1))
    steps = write("Mul", weights, STEPS)
    half = write("Mul", write("Sign", steps), 0.5)
    steps = write("Cast", write("Cast", write("Add", steps, half), to=_INT64), to=_DOUBLE)
    limit = write("Sub", write("Cast", side, to=_INT64), 1)  # past it are pixels of other blocks only
    return write("Min", write("Squeeze", taps, [1]), limit), steps


def _bicubic(write: Writer, x: str) -> str:
    """Keys' cubic convolution kernel with a = -0.5 (1981, doi:10.1109/TASSP.1981.1163711), in Pillow's order."""
    x = write("Abs", x)
    near = write("Mul", write("Mul", write("Sub", write("Mul", x, 1.5), 2.5), x), x)
    near = write("Add", near, 1.0)
    far = write("Add", write("Mul", write("Sub", x, 5.0), x), 8.0)
    far = write("Mul", write("Sub", write("Mul", far, x), 4.0), -0.5)
    outside = write("Where", write("Less", x, 2.0), far, 0.0)
    return write("Where", write("Less", x, 1.0), near, outside)


def _resample(write: Writer, pixels: str, taps: str, weights: str, size: int) -> str:
    """uint8 (side, other, 3) -> uint8 (size, other, 3)."""
    lines = write("Gather", pixels, taps)  # (blocks, n, other, 3)
    lines = write("Cast", write("Reshape", lines, [0, 0, -1]), to=_DOUBLE)
    sums = write("MatMul", weights, lines)  # (blocks, pixels, 3 other)
    rounded = write("Floor", write("Add", write("Mul", sums, 1 / STEPS), 0.5))
    return write("Reshape", write("Cast", write("Clip", rounded, 0.0, 255.0), to=_UINT8), [size, -1, 3])
