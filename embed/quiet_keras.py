"""Keras and TensorFlow, imported without the noise they make."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from embed.errors import InputError


@contextmanager
def keras_quietly() -> Iterator[tuple[Any, Any]]:
    """Keras and TensorFlow, imported without their messages and without writing `keras.json` into KERAS_HOME.

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
        raise InputError(
            'this needs TensorFlow: pip install "winnow-images[train]", or use --backbone FILE.onnx'
        ) from None
    finally:
        if home is None:
            os.environ.pop("KERAS_HOME", None)
        else:
            os.environ["KERAS_HOME"] = home
    yield keras, tf
