"""Digests (sha256) of values and of files."""

from __future__ import annotations

import json
from pathlib import Path


def digest(value: object) -> str:
    """Return the sha256 (hex) of the canonical JSON of a value."""
    import hashlib  # here, because `winnow --help` loads this module

    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def file_digest(file: Path) -> str:
    """Return the sha256 (hex) of the content of a file."""
    import hashlib  # here, because `winnow --help` loads this module

    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
