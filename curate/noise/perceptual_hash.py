"""The perceptual hash of a picture, as the package ImageHash computes it, without what that takes to load."""

from __future__ import annotations

import numpy as np

COSINES = 2 * np.cos(np.pi / 64 * np.outer(np.arange(8), np.arange(1, 64, 2)))  # the 8 lowest rows of a 32-point DCT
TIE = 1e-6  # coefficients of up to 10^6 that are as close to their median are told apart by rounding alone


def perceptual_hash(pixels: np.ndarray) -> int:
    """64-bit perceptual hash of uint8 RGB (H, W, 3), as ImageHash's `phash`.

    Of the 8 x 8 lowest frequencies of a 32 x 32 DCT, a bit says whether each is above their median.
    """
    from PIL import Image

    image = Image.fromarray(pixels)
    grey = np.asarray(image.convert("L").resize((32, 32), Image.Resampling.LANCZOS))
    low = COSINES @ grey @ COSINES.T
    ordered = np.sort(low, axis=None)
    if ordered[32] - ordered[31] > TIE:
        return int.from_bytes(np.packbits(low > (ordered[31] + ordered[32]) / 2).tobytes(), "big")
    import imagehash  # with SciPy: a picture so plain that the order of additions decides has theirs

    return int(str(imagehash.phash(image)), 16)
