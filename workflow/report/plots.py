"""Numbers in, matplotlib Axes out; the only file that imports matplotlib. Curves over epochs are in `heads.curves`.

Every colour is a name in `PALETTE` with a light and a dark value. A figure is drawn in the light ones; a page that
takes in its SVG puts a CSS variable for each (`VARIABLES`), so that one drawing does for light and dark.
No state of pyplot is used.
"""

from __future__ import annotations

import io
import threading
import unicodedata
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from winnow.workflow.report import svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# name: (light, dark). Light values differ from each other: VARIABLES looks them up. The three splits are
# told apart by people who do not see red and green as different, and stay in this order of lightness in grey.
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
VARIABLES = {light: f"var(--{name})" for name, light in _LIGHT.items()}
_ANNOTATED = 12  # confusion matrices of up to this many classes have their counts written in
_LABELS = 70  # tick labels on one axis, at most
# Tried in this order for scripts that matplotlib's own font lacks; those not installed are passed over.
_FALLBACK_FONTS = ["Noto Sans CJK SC", "Noto Sans CJK JP", "PingFang SC", "Microsoft YaHei", "Noto Sans Arabic"]
_DIRECTIONS = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
# rcParams and the warning filters belong to the whole process.
_SAVING = threading.Lock()


def plain(label: str, longest: int = 24) -> str:
    """A label as matplotlib may draw it: one line of at most `longest` characters, cut in the middle, no mathtext.

    Control characters and overrides of the writing direction are left out. `$` comes back as `\\$`, which
    matplotlib draws as a dollar sign.
    """
    text = "".join(" " if unicodedata.category(c) in ("Cc", "Cs") else c for c in label if c not in _DIRECTIONS)
    text = " ".join(text.split())
    if len(text) > longest:
        text = f"{text[: longest // 2]}…{text[len(text) - (longest - longest // 2 - 1) :]}"
    return text.replace("$", r"\$")


def figure(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure of width × height inches with one Axes, without frame or tick marks."""
    drawn, (ax,) = panels(width, [height])
    return drawn, ax


def panels(width: float, heights: Sequence[float]) -> tuple[Figure, list[Axes]]:
    """The same with Axes one below the other on one x axis, of such heights in inches."""
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(width, sum(heights)), layout="constrained", facecolor=_LIGHT["paper"])
    axes = list(drawn.subplots(len(heights), sharex=True, squeeze=False, height_ratios=heights)[:, 0])
    for ax in axes:
        ax.set_facecolor("none")
        ax.spines[:].set_visible(False)
        ax.tick_params(length=0, labelsize=8.5, colors=_LIGHT["muted"])
    return drawn, axes


def class_histogram(ax: Axes, counts: np.ndarray, classes: Sequence[str], splits: Sequence[str]) -> Axes:
    """Pictures of each class, one bar a class, stacked by split.

    counts: (S, C) int, one row a split; classes: the C labels, drawn from the top; splits: S of `PALETTE`'s
    train, val, test.
    """
    counts = np.asarray(counts)
    totals, rows, legible = counts.sum(axis=0), np.arange(len(classes)), len(classes) <= 2 * _ANNOTATED
    left = np.zeros(len(classes), dtype=counts.dtype)
    for split, numbers in zip(splits, counts, strict=True):
        ax.barh(rows, numbers, 0.72, left=left, color=_LIGHT[split], label=split)
        for row in rows[numbers > 0.05 * totals.max()] if legible else []:
            _on_message(ax, f"{numbers[row]}", (left[row] + numbers[row] / 2, float(row)), "on-bar", ha="center")
        left = left + numbers
    for row in rows if len(classes) <= _LABELS else []:
        _on_message(ax, f"{totals[row]}", (totals[row], float(row)), "ink", nudge=(4, 0))
    ax.set_ylim(len(classes) - 0.4, -0.6)
    ax.set_xlim(0, 1.08 * max(totals.max(), 1))
    ax.set_axis_off()
    _name_rows(ax, classes)
    ax.legend(
        loc="lower left", bbox_to_anchor=(0, 1), ncols=len(splits), frameon=False, fontsize=9, borderaxespad=0.2,
        handlelength=0.9, handleheight=0.9, columnspacing=1.4, borderpad=0.2, labelcolor=_LIGHT["ink"],
    )  # fmt: skip
    return ax


def intervals(ax: Axes, rows: Sequence[tuple[str, float, float, float]], lowest: float, highest: float) -> Axes:
    """A forest plot: one (name, mean, low, high) a row, from the top; the first is the one compared with.

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
        _on_message(ax, f"{mean:.3f}", (1, y), colour, nudge=(6, 0), coords=("axes fraction", "data"))
    ax.set_yticks(range(len(rows)), [plain(name) for name, *_ in rows], color=_LIGHT["ink"])
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.set_xlim(lowest, highest)
    ax.set_xlabel("weighted F1 with its 95% interval", fontsize=8.5, color=_LIGHT["muted"])
    ax.grid(axis="x", color=_LIGHT["grid"], linewidth=0.8)
    ax.set_axisbelow(True)
    return ax


def confusion_matrix(ax: Axes, counts: np.ndarray, classes: Sequence[str], title: str) -> Axes:
    """True classes downwards, predicted ones across; shade grows with the part of the true class.

    counts: (C, C) int, counts[i, j] of class i predicted as j; a class without pictures is left white. The counts are
    written in for up to 12 classes; with more than 70, not every class is named on the axes.
    """
    counts = np.asarray(counts)
    rates = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    # One hue, its opacity the root of the rate: right on light and on dark pages, and one mistake in thirty shows.
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
    _name_rows(ax, classes)
    _name_rows(ax, classes, columns=True)
    ax.set_title(title, loc="left", y=1, fontsize=10, fontweight="bold", color=_LIGHT["ink"], pad=8)
    ax.set_title("true ↓  predicted →", loc="right", y=1, fontsize=8, color=_LIGHT["muted"], pad=8)
    return ax


def to_png(drawn: Figure, dots_per_inch: int = 120) -> bytes:
    """The figure as PNG, on white."""
    return _save(drawn, "png", "", dpi=dots_per_inch)


def to_svg(drawn: Figure, name: str) -> str:
    """The figure as an SVG file, on white; the same figure and name give the same text.

    `name` goes into the ids, which are apart for figures of different names, so that several fit in one page.
    """
    return svg.tidy(_save(drawn, "svg", name, metadata=dict.fromkeys(["Date", "Creator", "Format", "Type"])).decode())


def _save(drawn: Figure, kind: str, salt: str, **options: Any) -> bytes:
    """The file's bytes. Glyphs that no font here has are drawn as boxes in PNG; an SVG leaves them to the viewer."""
    from matplotlib import font_manager, rc_context
    from matplotlib.text import Text

    installed = {font.name for font in font_manager.fontManager.ttflist}
    families = ["DejaVu Sans", *(name for name in _FALLBACK_FONTS if name in installed)]
    settings: Any = {"svg.fonttype": "none", "svg.hashsalt": salt, "font.family": families}
    buffer = io.BytesIO()
    with _SAVING, warnings.catch_warnings(), rc_context(settings):
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        for text in drawn.findobj(Text):
            text.set_fontfamily(families)
        drawn.savefig(buffer, format=kind, **options)
        drawn.set_layout_engine(None)  # laid out once: the next file of this figure takes half the time
    return buffer.getvalue()


def _name_rows(ax: Axes, classes: Sequence[str], columns: bool = False) -> None:
    """Names every row (or column) of a plot with one class a row, or every k-th when there are more than 70.

    As texts, not as tick labels: those take several times as long, and most of a report's time goes here.
    """
    step = -(-len(classes) // _LABELS)
    size = 9 if len(classes) <= _ANNOTATED else 8 if len(classes) <= 40 else 7
    style: dict[str, Any] = {"color": _LIGHT["ink"], "fontsize": size, "ha": "right", "va": "center"}
    if columns:
        style |= {"rotation": 35 if len(classes) <= _ANNOTATED else 90, "rotation_mode": "anchor"}
    style["transform"] = ax.get_xaxis_transform() if columns else ax.get_yaxis_transform()
    for i in range(0, len(classes), step):
        ax.text(i if columns else -0.012, -0.02 if columns else i, plain(classes[i]), **style)


def _on_message(ax: Axes, words: str, at: tuple[float, float], colour: str, *, nudge: tuple[float, float] = (0, 0),
         coords: Any = "data", ha: str = "left", va: str = "center") -> None:  # fmt: skip
    """Writes words at a point, moved by `nudge` points."""
    place = {"xycoords": coords, "textcoords": "offset points", "annotation_clip": False, "ha": ha, "va": va}
    ax.annotate(words, at, nudge, color=_LIGHT[colour], fontsize=8.5, **place)
