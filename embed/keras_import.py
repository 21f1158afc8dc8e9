"""Keras and TensorFlow, imported without the noise they make."""

from __future__ import annotations

import faulthandler
import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from winnow.common.errors import InputError

_LOADING = threading.Lock()
# What TensorFlow says of itself while it is loaded, before it heeds TF_CPP_MIN_LOG_LEVEL.
NOISE = (b"absl::InitializeLog", b"oneDNN custom operations", b"cpu_feature_guard", b"To enable the following instr")


def import_keras(purpose: str, instead: str) -> tuple[Any, Any]:
    """(keras, tensorflow), without their messages and without a `keras.json` written into KERAS_HOME.

    Parameters: `purpose`, what needs them, and `instead`, what does without: for the message.
    Raises: InputError with the line that installs them.
    """
    try:
        with _LOADING:
            if not {"keras", "tensorflow"} <= sys.modules.keys():
                _load()
        import keras
        import tensorflow as tf
    except ImportError:
        raise InputError(f'{purpose} needs TensorFlow: pip install "winnow-images[train]", or {instead}') from None
    return keras, tf


def _load() -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    home = os.environ.get("KERAS_HOME")
    try:
        with tempfile.TemporaryDirectory() as scratch, _without_noise():
            os.environ["KERAS_HOME"] = scratch
            import keras  # noqa: F401
            import tensorflow  # noqa: F401
    finally:
        os.environ.pop("KERAS_HOME", None)
        if home is not None:
            os.environ["KERAS_HOME"] = home


@contextmanager
def _without_noise() -> Iterator[None]:
    """Hold back what is written to stderr, by whatever language, and pass on all lines of it but `NOISE` at the end.

    When the process dies in between, as TensorFlow does on a processor that is too old, Python still says where, save
    where its faulthandler was on before, as in the processes of a pool.
    """
    try:
        stderr = os.dup(2)
    except OSError:  # there is none
        yield
        return
    tells_of_crashes = not faulthandler.is_enabled()
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        if tells_of_crashes:
            faulthandler.enable(stderr)
        try:
            yield
        finally:
            if tells_of_crashes:
                faulthandler.disable()
            os.dup2(stderr, 2)
            held.seek(0)
            with suppress(OSError):  # nobody reads it any more
                os.write(stderr, b"".join(line for line in held if not any(noise in line for noise in NOISE)))
            os.close(stderr)


def to_onnx(function: Any, signature: Any, opset: int) -> Any:
    """A tf.function as onnx.ModelProto. Raises: InputError with the line that installs tf2onnx."""
    try:
        import tf2onnx
    except ImportError:
        raise InputError('exporting to ONNX needs tf2onnx: pip install "winnow-images[train]"') from None
    return tf2onnx.convert.from_function(function, input_signature=signature, opset=opset)[0]
