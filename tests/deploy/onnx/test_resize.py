"""The graph resizes a picture exactly as Pillow does."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from winnow.deploy.onnx.resize import resize_nodes
from winnow.embed import images
from winnow.embed.recipe import RESIZES

SHAPES = [
    (1, 1),
    (1, 500),
    (500, 1),
    (2, 3),
    (9, 700),
    (96, 96),
    (95, 97),
    (224, 224),
    (300, 200),
    (200, 300),
    (640, 401),
]


def square_function(size, resize):
    nodes, constants, name = resize_nodes("image", size, resize, "square/")
    assert all(out.startswith("square/") for node in nodes for out in node.output)
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, ["height", "width", 3])
    square = helper.make_tensor_value_info(name, TensorProto.UINT8, [1, size, size, 3])
    graph = helper.make_graph(nodes, "square", [image], [square], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return lambda pixels: session.run(None, {"image": pixels})[0][0]


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture(scope="module", params=RESIZES)
def resize_and_function(request):
    """A resize to 96 pixels, and its ONNX graph as a function."""
    return request.param, square_function(96, request.param)


@pytest.mark.parametrize("shape", SHAPES)
def test_every_pixel_equals_pillow(resize_and_function, shape):
    resize, square = resize_and_function
    pixels = noise(*shape)
    np.testing.assert_array_equal(square(pixels), images.resize_to_square(pixels, 96, resize))


@settings(max_examples=60)
@given(height=st.integers(1, 300), width=st.integers(1, 300), seed=st.integers(0, 9))
def test_every_pixel_equals_pillow_for_any_shape(resize_and_function, height, width, seed):
    resize, square = resize_and_function
    pixels = noise(height, width, seed)
    np.testing.assert_array_equal(square(pixels), images.resize_to_square(pixels, 96, resize))


@pytest.mark.parametrize("size", [97, 224, 448])
@pytest.mark.parametrize("resize", RESIZES)
def test_sides_of_any_length(size, resize):
    square = square_function(size, resize)
    for shape in ((500, 375), (375, 500), (60, 80)):
        pixels = noise(*shape)
        np.testing.assert_array_equal(square(pixels), images.resize_to_square(pixels, size, resize))


@pytest.mark.slow
def test_a_picture_of_twelve_megapixels():
    square = square_function(224, "crop")
    for shape in ((3000, 4000), (4000, 3000)):
        pixels = noise(*shape)
        np.testing.assert_array_equal(square(pixels), images.resize_to_square(pixels, 224))


def test_photographs(flowers):
    square = square_function(224, "crop")
    for path in sorted(flowers.rglob("*.jpg"))[::50]:
        pixels, _ = images.decode(path.read_bytes())
        np.testing.assert_array_equal(square(pixels), images.resize_to_square(pixels, 224))
