"""Waiting for one's turn: locks on files that processes share, which say when they are waited for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from filelock import AcquireReturnProxy


def acquired(file: Path, busy: str, on_message: Callable[[str], None], poll: float = 0.05) -> AcquireReturnProxy:
    """Hold the lock of a file as a context manager, once others have let go of it.

    Parameters: `busy`, told to `on_message` when the wait is longer than a second; `poll`, seconds between two tries.
    Raises: OSError when the disk refuses.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(file)
    try:
        return lock.acquire(timeout=1, poll_interval=poll)
    except Timeout:
        on_message(busy)
        return lock.acquire(poll_interval=poll)
