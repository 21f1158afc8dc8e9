"""File names as text that can be stored, printed and turned back: bytes that are not UTF-8 become %XX, reversibly."""

from __future__ import annotations

import os
import re

_ESCAPE = re.compile(rb"%(?=[0-9A-Fa-f]{2})")
_ESCAPED = re.compile(rb"%([0-9A-Fa-f]{2})")


def to_text(name: str) -> str:
    """A name as the operating system gives it (maybe with surrogates) to valid Unicode; `from_text` is its inverse.

    A percent sign is escaped only where it stands before two hex digits, so ordinary names stay as they are.
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
    """The name that `to_text` was given."""
    if "%" not in text:
        return text
    return os.fsdecode(_ESCAPED.sub(lambda match: bytes([int(match[1], 16)]), text.encode()))


def _percent(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    return "".join(f"%{byte:02X}" for byte in error.object[error.start : error.end]), error.end


def _register() -> None:
    import codecs

    codecs.register_error("percent", _percent)


_register()
