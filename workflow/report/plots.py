"""Every plot of a report: numbers in, matplotlib Axes out.

Every colour is a name in `PALETTE` with a light and a dark value. A figure is drawn in the light colours; a page that
embeds its SVG replaces each of them with a CSS variable (`CSS_VARIABLES`), so one drawing serves light and dark pages.
No state of pyplot is used.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# name: (light, dark). The light values differ from each other, because CSS_VARIABLES looks them up. The colours of the
# three splits can be told apart with red-green colour blindness, and keep this order of lightness in greyscale.
PALETTE: dict[str, tuple[str, str]] = {
    "paper": ("#ffffff", "#15181c"),
    "ink": ("#1b1f24", "#e6e9ed"),
    "muted": ("#5f6772", "#9ca5b1"),
    "grid": ("#e1e5ea", "#31373f"),
    "train": ("#2a62a8", "#72aeef"),
    "val": ("#bd6510", "#f2a65a"),
    "test": ("#178a72", "#4fc9ab"),
    "on-bar": ("#fffffe", "#0c0e10"),
    "on-heat": ("#fffffd", "#ffffff"),
}
_LIGHT = {name: light for name, (light, _) in PALETTE.items()}
CSS_VARIABLES = {light: f"var(--{name})" for name, light in _LIGHT.items()}
_ANNOTATED = 12  # confusion matrices of up to this many classes show their counts
_MOST_LABELS = 70  # tick labels on one axis
_COUNT_BARS = 0.2  # height of the largest count below a reliability diagram, whose accuracy axis goes from 0 to 1
_TEXT_SIZE = 8.5  # points
_DASHES = (0, (2, 2))
_DIRECTIONS = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


def plain_label(label: str, longest: int = 24) -> str:
    """A label as matplotlib can draw it: one line of at most `longest` characters, cut in the middle, without mathtext.

    Control characters and overrides of the writing direction are removed. `$` becomes `\\$`, which matplotlib draws
    as a dollar sign.
    """
    text = "".join(" " if unicodedata.category(c) in ("Cc", "Cs") else c for c in label if c not in _DIRECTIONS)
    text = " ".join(text.split())
    if len(text) > longest:
        text = f"{text[: longest // 2]}…{text[len(text) - (longest - longest // 2 - 1) :]}"
    return text.replace("$", r"\$")


def new_figure(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure of width × height inches with one Axes, without frame or tick marks."""
    figure, (ax,) = stacked_axes(width, [height])
    return figure, ax


def stacked_axes(width: float, heights: Sequence[float]) -> tuple[Figure, list[Axes]]:
    """A figure with several Axes below each other that share the x axis; `heights` are theirs in inches."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, sum(heights)), layout="constrained", facecolor=_LIGHT["paper"])
    axes = list(figure.subplots(len(heights), sharex=True, squeeze=False, height_ratios=heights)[:, 0])
    for ax in axes:
        ax.set_facecolor("none")
        ax.spines[:].set_visible(False)
        ax.tick_params(length=0, labelsize=_TEXT_SIZE, colors=_LIGHT["muted"])
    return figure, axes


def class_histogram(ax: Axes, counts: np.ndarray, classes: Sequence[str], splits: Sequence[str]) -> Axes:
    """Pictures of each class, one bar per class, stacked by split.

    counts: (S, C) int, one row per split; classes: the C labels, drawn from the top; splits: S of `PALETTE`'s
    train, val, test.
    """
    counts = np.asarray(counts)
    totals, rows, legible = counts.sum(axis=0), np.arange(len(classes)), len(classes) <= 2 * _ANNOTATED
    left = np.zeros(len(classes), dtype=counts.dtype)
    for split, numbers in zip(splits, counts, strict=True):
        ax.barh(rows, numbers, 0.72, left=left, color=_LIGHT[split], label=split)
        for row in rows[numbers > 0.05 * totals.max()] if legible else []:
            _annotate(ax, f"{numbers[row]}", (left[row] + numbers[row] / 2, float(row)), "on-bar", ha="center")
        left = left + numbers
    for row in rows if len(classes) <= _MOST_LABELS else []:
        _annotate(ax, f"{totals[row]}", (totals[row], float(row)), "ink", offset=(4, 0))
    ax.set_ylim(len(classes) - 0.4, -0.6)
    ax.set_xlim(0, 1.08 * max(totals.max(), 1))
    ax.set_axis_off()
    _name_classes(ax, classes)
    ax.legend(
        loc="lower left", bbox_to_anchor=(0, 1), ncols=len(splits), frameon=False, fontsize=9, borderaxespad=0.2,
        handlelength=0.9, handleheight=0.9, columnspacing=1.4, borderpad=0.2, labelcolor=_LIGHT["ink"],
    )  # fmt: skip
    return ax


def f1_intervals(ax: Axes, rows: Sequence[tuple[str, float, float, float]], lowest: float, highest: float) -> Axes:
    """A forest plot of weighted F1: one (name, mean, low, high) per row, from the top; the first is the reference.

    The axis goes from `lowest` to `highest`; a mean below it is an arrow at the left edge, with its number.
    """
    _, _, low, high = rows[0]
    ax.axvspan(low, high, color=_LIGHT["train"], alpha=0.1, linewidth=0)
    for y, (_, mean, low, high) in enumerate(rows):
        colour = "train" if y == 0 else "ink"
        if mean < lowest:
            ax.plot([lowest], [y], marker="<", markersize=5, color=_LIGHT["muted"], clip_on=False)
        else:
            ends = [max(low, lowest), min(high, highest)]
            ax.plot(ends, [y, y], color=_LIGHT[colour], linewidth=1.6, solid_capstyle="round")
            ax.plot([mean], [y], marker="o", markersize=5.5, color=_LIGHT[colour])
        _annotate(ax, f"{mean:.3f}", (1, y), colour, offset=(6, 0), coords=("axes fraction", "data"))
    ax.set_yticks(range(len(rows)), [plain_label(name) for name, *_ in rows], color=_LIGHT["ink"])
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.set_xlim(lowest, highest)
    _name_axes(ax, "weighted F1 with its 95% interval")
    _draw_grid(ax, "x")
    return ax


def confusion_matrix(ax: Axes, counts: np.ndarray, classes: Sequence[str], title: str) -> Axes:
    """True classes as rows, predicted classes as columns; the shade of a cell grows with its share of the true class.

    counts: (C, C) int, counts[i, j] of class i predicted as j; the row of a class without pictures is white. The counts
    are written into the cells for up to 12 classes; with more than 70 classes, not all are named on the axes.
    """
    counts = np.asarray(counts)
    rates = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    # The opacity of one hue is the root of the rate: it suits light and dark pages, and one error in thirty is visible.
    shade = np.empty((*rates.shape, 4), dtype=np.uint8)
    shade[..., :3] = list(bytes.fromhex(_LIGHT["train"][1:]))
    shade[..., 3] = np.round(255 * np.sqrt(rates))
    ax.imshow(shade, interpolation="none", aspect="equal")
    edges = np.arange(len(classes) + 1) - 0.5
    few = len(classes) <= _ANNOTATED
    line: dict[str, Any] = {"colors": _LIGHT["grid"], "linewidth": 0.8 if few else 0.3, "clip_on": False}
    ax.hlines(edges, -0.5, len(classes) - 0.5, **line)
    ax.vlines(edges, -0.5, len(classes) - 0.5, **line)
    for (i, j), rate in np.ndenumerate(rates) if few else ():
        colour = _LIGHT["on-heat" if rate > 0.5 else "ink" if counts[i, j] else "muted"]
        ax.text(j, i, f"{counts[i, j]}", ha="center", va="center", color=colour, fontsize=9, in_layout=False)
    ax.set_axis_off()
    _name_classes(ax, classes)
    _name_classes(ax, classes, columns=True)
    _set_title(ax, title)
    ax.set_title("true ↓  predicted →", loc="right", y=1, fontsize=8, color=_LIGHT["muted"], pad=8)
    return ax


def reliability(ax: Axes, confidence: np.ndarray, accuracy: np.ndarray, count: np.ndarray, title: str) -> Axes:
    """A reliability diagram: the share of correct predictions over their probability, with the number of each below.

    confidence, accuracy, count: (B,), one value per bin, of `heads.evaluation.metrics.reliability`; empty bins are left
    out. The diagonal is where accuracy equals confidence; a line joins it to the accuracy of each bin, downwards where
    the head is overconfident. The area of a point grows with its count.
    """
    confidence, accuracy, count = (np.asarray(values) for values in (confidence, accuracy, count))
    filled, share = count > 0, count / max(count.max(), 1)
    ax.plot([0, 1], [0, 1], color=_LIGHT["muted"], linewidth=1, linestyle=_DASHES)
    ax.vlines(confidence[filled], confidence[filled], accuracy[filled], color=_LIGHT["test"], linewidth=1.6)
    areas = 14 + 90 * share[filled]
    ax.scatter(confidence[filled], accuracy[filled], areas, color=_LIGHT["test"], zorder=3, clip_on=False)
    bins = np.arange(len(count)) / len(count)
    bottom = -1.5 * _COUNT_BARS
    ax.bar(bins, _COUNT_BARS * share, 0.86 / len(count), bottom, align="edge", color=_LIGHT["muted"])
    _annotate(ax, f"{count.sum():,} predictions", (0.01, -1.2 * _COUNT_BARS), "muted", offset=(0, 4), va="bottom")
    ax.set_xlim(0, 1)
    ax.set_ylim(bottom, 1)
    ax.set_yticks(np.arange(6) / 5)
    _name_axes(ax, "predicted probability", "share of correct predictions")
    _draw_grid(ax, "both")
    _set_title(ax, title)
    return ax


def learning_curve(
    ax: Axes,
    sizes: Sequence[tuple[float, float, float, float]],
    curve: np.ndarray | None,
    extrapolated: tuple[float, float, float, float] | None = None,
) -> Axes:
    """Scores with their intervals over the number of training pictures, on a logarithmic axis.

    sizes: (pictures, mean, low, high) of each measured size; curve: (2, n), pictures and scores of a fitted curve,
    which is drawn dashed, or None; extrapolated: the same four numbers for a size that was not measured, or None.
    """
    pictures, mean, low, high = np.array(sizes, dtype=np.float64).T
    above: dict[str, Any] = {"offset": (0, 4), "ha": "center", "va": "bottom"}
    if curve is not None:
        ax.plot(*curve, color=_LIGHT["train"], linewidth=1.4, linestyle=(0, (4, 3)))
    ax.vlines(pictures, low, high, color=_LIGHT["test"], linewidth=1.6)
    ax.plot(pictures, mean, linestyle="none", marker="o", markersize=5.5, color=_LIGHT["test"])
    ticks = pictures.tolist()
    if extrapolated is not None:
        size, middle, bottom, top = extrapolated
        ax.vlines([size], bottom, top, color=_LIGHT["train"], linewidth=1.6, linestyle=_DASHES)
        ax.plot([size], [middle], marker="o", markersize=5.5, color=_LIGHT["train"], markerfacecolor=_LIGHT["paper"])
        _annotate(ax, f"extrapolated: {middle:.3f}", (size, top), "train", **above)
        ticks.append(size)
    _annotate(ax, f"{mean[-1]:.3f}", (pictures[-1], high[-1]), "test", **above)
    ax.set_xscale("log")
    ax.set_xticks(ticks, [f"{n:,.0f}" for n in ticks])
    ax.set_xticks([], minor=True)
    ax.set_xlim(ticks[0] / 1.15, ticks[-1] * 1.25)
    _name_axes(ax, "training pictures", "weighted F1 on test")
    _draw_grid(ax, "y")
    ax.margins(y=0.12)
    return ax


def history_curve(
    ax: Axes, train: Sequence[float | None], val: Sequence[float | None], best_epoch: int | None, quantity: str
) -> Axes:
    """One quantity over the epochs, on the training and the validation pictures, with the best epoch marked.

    train, val: one number per epoch (val may be empty); None and non-finite numbers are gaps, as when training
    diverged. best_epoch: the epoch whose weights are kept, from 0, or None; epochs are drawn from 1. The axis is
    logarithmic when the values span a factor of 50.
    """
    curves = {"train": _finite(train), "val": _finite(val)}
    values = np.concatenate(list(curves.values()))
    values = values[np.isfinite(values)]
    _set_title(ax, quantity, pad=18)
    if not values.size:
        _annotate(ax, "no finite values: training diverged", (0.5, 0.5), "muted", coords="axes fraction", ha="center")
        ax.set_axis_off()
        return ax
    if values.min() > 0 and values.max() > 50 * values.min():
        _set_log_scale(ax)
    for part, curve in curves.items():
        _plot_epochs(ax, curve, part)
    ax.set_xlim(1, max(len(train), 2))
    ax.locator_params(axis="x", integer=True)
    _name_axes(ax, "epoch")
    _draw_grid(ax, "y")
    _label_curve_ends(ax, curves)
    if best_epoch is not None:
        _mark_best_epoch(ax, best_epoch, curves["val"] if len(curves["val"]) else curves["train"])
    return ax


def rate_curve(ax: Axes, values: Sequence[float], quantity: str, log: bool = False) -> Axes:
    """Learning rate or momentum over the epochs, from 1, below a `history_curve`; log: on a logarithmic axis."""
    ax.set_title(quantity, loc="left", y=1, fontsize=_TEXT_SIZE, color=_LIGHT["ink"], pad=5)
    _plot_epochs(ax, values, "ink")
    if log and min(values) > 0:
        _set_log_scale(ax)
        ax.tick_params(which="minor", labelleft=False)
    else:
        ax.locator_params(axis="y", nbins=3)
    _name_axes(ax, "epoch")
    _draw_grid(ax, "y")
    return ax


def _finite(values: Sequence[float | None]) -> np.ndarray:
    """As float64, with NaN for None and for what is not finite."""
    numbers = np.array([np.nan if value is None else value for value in values], dtype=np.float64)
    return np.where(np.isfinite(numbers), numbers, np.nan)


def _plot_epochs(ax: Axes, values: Sequence[float] | np.ndarray, colour: str) -> None:
    """A line over epochs 1, 2, …; a single epoch is a point, because a line of one point is invisible."""
    marker = "o" if len(values) == 1 else None
    ax.plot(np.arange(1, len(values) + 1), values, color=_LIGHT[colour], linewidth=1.6, marker=marker)


def _label_curve_ends(ax: Axes, curves: Mapping[str, np.ndarray]) -> None:
    """Name each curve at its last finite point, in its colour; two names that would overlap are moved apart."""
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
        name = {"train": "training", "val": "validation"}[part]
        _annotate(ax, name, (1, height), part, offset=(5, 0), coords="axes fraction")


def _mark_best_epoch(ax: Axes, best_epoch: int, curve: np.ndarray) -> None:
    epoch = best_epoch + 1
    ax.axvline(epoch, color=_LIGHT["muted"], linewidth=1, linestyle=_DASHES)
    value = curve[best_epoch] if best_epoch < len(curve) else np.nan
    text = f"best epoch: {epoch}"
    if np.isfinite(value):
        dot: dict[str, Any] = {"color": _LIGHT["val"], "markeredgecolor": _LIGHT["paper"], "clip_on": False}
        ax.plot([epoch], [value], marker="o", markersize=5.5, zorder=4, **dot)
        text += f" ({value:.3f})"
    first, last = ax.get_xlim()
    fraction = (epoch - first) / (last - first)
    side = "left" if fraction < 0.3 else "right" if fraction > 0.7 else "center"
    _annotate(ax, text, (epoch, 1), "muted", offset=(0, 3), coords=("data", "axes fraction"), ha=side, va="bottom")


def _name_classes(ax: Axes, classes: Sequence[str], columns: bool = False) -> None:
    """Name every row (or column) of a plot with one class per row, or every k-th one when there are more than 70.

    These are texts, not tick labels, which take several times as long: they are most of the time that a report takes.
    """
    step = -(-len(classes) // _MOST_LABELS)
    size = 9 if len(classes) <= _ANNOTATED else 8 if len(classes) <= 40 else 7
    style: dict[str, Any] = {"color": _LIGHT["ink"], "fontsize": size, "ha": "right", "va": "center"}
    if columns:
        style |= {"rotation": 35 if len(classes) <= _ANNOTATED else 90, "rotation_mode": "anchor"}
    style["transform"] = ax.get_xaxis_transform() if columns else ax.get_yaxis_transform()
    for i in range(0, len(classes), step):
        ax.text(i if columns else -0.012, -0.02 if columns else i, plain_label(classes[i]), **style)


def _name_axes(ax: Axes, x: str, y: str = "") -> None:
    ax.set_xlabel(x, fontsize=_TEXT_SIZE, color=_LIGHT["muted"])
    ax.set_ylabel(y, fontsize=_TEXT_SIZE, color=_LIGHT["muted"])


def _draw_grid(ax: Axes, axis: Any) -> None:
    """Grid lines of one axis, "x" or "y", or of "both", behind the data."""
    ax.grid(axis=axis, color=_LIGHT["grid"], linewidth=0.8)
    ax.set_axisbelow(True)


def _set_log_scale(ax: Axes) -> None:
    ax.set_yscale("log")
    ax.yaxis.set_major_formatter("{x:g}")
    ax.tick_params(which="minor", length=0)


def _set_title(ax: Axes, title: str, pad: float = 8) -> None:
    ax.set_title(title, loc="left", y=1, fontsize=10, fontweight="bold", color=_LIGHT["ink"], pad=pad)


def _annotate(ax: Axes, text: str, xy: tuple[float, float], colour: str, *, offset: tuple[float, float] = (0, 0),
              coords: Any = "data", ha: str = "left", va: str = "center") -> None:  # fmt: skip
    """Write a text at a point, moved by `offset` points (1/72 inch)."""
    position = {"xycoords": coords, "textcoords": "offset points", "annotation_clip": False, "ha": ha, "va": va}
    ax.annotate(text, xy, offset, color=_LIGHT[colour], fontsize=_TEXT_SIZE, **position)
