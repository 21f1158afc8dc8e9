"""Import of Keras and TensorFlow without the messages that they print."""

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

INSTALL = 'pip install "winnow-images[train]"'
_IMPORTING = threading.Lock()
# Parts of the lines that TensorFlow prints while it is loaded, before it obeys TF_CPP_MIN_LOG_LEVEL.
NOISE = (b"absl::InitializeLog", b"oneDNN custom operations", b"cpu_feature_guard", b"To enable the following instr")


def import_keras(purpose: str, remedy: str | None = None) -> tuple[Any, Any]:
    """Import (keras, tensorflow) without their messages and without a `keras.json` written to KERAS_HOME.

    Parameters: `purpose`, what needs them, for the error message; `remedy`, the key of what works without them, see
    `InputError`.
    Raises: InputError with the line that installs them.
    """
    try:
        with _IMPORTING:
            if not {"keras", "tensorflow"} <= sys.modules.keys():
                _import_silently()
        import keras
        import tensorflow as tf
    except ImportError:
        raise InputError(f"{purpose} needs TensorFlow, which is not installed ({INSTALL})", remedy) from None
    return keras, tf


def _import_silently() -> None:
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
    """Hold back what any code, in any language, writes to stderr; at the end, pass on all lines that are not `NOISE`.

    If the process dies in between, as TensorFlow does on a processor that is too old, Python still reports where. It
    does not if its faulthandler was enabled before, as it is in the worker processes of a pool.
    """
    try:
        stderr = os.dup(2)
    except OSError:  # stderr is closed
        yield
        return
    reports_crashes = not faulthandler.is_enabled()
    with tempfile.TemporaryFile() as captured:
        os.dup2(captured.fileno(), 2)
        if reports_crashes:
            faulthandler.enable(stderr)
        try:
            yield
        finally:
            if reports_crashes:
                faulthandler.disable()
            os.dup2(stderr, 2)
            captured.seek(0)
            with suppress(OSError):  # the reading end is closed
                os.write(stderr, b"".join(line for line in captured if not any(noise in line for noise in NOISE)))
            os.close(stderr)


def function_to_onnx(function: Any, signature: Any, opset: int) -> Any:
    """Convert a tf.function to an onnx.ModelProto. Raises: InputError with the line that installs tf2onnx."""
    try:
        import tf2onnx
    except ImportError:
        raise InputError(f"exporting to ONNX needs tf2onnx, which is not installed ({INSTALL})") from None
    return tf2onnx.convert.from_function(function, input_signature=signature, opset=opset)[0]
