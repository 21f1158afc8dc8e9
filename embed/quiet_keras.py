"""Keras and TensorFlow, imported without the noise they make."""

from __future__ import annotations

import os
import tempfile
from typing import Any

from embed.errors import InputError


def import_keras(purpose: str, instead: str) -> tuple[Any, Any]:
    """(keras, tensorflow), without their messages and without a `keras.json` written into KERAS_HOME.

    Parameters: `purpose`, what needs them, and `instead`, what does without: for the message.
    Raises: InputError with the line that installs them.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    home = os.environ.get("KERAS_HOME")
    try:
        with tempfile.TemporaryDirectory() as scratch:
            os.environ["KERAS_HOME"] = scratch
            import keras
            import tensorflow as tf
    except ImportError:
        raise InputError(f'{purpose} needs TensorFlow: pip install "winnow-images[train]", or {instead}') from None
    finally:
        os.environ.pop("KERAS_HOME", None)
        if home is not None:
            os.environ["KERAS_HOME"] = home
    return keras, tf


def to_onnx(function: Any, signature: Any, opset: int) -> Any:
    """A tf.function as onnx.ModelProto. Raises: InputError with the line that installs tf2onnx."""
    try:
        import tf2onnx
    except ImportError:
        raise InputError('exporting to ONNX needs tf2onnx: pip install "winnow-images[train]"') from None
    return tf2onnx.convert.from_function(function, input_signature=signature, opset=opset)[0]
