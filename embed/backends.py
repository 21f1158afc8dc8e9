"""The engines that run a backbone: uint8 (B, S, S, 3) to float32 (B, D) or (B, H, W, D), and (B, bottleneck)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from winnow.common.errors import InputError
from winnow.embed.backbone import Backbone, build_keras_function
from winnow.embed.weights import find_weights

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

Session = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
OUTPUTS = ("embedding", "bottleneck")


def create_onnx_session(backbone: Backbone) -> Session:
    """Run a backbone with onnxruntime on the CPU, one thread per call; call it from one thread per processor.

    Raises: InputError if the file cannot be run.
    """
    try:
        session = create_single_thread_session(backbone.file)
    except Exception as error:  # onnxruntime's exceptions have no common base class
        reason = " ".join(str(error).split())[:120]
        raise InputError(f"{backbone.file} cannot be run ({reason}): remove it and it is exported again") from None
    return lambda pixels: tuple(session.run(OUTPUTS, {"image": pixels}))


def create_single_thread_session(model: Path | bytes, arena: bool = True) -> InferenceSession:
    """Open an ONNX file, or a serialised model, with onnxruntime on the CPU, one thread per call and without logging.

    Parameters: `arena`, keep memory from one call for the next; it wastes memory if every image has another size.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.enable_cpu_mem_arena = arena
    options.log_severity_level = 4  # errors are raised anyway; logging would print them a second time
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def create_tensorflow_session(backbone: Backbone) -> Session:
    """Run Keras itself with the same weights; TensorFlow decides how many threads it uses.

    Raises: InputError if TensorFlow or the weights are missing.
    """
    weights = backbone.weights if backbone.weights.file else find_weights(backbone.recipe)
    if weights.digest != backbone.weights.digest:
        message = f"{backbone.file} was exported from other weights than {weights.file or 'the random ones'}"
        raise InputError(message, remedy="backend-onnx")
    _, function = build_keras_function(backbone.recipe, weights)

    def run(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        outputs = function(pixels)
        return outputs["embedding"].numpy(), outputs["bottleneck"].numpy()

    return run


BACKENDS: dict[str, Callable[[Backbone], Session]] = {
    "onnx": create_onnx_session,
    "tensorflow": create_tensorflow_session,
}
# Images per inference call that are fastest: the data of one stays in the processor's cache, but a call of TensorFlow
# has a large fixed cost.
BATCH_SIZES = {"onnx": 1, "tensorflow": 8}
BACKEND_PACKAGES = {"onnx": "onnxruntime", "tensorflow": "tensorflow"}  # their versions are recorded with the vectors
