"""Smaller backbones: the weights in 16 bits, or weights and arithmetic in 8 bits, calibrated on real pictures."""

from __future__ import annotations

import contextlib
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from winnow.common.errors import InputError
from winnow.common.threads import processors
from winnow.embed.backbone import OPSET

SMALL = 256  # tensors of fewer numbers stay as they are
LARGEST = 65504.0  # that float16 has
FIRST = 2  # so many convolutions stay float32: they lose most, and gain least
CORRECTED_ON = 16  # pictures that biases are corrected on; a hundred do no better
BATCH = 4


def half(model: Any) -> Any:
    """The same graph, its float32 weights stored as float16: half the file, the same arithmetic and speed.

    A runtime widens the weights once, when it loads the file; few processors have float16 convolutions. Tensors of
    fewer than `SMALL` numbers, and those with a number that float16 does not reach, stay as they are.
    """
    import onnx
    from onnx.helper import make_node
    from onnx.numpy_helper import from_array, to_array

    made = onnx.ModelProto()
    made.CopyFrom(model)
    casts = []
    for tensor in made.graph.initializer:
        weights = to_array(tensor)
        if weights.dtype != np.float32 or weights.size < SMALL or not np.abs(weights).max() <= LARGEST:
            continue
        name = tensor.name
        tensor.CopyFrom(from_array(weights.astype(np.float16), f"{name}/half"))
        casts.append(make_node("Cast", [tensor.name], [name], to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *made.graph.node]
    del made.graph.node[:]
    made.graph.node.extend(nodes)
    onnx.checker.check_model(made, full_check=True)
    return made


def int8(model: Any, pictures: np.ndarray) -> Any:
    """The same graph with 8-bit convolutions: int8 weights, a scale for each channel, and uint8 activations.

    All but the first `FIRST` convolutions, and the additions between them, stand between QuantizeLinear and
    DequantizeLinear; the ranges are the smallest and largest values on pictures. Then biases are corrected, see
    `_corrected`: on 1,000 flowers, 100 of them calibrated on, the mean cosine to float32 is 0.997, the least 0.981.

    Parameters: model, a backbone (`embed.backbone.export`); pictures, uint8 (n, S, S, 3), about a hundred of those that
    it is meant for.
    Raises: InputError when there is nothing to quantise or calibrate on, or onnxruntime cannot quantise here.
    """
    import onnx

    try:
        from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    except ImportError as error:
        raise InputError(f"onnxruntime cannot quantise here ({error}): install that package, or use fp32") from None
    if not len(pictures):
        raise InputError("int8 needs pictures to measure the ranges of values on: there is none; use fp32")
    with _on_disk() as folder, _unheard():
        folded = _folded(model, folder / "folded.onnx")
        float32 = type(folded).FromString(folded.SerializeToString())  # onnxruntime moves weights of its own to a file
        convolutions = [node.name for node in folded.graph.node if node.op_type == "Conv"]
        if len(convolutions) <= FIRST:
            raise InputError(f"a network of {len(convolutions)} convolutions has none to quantise: use fp32")
        quantize_static(
            folded,
            folder / "int8.onnx",
            _Reader(pictures),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv", "Add", "Clip"],
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=convolutions[:FIRST],
        )
        made = onnx.load(folder / "int8.onnx")
        return _tidy(_corrected(made, float32, pictures[:CORRECTED_ON]), model)


@contextlib.contextmanager
def _on_disk() -> Iterator[Path]:
    """A temporary folder; what goes wrong in it, as on a full disk, is one line that names the place."""
    where = tempfile.gettempdir()
    try:
        with tempfile.TemporaryDirectory(prefix="winnow-") as folder:
            yield Path(folder)
    except InputError:
        raise
    except Exception as error:  # onnxruntime has no common base class for what it raises
        reason = " ".join(str(error).split())[:120]
        raise InputError(f"int8 needs some room in {where} ({reason}): make some there, or set TMPDIR") from None


class _Reader:
    """Pictures in small batches, as calibration takes them."""

    def __init__(self, pictures: np.ndarray) -> None:
        self.batches: Iterator[np.ndarray] = (pictures[i : i + BATCH] for i in range(0, len(pictures), BATCH))

    def get_next(self) -> dict[str, np.ndarray] | None:
        batch = next(self.batches, None)
        return None if batch is None else {"image": batch}


@contextlib.contextmanager
def _unheard() -> Iterator[None]:
    """Keep what is logged to the root logger itself, as by onnxruntime of channels that are always zero, off stderr."""
    root, quiet = logging.getLogger(), logging.NullHandler()  # without a handler, `logging.info` installs one for good

    def nothing(_: logging.LogRecord) -> bool:
        return False

    root.addHandler(quiet)
    root.addFilter(nothing)
    try:
        yield
    finally:
        root.removeFilter(nothing)
        root.removeHandler(quiet)


def _folded(model: Any, file: Path) -> Any:
    """The graph after onnxruntime's basic optimisation, written to file: batch norms are inside the convolutions."""
    import onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(file)
    options.log_severity_level = 3
    onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    folded = onnx.load(file)
    onnx.helper.set_model_props(folded, {"onnx.quant.pre_process": "onnxruntime.quant"})
    return folded


def _corrected(made: Any, folded: Any, pictures: np.ndarray) -> Any:
    """made, with the bias of one convolution after the other moved so that each channel has its float32 mean again.

    b_c += E[y_c] - E[y'_c], y of folded and y' of made as corrected so far, over pictures and positions: rounding of
    weights shifts whole channels, and shifts add up through the network. M. Nagel et al., Data-Free Quantization
    Through Weight Equalization and Bias Correction, ICCV 2019 (arXiv:1906.04721), appendix D, on real pictures.
    """
    from onnx.numpy_helper import from_array, to_array

    numbers = {tensor.name: tensor for tensor in made.graph.initializer}
    dequantised = {node.output[0]: node.input for node in made.graph.node if node.op_type == "DequantizeLinear"}
    convolutions, originals = (
        {node.name: node for node in of.graph.node if node.op_type == "Conv" and len(node.input) > 2}
        for of in (made, folded)
    )
    names = list(originals)[FIRST:]  # before these nothing was rounded
    wanted = _means(folded, [originals[name].output[0] for name in names], pictures)
    for name, mean in zip(names, wanted, strict=True):
        node = convolutions[name]
        shift = mean - _means(made, [node.output[0]], pictures)[0]
        bias = node.input[2]
        if bias in dequantised:  # int32, in steps of one scale a channel
            bias, scale = dequantised[bias][0], to_array(numbers[dequantised[bias][1]])
            shift = np.rint(np.divide(shift, scale, out=np.zeros_like(shift), where=scale > 1e-20))
        stored = to_array(numbers[bias])
        limits = np.iinfo(np.int32) if stored.dtype == np.int32 else np.finfo(np.float32)
        moved = np.clip(stored.astype(np.float64) + shift, limits.min, limits.max)
        numbers[bias].CopyFrom(from_array(moved.astype(stored.dtype), bias))
    return made


def _means(model: Any, maps: list[str], pictures: np.ndarray) -> list[np.ndarray]:
    """Of each map of shape (n, C, H, W) in the graph: float64 (C,), its mean over pictures and positions."""
    import onnx
    import onnxruntime
    from onnx.helper import make_node, make_tensor_value_info

    last = max(i for i, node in enumerate(model.graph.node) if set(node.output) & set(maps))
    cut = onnx.helper.make_model(
        onnx.helper.make_graph(
            [
                *model.graph.node[: last + 1],
                *(make_node("ReduceMean", [name], [f"mean/{i}"], axes=[2, 3]) for i, name in enumerate(maps)),
            ],
            "means",
            model.graph.input,
            [make_tensor_value_info(f"mean/{i}", onnx.TensorProto.FLOAT, None) for i in range(len(maps))],
            model.graph.initializer,
        ),
        opset_imports=model.opset_import,
        ir_version=model.ir_version,
    )
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = processors()
    session = onnxruntime.InferenceSession(cut.SerializeToString(), options, providers=["CPUExecutionProvider"])
    sums: list[Any] = [0.0] * len(maps)
    for i in range(0, len(pictures), BATCH):
        found = session.run(None, {"image": pictures[i : i + BATCH]})
        sums = [total + mean.sum(axis=(0, 2, 3), dtype=np.float64) for total, mean in zip(sums, found, strict=True)]
    return [total / len(pictures) for total in sums]


def _tidy(made: Any, model: Any) -> Any:
    """made, checked, with the ends, the metadata and nothing but the opset of model."""
    import onnx

    made.ir_version, made.producer_name, made.producer_version = model.ir_version, model.producer_name, ""
    del made.opset_import[:]
    made.opset_import.append(onnx.helper.make_opsetid("", OPSET))
    del made.graph.value_info[:]
    for theirs, own in (
        (made.graph.input, model.graph.input),
        (made.graph.output, model.graph.output),
        (made.metadata_props, model.metadata_props),
    ):
        del theirs[:]
        theirs.extend(own)
    onnx.checker.check_model(made, full_check=True)
    return made
