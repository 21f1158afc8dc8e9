"""Every kind of image file is decoded as a viewer shows it, or refused with a reason."""

from __future__ import annotations

import io
import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from winnow.embed import images
from winnow.embed.images import PictureError

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def noise(width: int = 64, height: int = 48) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


def quarters(width: int = 64, height: int = 32) -> Image.Image:
    """Red, green / blue, white."""
    image = Image.new("RGB", (width, height), WHITE)
    for colour, corner in ((RED, (0, 0)), (GREEN, (width // 2, 0)), (BLUE, (0, height // 2))):
        image.paste(colour, (*corner, corner[0] + width // 2, corner[1] + height // 2))
    return image


def corners(pixels: np.ndarray) -> list[str]:
    """Names of the colours at the top left, top right, bottom left and bottom right."""
    names = {(True, False, False): "red", (False, True, False): "green", (False, False, True): "blue"}
    names[True, True, True] = "white"
    return [names[tuple(pixels[y, x] > 127)] for y in (2, -3) for x in (2, -3)]


def code_of(data: bytes) -> str:
    with pytest.raises(PictureError) as caught:
        images.decode(data)
    assert "\n" not in str(caught.value)
    return caught.value.code


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def exif(*entries: tuple[int, int, int, bytes]) -> bytes:
    """An EXIF block of (tag, type, count, four bytes of value), written as they are, however wrong."""
    body = b"".join(struct.pack("<HHI", *entry[:3]) + entry[3] for entry in entries)
    return b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + body + b"\0\0\0\0"


def orientation(value: int) -> tuple[int, int, int, bytes]:
    return (0x0112, 3, 1, struct.pack("<HH", value, 0))


KINDS = {
    "JPEG": {"quality": 95, "subsampling": 0},
    "PNG": {},
    "WEBP": {"lossless": True},
    "GIF": {},
    "BMP": {},
    "TIFF": {},
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_format_is_read_with_its_colours_and_its_name(kind):
    pixels, name = images.decode(encoded(quarters(), kind, **KINDS[kind]))
    assert (pixels.dtype, pixels.shape, name) == (np.uint8, (32, 64, 3), kind)
    assert corners(pixels) == ["red", "green", "blue", "white"]


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_deflate", "packbits", "jpeg"])
def test_tiff_is_read_in_every_usual_compression(compression):
    assert corners(images.decode(encoded(quarters(), "TIFF", compression=compression))[0]) == [
        "red",
        "green",
        "blue",
        "white",
    ]


@pytest.mark.parametrize("kept", [0.9, 0.5, 0.2])
@pytest.mark.parametrize("kind", KINDS)
def test_a_file_cut_short_is_truncated(kind, kept):
    data = encoded(noise(), kind, **KINDS[kind])
    assert code_of(data[: int(kept * len(data))]) == "truncated"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP"])
def test_a_file_cut_within_its_header_is_truncated(kind):
    assert code_of(encoded(noise(), kind, **KINDS[kind])[:20]) == "truncated"


def test_compressed_pixels_with_a_damaged_byte_are_truncated():
    data = bytearray(encoded(noise(), "PNG"))
    data[len(data) // 2] ^= 0xFF
    assert code_of(bytes(data)) == "truncated"


def test_no_bytes_are_empty():
    assert code_of(b"") == "empty"


@pytest.mark.parametrize("data", [b"x", b"roses are red\n", b"\0" * 5000, bytes(range(256)), b"%PDF-1.7\n"])
def test_other_content_is_not_an_image_whatever_the_name_of_the_file(data):
    assert code_of(data) == "not_an_image"


def test_a_picture_of_more_pixels_than_the_limit_is_refused_by_its_header_alone():
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", b"") + png_chunk(b"IEND", b"")
    assert code_of(data) == "too_large"


def test_the_pixel_limit_is_inclusive(monkeypatch):
    data = encoded(noise(64, 48), "PNG")
    monkeypatch.setattr(images, "MAX_PIXELS", 64 * 48)
    assert images.decode(data)[0].shape == (48, 64, 3)
    monkeypatch.setattr(images, "MAX_PIXELS", 64 * 48 - 1)
    assert code_of(data) == "too_large"


@pytest.mark.slow
def test_a_large_photograph_within_the_limit_is_read():
    pixels, _ = images.decode(encoded(Image.new("1", (10_000, 9_500), 1), "PNG"))  # 95 megapixels: Pillow warns here
    assert pixels.shape == (9_500, 10_000, 3)
    assert (pixels[-1, -1] == 255).all()


@pytest.mark.parametrize(
    ("kind", "name"),
    [("AVIF", "AVIF"), ("PPM", "PPM"), ("JPEG2000", "JPEG 2000"), ("ICO", "ICO")],
)
def test_formats_that_are_not_read_are_named(kind, name):
    with pytest.raises(PictureError, match=f"{name} is not read: save it as JPEG or PNG") as caught:
        images.decode(encoded(noise(), kind))
    assert caught.value.code == "unsupported"


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 40, "HEIC"),
        (b"\0\0\0\x18ftyphevc\0\0\0\0", "HEIC"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0", "HEIF"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        (b'<?xml version="1.0" encoding="UTF-8"?>\n<!-- drawn -->\n<svg width="9"></svg>', "SVG"),
        (b"\xef\xbb\xbf\n<SVG></SVG>", "SVG"),
        (b"8BPS\0\x01" + b"\0" * 30, "Photoshop"),
        (b"P6\n2 1\n255\n\0\0\0\xff\xff\xff", "PPM"),
        (b"\xff\x0a\xfa\x1f", "JPEG XL"),
    ],
)
def test_formats_known_by_their_first_bytes_are_unsupported(data, name):
    with pytest.raises(PictureError, match=f"^{name} is not read") as caught:
        images.decode(data)
    assert caught.value.code == "unsupported"


def test_other_xml_and_html_are_no_pictures():
    assert code_of(b'<?xml version="1.0"?><note/>') == "not_an_image"
    assert code_of(b"<!doctype html><html><svg></svg></html>") == "not_an_image"


@pytest.mark.parametrize("value", range(1, 9))
def test_exif_orientation_is_undone(value):
    """The corners of a stored picture, and where a viewer shows them (EXIF 2.32, table of orientations)."""
    red, green, blue, white = "red", "green", "blue", "white"
    shown = {
        1: [red, green, blue, white],
        2: [green, red, white, blue],
        3: [white, blue, green, red],
        4: [blue, white, red, green],
        5: [red, blue, green, white],
        6: [blue, red, white, green],
        7: [white, green, blue, red],
        8: [green, white, red, blue],
    }[value]
    pixels, _ = images.decode(encoded(quarters(), "JPEG", exif=exif(orientation(value)), **KINDS["JPEG"]))
    assert pixels.shape == ((32, 64, 3) if value < 5 else (64, 32, 3))
    assert corners(pixels) == shown


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_orientation_is_applied_once_in_other_formats_too(kind):
    tags = Image.Exif()
    tags[0x0112] = 6
    pixels, _ = images.decode(encoded(quarters(), kind, exif=tags, **KINDS[kind]))
    assert corners(pixels) == ["blue", "red", "white", "green"]


@pytest.mark.parametrize(
    "block",
    [
        b"Exif\0\0garbage",
        b"Exif\0\0II*\0\xff\xff\xff\xff",
        exif(orientation(9)),
        exif((0x0112, 2, 2, b"6\0\0\0")),
        exif((0x8769, 2, 3, b"abc\0")),
        exif()[:-6],
    ],
)
def test_damaged_exif_does_not_affect_the_pixels(block):
    pixels, _ = images.decode(encoded(quarters(), "JPEG", exif=block, **KINDS["JPEG"]))
    assert corners(pixels) == ["red", "green", "blue", "white"]


def test_orientation_is_applied_if_another_tag_is_damaged():
    block = exif(orientation(6), (0x011A, 2, 3, b"abc\0"))  # XResolution written as text
    pixels, _ = images.decode(encoded(quarters(), "JPEG", exif=block, **KINDS["JPEG"]))
    assert corners(pixels) == ["blue", "red", "white", "green"]


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bit_grey_keeps_its_upper_byte(kind):
    values = np.array([[0x0000, 0x00FF, 0x0100], [0x7FFF, 0x8000, 0xFFFF]], dtype=np.uint16)
    pixels, _ = images.decode(encoded(Image.fromarray(values), kind))
    assert pixels[..., 0].tolist() == [[0, 0, 1], [127, 128, 255]]
    assert (pixels == pixels[..., :1]).all()


def test_sixteen_bit_grey_in_the_other_byte_order_is_the_same():
    values = np.array([[0x0001, 0x8000, 0xFFFF]], dtype=">u2")
    tags = [(256, 3, 1, 3), (257, 3, 1, 1), (258, 3, 1, 16), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, 8)]
    tags += [(277, 3, 1, 1), (278, 3, 1, 1), (279, 4, 1, 6)]
    entries = b"".join(
        struct.pack(">HHI", tag, kind, count)
        + (struct.pack(">HH", value, 0) if kind == 3 else struct.pack(">I", value))
        for tag, kind, count, value in tags
    )
    directory = struct.pack(">H", len(tags)) + entries + b"\0" * 4
    data = b"MM\0*" + struct.pack(">I", 14) + values.tobytes() + directory
    assert images.decode(data)[0][0, :, 0].tolist() == [0, 128, 255]


def test_sixteen_bit_colour_keeps_its_upper_bytes():
    rows = b"\0" + struct.pack(">3H", 0xFF00, 0x8000, 0x0100)
    header = struct.pack(">IIBBBBB", 1, 1, 16, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", zlib.compress(rows))
    assert images.decode(data + png_chunk(b"IEND", b""))[0].tolist() == [[[255, 128, 1]]]


def test_thirty_two_bit_whole_numbers_are_scaled_by_their_range():
    deep = Image.fromarray(np.array([[0, 2**30, 2**31 - 1]], dtype=np.int32))
    assert images.decode(encoded(deep, "TIFF"))[0][0, :, 0].tolist() == [0, 64, 127]
    few = Image.fromarray(np.array([[0, 0x8000, 0xFFFF]], dtype=np.int32))
    assert images.decode(encoded(few, "TIFF"))[0][0, :, 0].tolist() == [0, 128, 255]


def test_floating_point_pixels_are_unsupported():
    assert code_of(encoded(Image.fromarray(np.full((4, 4), 0.5, dtype=np.float32)), "TIFF")) == "unsupported"


def test_black_and_white_is_read():
    bits = Image.fromarray(np.array([[0, 255], [255, 0]], dtype=np.uint8)).convert("1")
    assert images.decode(encoded(bits, "PNG"))[0][..., 0].tolist() == [[0, 255], [255, 0]]


def test_transparency_becomes_white():
    clear = Image.fromarray(np.array([[[0, 0, 0, 0], [0, 0, 0, 255], [0, 0, 0, 128]]], dtype=np.uint8), "RGBA")
    assert images.decode(encoded(clear, "PNG"))[0][0, :, 0].tolist() == [255, 0, 127]
    assert images.decode(encoded(clear, "WEBP", lossless=True, exact=True))[0][0, :, 0].tolist() == [255, 0, 127]


def test_grey_with_alpha_becomes_white():
    grey = Image.fromarray(np.array([[[10, 0], [10, 255]]], dtype=np.uint8), "LA")
    assert images.decode(encoded(grey, "PNG"))[0].tolist() == [[[255] * 3, [10] * 3]]


def test_a_transparent_palette_colour_is_white():
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putpixel((1, 0), 1)
    for kind in ("PNG", "GIF"):
        assert images.decode(encoded(image, kind, transparency=0))[0].tolist() == [[list(WHITE), list(BLUE)]]


def test_a_transparent_colour_of_an_rgb_png_is_white():
    image = Image.new("RGB", (2, 1), RED)
    image.putpixel((1, 0), BLUE)
    assert images.decode(encoded(image, "PNG", transparency=RED))[0].tolist() == [[list(WHITE), list(BLUE)]]


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_of_an_animation_the_first_frame_is_read(kind):
    frames = [Image.new("RGB", (16, 16), colour) for colour in (RED, GREEN, BLUE)]
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
    with Image.open(io.BytesIO(data)) as opened:
        assert opened.n_frames == 3
    assert abs(images.decode(data)[0].astype(int) - RED).max() <= 4


def test_cmyk_becomes_rgb():
    """Pure cyan, magenta, yellow and black inks; Adobe writes JPEG's four inks inverted, and so does Pillow."""
    inks = Image.new("CMYK", (32, 32), (255, 0, 0, 0))
    inks.paste((0, 255, 0, 0), (16, 0, 32, 16))
    inks.paste((0, 0, 255, 0), (0, 16, 16, 32))
    inks.paste((0, 0, 0, 255), (16, 16, 32, 32))
    jpeg = encoded(inks, "JPEG", quality=98)
    assert b"Adobe" in jpeg[:200]
    for data in (jpeg, encoded(inks, "TIFF")):
        pixels = images.decode(data)[0]
        bright = [(pixels[y, x] > 127).tolist() for y in (4, -5) for x in (4, -5)]
        assert bright == [[False, True, True], [True, False, True], [True, True, False], [False] * 3]


def test_cmyk_is_read_as_adobe_writes_it_even_without_its_marker():
    for ink, light in (((0, 0, 0, 255), 0), ((0, 0, 0, 0), 255)):
        jpeg = encoded(Image.new("CMYK", (16, 16), ink), "JPEG", quality=98)
        start = jpeg.index(b"\xff\xee")
        length = struct.unpack(">H", jpeg[start + 2 : start + 4])[0]
        plain = jpeg[:start] + jpeg[start + 2 + length :]
        assert abs(images.decode(jpeg)[0].astype(int) - light).max() < 8
        assert abs(images.decode(plain)[0].astype(int) - light).max() < 8


def ink_profile(colour: tuple[int, int, int]) -> bytes:
    """A CMYK profile by which bare paper has one CIE Lab colour, given in 8 bits, and every ink is black."""
    lut = b"mft1" + b"\0" * 4 + bytes((4, 3, 2, 0))
    lut += struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    lut += bytes(range(256)) * 4 + bytes(colour) + bytes((0, 128, 128)) * 15 + bytes(range(256)) * 3
    white = b"XYZ \0\0\0\0" + struct.pack(">3i", 63190, 65536, 54061)
    text = b"desc\0\0\0\0" + struct.pack(">I", 2) + b"x\0" + b"\0" * 78
    tags, data, offset = b"", b"", 128 + 4 + 3 * 12
    for name, content in ((b"desc", text), (b"wtpt", white), (b"A2B0", lut)):
        content += b"\0" * (-len(content) % 4)
        tags += name + struct.pack(">II", offset + len(data), len(content))
        data += content
    header = b"\0" * 4 + b"lcms" + struct.pack(">I", 0x02100000) + b"prtrCMYKLab " + b"\0" * 12 + b"acsp" + b"\0" * 28
    header += struct.pack(">3i", 63190, 65536, 54061)
    header = struct.pack(">I", offset + len(data)) + header[4:] + b"\0" * (128 - len(header))
    return header + struct.pack(">I", 3) + tags + data


def test_cmyk_follows_its_own_profile():
    inks = Image.new("CMYK", (8, 8), (0, 0, 0, 0))
    green = ink_profile((128, 48, 178))  # L* 50, a* -80, b* 50
    for kind in ("JPEG", "TIFF"):
        red, lime, blue = images.decode(encoded(inks, kind, icc_profile=green))[0][4, 4].tolist()
        assert lime > red + 60
        assert lime > blue + 60
        assert images.decode(encoded(inks, kind))[0].min() > 247


@pytest.mark.parametrize("profile", [b"no profile at all", b"\0" * 128])
def test_a_damaged_cmyk_profile_is_ignored(profile):
    inks = Image.new("CMYK", (8, 8), (255, 0, 0, 0))
    assert (images.decode(encoded(inks, "JPEG", icc_profile=profile))[0][4, 4] > 127).tolist() == [False, True, True]


def test_a_profile_for_other_channels_is_ignored():
    from PIL import ImageCms

    light = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    inks = Image.new("CMYK", (8, 8), (255, 0, 0, 0))
    assert (images.decode(encoded(inks, "JPEG", icc_profile=light))[0][4, 4] > 127).tolist() == [False, True, True]


def test_a_large_jpeg_is_decoded_small_but_never_below_twice_the_box():
    data = encoded(Image.new("RGB", (1000, 800), (200, 30, 30)), "JPEG")
    shapes = {box: images.decode(data, box=box)[0].shape[:2] for box in (401, 400, 200, 100, 50, 96)}
    assert shapes == {
        401: (800, 1000),
        400: (800, 1000),
        200: (400, 500),
        100: (200, 250),
        50: (100, 125),
        96: (200, 250),
    }
    assert abs(images.decode(data, box=50)[0].astype(int) - (200, 30, 30)).max() <= 2
    assert images.decode(encoded(Image.new("RGB", (1000, 800)), "PNG"), box=50)[0].shape == (800, 1000, 3)


def test_decoding_a_jpeg_at_reduced_size_changes_its_square_little(flowers):
    data = max((flowers / "tulips").iterdir(), key=lambda path: path.stat().st_size).read_bytes()
    full, small = (images.resize_to_square(images.decode(data, box=box)[0], 96).astype(int) for box in (None, 96))
    assert abs(full - small).mean() < 4


@pytest.mark.parametrize(("name", "code"), [("notes.jpg", "not_an_image"), ("nothing.jpg", "empty")])
def test_the_content_of_a_file_counts_and_not_its_name(tmp_path, name, code):
    (tmp_path / name).write_bytes(b"" if code == "empty" else b"some notes")
    assert code_of(images.read_bytes(tmp_path / name)) == code


def test_a_png_called_jpg_is_a_png(tmp_path):
    (tmp_path / "a.jpg").write_bytes(encoded(quarters(), "PNG"))
    assert images.decode(images.read_bytes(tmp_path / "a.jpg"))[1] == "PNG"


def test_a_file_over_two_gibibytes_is_not_read(tmp_path):
    with (tmp_path / "long.png").open("wb") as stream:
        stream.write(encoded(noise(), "PNG"))
        stream.truncate(images.MAX_BYTES + 1)  # sparse: it takes no room on the disk
    with pytest.raises(PictureError, match="over 2 GiB") as caught:
        images.read_bytes(tmp_path / "long.png")
    assert caught.value.code == "too_large"


def test_a_file_that_is_not_regular_is_unreadable_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "dangling.jpg").symlink_to("nowhere.jpg")
    (tmp_path / "round.jpg").symlink_to("round.jpg")
    reasons = {}
    for name in ("pipe.jpg", "dangling.jpg", "round.jpg", "absent.jpg", "."):
        with pytest.raises(PictureError) as caught:
            images.read_bytes(tmp_path / name)
        assert caught.value.code == "unreadable"
        reasons[name] = str(caught.value).split(":")[0]
    assert reasons["pipe.jpg"] == reasons["."] == "not a regular file"
    assert reasons["dangling.jpg"] == reasons["round.jpg"] == "a broken symbolic link"
    assert reasons["absent.jpg"] == "no such file"


def test_formats_are_detected_by_their_first_bytes():
    for kind, options in KINDS.items():
        name, is_read = images.detect_format(encoded(noise(), kind, **options)[: images.HEAD_BYTES])
        assert (name.upper(), is_read) == (kind, True)
    for head in (b"", b"B", b"BM", b"BM words that follow", b"GIF", b"#!/bin/sh\n", b"RIFF\0\0\0\0WAVE"):
        assert images.detect_format(head) is None


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1", "CMYK", "YCbCr", "LAB", "I;16", "I", "HSV", "La"])
def test_every_pillow_mode_becomes_rgb(mode):
    image = Image.new("I;16", (6, 4), 65535) if mode == "I;16" else Image.new("RGB", (6, 4), WHITE)
    if mode not in ("I;16", "La"):
        image = image.convert(mode)
    elif mode == "La":
        image = image.convert("LA").convert("La")
    pixels = np.asarray(images.to_upright_rgb(image))
    assert (pixels.dtype, pixels.shape) == (np.uint8, (4, 6, 3))
    assert (pixels > 247).all() or mode == "I"


def test_the_callers_image_is_not_changed():
    tags = Image.Exif()
    tags[0x0112] = 6
    with Image.open(io.BytesIO(encoded(quarters(), "JPEG", exif=tags))) as image:
        assert images.to_upright_rgb(image).size == (32, 64)
        assert image.size == (64, 32)
        assert image.getexif()[0x0112] == 6


def test_crop_keeps_the_centre_squash_everything_and_pad_adds_grey():
    pixels = np.zeros((100, 300, 3), dtype=np.uint8)
    pixels[:, :100], pixels[:, 100:200], pixels[:, 200:] = RED, GREEN, BLUE
    crop, squash, pad = (images.resize_to_square(pixels, 96, resize) for resize in ("crop", "squash", "pad"))
    assert crop.shape == squash.shape == pad.shape == (96, 96, 3)
    assert (crop[:, 4:-4] == GREEN).all()
    assert [squash[48, x].tolist() for x in (10, 48, 86)] == [list(RED), list(GREEN), list(BLUE)]
    assert [pad[48, x].tolist() for x in (10, 48, 86)] == [list(RED), list(GREEN), list(BLUE)]
    assert (pad[:31] == 128).all()
    assert (pad[-31:] == 128).all()


@pytest.mark.parametrize("resize", images.RESIZE_FUNCTIONS)
@pytest.mark.parametrize("shape", [(1, 1), (1, 9000), (9000, 1), (96, 96), (3, 7)])
def test_any_shape_becomes_a_square_and_keeps_a_plain_colour(shape, resize):
    square = images.resize_to_square(np.full((*shape, 3), 128, dtype=np.uint8), 96, resize)
    assert square.shape == (96, 96, 3)
    assert (square == 128).all()


def test_a_square_of_the_right_size_is_not_resampled():
    pixels = np.asarray(noise(96, 96))
    for resize in ("squash", "pad"):
        assert (images.resize_to_square(pixels, 96, resize) == pixels).all()


def test_a_crop_of_256_pixels_to_224_is_the_unchanged_centre():
    pixels = np.asarray(noise(300, 256))
    assert (images.resize_to_square(pixels, 224, "crop") == pixels[16:240, 38:262]).all()


def test_downscaling_averages_pixels():
    stripes = np.zeros((96 * 4, 96 * 4, 3), dtype=np.uint8)
    stripes[:, ::2] = 255
    assert abs(images.resize_to_square(stripes, 96).astype(int)[:, 2:-2] - 127).max() <= 2


def test_damaged_bytes_never_raise_anything_but_a_picture_error():
    """Seeded damage to every format: each result is RGB or a PictureError on one line."""
    rng = np.random.default_rng(0)
    files = [encoded(noise(40, 30), kind, **options) for kind, options in KINDS.items()]
    files += [encoded(noise(40, 30), "TIFF", compression="tiff_lzw"), encoded(noise().convert("P"), "PNG")]
    codes = set()
    for _ in range(60):
        for data in files:
            broken = np.frombuffer(data, dtype=np.uint8).copy()
            reach = len(broken) if rng.random() < 0.4 else min(len(broken), 200)
            broken[rng.integers(0, reach, rng.integers(1, 9))] = rng.integers(0, 256)
            try:
                pixels, _ = images.decode(broken.tobytes())
                assert pixels.ndim == 3
                assert pixels.shape[2] == 3
            except PictureError as error:
                codes.add(error.code if "\n" not in str(error) else "more than one line")
    assert "truncated" in codes
    assert codes <= {"truncated", "not_an_image", "too_large", "unsupported"}
