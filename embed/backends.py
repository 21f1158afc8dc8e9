"""The engines that run a backbone: uint8 (B, S, S, 3) to float32 (B, D) or (B, H, W, D), and (B, bottleneck)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from winnow.common.errors import InputError
from winnow.embed.backbone import Backbone, keras_function
from winnow.embed.weights import find

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

Session = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
OUTPUTS = ("embedding", "bottleneck")


def onnx_session(backbone: Backbone) -> Session:
    """onnxruntime on the CPU, one thread an inference; call it from as many threads as there are processors.

    Raises: InputError when the file cannot be run.
    """
    try:
        session = one_thread(backbone.file)
    except Exception as error:  # onnxruntime has no common base class for what it raises
        reason = " ".join(str(error).split())[:120]
        raise InputError(f"{backbone.file} cannot be run ({reason}): remove it, it is exported anew") from None
    return lambda pixels: tuple(session.run(OUTPUTS, {"image": pixels}))


def one_thread(model: Path | bytes, arena: bool = True) -> InferenceSession:
    """An onnxruntime session on the CPU of a file or a serialised model, one thread an inference, without messages.

    Parameters: `arena`, keep memory from one run for the next, which wastes much where every picture has another size.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.enable_cpu_mem_arena = arena
    options.log_severity_level = 4  # errors are raised: printed, they would be told twice
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def tensorflow_session(backbone: Backbone) -> Session:
    """Keras itself, with the same weights. TensorFlow chooses its threads by itself.

    Raises: InputError when TensorFlow or the weights are missing.
    """
    weights = backbone.weights if backbone.weights.file else find(backbone.recipe)
    if weights.digest != backbone.weights.digest:
        raise InputError("these are not the weights that the exported backbone was made of: use --backend onnx")
    _, function = keras_function(backbone.recipe, weights)

    def run(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        outputs = function(pixels)
        return outputs["embedding"].numpy(), outputs["bottleneck"].numpy()

    return run


BACKENDS: dict[str, Callable[[Backbone], Session]] = {"onnx": onnx_session, "tensorflow": tensorflow_session}
# Pictures an inference: what one takes stays in the cache of its processor, but a call of TensorFlow takes long.
BATCHES = {"onnx": 1, "tensorflow": 8}
PACKAGES = {"onnx": "onnxruntime", "tensorflow": "tensorflow"}  # whose version is recorded with the vectors
