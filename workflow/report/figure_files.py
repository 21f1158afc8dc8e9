"""Figures as PNG and SVG files, and as an SVG element inside an HTML page."""

from __future__ import annotations

import io
import re
import threading
import warnings
from html import escape
from typing import TYPE_CHECKING, Any

from winnow.workflow.report.plots import CSS_VARIABLES

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.figure import Figure

# For scripts that matplotlib's own font lacks, in this order of preference; fonts that are not installed are skipped.
_FALLBACK_FONTS = ["Noto Sans CJK SC", "Noto Sans CJK JP", "PingFang SC", "Microsoft YaHei", "Noto Sans Arabic"]
_SAVE_LOCK = threading.Lock()  # rcParams and the warning filters belong to the whole process


def to_png(figure: Figure, dots_per_inch: int = 120) -> bytes:
    """The figure as PNG, on white. A glyph that no installed font has is drawn as a box."""
    return _save(figure, "png", "", dpi=dots_per_inch)


def to_svg(figure: Figure, name: str) -> str:
    """The figure as an SVG file, on white; the same figure and name give the same text.

    Texts stay text, and the viewer chooses the font. `name` enters the ids of the elements, so that figures of
    different names share none and fit in one page.
    """
    metadata = dict.fromkeys(["Date", "Creator", "Format", "Type"])
    return _tidy(_save(figure, "svg", name, metadata=metadata).decode())


def inline_svg(svg: str, description: str) -> Markup:
    """The text of an SVG as an element of an HTML page, in the colours of the page, described for screen readers."""
    from markupsafe import Markup

    svg = re.sub(r"^.*?(?=<svg)|<style.*?</style>", "", svg, flags=re.DOTALL)

    def use_variables(tag: re.Match[str]) -> str:
        return re.sub(r"#[0-9a-f]{6}\b", lambda colour: CSS_VARIABLES.get(colour[0], colour[0]), tag[0])

    svg = re.sub(r"<[^>]*>", use_variables, svg)
    return Markup(svg.replace("<svg ", f'<svg role="img" aria-label="{escape(description)}" ', 1))


def _tidy(svg: str) -> str:
    """The same drawing in about a third of the bytes: no comments, unused ids, font lists, far decimals or blank space.

    Only the insides of tags change, never the text between them; matplotlib escapes < and > there.
    """
    svg = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    used = set(re.findall(r"""(?:href="|url\()#([^")]+)""", svg))

    def shorten(tag: re.Match[str]) -> str:
        text = re.sub(r' id="([^"]*)"', lambda attribute: attribute[0] if attribute[1] in used else "", tag[0])
        text = re.sub(r'font-family: [^;"]*', "font-family: system-ui, sans-serif", text)
        text = re.sub(r"\s+", " ", text).replace("base64, ", "base64,")
        return re.sub(r"(\d\.\d\d)\d+", r"\1", text)

    return re.sub(r">\s+<", "><", re.sub(r"<[^>]*>", shorten, svg))


def _save(figure: Figure, file_format: str, salt: str, **options: Any) -> bytes:
    from matplotlib import font_manager, rc_context
    from matplotlib.text import Text

    installed = {font.name for font in font_manager.fontManager.ttflist}
    families = ["DejaVu Sans", *(name for name in _FALLBACK_FONTS if name in installed)]
    settings: Any = {"svg.fonttype": "none", "svg.hashsalt": salt, "font.family": families}
    buffer = io.BytesIO()
    with _SAVE_LOCK, warnings.catch_warnings(), rc_context(settings):
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        for text in figure.findobj(Text):
            text.set_fontfamily(families)
        figure.savefig(buffer, format=file_format, **options)
        figure.set_layout_engine(None)  # the layout is computed once: a second file of the figure takes half the time
    return buffer.getvalue()
