"""Inspect one file: whether it is a picture, and its row of the manifest."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from winnow.common.paths import from_text
from winnow.curate.noise import duplicates, quality
from winnow.curate.noise.perceptual_hash import perceptual_hash
from winnow.curate.walk import Entry
from winnow.embed import images
from winnow.embed.images import PictureError

if TYPE_CHECKING:
    from PIL.Image import Image


def inspect_file(
    root: Path, entry: Entry, visit: Callable[[str, bytes, Image], Any] | None = None
) -> tuple[dict[str, Any] | None, Any]:
    """Read and fully decode a file.

    Parameters: `visit`, called with the id, the bytes and the decoded picture when it can be used.
    Returns: the manifest row without label, and the result of `visit`. The row is None when the file is no picture by
    name or content; columns without a value are missing. A picture that cannot be used has the reason in `problem` and
    `problem_message`, and no size.
    """
    path = root / from_text(entry.path)
    row: dict[str, Any] = entry._asdict()
    visited = None
    if not is_picture(path, entry):
        return None, None
    try:
        data = images.read_bytes(path)
        row["id"] = hashlib.sha256(data).hexdigest()
        with images.open_image(data) as (image, row["format"]):
            pixels = np.asarray(image)
            row["width"], row["height"] = image.size
            row["pixels"] = hashlib.sha256(np.ascontiguousarray(pixels).data).hexdigest()
            row["phash"] = perceptual_hash(pixels)
            row["thumbnail"] = duplicates.thumbnail(pixels).tobytes()
            row |= quality.measure(pixels)
            visited = visit(row["id"], data, image) if visit else None
    except PictureError as error:
        row |= {"problem": error.code, "problem_message": str(error)}
    return row, visited


def is_picture(path: Path, entry: Entry) -> bool:
    """Whether a file is a picture by the extension of its name or, as far as it can be read, by its content."""
    if path.suffix.lower() in images.EXTENSIONS:
        return True
    if entry.bytes <= 0:  # empty, or a pipe, which would block for ever
        return False
    try:
        with path.open("rb") as stream:
            return images.detect_format(stream.read(images.HEAD_BYTES)) is not None
    except OSError:
        return False
