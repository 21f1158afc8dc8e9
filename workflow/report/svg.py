"""matplotlib's SVG as text: made small, and made part of a page."""

from __future__ import annotations

import re
from collections.abc import Mapping
from html import escape


def tidy(svg: str) -> str:
    """The same drawing in about a third of the bytes: no comments, unused ids, font lists, far decimals or blank space.

    Only what stands inside tags is touched. The words between them are a person's; matplotlib escapes < and > there.
    """
    svg = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    used = set(re.findall(r"""(?:href="|url\()#([^")]+)""", svg))

    def shorten(tag: re.Match[str]) -> str:
        kept = re.sub(r' id="([^"]*)"', lambda found: found[0] if found[1] in used else "", tag[0])
        kept = re.sub(r'font-family: [^;"]*', "font-family: system-ui, sans-serif", kept)
        kept = re.sub(r"\s+", " ", kept).replace("base64, ", "base64,")
        return re.sub(r"(\d\.\d\d)\d+", r"\1", kept)

    return re.sub(r">\s+<", "><", re.sub(r"<[^>]*>", shorten, svg))


def inline(svg: str, colours: Mapping[str, str], alt: str) -> str:
    """The drawing as an element of an HTML page, with `alt` as its description.

    colours: from `#rrggbb` in the drawing to what stands for it in the page, as `var(--ink)`.
    """
    svg = re.sub(r"^.*?(?=<svg)|<style.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<[^>]*>", lambda tag: re.sub(r"#[0-9a-f]{6}\b", lambda c: colours.get(c[0], c[0]), tag[0]), svg)
    return svg.replace("<svg ", f'<svg role="img" aria-label="{escape(alt)}" ', 1)
