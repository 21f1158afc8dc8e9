"""Two more plots in the manner of `heads.plots`: how right probabilities are, and scores over training pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from winnow.workflow.report.plots import PALETTE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COUNTS = 0.2  # height of the largest count below a reliability plot, where accuracy goes from 0 to 1
_LIGHT = {name: light for name, (light, _) in PALETTE.items()}


def reliability(ax: Axes, confidence: np.ndarray, accuracy: np.ndarray, count: np.ndarray, title: str) -> Axes:
    """Share of right predictions over their probability, with the diagonal where both are equal; counts below.

    confidence, accuracy, count: (B,) of `heads.evaluate.reliability`; bins of none are left out. A line goes from the
    diagonal to the accuracy of a bin, down where the head is too sure; the area of a point grows with its count.
    """
    confidence, accuracy, count = (np.asarray(values) for values in (confidence, accuracy, count))
    some, part = count > 0, count / max(count.max(), 1)
    ax.plot([0, 1], [0, 1], color=_LIGHT["muted"], linewidth=1, linestyle=(0, (2, 2)))
    ax.vlines(confidence[some], confidence[some], accuracy[some], color=_LIGHT["test"], linewidth=1.6)
    ax.scatter(confidence[some], accuracy[some], 14 + 90 * part[some], color=_LIGHT["test"], zorder=3, clip_on=False)
    bins = np.arange(len(count)) / len(count)
    ax.bar(bins, _COUNTS * part, 0.86 / len(count), -1.5 * _COUNTS, align="edge", color=_LIGHT["muted"])
    _note(ax, f"{count.sum():,} predictions", (0.01, -1.2 * _COUNTS), "muted", "left")
    ax.set_xlim(0, 1)
    ax.set_ylim(-1.5 * _COUNTS, 1)
    ax.set_yticks(np.arange(6) / 5)
    ax.set_xlabel("probability of the prediction", fontsize=8.5, color=_LIGHT["muted"])
    ax.set_ylabel("of these right", fontsize=8.5, color=_LIGHT["muted"])
    ax.grid(color=_LIGHT["grid"], linewidth=0.8)
    ax.set_axisbelow(True)
    ax.set_title(title, loc="left", y=1, fontsize=10, fontweight="bold", color=_LIGHT["ink"], pad=8)
    return ax


def learning_curve(
    ax: Axes, sizes: Sequence[tuple[float, float, float, float]], curve: np.ndarray | None, guess: Any = None
) -> Axes:
    """Scores with their intervals over the number of training pictures, and a fitted curve, dashed, to a guess.

    sizes: (pictures, mean, low, high) of each; curve: (2, n), pictures and scores, or None; guess: as one of sizes, or
    None. The axis of pictures is logarithmic.
    """
    pictures, mean, low, high = np.array(sizes, dtype=np.float64).T
    if curve is not None:
        ax.plot(*curve, color=_LIGHT["train"], linewidth=1.4, linestyle=(0, (4, 3)))
    ax.vlines(pictures, low, high, color=_LIGHT["test"], linewidth=1.6)
    ax.plot(pictures, mean, linestyle="none", marker="o", markersize=5.5, color=_LIGHT["test"])
    ticks = pictures.tolist()
    if guess is not None:
        place, middle, bottom, top = guess
        ax.vlines([place], bottom, top, color=_LIGHT["train"], linewidth=1.6, linestyle=(0, (2, 2)))
        ax.plot([place], [middle], marker="o", markersize=5.5, color=_LIGHT["train"], markerfacecolor=_LIGHT["paper"])
        _note(ax, f"a guess: {middle:.3f}", (place, top), "train")
        ticks.append(place)
    _note(ax, f"{mean[-1]:.3f}", (pictures[-1], high[-1]), "test")
    ax.set_xscale("log")
    ax.set_xticks(ticks, [f"{n:,.0f}" for n in ticks])
    ax.set_xticks([], minor=True)
    ax.set_xlim(ticks[0] / 1.15, ticks[-1] * 1.25)
    ax.set_xlabel("training pictures", fontsize=8.5, color=_LIGHT["muted"])
    ax.set_ylabel("weighted F1 on test", fontsize=8.5, color=_LIGHT["muted"])
    ax.grid(axis="y", color=_LIGHT["grid"], linewidth=0.8)
    ax.set_axisbelow(True)
    ax.margins(y=0.12)
    return ax


def _note(ax: Axes, words: str, at: tuple[float, float], colour: str, ha: str = "center") -> None:
    place: dict[str, Any] = {"textcoords": "offset points", "ha": ha, "va": "bottom", "annotation_clip": False}
    ax.annotate(words, at, (0, 4), color=_LIGHT[colour], fontsize=8.5, **place)
