"""JSON documents: numbers that JSON does not have become null, and a file is written whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from winnow.common.atomic_write import whole_file
from winnow.common.errors import InputError


def to_json(value: Any) -> str:
    """A JSON document; NaN and infinity, which JSON has not, become null, arrays lists, and what is left text."""
    return json.dumps(_finite(value), indent=1, allow_nan=False, default=_plain)


def write_json(file: Path, value: Any) -> None:
    """Write a JSON document (see `to_json`), whole or not at all. Raises: InputError when the disk refuses."""
    try:
        with whole_file(file) as stream:
            stream.write(f"{to_json(value)}\n".encode())
    except OSError as error:
        raise InputError(f"{file}: {error.strerror}; make room there") from None


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else str(value)
