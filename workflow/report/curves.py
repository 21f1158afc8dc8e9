"""What a fit did over its epochs, as curves: numbers in, matplotlib Axes out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from winnow.workflow.report.plots import _LIGHT, _on_message

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def history_curve(
    ax: Axes, train: Sequence[float | None], val: Sequence[float | None], best_epoch: int | None, quantity: str
) -> Axes:
    """One quantity over epochs, on the training and the validation part, the kept epoch marked.

    train, val: one number an epoch (val may be empty); None and what is not finite are gaps, as when a fit diverged.
    best_epoch: from 0, or None; epochs are drawn from 1. The axis is logarithmic when the values span a factor of 50.
    """
    curves = {"train": _finite(train), "val": _finite(val)}
    values = np.concatenate(list(curves.values()))
    values = values[np.isfinite(values)]
    ax.set_title(quantity, loc="left", y=1, fontsize=10, fontweight="bold", color=_LIGHT["ink"], pad=18)
    if not values.size:
        _on_message(ax, "no finite values: the fit diverged", (0.5, 0.5), "muted", coords="axes fraction", ha="center")
        ax.set_axis_off()
        return ax
    if values.min() > 0 and values.max() > 50 * values.min():
        ax.set_yscale("log")
        ax.yaxis.set_major_formatter("{x:g}")
        ax.tick_params(which="minor", length=0)
    for part, curve in curves.items():
        alone = len(curve) == 1
        ax.plot(np.arange(1, len(curve) + 1), curve, color=_LIGHT[part], linewidth=1.6, marker="o" if alone else None)
    ax.set_xlim(1, max(len(train), 2))
    ax.set_xlabel("epoch", fontsize=8.5, color=_LIGHT["muted"])
    ax.locator_params(axis="x", integer=True)
    ax.grid(axis="y", color=_LIGHT["grid"], linewidth=0.8)
    _label_ends(ax, curves)
    if best_epoch is not None:
        _mark_epoch(ax, best_epoch, curves["val"] if len(curves["val"]) else curves["train"])
    return ax


def rate_curve(ax: Axes, values: Sequence[float], quantity: str, log: bool = False) -> Axes:
    """Learning rate or momentum over epochs, drawn from 1, below a `history_curve`; log: by a logarithmic axis."""
    ax.set_title(quantity, loc="left", y=1, fontsize=8.5, color=_LIGHT["ink"], pad=5)
    alone = len(values) == 1
    ax.plot(np.arange(1, len(values) + 1), values, color=_LIGHT["ink"], linewidth=1.6, marker="o" if alone else None)
    if log and min(values) > 0:
        ax.set_yscale("log")
        ax.yaxis.set_major_formatter("{x:g}")
        ax.tick_params(which="minor", length=0, labelleft=False)
    else:
        ax.locator_params(axis="y", nbins=3)
    ax.set_xlabel("epoch", fontsize=8.5, color=_LIGHT["muted"])
    ax.grid(axis="y", color=_LIGHT["grid"], linewidth=0.8)
    return ax


def _finite(values: Sequence[float | None]) -> np.ndarray:
    numbers = np.array([np.nan if value is None else value for value in values], dtype=np.float64)
    return np.where(np.isfinite(numbers), numbers, np.nan)


def _label_ends(ax: Axes, curves: Mapping[str, np.ndarray]) -> None:
    """Names each curve at its last finite point, in its colour; two names that would touch are moved apart."""
    heights = {}
    for part, curve in curves.items():
        if np.isfinite(curve).any():
            last = np.flatnonzero(np.isfinite(curve))[-1]
            heights[part] = float((ax.transScale + ax.transLimits).transform((last + 1, curve[last]))[1])
    if len(heights) == 2 and abs(heights["train"] - heights["val"]) < 0.09:
        upper, lower = sorted(heights, key=lambda part: -heights[part])
        middle = (heights[upper] + heights[lower]) / 2
        heights = {upper: middle + 0.045, lower: middle - 0.045}
    for part, height in heights.items():
        words = {"train": "training", "val": "validation"}[part]
        _on_message(ax, words, (1, height), part, nudge=(5, 0), coords="axes fraction")


def _mark_epoch(ax: Axes, best_epoch: int, curve: np.ndarray) -> None:
    epoch = best_epoch + 1
    ax.axvline(epoch, color=_LIGHT["muted"], linewidth=1, linestyle=(0, (2, 2)))
    value = curve[best_epoch] if best_epoch < len(curve) else np.nan
    words = f"kept: epoch {epoch}"
    if np.isfinite(value):
        dot: dict[str, Any] = {
            "color": _LIGHT["val"],
            "markeredgecolor": _LIGHT["paper"],
            "clip_on": False,
            "zorder": 4,
        }
        ax.plot([epoch], [value], marker="o", markersize=5.5, **dot)
        words += f" ({value:.3f})"
    first, last = ax.get_xlim()
    part = (epoch - first) / (last - first)
    side = "left" if part < 0.3 else "right" if part > 0.7 else "center"
    _on_message(ax, words, (epoch, 1), "muted", nudge=(0, 3), coords=("data", "axes fraction"), ha=side, va="bottom")
