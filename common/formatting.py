"""Numbers and settings as text for people."""

from __future__ import annotations

import math


def number(value: float | None, places: int = 3, sign: bool = False) -> str:
    """`0.912`; with `sign` `+0.012` or `−0.012`; `–` for None and what is not finite."""
    if value is None or not math.isfinite(value):
        return "–"
    return f"{value:{'+' if sign else ''}.{places}f}".replace("-", "−")


def setting(value: object) -> str:
    """A parameter's value as a person writes it: (128,) is 128, () is none."""
    return (" × ".join(map(str, value)) or "none") if isinstance(value, list | tuple) else str(value)


def rounded(value: float | None) -> float | None:
    """Six digits; more are noise, and NaN and infinity are no numbers."""
    return None if value is None or not math.isfinite(value) else round(value, 6)
