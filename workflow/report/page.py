"""A run's `metrics.json` as one self-contained HTML page, and every plot of it as PNG and SVG.

The page asks for nothing: its style, drawings and thumbnails are inside it, and its Content-Security-Policy
forbids the rest. It has no script. Labels, paths and messages are escaped wherever they stand.
"""

from __future__ import annotations

import base64
import io
import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from winnow.common.atomic_write import atomic_write
from winnow.common.formatting import format_number, format_setting
from winnow.embed import images
from winnow.embed.images import PictureError
from winnow.heads.evaluation.cleaning_effect import CleaningEffect
from winnow.heads.evaluation.learning_curve import LearningCurve
from winnow.heads.evaluation.metrics import Interval
from winnow.heads.evaluation.search import SearchResult
from winnow.workflow.report import curves, diagrams, plots, svg

if TYPE_CHECKING:
    from jinja2 import Template
    from markupsafe import Markup
    from matplotlib.figure import Figure

Thumbnails = Callable[[str], bytes | None]
SPLITS = ("train", "val", "test")
UNCLEAR = "no clear difference"
THUMBNAIL = 192  # pixels, longer side


def render(run: dict[str, Any], thumbnails: Thumbnails) -> str:
    """The page, from the document that `metrics.json` holds.

    thumbnails: from a path as in `most_wrong` to the bytes of a small JPEG, or None when the picture is gone.
    """
    return _page(run, thumbnails, {name: (plots.to_svg(drawn, name), alt) for name, alt, drawn in figures(run)})


def write(run: dict[str, Any], folder: Path, thumbnails: Thumbnails) -> Path:
    """Writes `report.html` into `folder`, and each of its plots as `pictures/NAME.png` and `.svg`; the page's path.

    Each file appears whole or not at all, the page last.
    """
    drawings = {}
    (folder / "pictures").mkdir(parents=True, exist_ok=True)
    for name, alt, drawn in figures(run):
        drawings[name] = (plots.to_svg(drawn, name), alt)
        _write(folder / "pictures" / f"{name}.svg", drawings[name][0].encode())
        _write(folder / "pictures" / f"{name}.png", plots.to_png(drawn))
    page = folder / "report.html"
    _write(page, _page(run, thumbnails, drawings).encode())
    return page


def figures(run: dict[str, Any]) -> Iterator[tuple[str, str, Figure]]:
    """(name, what it shows in words, figure) of every plot: `classes`, `learning-curve`, `intervals`, and five or fewer
    of each head."""
    yield _histogram(run["data"])
    if run.get("learning_curve"):
        yield _learning_curve(LearningCurve.from_json(run["learning_curve"]))
    if len(run["heads"]) > 1:
        yield _intervals(run["heads"])
    for slug, head in zip(slugs([head["name"] for head in run["heads"]]), run["heads"], strict=True):
        yield from _head_figures(slug, head, run["data"]["classes"])


def slugs(names: list[str]) -> list[str]:
    """Names fit for files and anchors, each once: `Dense (lr=0.1)` gives `dense-lr-0.1`."""
    taken: dict[str, int] = {}
    for name in names:
        slug = stem = re.sub(r"[^a-z0-9.]+", "-", name.lower()).strip("-.")[:60] or "head"
        while slug in taken:
            taken[stem] += 1
            slug = f"{stem}-{taken[stem]}"
        taken[slug] = 1
    return list(taken)


def limits(rows: list[dict[str, Any]]) -> tuple[float, float]:
    """The part of the weighted F1 axis worth drawing, in steps of 0.05.

    Heads more than 0.2 behind the best (the dummy, as a rule) lie off it, else the others could not be told apart.
    """
    best = max(row["weighted_f1"]["mean"] for row in rows)
    near = [row["weighted_f1"] for row in rows if row["weighted_f1"]["mean"] >= best - 0.2]
    lowest = math.floor(20 * min(f1["low"] for f1 in near) - 1e-9) / 20
    highest = math.ceil(20 * max(f1["high"] for f1 in near) + 1e-9) / 20
    return max(lowest, 0.0), min(highest, 1.0)


def confused(counts: list[list[int]], classes: list[str], most: int = 10) -> list[tuple[str, str, int, int]]:
    """The most frequent mistakes of a (C, C) confusion matrix: (true, predicted, how many, of how many), most first."""
    matrix = np.array(counts)
    wrong = matrix - np.diag(np.diag(matrix))
    order = np.argsort(-wrong, axis=None, kind="stable")[:most]
    pairs = [divmod(int(k), len(classes)) for k in order]
    return [(classes[i], classes[j], int(wrong[i, j]), int(matrix[i].sum())) for i, j in pairs if wrong[i, j]]


def verdict(versus: dict[str, float | None]) -> str:
    """What a paired comparison with the chosen head says at the 5% level: `worse`, `better` or `UNCLEAR`."""
    p, difference = versus["p"], versus["difference"]
    if p is None or difference is None or not p < 0.05:
        return UNCLEAR
    return "worse" if difference < 0 else "better"


def matrix(counts: np.ndarray, classes: list[str], title: str) -> Figure:
    """A (C, C) confusion matrix as a figure whose size suits the number of classes."""
    side = min(max(min(3.3 + 0.38 * len(classes), 5.2), 1.8 + 0.26 * len(classes)), 10.4)
    drawn, ax = plots.figure(side, 0.93 * side)
    plots.confusion_matrix(ax, counts, classes, title)
    return drawn


def inline(drawn: str, alt: str) -> Markup:
    """The text of an SVG as an element of a page, in the page's colours."""
    from markupsafe import Markup

    return Markup(svg.inline(drawn, plots.VARIABLES, alt))


def thumbnail(path: Path) -> bytes | None:
    """A small JPEG of a picture, or None when it cannot be read any more."""
    from PIL import Image

    try:
        pixels, _ = images.decode(images.read_bytes(path), box=THUMBNAIL)
    except PictureError:
        return None
    picture = Image.fromarray(pixels)
    picture.thumbnail((THUMBNAIL, THUMBNAIL))
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=80)
    return stream.getvalue()


def data_address(jpeg: bytes | None) -> str | None:
    """A small JPEG as an address that carries it; None stays None."""
    return jpeg and "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()  # type: ignore[return-value]


def template(name: str, folder: Path = Path(__file__).parent) -> Template:
    """A page's template in a folder, which may use those of this one: names are escaped, and nothing may be missing."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    loader = FileSystemLoader([folder, Path(__file__).parent])
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined)
    environment.trim_blocks = environment.lstrip_blocks = True
    environment.globals["palette"] = plots.PALETTE
    environment.filters |= {"number": format_number, "setting": format_setting, "seconds": _seconds}
    return environment.get_template(name)


def _page(run: dict[str, Any], thumbnails: Thumbnails, drawings: dict[str, tuple[str, str]]) -> str:
    heads = run["heads"]
    sections = ("curation", "cleaning", "search", "learning_curve")
    curation, cleaned, searched, learned = (run.get(name) for name in sections)
    verdicts = [verdict(head["versus_chosen"]) if head["versus_chosen"] else "chosen" for head in heads]
    return template("report.html.j2").render(
        run,
        slugs=slugs([head["name"] for head in heads]),
        best=heads[0],
        totals={split: sum(run["data"]["splits"][split].values()) for split in SPLITS},
        limits=limits(heads),
        verdicts=verdicts,
        unclear=[head["name"] for head, words in zip(heads, verdicts, strict=True) if words == UNCLEAR],
        confused=confused,
        drawings={name: inline(text, alt) for name, (text, alt) in drawings.items()},
        thumbnails=[data_address(thumbnails(row["path"])) for row in run["most_wrong"]],
        curation=curation,
        cleaning=cleaned,
        search=searched,
        found=SearchResult.from_json(searched).describe() if searched else "",
        bought=CleaningEffect.from_json(cleaned).describe() if cleaned else "",
        learning_curve=learned,
        more=LearningCurve.from_json(learned).describe() if learned else "",
        shots={path: data_address(thumbnails(path)) for path in _curated(curation)} if curation else {},
    )


def _curated(curation: dict[str, Any]) -> set[str]:
    """Paths of the pictures that the Curation section shows."""
    rows = [*curation["dropped"], *curation["relabelled"], *curation["suspects"]]
    rows += [picture for group in curation["duplicates"]["groups"] for picture in group["pictures"][:8]]
    return {row["path"] for row in rows}


def _histogram(data: dict[str, Any]) -> tuple[str, str, Figure]:
    classes = data["classes"]
    counts = np.array([[data["splits"][split].get(label, 0) for label in classes] for split in SPLITS])
    drawn, ax = plots.figure(5.6, min(0.75 + (0.34 if len(classes) <= 12 else 0.19) * len(classes), 14))
    plots.class_histogram(ax, counts, classes, SPLITS)
    sizes = counts.sum(axis=0)
    return (
        "classes",
        f"Pictures in each of {len(classes)} classes, from {sizes.min()} to {sizes.max()}, by split",
        drawn,
    )


def _intervals(rows: list[dict[str, Any]]) -> tuple[str, str, Figure]:
    drawn, ax = plots.figure(6.4, 0.8 + 0.3 * len(rows))
    points = [(row["name"], *_ends(row["weighted_f1"])) for row in rows]
    plots.intervals(ax, points, *limits(rows))
    return "intervals", "Weighted F1 of every head with its 95% interval", drawn


def _learning_curve(curve: LearningCurve) -> tuple[str, str, Figure]:
    points = [(point.pictures, *_interval(point.weighted_f1)) for point in curve.points]
    forecast, line, end = curve.forecast, None, None
    if forecast:
        n = np.geomspace(points[0][0], forecast.pictures, 60)
        line = np.stack([n, forecast.law(n)])
        end = forecast.pictures, *_interval(forecast.weighted_f1)
    drawn, ax = plots.figure(6.4, 3.2)
    diagrams.learning_curve(ax, points, line, end)
    words = f"Weighted F1 of {curve.head}, trained on {points[0][0]:,} to {points[-1][0]:,} pictures"
    return "learning-curve", words, drawn


def _interval(f1: Interval) -> tuple[float, float, float]:
    return f1.mean, f1.low, f1.high


def _ends(f1: dict[str, float]) -> tuple[float, float, float]:
    return f1["mean"], f1["low"], f1["high"]


def _head_figures(slug: str, head: dict[str, Any], classes: list[str]) -> Iterator[tuple[str, str, Figure]]:
    shown, name = head["shown"], head["name"]
    for quantity in ("loss", "accuracy") if shown["history"] else ():
        train, val = shown["history"][quantity], shown["history"].get(f"val_{quantity}", [])
        rates = _rates(shown["history"]) if quantity == "loss" else {}
        drawn, (ax, *below) = plots.panels(5.3, [3.0, *(0.95 for _ in rates)])
        curves.history_curve(ax, train, val, shown["best_epoch"], quantity.capitalize())
        for lower, (words, values) in zip(below, rates.items(), strict=True):
            log = words == "learning rate" and head["params"].get("schedule") in ("step", "exponential", "plateau")
            curves.rate_curve(lower, values, words, log)
        for one in (ax, *below):
            one.label_outer()
        beside = f", with {' and '.join(rates)}" if rates else ""
        yield f"{slug}-{quantity}", f"{quantity.capitalize()} of {name} over {len(train)} epochs{beside}", drawn
    for part, words in (("train", "Training"), ("test", "Test")):
        counts = np.array(shown["confusion"][part])
        title = f"{words}: {counts.trace()} of {counts.sum()} right"
        yield f"{slug}-confusion-{part}", f"Confusion matrix of {name}. {title}", matrix(counts, classes, title)
    drawn, ax = plots.figure(4.4, 4.0)
    bins, title = head["reliability"], f"Expected calibration error {format_number(head['ece'])}"
    diagrams.reliability(ax, bins["confidence"], bins["accuracy"], bins["count"], title)
    yield f"{slug}-reliability", f"Reliability of the probabilities of {name}. {title}", drawn


def _rates(history: dict[str, list[float]]) -> dict[str, list[float]]:
    """Learning rate and momentum of each epoch, those that are not always the same."""
    named = {words: history.get(name, []) for name, words in (("lr", "learning rate"), ("momentum", "momentum"))}
    return {words: values for words, values in named.items() if len(set(values)) > 1}


def _seconds(value: float | None) -> str:
    if value is None or not math.isfinite(value):
        return "–"
    if value >= 60:
        return f"{int(value // 60)} min {value % 60:.0f} s"
    return f"{value:.1f} s" if value >= 0.1 else f"{1000 * value:.0f} ms"


def _write(path: Path, content: bytes) -> None:
    with atomic_write(path) as stream:
        stream.write(content)
