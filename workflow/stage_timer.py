"""How long each stage of a command took."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class StageTimer:
    """Seconds by stage, in the order in which the stages began.

    Attributes
    ----------
    seconds : dict of str to float
        Stage -> seconds, rounded to hundredths; a stage that is timed twice has the sum of both.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time the block; a block that raises is not counted."""
        start = time.monotonic()
        yield
        self.add(name, time.monotonic() - start)

    def add(self, name: str, seconds: float) -> None:
        """Count seconds that were measured elsewhere."""
        self.seconds[name] = round(self.seconds.get(name, 0.0) + seconds, 2)
