"""Augmented views of a picture: what a classifier should not mind, seeded by the picture, the same wherever it is made.

View 0 is the plain square, view 1 its mirror image, the others are drawn: see `VIEWS`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from winnow.embed.images import RESIZE

if TYPE_CHECKING:
    from PIL.Image import Image

CROP = (0.35, 1.0)  # share of the area that a drawn view keeps
ASPECT = (3 / 4, 4 / 3)  # width over height of what it keeps
TURN = 10.0  # degrees, to either side
LIGHT = 0.3  # brightness and contrast are multiplied by 1 - LIGHT to 1 + LIGHT
COLOUR = 0.3  # and saturation by as much
# How views above 1 are made, in this order; part of the metadata of a table that holds them.
VIEWS = (
    f"crop({CROP[0]:g}-{CROP[1]:g},{ASPECT[0]:.2f}-{ASPECT[1]:.2f})|mirror(0.5)|turn({TURN:g})|"
    f"brightness({LIGHT:g})|contrast({LIGHT:g})|colour({COLOUR:g})"
)


def look(image: Image, id: str, view: int, size: int, resize: str) -> np.ndarray:
    """One view of a picture: uint8 RGB (size, size, 3).

    Views above 1: a random resized crop (Szegedy et al., Going Deeper with Convolutions, 2015, section 6), mirrored
    every other time, turned a little, its brightness, contrast and saturation changed (Howard, arXiv:1312.5402).

    Parameters: `image`, upright, of mode RGB, see `embed.images.decoded`; `id`, sha256 (hex) of its file, which with
    `view` seeds what is drawn; `resize`, how views 0 and 1 become square, one of `RESIZE`.
    """
    from PIL.Image import Transpose

    if view > 1:
        return _drawn(image, np.random.default_rng([int(id[:16], 16), view]), size)
    square = RESIZE[resize](image, size)
    return np.asarray(square.transpose(Transpose.FLIP_LEFT_RIGHT) if view else square)


def _drawn(image: Image, rng: np.random.Generator, size: int) -> np.ndarray:
    from PIL.Image import Resampling, Transpose
    from PIL.ImageEnhance import Brightness, Color, Contrast

    square = image.resize((size, size), Resampling.BICUBIC, box=_box(image.size, rng))
    if rng.random() < 0.5:
        square = square.transpose(Transpose.FLIP_LEFT_RIGHT)
    square = square.rotate(rng.uniform(-TURN, TURN), Resampling.BICUBIC, fillcolor=(128, 128, 128))
    for change, strength in ((Brightness, LIGHT), (Contrast, LIGHT), (Color, COLOUR)):
        square = change(square).enhance(rng.uniform(1 - strength, 1 + strength))
    return np.asarray(square)


def _box(sides: tuple[int, int], rng: np.random.Generator) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of what is kept: as large as drawn, or as fits in the picture."""
    width, height = sides
    area = width * height * rng.uniform(*CROP)
    aspect = np.exp(rng.uniform(*np.log(ASPECT)))
    wide, high = min(width, (area * aspect) ** 0.5), min(height, (area / aspect) ** 0.5)
    left, top = rng.uniform(0, width - wide), rng.uniform(0, height - high)
    return left, top, min(width, left + wide), min(height, top + high)
