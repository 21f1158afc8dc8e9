"""Locks on files that several processes share; a long wait is reported."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from winnow.common.progress import OnMessage

if TYPE_CHECKING:
    from filelock import AcquireReturnProxy


def acquire_lock(file: Path, busy: str, on_message: OnMessage, poll: float = 0.05) -> AcquireReturnProxy:
    """Acquire the lock of a file, waiting as long as another process holds it; returns a context manager.

    Parameters: `busy`, the message to report when the wait exceeds one second; `poll`, seconds between two attempts.
    Raises: OSError if the lock file cannot be written.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(file)
    try:
        return lock.acquire(timeout=1, poll_interval=poll)
    except Timeout:
        on_message(busy)
        return lock.acquire(poll_interval=poll)
