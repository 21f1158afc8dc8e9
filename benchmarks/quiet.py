"""A reporter for benchmarks that shows no progress and no messages."""

from __future__ import annotations

from contextlib import contextmanager

from winnow.common.progress import Reporter, ignore_message, ignore_progress


@contextmanager
def silent_progress(stage: str):
    yield ignore_progress


def reporter(name: str) -> Reporter:
    """A silent reporter for `python -m benchmarks.NAME`."""
    return Reporter(silent_progress, ignore_message, f"python -m benchmarks.{name}")
