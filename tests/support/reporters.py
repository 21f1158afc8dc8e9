"""Reporters for tests."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

from winnow.common.progress import Reporter


def silent_reporter(on_message: Callable[[str], None] = lambda message: None) -> Reporter:
    """A reporter that shows no progress."""
    return Reporter(lambda what: nullcontext(lambda done, total: None), on_message, "a test")
