"""Smaller backbones stay close to the original, and nothing is logged or left behind on the way."""

from __future__ import annotations

import logging
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, numpy_helper
from support.networks import CONVOLUTIONS, a_network

from winnow.common.errors import InputError
from winnow.embed.pipeline import read_square
from winnow.embed.quantize import (
    CORRECTION_IMAGES,
    FLOAT32_CONVOLUTIONS,
    _channel_means,
    quantize_to_int8,
    to_float16_weights,
)
from winnow.embed.recipe import Recipe


def pictures(n, seed=0):
    """Soft pictures, uint8 (n, 32, 32, 3)."""
    small = np.random.default_rng(seed).integers(0, 256, (n, 4, 4, 3), dtype=np.uint8)
    return small.repeat(8, axis=1).repeat(8, axis=2)


def run(model, pixels):
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(["embedding", "bottleneck"], {"image": pixels})


def cosine(a, b):
    return (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


@pytest.fixture(scope="module")
def quantised():
    return quantize_to_int8(a_network(), pictures(30))


def test_float16_weights_halve_the_file_and_keep_the_vectors():
    model = a_network()
    smaller = to_float16_weights(model)
    weights = {tensor.name: tensor.data_type for tensor in smaller.graph.initializer}
    assert weights["w1/half"] == TensorProto.FLOAT16
    assert weights["b1"] == TensorProto.FLOAT  # small ones stay float32
    assert smaller.ByteSize() < 0.65 * model.ByteSize()
    for expected, actual in zip(run(model, pictures(8)), run(smaller, pictures(8)), strict=True):
        assert expected.dtype == actual.dtype == np.float32
        np.testing.assert_allclose(actual, expected, rtol=2e-2, atol=1e-2)
        assert cosine(expected, actual).min() > 0.9999
    assert [prop.key for prop in smaller.metadata_props] == ["winnow_backbone"]
    assert model.SerializeToString() == a_network().SerializeToString()


def test_weights_beyond_float16_stay_float32():
    model = a_network()
    at = next(i for i, tensor in enumerate(model.graph.initializer) if tensor.name == "w1")
    weights = numpy_helper.to_array(model.graph.initializer[at]) * np.float32(1e6)
    model.graph.initializer[at].CopyFrom(numpy_helper.from_array(weights, "w1"))
    kept = next(tensor for tensor in to_float16_weights(model).graph.initializer if tensor.name == "w1")
    np.testing.assert_array_equal(numpy_helper.to_array(kept), weights)


def test_int8_is_close_on_pictures_that_it_was_not_calibrated_on(quantised):
    unseen = pictures(20, seed=1)
    for fp32, int8 in zip(run(a_network(), unseen), run(quantised, unseen), strict=True):
        assert cosine(fp32, int8).min() > 0.99
        assert np.abs(fp32 - int8).max() > 0  # otherwise nothing was quantised


def test_an_int8_file_has_the_inputs_outputs_and_metadata_of_the_original(quantised):
    onnx.checker.check_model(quantised, full_check=True)
    model = a_network()
    assert list(quantised.graph.input) == list(model.graph.input)
    assert list(quantised.graph.output) == list(model.graph.output)
    assert list(quantised.metadata_props) == list(model.metadata_props)
    assert [(opset.domain, opset.version) for opset in quantised.opset_import] == [("", 17)]
    assert quantised.ir_version == 8
    assert {node.domain for node in quantised.graph.node} == {""}


def test_the_first_convolutions_stay_float(quantised):
    made_by = {out: node.op_type for node in quantised.graph.node for out in node.output}
    kinds = [made_by.get(node.input[1]) for node in quantised.graph.node if node.op_type == "Conv"]
    assert kinds == [None] * FLOAT32_CONVOLUTIONS + ["DequantizeLinear"] * (CONVOLUTIONS - FLOAT32_CONVOLUTIONS)
    weights = [tensor for tensor in quantised.graph.initializer if tensor.data_type == TensorProto.INT8]
    assert len([tensor for tensor in weights if len(tensor.dims) == 4]) == CONVOLUTIONS - FLOAT32_CONVOLUTIONS


def test_corrected_biases_restore_the_mean_of_each_channel(quantised):
    """Within the steps of 32-bit biases, on the pictures of the correction; without it the means differ."""
    calibration_images = pictures(30)[:CORRECTION_IMAGES]
    for number in (FLOAT32_CONVOLUTIONS, 5, CONVOLUTIONS - 1):
        map_ = next(node.output[0] for node in quantised.graph.node if node.name == f"conv{number}")
        expected, actual = (
            _channel_means(a_network(), [f"raw{number}"], calibration_images)[0],
            _channel_means(quantised, [map_], calibration_images)[0],
        )
        np.testing.assert_allclose(actual, expected, atol=1e-3)


def test_int8_logs_nothing_and_leaves_no_file(capfd, caplog, tmp_path, monkeypatch):
    caplog.set_level(logging.DEBUG)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    model = a_network()
    at = next(i for i, tensor in enumerate(model.graph.initializer) if tensor.name == "w4")
    weights = numpy_helper.to_array(model.graph.initializer[at]).copy()
    weights[0] = 1e-20  # onnxruntime logs about a channel that is nearly always zero
    model.graph.initializer[at].CopyFrom(numpy_helper.from_array(weights, "w4"))
    root = logging.getLogger()
    before = (root.level, root.handlers[:], root.filters[:])
    quantize_to_int8(model, pictures(5))
    assert (caplog.records, capfd.readouterr()) == ([], ("", ""))
    assert (root.level, root.handlers, root.filters) == before
    assert list(tmp_path.iterdir()) == []


def test_int8_is_reproducible(quantised):
    assert quantize_to_int8(a_network(), pictures(30)).SerializeToString() == quantised.SerializeToString()


def test_int8_that_is_not_possible(monkeypatch):
    with pytest.raises(
        InputError, match=f"a network of {FLOAT32_CONVOLUTIONS} convolutions has none to quantise: use fp32"
    ):
        quantize_to_int8(a_network(convolutions=FLOAT32_CONVOLUTIONS), pictures(4))
    with pytest.raises(InputError, match="pictures to measure the ranges of values on: there is none; use fp32"):
        quantize_to_int8(a_network(), pictures(0))
    monkeypatch.setitem(sys.modules, "onnxruntime.quantization", None)
    with pytest.raises(InputError, match="onnxruntime cannot quantise here .*: install that package, or use fp32"):
        quantize_to_int8(a_network(), pictures(4))


@pytest.mark.slow
def test_float16_weights_of_the_backbone_on_photographs(exported, keras_home, flowers):
    backbone = exported(Recipe(), keras_home)
    model = onnx.load(backbone.file)
    unseen = np.stack([read_square(file, backbone.recipe) for file in sorted(flowers.rglob("*.jpg"))[7::100]])
    smaller = to_float16_weights(model)
    assert cosine(run(model, unseen)[0], run(smaller, unseen)[0]).min() > 0.9995
    assert round(model.ByteSize() / smaller.ByteSize(), 1) == 2.0
