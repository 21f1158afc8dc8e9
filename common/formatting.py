"""Numbers and settings as text for people."""

from __future__ import annotations

import math


def format_number(value: float | None, places: int = 3, sign: bool = False) -> str:
    """Format as `0.912`, or with `sign` as `+0.012` or `−0.012`; None, NaN and infinity become `–`.

    Parameters: `places`, digits after the decimal point.
    """
    if value is None or not math.isfinite(value):
        return "–"
    return f"{value:{'+' if sign else ''}.{places}f}".replace("-", "−")


def format_setting(value: object) -> str:
    """Format a parameter's value as a person writes it: `(128,)` becomes `128`, `()` becomes `none`."""
    return (" × ".join(map(str, value)) or "none") if isinstance(value, list | tuple) else str(value)


def round_finite(value: float | None) -> float | None:
    """Round to six decimal places, beyond which digits are noise; None, NaN and infinity become None (JSON null)."""
    return None if value is None or not math.isfinite(value) else round(value, 6)
