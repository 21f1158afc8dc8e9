"""Augmentations of an image: variations that a classifier should ignore, reproducible anywhere.

Augmentation 0 is the image itself, 1 its mirror image, and 2, 3, … are random ones, seeded by the image's id and their
number; see `AUGMENTATIONS`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from winnow.embed.images import RESIZE_FUNCTIONS

if TYPE_CHECKING:
    from PIL.Image import Image

CROP = (0.35, 1.0)  # range of the share of the area that a random crop keeps
ASPECT = (3 / 4, 4 / 3)  # range of the crop's width over height
ROTATION = 10.0  # degrees, to either side
LIGHTING = 0.3  # brightness and contrast are multiplied by 1 - LIGHTING to 1 + LIGHTING
SATURATION = 0.3  # colour saturation is multiplied by 1 - SATURATION to 1 + SATURATION
# The steps of random augmentations in order. It is stored in the metadata of every table, so its wording is a format.
AUGMENTATIONS = (
    f"crop({CROP[0]:g}-{CROP[1]:g},{ASPECT[0]:.2f}-{ASPECT[1]:.2f})|mirror(0.5)|turn({ROTATION:g})|"
    f"brightness({LIGHTING:g})|contrast({LIGHTING:g})|colour({SATURATION:g})"
)


def augment_image(image: Image, id: str, number: int, size: int, resize: str) -> np.ndarray:
    """Compute one augmentation of an image as uint8 RGB (size, size, 3).

    Random augmentations are a random resized crop (Szegedy et al., Going Deeper with Convolutions, 2015, section 6),
    mirrored half of the time, rotated a little, with brightness, contrast and saturation changed (Howard,
    arXiv:1312.5402).

    Parameters: `image`, upright, of mode RGB, see `embed.images.open_image`; `id`, the sha256 (hex) of its file;
    `number`, 0 for the image itself, 1 for its mirror image, above that a random augmentation seeded by (id, number);
    `resize`, how augmentations 0 and 1 become square, a key of `RESIZE_FUNCTIONS`.
    """
    from PIL.Image import Transpose

    if number > 1:
        return _augment_randomly(image, np.random.default_rng([int(id[:16], 16), number]), size)
    square = RESIZE_FUNCTIONS[resize](image, size)
    return np.asarray(square.transpose(Transpose.FLIP_LEFT_RIGHT) if number else square)


def _augment_randomly(image: Image, rng: np.random.Generator, size: int) -> np.ndarray:
    from PIL.Image import Resampling, Transpose
    from PIL.ImageEnhance import Brightness, Color, Contrast

    square = image.resize((size, size), Resampling.BICUBIC, box=_random_crop_box(image.size, rng))
    if rng.random() < 0.5:
        square = square.transpose(Transpose.FLIP_LEFT_RIGHT)
    square = square.rotate(rng.uniform(-ROTATION, ROTATION), Resampling.BICUBIC, fillcolor=(128, 128, 128))
    for enhancer, strength in ((Brightness, LIGHTING), (Contrast, LIGHTING), (Color, SATURATION)):
        square = enhancer(square).enhance(rng.uniform(1 - strength, 1 + strength))
    return np.asarray(square)


def _random_crop_box(image_size: tuple[int, int], rng: np.random.Generator) -> tuple[float, float, float, float]:
    """Draw left, top, right and bottom of a crop; sides that do not fit are cut to those of the image."""
    width, height = image_size
    area = width * height * rng.uniform(*CROP)
    aspect = np.exp(rng.uniform(*np.log(ASPECT)))
    crop_width, crop_height = min(width, (area * aspect) ** 0.5), min(height, (area / aspect) ** 0.5)
    left, top = rng.uniform(0, width - crop_width), rng.uniform(0, height - crop_height)
    return left, top, min(width, left + crop_width), min(height, top + crop_height)
