"""File names as valid Unicode that can be stored and printed: bytes that are not UTF-8 become %XX, reversibly."""

from __future__ import annotations

import os
import re

_ESCAPE = re.compile(rb"%(?=[0-9A-Fa-f]{2})")
_ESCAPED = re.compile(rb"%([0-9A-Fa-f]{2})")


def to_text(name: str) -> str:
    """Convert a name as the operating system gives it (possibly with surrogates) to valid Unicode.

    `from_text` is the inverse. A percent sign is escaped only before two hex digits, so ordinary names do not change.
    """
    try:
        name.encode()
        if "%" not in name:
            return name
    except UnicodeEncodeError:
        pass
    data = _ESCAPE.sub(b"%25", os.fsencode(name))
    return data.decode("utf-8", errors="percent")


def from_text(text: str) -> str:
    """Convert text from `to_text` back to the name as the operating system gives it."""
    if "%" not in text:
        return text
    return os.fsdecode(_ESCAPED.sub(lambda match: bytes([int(match[1], 16)]), text.encode()))


def _escape_bytes(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    return "".join(f"%{byte:02X}" for byte in error.object[error.start : error.end]), error.end


def _register_percent_errors() -> None:
    import codecs

    codecs.register_error("percent", _escape_bytes)


_register_percent_errors()
