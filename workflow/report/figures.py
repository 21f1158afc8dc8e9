"""The figures of a run's report, drawn from its document."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from winnow.common.formatting import format_number
from winnow.heads.evaluation.learning_curve import LearningCurve
from winnow.heads.evaluation.metrics import Interval
from winnow.workflow.report import plots
from winnow.workflow.report.document import DataSection, HeadRow, RunDocument

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SPLITS = ("train", "val", "test")
_DECAYING_SCHEDULES = ("step", "exponential", "plateau")


@dataclass(frozen=True)
class NamedFigure:
    """A figure with its name, for files and templates, and a sentence for readers who cannot see it."""

    name: str
    description: str
    figure: Figure


def run_figures(run: RunDocument) -> Iterator[NamedFigure]:
    """Every figure of a run: `classes`, `learning-curve`, `intervals`, and up to five of each head.

    Those of a head are SLUG-loss, SLUG-accuracy, SLUG-confusion-train, SLUG-confusion-test and SLUG-reliability.
    """
    yield _class_histogram(run["data"])
    if learning_curve := run.get("learning_curve"):
        yield _learning_curve(LearningCurve.from_json(learning_curve))
    if len(run["heads"]) > 1:
        yield _intervals(run["heads"])
    for slug, head in zip(slugs([head["name"] for head in run["heads"]]), run["heads"], strict=True):
        yield from _history_figures(slug, head)
        yield from _confusion_figures(slug, head, run["data"]["classes"])
        yield _reliability(slug, head)


def slugs(names: list[str]) -> list[str]:
    """Unique names for files and anchors: `Dense (lr=0.1)` gives `dense-lr-0.1`."""
    taken: dict[str, int] = {}
    for name in names:
        slug = stem = re.sub(r"[^a-z0-9.]+", "-", name.lower()).strip("-.")[:60] or "head"
        while slug in taken:
            taken[stem] += 1
            slug = f"{stem}-{taken[stem]}"
        taken[slug] = 1
    return list(taken)


def f1_axis_limits(heads: Sequence[HeadRow]) -> tuple[float, float]:
    """The part of the weighted F1 axis that is drawn, in steps of 0.05.

    Heads more than 0.2 behind the best (usually the dummy) lie outside it: otherwise the differences
    between the others would be too small to see.
    """
    best = max(head["weighted_f1"]["mean"] for head in heads)
    near = [head["weighted_f1"] for head in heads if head["weighted_f1"]["mean"] >= best - 0.2]
    lowest = math.floor(20 * min(f1["low"] for f1 in near) - 1e-9) / 20
    highest = math.ceil(20 * max(f1["high"] for f1 in near) + 1e-9) / 20
    return max(lowest, 0.0), min(highest, 1.0)


def confusion_figure(counts: np.ndarray, classes: list[str], title: str) -> Figure:
    """A (C, C) confusion matrix as a figure whose size suits the number of classes."""
    side = min(max(min(3.3 + 0.38 * len(classes), 5.2), 1.8 + 0.26 * len(classes)), 10.4)
    figure, ax = plots.new_figure(side, 0.93 * side)
    plots.confusion_matrix(ax, counts, classes, title)
    return figure


def _class_histogram(data: DataSection) -> NamedFigure:
    classes = data["classes"]
    counts = np.array([[data["splits"][split].get(label, 0) for label in classes] for split in SPLITS])
    figure, ax = plots.new_figure(5.6, min(0.75 + (0.34 if len(classes) <= 12 else 0.19) * len(classes), 14))
    plots.class_histogram(ax, counts, classes, SPLITS)
    sizes = counts.sum(axis=0)
    description = f"Pictures in each of {len(classes)} classes, from {sizes.min()} to {sizes.max()}, by split"
    return NamedFigure("classes", description, figure)


def _intervals(heads: list[HeadRow]) -> NamedFigure:
    figure, ax = plots.new_figure(6.4, 0.8 + 0.3 * len(heads))
    rows = [(head["name"], *_ends(Interval(**head["weighted_f1"]))) for head in heads]
    plots.f1_intervals(ax, rows, *f1_axis_limits(heads))
    return NamedFigure("intervals", "Weighted F1 of every head with its 95% interval", figure)


def _learning_curve(curve: LearningCurve) -> NamedFigure:
    points = [(point.pictures, *_ends(point.weighted_f1)) for point in curve.points]
    forecast, line, extrapolated = curve.forecast, None, None
    if forecast:
        extrapolated = (forecast.pictures, *_ends(forecast.weighted_f1))
        pictures = np.geomspace(points[0][0], forecast.pictures, 60)
        line = np.stack([pictures, forecast.law(pictures)])
    figure, ax = plots.new_figure(6.4, 3.2)
    plots.learning_curve(ax, points, line, extrapolated)
    description = f"Weighted F1 of {curve.head}, trained on {points[0][0]:,} to {points[-1][0]:,} pictures"
    return NamedFigure("learning-curve", description, figure)


def _history_figures(slug: str, head: HeadRow) -> Iterator[NamedFigure]:
    """Loss and accuracy over the epochs; learning rate and momentum below the loss where they change."""
    history = head["shown"]["history"] or {}
    for quantity in ("loss", "accuracy") if history else ():
        train, val = history[quantity], history.get(f"val_{quantity}", [])
        rates = _changing_rates(history) if quantity == "loss" else {}
        figure, (ax, *below) = plots.stacked_axes(5.3, [3.0, *(0.95 for _ in rates)])
        plots.history_curve(ax, train, val, head["shown"]["best_epoch"], quantity.capitalize())
        for lower, (rate, values) in zip(below, rates.items(), strict=True):
            log = rate == "learning rate" and head["params"].get("schedule") in _DECAYING_SCHEDULES
            plots.rate_curve(lower, values, rate, log)
        for each in (ax, *below):
            each.label_outer()
        with_rates = f", with {' and '.join(rates)}" if rates else ""
        description = f"{quantity.capitalize()} of {head['name']} over {len(train)} epochs{with_rates}"
        yield NamedFigure(f"{slug}-{quantity}", description, figure)


def _changing_rates(history: dict[str, list[float]]) -> dict[str, list[float]]:
    """Learning rate and momentum of each epoch, without those that are constant."""
    rates = {"learning rate": history.get("lr", []), "momentum": history.get("momentum", [])}
    return {name: values for name, values in rates.items() if len(set(values)) > 1}


def _confusion_figures(slug: str, head: HeadRow, classes: list[str]) -> Iterator[NamedFigure]:
    for part, part_name in (("train", "Training"), ("test", "Test")):
        counts = np.array(head["shown"]["confusion"][part])
        title = f"{part_name}: {counts.trace()} of {counts.sum()} correct"
        description = f"Confusion matrix of {head['name']}. {title}"
        yield NamedFigure(f"{slug}-confusion-{part}", description, confusion_figure(counts, classes, title))


def _reliability(slug: str, head: HeadRow) -> NamedFigure:
    figure, ax = plots.new_figure(4.4, 4.0)
    bins, title = head["reliability"], f"Expected calibration error {format_number(head['ece'])}"
    plots.reliability(ax, np.array(bins["confidence"]), np.array(bins["accuracy"]), np.array(bins["count"]), title)
    return NamedFigure(f"{slug}-reliability", f"Reliability diagram of {head['name']}. {title}", figure)


def _ends(f1: Interval) -> tuple[float, float, float]:
    return f1.mean, f1.low, f1.high
