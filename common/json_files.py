"""JSON documents: NaN and infinity become null, and a file is written completely or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from winnow.common.atomic_write import atomic_write
from winnow.common.errors import InputError


def to_json(value: Any) -> str:
    """Serialise to JSON: NaN and infinity become null, arrays become lists, other types their string."""
    return json.dumps(_replace_non_finite(value), indent=1, allow_nan=False, default=_to_plain_value)


def write_json(file: Path, value: Any) -> None:
    """Write a JSON document (see `to_json`) atomically. Raises: InputError if the file cannot be written."""
    try:
        with atomic_write(file) as stream:
            stream.write(f"{to_json(value)}\n".encode())
    except OSError as error:
        raise InputError(f"{file} cannot be written ({error.strerror})", remedy="disk-full") from None


def _replace_non_finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _replace_non_finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_replace_non_finite(item) for item in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _to_plain_value(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else str(value)
