"""Technical quality: four numbers that `scan` measures, and rules with bounds on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa
    from PIL import Image

SIDE = 256  # pixels: pictures are measured on a copy whose longer side is at most this, so that values are comparable
FAINT = 0.04  # gradients below ten grey levels may be noise as well as edges
GREY = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # luminance of red, green and blue (ITU-R BT.601)
NUMBERS = ("highlight", "shadow", "contrast", "sharpness")


@dataclass(frozen=True)
class Rule:
    """Bounds on one number, a column of the manifest, `shorter_side` or `aspect`.

    A picture breaks the rule when the number is below `low` or above `high`.
    """

    name: str
    number: str
    low: float
    high: float
    description: str  # of a picture that breaks the rule


ANY = float("inf")
RULES = (
    Rule("too_dark", "highlight", 0.3, ANY, "even its brightest hundredth has no channel above 0.3"),
    Rule("too_bright", "shadow", -ANY, 0.7, "even its darkest twentieth has no channel below 0.7"),
    Rule("blurred", "sharpness", 1.0, ANY, "its sharpest edges spread over several pixels"),
    Rule("tiny", "shorter_side", 64, ANY, "its shorter side has fewer than 64 pixels"),
    Rule("extreme_aspect", "aspect", -ANY, 3.0, "it is more than three times as long as wide"),
    Rule("near_uniform", "contrast", 0.02, ANY, "it is nearly of one colour"),
)


def measure(pixels: np.ndarray) -> dict[str, float]:
    """Measure the quality numbers of uint8 RGB (H, W, 3) on a copy whose longer side is at most `SIDE` pixels.

    Returns: `highlight` (0-1), 99th percentile of the pixels' largest channel; `shadow` (0-1), 5th percentile of their
    smallest channel; `contrast` (0-1), standard deviation of the channel that varies most; `sharpness` (0-8), 99th
    percentile of the absolute Laplacian over that of the gradient, which falls below 1 when no edge is sharper than a
    few pixels.
    """
    from PIL import Image

    image = Image.fromarray(pixels)
    image.thumbnail((SIDE, SIDE), Image.Resampling.BOX, reducing_gap=2.0)
    red, green, blue = channels = [np.ascontiguousarray(channel) for channel in np.moveaxis(np.asarray(image), 2, 0)]
    return {
        "highlight": _percentile(np.maximum(np.maximum(red, green), blue), 99) / 255,
        "shadow": _percentile(np.minimum(np.minimum(red, green), blue), 5) / 255,
        "contrast": float(_deviations(image).max()) / 255,
        "sharpness": _sharpness(sum(GREY[c] / np.float32(255) * channel for c, channel in enumerate(channels))),
    }


def _percentile(values: np.ndarray, percent: float) -> float:
    """Compute np.percentile of uint8 values by counting them, which is several times as fast."""
    below = np.bincount(values.ravel(), minlength=256).cumsum()
    position = (values.size - 1) * percent / 100
    low, high = np.searchsorted(below, [np.floor(position), np.ceil(position)], side="right")
    return float(low + (high - low) * (position % 1))


def _deviations(image: Image.Image) -> np.ndarray:
    """Compute np.std of each channel of an RGB image from its histogram: float64 (3,)."""
    levels = np.arange(256)
    shares = np.reshape(image.histogram(), (3, 256)) / (image.width * image.height)
    mean = shares @ levels
    return np.sqrt(np.einsum("cl,cl->c", shares, (levels - mean[:, None]) ** 2))


def _sharpness(grey: np.ndarray) -> float:
    """Compute the ratio of the 99th percentiles of the absolute Laplacian and of the gradient of (H, W) grey values."""
    g = np.pad(grey, 1, mode="edge")
    across, down = np.diff(g[1:-1], axis=1), np.diff(g[:, 1:-1], axis=0)
    laplacian = np.abs(np.diff(across, axis=1) + np.diff(down, axis=0))
    gradient = np.maximum(np.abs(across[:, 1:]), np.abs(down[1:]))
    return _percentile_99(laplacian) / max(_percentile_99(gradient), FAINT)


def _percentile_99(values: np.ndarray) -> float:
    """Compute np.percentile(values, 99) by one partition in place, which is several times as fast."""
    values = values.reshape(-1)
    position = (values.size - 1) * 0.99
    low = int(position)
    values.partition(low)
    above = values[low + 1 :].min(initial=np.inf) if position > low else values[low]
    return float(values[low] + (above - values[low]) * (position - low))


def broken_rules(table: pa.Table) -> list[list[str]]:
    """List the names of the rules that each row of a manifest breaks; none for pictures that were not measured."""
    broken: list[list[str]] = [[] for _ in range(len(table))]
    numbers = _numbers(table)
    for rule in RULES:
        values = numbers[rule.number]
        for row in np.flatnonzero((values < rule.low) | (values > rule.high)).tolist():
            broken[row].append(rule.name)
    return broken


def _numbers(table: pa.Table) -> dict[str, np.ndarray]:
    """Return the columns as float64 (N,), nan for null, with the shorter side and the aspect ratio (1 or more)."""
    names = (*NUMBERS, "width", "height")
    columns = {name: table[name].to_numpy(zero_copy_only=False).astype(np.float64) for name in names}
    shorter = np.minimum(columns["width"], columns["height"])
    longer = np.maximum(columns["width"], columns["height"])
    return columns | {"shorter_side": shorter, "aspect": longer / shorter}
