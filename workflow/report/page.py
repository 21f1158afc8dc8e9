"""The document of a run as one self-contained HTML page, with its figures also as PNG and SVG files.

The page loads nothing: its style, figures and thumbnails are inside it, and its Content-Security-Policy forbids
everything else. It has no script. Labels, paths and messages are escaped wherever they appear.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from winnow.common.atomic_write import atomic_write
from winnow.common.formatting import format_number, format_setting
from winnow.embed import images
from winnow.embed.images import PictureError
from winnow.heads.evaluation.cleaning_effect import CleaningEffect
from winnow.heads.evaluation.learning_curve import LearningCurve
from winnow.heads.evaluation.search import SearchResult
from winnow.workflow.report import plots
from winnow.workflow.report.document import PairedDifference, RunDocument
from winnow.workflow.report.figure_files import inline_svg, to_png, to_svg
from winnow.workflow.report.figures import SPLITS, f1_axis_limits, run_figures, slugs

if TYPE_CHECKING:
    from jinja2 import Template
    from markupsafe import Markup

Thumbnails = Callable[[str], bytes | None]  # path of a picture -> a small JPEG, or None when it cannot be read
NO_CLEAR_DIFFERENCE = "no clear difference"
THUMBNAIL_SIZE = 192  # pixels of the longer side
GROUP_SIZE = 8  # near-duplicates of one group that the page shows


@dataclass(frozen=True)
class Confusion:
    """Pictures of class `label` that are classified as `predicted`: `count` of the `total` of that class."""

    label: str
    predicted: str
    count: int
    total: int


def render(run: RunDocument, thumbnails: Thumbnails) -> str:
    """The page as HTML."""
    figures = {each.name: inline_svg(to_svg(each.figure, each.name), each.description) for each in run_figures(run)}
    return _render(run, thumbnails, figures)


def write(run: RunDocument, folder: Path, thumbnails: Thumbnails) -> Path:
    """Write `report.html` into `folder`, and each figure as `pictures/NAME.png` and `.svg`. Returns the page's path.

    Each file appears whole or not at all, the page last.
    """
    figures = {}
    (folder / "pictures").mkdir(parents=True, exist_ok=True)
    for each in run_figures(run):
        svg = to_svg(each.figure, each.name)
        figures[each.name] = inline_svg(svg, each.description)
        _write_file(folder / "pictures" / f"{each.name}.svg", svg.encode())
        _write_file(folder / "pictures" / f"{each.name}.png", to_png(each.figure))
    page = folder / "report.html"
    _write_file(page, _render(run, thumbnails, figures).encode())
    return page


def most_confused(counts: list[list[int]], classes: list[str], most: int = 10) -> list[Confusion]:
    """The most frequent confusions of a (C, C) confusion matrix whose rows are true classes, most frequent first."""
    matrix = np.array(counts)
    wrong = matrix - np.diag(np.diag(matrix))
    order = np.argsort(-wrong, axis=None, kind="stable")[:most]
    pairs = [divmod(int(k), len(classes)) for k in order]
    return [Confusion(classes[i], classes[j], int(wrong[i, j]), int(matrix[i].sum())) for i, j in pairs if wrong[i, j]]


def describe_difference(versus: PairedDifference) -> str:
    """A paired comparison with the chosen head at the 5% level: `worse`, `better` or `NO_CLEAR_DIFFERENCE`."""
    p, difference = versus["p"], versus["difference"]
    if p is None or difference is None or not p < 0.05:
        return NO_CLEAR_DIFFERENCE
    return "worse" if difference < 0 else "better"


def thumbnail(path: Path) -> bytes | None:
    """A small JPEG of a picture, or None when the picture cannot be read any more."""
    from PIL import Image

    try:
        pixels, _ = images.decode(images.read_bytes(path), box=THUMBNAIL_SIZE)
    except PictureError:
        return None
    picture = Image.fromarray(pixels)
    picture.thumbnail((THUMBNAIL_SIZE, THUMBNAIL_SIZE))
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=80)
    return stream.getvalue()


def thumbnail_urls(paths: Iterable[str], thumbnails: Thumbnails) -> dict[str, str | None]:
    """Map each path to a data URL that contains its thumbnail, or to None when there is none."""
    jpegs = {path: thumbnails(path) for path in paths}
    return {
        path: "data:image/jpeg;base64," + base64.b64encode(jpeg).decode() if jpeg else None
        for path, jpeg in jpegs.items()
    }


def load_template(name: str, folder: Path = Path(__file__).parent) -> Template:
    """The template of a page in `folder`, which may include those of this folder.

    Values are escaped, and a name that is missing is an error.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    loader = FileSystemLoader([folder, Path(__file__).parent])
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined)
    environment.trim_blocks = environment.lstrip_blocks = True
    environment.globals["palette"] = plots.PALETTE
    environment.filters |= {"number": format_number, "setting": format_setting, "seconds": _format_seconds}
    return environment.get_template(name)


def _render(run: RunDocument, thumbnails: Thumbnails, figures: dict[str, Markup]) -> str:
    """The page from the document, whose keys are variables of the template, and what is computed from it."""
    heads = run["heads"]
    optional: dict[str, Any] = {
        name: run.get(name) for name in ("curation", "cleaning", "learning_curve", "search")
    }  # runs of earlier versions lack some of these keys
    differences = [describe_difference(head["versus_chosen"]) if head["versus_chosen"] else "chosen" for head in heads]
    pictures = {row["path"] for row in run["most_wrong"]} | _curated_paths(optional["curation"])
    values: dict[str, Any] = {
        **run,
        **optional,
        "slugs": slugs([head["name"] for head in heads]),
        "best": heads[0],
        "totals": {split: sum(run["data"]["splits"][split].values()) for split in SPLITS},
        "limits": f1_axis_limits(heads),
        "differences": differences,
        "not_different": [
            head["name"]
            for head, difference in zip(heads, differences, strict=True)
            if difference == NO_CLEAR_DIFFERENCE
        ],
        "most_confused": most_confused,
        "figures": figures,
        "thumbnails": thumbnail_urls(sorted(pictures), thumbnails),
        "group_size": GROUP_SIZE,
        "sentences": _sentences(run),
    }
    return load_template("report.html.j2").render(values)


def _sentences(run: RunDocument) -> dict[str, str]:
    """Map each of the optional results that the run has to the sentence that states it."""
    sentences = {}
    if cleaning := run.get("cleaning"):
        sentences["cleaning"] = _capitalize(CleaningEffect.from_json(cleaning).describe())
    if search := run.get("search"):
        sentences["search"] = _capitalize(SearchResult.from_json(search).describe())
    if learning_curve := run.get("learning_curve"):  # this sentence begins with the name of a head
        sentences["learning_curve"] = LearningCurve.from_json(learning_curve).describe()
    return sentences


def _capitalize(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]


def _curated_paths(curation: dict[str, Any] | None) -> set[str]:
    """Paths of the pictures that the section on curation shows."""
    if curation is None:
        return set()
    rows = [*curation["dropped"], *curation["relabelled"], *curation["suspects"]]
    rows += [picture for group in curation["duplicates"]["groups"] for picture in group["pictures"][:GROUP_SIZE]]
    return {row["path"] for row in rows}


def _format_seconds(value: float | None) -> str:
    """`1 min 15 s`, `3.1 s`, `16 ms`, `< 1 ms`; `–` for None and what is not finite."""
    if value is None or not math.isfinite(value):
        return "–"
    if value >= 60:
        minutes, seconds = divmod(round(value), 60)
        return f"{minutes} min {seconds} s"
    if value >= 0.1:
        return f"{value:.1f} s"
    return f"{1000 * value:.0f} ms" if value >= 0.0005 else "< 1 ms"


def _write_file(path: Path, content: bytes) -> None:
    with atomic_write(path) as stream:
        stream.write(content)
