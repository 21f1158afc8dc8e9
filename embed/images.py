"""From the bytes of an image file to the square of pixels that the network takes.

`decode` gives upright 8-bit RGB as a viewer shows it, and `resize_to_square` makes it S x S. Every command uses both,
so that an image has the same vector wherever it is embedded.
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

from winnow.common.threads import WeightedSemaphore, processors

if TYPE_CHECKING:
    from PIL import Image

MAX_PIXELS = 178_956_970  # above it Pillow suspects a decompression bomb; a decoded pixel takes three bytes
MAX_BYTES = 2**31
_BYTES_PER_PIXEL = 8  # while an image is decoded and converted to RGB
# Bytes for decoding in all threads together: large images wait for each other instead of exhausting memory.
_DECODING_MEMORY = WeightedSemaphore(max(2**29, processors() * 2**27))

_READ_EXTENSIONS = ".jpg .jpeg .jpe .jfif .png .apng .webp .gif .bmp .dib .tif .tiff"
_KNOWN_EXTENSIONS = ".heic .heif .avif .jxl .jp2 .psd .svg .ppm .pgm .cr2 .cr3 .nef .arw .dng .raf .orf .rw2"
EXTENSIONS = frozenset(f"{_READ_EXTENSIONS} {_KNOWN_EXTENSIONS}".split())  # the known ones are recognised, not read
_READ = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF")
_NOT_READ = ("AVIF", "JPEG2000", "PSD", "ICO", "ICNS", "PPM", "DDS", "EPS", "SGI")

# The exceptions of Pillow's decoders on damaged data.
_DECODER_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    ZeroDivisionError,
    struct.error,
)

# Magic numbers: (offset, bytes, format, whether it is read).
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

_ORIENTATION_TAG = 0x0112  # of EXIF
# The transposition that undoes each orientation.
_TRANSPOSITIONS: dict[object, str] = {2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE"}
_TRANSPOSITIONS |= {6: "ROTATE_270", 7: "TRANSVERSE", 8: "ROTATE_90"}


class PictureError(Exception):
    """An image that cannot be used; the message says why, and what can be done about it.

    code: `empty`, `not_an_image`, `truncated`, `too_large`, `unsupported`, `unreadable` or `changed`.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def detect_format(head: bytes) -> tuple[str, bool] | None:
    """Detect the format by the first `HEAD_BYTES` of a file: (name, whether it is read); None if it is no image."""
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
    """Read a whole file. Raises: PictureError (`unreadable`, or `too_large` above 2 GiB)."""
    try:
        if not path.is_file():  # reading a pipe would block for ever; a dangling link has no target
            if not os.path.lexists(path):
                raise PictureError("unreadable", "no such file: check the path")
            reason = "a broken symbolic link" if path.is_symlink() else "not a regular file"
            raise PictureError("unreadable", f"{reason}: remove it or fix its target")
        if path.stat().st_size > MAX_BYTES:
            raise PictureError("too_large", f"over {MAX_BYTES >> 30} GiB: make it smaller")
        return path.read_bytes()
    except OSError as error:
        raise PictureError("unreadable", f"{error.strerror or error}: check the permissions and the disk") from None


def decode(data: bytes, box: int | None = None) -> tuple[np.ndarray, str]:
    """Decode an image, as `open_image` does.

    Returns: uint8 RGB ndarray of shape (H, W, 3), and Pillow's name of the format. Raises: PictureError.
    """
    with open_image(data, box) as (image, kind):
        return np.asarray(image), kind


def decode_square(data: bytes, size: int, resize: str = "crop", whole: Image.Image | None = None) -> np.ndarray:
    """Decode a file's bytes to the square that is embedded: uint8 RGB (size, size, 3).

    Parameters: `whole`, the same image as `open_image` without a box yields it, for a caller inside that block: then
    only a large JPEG, whose square is decoded at reduced size, is decoded again. Raises: PictureError.
    """
    if whole is None:
        with open_image(data, box=size) as (image, _):
            return np.asarray(RESIZE_FUNCTIONS[resize](image, size))
    if min(whole.size) >= 4 * size and data.startswith(_JPEG):  # otherwise both have the same pixels
        whole = to_upright_rgb(_open_lazily(data, size)[0])
    return np.asarray(RESIZE_FUNCTIONS[resize](whole, size))


@contextlib.contextmanager
def open_image(data: bytes, box: int | None = None) -> Iterator[tuple[Image.Image, str]]:
    """Decode an image: first frame, upright (EXIF), as a viewer shows it on a white page.

    All threads together decode at most half a gigabyte (more on many processors) inside this block: other threads wait,
    and a larger image is decoded alone.

    Parameters: `data`, the file's bytes; `box`, a side in pixels: a JPEG at least four times as large on both sides is
    decoded at a half, a quarter or an eighth of its size (DCT scaling), never below twice `box`.
    Yields: a Pillow image of mode RGB, and Pillow's name of the format.
    Raises: PictureError.
    """
    image, cost = _open_lazily(data, box)
    with _DECODING_MEMORY.hold(cost):
        yield to_upright_rgb(image), image.format or ""


def _open_lazily(data: bytes, box: int | None) -> tuple[Image.Image, int]:
    """Read only the header and set up decoding as `open_image` describes it: (image, bytes that decoding will take)."""
    image = _open(data)
    if image.width * image.height > MAX_PIXELS:
        size = f"{image.width} x {image.height}"
        raise PictureError(
            "too_large", f"{size} is over the limit of {MAX_PIXELS // 10**6} megapixels: make it smaller"
        )
    coefficients = 3 * image.width * image.height if image.info.get("progressive") else 0  # libjpeg holds all of them
    if box and image.format in ("JPEG", "MPO"):
        image.draft("RGB", (2 * box, 2 * box))
    return image, coefficients + _BYTES_PER_PIXEL * image.width * image.height


def to_upright_rgb(image: Image.Image) -> Image.Image:
    """Convert a Pillow image of any mode, loaded or not, to an upright one of mode RGB.

    Raises: PictureError (`truncated`, `unsupported`, `too_large`).
    """
    try:
        image.load()
        return _to_rgb(_undo_orientation(image))
    except MemoryError:
        raise PictureError("too_large", "does not fit in memory: make it smaller") from None
    except _DECODER_ERRORS as error:
        reason = f"{image.format or 'picture'}: {_one_line(error)}"
        raise PictureError("truncated", f"damaged or cut off ({reason}): copy it again") from None


def _undo_orientation(image: Image.Image) -> Image.Image:
    """Undo the EXIF orientation. (ImageOps.exif_transpose fails if any other tag is damaged.)"""
    from PIL import Image

    transposition = None
    with contextlib.suppress(*_DECODER_ERRORS):  # damaged EXIF: the pixels are still usable
        transposition = _TRANSPOSITIONS.get(image.getexif().get(_ORIENTATION_TAG))
    return image if transposition is None else image.transpose(Image.Transpose[transposition])


def _open(data: bytes) -> Image.Image:
    from PIL import Image, UnidentifiedImageError

    if not data:
        raise PictureError("empty", "the file has no bytes: copy it again or remove it")
    announced = detect_format(data[:HEAD_BYTES])
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
        raise PictureError("not_an_image", "the content of the file is not a picture: remove or rename it") from None
    except _DECODER_ERRORS as error:
        raise PictureError("truncated", f"the header is damaged ({_one_line(error)}): copy it again") from None


def _other_format(data: bytes) -> str | None:
    from PIL import Image

    with contextlib.suppress(Exception):  # whatever a decoder raises on foreign bytes, the answer is "not an image"
        return Image.open(io.BytesIO(data), formats=_NOT_READ).format
    return None


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]


def _to_rgb(image: Image.Image) -> Image.Image:
    """Convert any mode to RGB: 16 bits scaled to 8, CMYK by its own colour profile, transparency onto white."""
    from PIL import Image

    if image.mode == "F":
        raise PictureError("unsupported", "floating-point pixels have no agreed brightness: save it with 8 or 16 bits")
    if image.mode == "I" or image.mode.startswith("I;16"):
        values = np.asarray(image).astype(np.int64)
        wide = image.mode != "I" or values.max(initial=0) <= 0xFFFF
        return Image.fromarray((values.clip(0) >> (8 if wide else 24)).astype(np.uint8)).convert("RGB")
    if image.mode == "CMYK":
        return _cmyk_to_rgb(image)
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        image = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")  # Pillow converts La to LA only
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _cmyk_to_rgb(image: Image.Image) -> Image.Image:
    from PIL import ImageCms

    profile = image.info.get("icc_profile")
    if profile:
        with contextlib.suppress(ImageCms.PyCMSError, *_DECODER_ERRORS):  # damaged profile: viewers convert without it
            srgb = ImageCms.createProfile("sRGB")
            return ImageCms.profileToProfile(image, io.BytesIO(profile), srgb, outputMode="RGB") or image.convert("RGB")
    return image.convert("RGB")


CROP_SHARE = 7 / 8  # share of the shorter side that a centre crop keeps


def _crop(image: Image.Image, size: int) -> Image.Image:
    """Resize the shorter side to 8/7 of `size` and cut out the centre (256 and 224, the usual ImageNet evaluation)."""
    from PIL import Image

    side = min(image.size) * CROP_SHARE
    left, top = (image.width - side) / 2, (image.height - side) / 2
    return image.resize((size, size), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side))


def _squash(image: Image.Image, size: int) -> Image.Image:
    """Resize both sides to `size`, whatever the aspect ratio."""
    from PIL import Image

    return image.resize((size, size), Image.Resampling.BICUBIC)


def _pad(image: Image.Image, size: int) -> Image.Image:
    """Resize the longer side to `size` and fill the rest with mid-grey (zero after scaling to [-1, 1])."""
    from PIL import Image, ImageOps

    return ImageOps.pad(image, (size, size), Image.Resampling.BICUBIC, color=(128, 128, 128))


RESIZE_FUNCTIONS: dict[str, Callable[[Image.Image, int], Image.Image]] = {"crop": _crop, "squash": _squash, "pad": _pad}


def resize_to_square(pixels: np.ndarray, size: int, resize: str = "crop") -> np.ndarray:
    """Resize uint8 RGB (H, W, 3) to uint8 RGB (size, size, 3), bicubic with antialiasing.

    Parameters: `resize`, a key of `RESIZE_FUNCTIONS`.
    """
    from PIL import Image

    return np.asarray(RESIZE_FUNCTIONS[resize](Image.fromarray(pixels), size))
