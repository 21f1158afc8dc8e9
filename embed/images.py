"""One way from a picture file to the pixels a network sees, and the string that names it.

`read` turns bytes into upright 8-bit RGB as a viewer would show it; `fit` makes it S x S. Every command uses both, so
that a picture has the same vector wherever it is embedded.
"""

from __future__ import annotations

import contextlib
import io
import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from winnow.common.threads import Budget, processors

if TYPE_CHECKING:
    from PIL import Image

MAX_PIXELS = 178_956_970  # beyond it Pillow suspects a decompression bomb; decoded, a pixel takes three bytes
MAX_BYTES = 2**31
_PIXEL_BYTES = 8  # that a pixel takes while it is decoded and turned into RGB
# Bytes of pixels decoded at a time, all threads together: large pictures wait for each other instead of filling memory.
_DECODING = Budget(max(2**29, processors() * 2**27))

_READ_EXTENSIONS = ".jpg .jpeg .jpe .jfif .png .apng .webp .gif .bmp .dib .tif .tiff"
_KNOWN_EXTENSIONS = ".heic .heif .avif .jxl .jp2 .psd .svg .ppm .pgm .cr2 .cr3 .nef .arw .dng .raf .orf .rw2"
EXTENSIONS = frozenset(f"{_READ_EXTENSIONS} {_KNOWN_EXTENSIONS}".split())  # the second half is recognised, not read
_READ = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF")
_NOT_READ = ("AVIF", "JPEG2000", "PSD", "ICO", "ICNS", "PPM", "DDS", "EPS", "SGI")

# What Pillow's decoders raise on damaged data.
_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, ZeroDivisionError, struct.error)

# Magic numbers: (offset, bytes, what it is, whether it is read).
_JPEG = b"\xff\xd8\xff"
_MAGIC: tuple[tuple[int, bytes, str, bool], ...] = (
    (0, _JPEG, "JPEG", True),
    (0, b"\x89PNG\r\n\x1a\n", "PNG", True),
    (8, b"WEBP", "WebP", True),
    (0, b"GIF87a", "GIF", True),
    (0, b"GIF89a", "GIF", True),
    (0, b"II*\x00", "TIFF", True),
    (0, b"MM\x00*", "TIFF", True),
    (0, b"II+\x00", "BigTIFF", True),
    (0, b"MM\x00+", "BigTIFF", True),
    (4, b"ftyphe", "HEIC", False),
    (4, b"ftypmif1", "HEIF", False),
    (4, b"ftypmsf1", "HEIF", False),
    (4, b"ftypavi", "AVIF", False),
    (4, b"ftypcrx ", "Canon raw", False),
    (0, b"\xff\x0a", "JPEG XL", False),
    (0, b"\x00\x00\x00\x0cJXL ", "JPEG XL", False),
    (0, b"\x00\x00\x00\x0cjP  ", "JPEG 2000", False),
    (0, b"8BPS", "Photoshop", False),
)
HEAD_BYTES = 512

_ORIENTATION = 0x0112  # the EXIF tag, and what undoes each of its values
_TURNS: dict[object, str] = {2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE"}
_TURNS |= {6: "ROTATE_270", 7: "TRANSVERSE", 8: "ROTATE_90"}


class PictureError(Exception):
    """A picture that cannot be used: `code` is one of `empty`, `not_an_image`, `truncated`, `too_large`, `unsupported`,
    `unreadable` or `changed`; the message says what was found and what to do."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def kind_of(head: bytes) -> tuple[str, bool] | None:
    """Format that the first `HEAD_BYTES` of a file announce, and whether it is read; None for no picture."""
    if head[:2] == b"BM" and head[15:18] == b"\0\0\0":  # the size of the header that follows is below 256
        return "BMP", True
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if text.startswith((b"<svg", b"<!doctype svg")) or (text.startswith(b"<?xml") and b"<svg" in text):
        return "SVG", False
    for offset, magic, name, is_read in _MAGIC:
        if head[offset : offset + len(magic)] == magic:
            return name, is_read
    return None


def read_bytes(path: Path) -> bytes:
    """The whole file. Raises PictureError (`unreadable`, or `too_large` above 2 GiB)."""
    try:
        if not path.is_file():  # a pipe would wait for ever; a dangling link has nothing behind it
            if not os.path.lexists(path):
                raise PictureError("unreadable", "no such file: check the path")
            reason = "a link to nothing" if path.is_symlink() else "not a regular file"
            raise PictureError("unreadable", f"{reason}: remove it or mend what it points to")
        if path.stat().st_size > MAX_BYTES:
            raise PictureError("too_large", f"over {MAX_BYTES >> 30} GiB: make it smaller")
        return path.read_bytes()
    except OSError as error:
        raise PictureError("unreadable", f"{error.strerror or error}: check the permissions and the disk") from None


def read(data: bytes, box: int | None = None) -> tuple[np.ndarray, str]:
    """Decode a picture, as `decoded` does.

    Returns: uint8 RGB ndarray of shape (H, W, 3), and Pillow's name of the format. Raises: PictureError.
    """
    with decoded(data, box) as (image, kind):
        return np.asarray(image), kind


def square(data: bytes, size: int, resize: str = "crop", whole: Image.Image | None = None) -> np.ndarray:
    """The uint8 RGB (size, size, 3) that a file's bytes are embedded from.

    Parameters: `whole`, the same picture as `decoded` without a box gives it, when the caller is in that block: then
    only a JPEG that is decoded smaller for its square is decoded once more. Raises: PictureError.
    """
    if whole is None:
        with decoded(data, box=size) as (image, _):
            return np.asarray(RESIZE[resize](image, size))
    if min(whole.size) >= 4 * size and data.startswith(_JPEG):  # otherwise both have the same pixels
        whole = upright(_opened(data, size)[0])
    return np.asarray(RESIZE[resize](whole, size))


@contextlib.contextmanager
def decoded(data: bytes, box: int | None = None) -> Iterator[tuple[Image.Image, str]]:
    """Decode a picture: first frame, upright (EXIF), as a viewer shows it on a white page.

    All threads together have at most half a gigabyte of pixels (more with many processors) inside this block: the
    others wait, and a picture that is larger runs alone.

    Parameters: `data`, the file's bytes; `box`, a side in pixels: a JPEG at least four times as large on both sides is
    decoded at a half, a quarter or an eighth (DCT scaling), never below twice `box`.
    Gives: a Pillow picture of mode RGB, and Pillow's name of the format.
    Raises: PictureError.
    """
    image, cost = _opened(data, box)
    with _DECODING.spent(cost):
        yield upright(image), image.format or ""


def _opened(data: bytes, box: int | None) -> tuple[Image.Image, int]:
    """With nothing but the header read, set to be decoded as `decoded` says; and the bytes that this will take."""
    image = _open(data)
    if image.width * image.height > MAX_PIXELS:
        size = f"{image.width} x {image.height}"
        raise PictureError(
            "too_large", f"{size} is over the limit of {MAX_PIXELS // 10**6} megapixels: make it smaller"
        )
    coefficients = 3 * image.width * image.height if image.info.get("progressive") else 0  # libjpeg holds all of them
    if box and image.format in ("JPEG", "MPO"):
        image.draft("RGB", (2 * box, 2 * box))
    return image, coefficients + _PIXEL_BYTES * image.width * image.height


def upright(image: Image.Image) -> Image.Image:
    """A Pillow picture of any mode, loaded or not, as an upright one of mode RGB.

    Raises: PictureError (`truncated`, `unsupported`, `too_large`).
    """
    try:
        image.load()
        return _to_rgb(_turned(image))
    except MemoryError:
        raise PictureError("too_large", "does not fit in memory: make it smaller") from None
    except _DAMAGE as error:
        what = f"{image.format or 'picture'}: {_one_line(error)}"
        raise PictureError("truncated", f"damaged or cut off ({what}): copy it again") from None


def _turned(image: Image.Image) -> Image.Image:
    """Turned as its EXIF orientation says. (ImageOps.exif_transpose gives up when any other tag is damaged.)"""
    from PIL import Image

    turn = None
    with contextlib.suppress(*_DAMAGE):  # damaged EXIF: the pixels are still good
        turn = _TURNS.get(image.getexif().get(_ORIENTATION))
    return image if turn is None else image.transpose(Image.Transpose[turn])


def _open(data: bytes) -> Image.Image:
    from PIL import Image, UnidentifiedImageError

    if not data:
        raise PictureError("empty", "the file has no bytes: copy it again or remove it")
    announced = kind_of(data[:HEAD_BYTES])
    if announced and not announced[1]:
        raise PictureError("unsupported", f"{announced[0]} is not read: save it as JPEG or PNG")
    try:
        return Image.open(io.BytesIO(data), formats=_READ)
    except Image.DecompressionBombError:
        raise PictureError("too_large", f"over {MAX_PIXELS // 10**6} megapixels: make it smaller") from None
    except UnidentifiedImageError:
        if announced:
            message = f"begins as {announced[0]}, but the header is damaged, cut off or of a rare kind: copy it again"
            raise PictureError("truncated", message) from None
        if other := _other_format(data):
            raise PictureError("unsupported", f"{other} is not read: save it as JPEG or PNG") from None
        raise PictureError("not_an_image", "what is in the file is no picture: remove or rename it") from None
    except _DAMAGE as error:
        raise PictureError("truncated", f"the header is damaged ({_one_line(error)}): copy it again") from None


def _other_format(data: bytes) -> str | None:
    from PIL import Image

    with contextlib.suppress(Exception):  # whatever a decoder makes of foreign bytes, the answer is "no picture"
        return Image.open(io.BytesIO(data), formats=_NOT_READ).format
    return None


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]


def _to_rgb(image: Image.Image) -> Image.Image:
    """Any mode to RGB: 16 bits scaled to 8, ink to light by its own profile, transparency onto white."""
    from PIL import Image

    if image.mode == "F":
        raise PictureError("unsupported", "floating-point pixels have no agreed brightness: save it with 8 or 16 bits")
    if image.mode == "I" or image.mode.startswith("I;16"):
        values = np.asarray(image).astype(np.int64)
        wide = image.mode != "I" or values.max(initial=0) <= 0xFFFF
        return Image.fromarray((values.clip(0) >> (8 if wide else 24)).astype(np.uint8)).convert("RGB")
    if image.mode == "CMYK":
        return _ink_to_light(image)
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        image = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")  # La leads nowhere else
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _ink_to_light(image: Image.Image) -> Image.Image:
    from PIL import ImageCms

    profile = image.info.get("icc_profile")
    if profile:
        with contextlib.suppress(ImageCms.PyCMSError, *_DAMAGE):  # a damaged profile: viewers convert plainly
            srgb = ImageCms.createProfile("sRGB")
            return ImageCms.profileToProfile(image, io.BytesIO(profile), srgb, outputMode="RGB") or image.convert("RGB")
    return image.convert("RGB")


CENTRE = 7 / 8  # share of the shorter side that a crop keeps


def _crop(image: Image.Image, size: int) -> Image.Image:
    """Shorter side to 8/7 of `size`, then the centre square (256 and 224, as ImageNet networks are judged)."""
    from PIL import Image

    side = min(image.size) * CENTRE
    left, top = (image.width - side) / 2, (image.height - side) / 2
    return image.resize((size, size), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side))


def _squash(image: Image.Image, size: int) -> Image.Image:
    """Both sides to `size`, whatever the aspect."""
    from PIL import Image

    return image.resize((size, size), Image.Resampling.BICUBIC)


def _pad(image: Image.Image, size: int) -> Image.Image:
    """Longer side to `size`, the rest filled with mid-grey (zero after scaling to [-1, 1])."""
    from PIL import Image, ImageOps

    return ImageOps.pad(image, (size, size), Image.Resampling.BICUBIC, color=(128, 128, 128))


RESIZE: dict[str, Callable[[Image.Image, int], Image.Image]] = {"crop": _crop, "squash": _squash, "pad": _pad}


def fit(pixels: np.ndarray, size: int, resize: str = "crop") -> np.ndarray:
    """Antialiased bicubic resize of uint8 RGB (H, W, 3) to uint8 RGB (size, size, 3) by one of `RESIZE`."""
    from PIL import Image

    return np.asarray(RESIZE[resize](Image.fromarray(pixels), size))
