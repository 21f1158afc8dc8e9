"""Draw procedural pictures of five classes of flowers, and off-topic scenes, with NumPy and Pillow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

Size = tuple[int, int]
Colour = tuple[int, ...]
Values = float | np.ndarray | tuple[int, ...]


def draw_picture(subject: str, rng: np.random.Generator, size: Size | None) -> Image.Image:
    """Draw a flower class or an off-topic scene like a photograph, in RGB; at twice the size first, to smooth edges.

    Parameters: `subject`, a key of FLOWERS or SCENES; `size`, (width, height) in pixels (None: from 240 to 500).
    """
    if size is None:
        long, short = int(rng.integers(320, 501)), int(rng.integers(240, 321))
        size = (long, short) if rng.random() < 0.6 else (short, long)
    image = _ground(rng, (size[0] // 3, size[1] // 3)).resize((size[0] * 2, size[1] * 2), Image.Resampling.BILINEAR)
    if subject in FLOWERS:
        _garden(image, rng, *FLOWERS[subject])
    else:
        SCENES[subject](Pen(image, rng, np.zeros(2), np.diag(image.size)))
    image = image.reduce(2)
    return _expose(image.filter(ImageFilter.GaussianBlur(rng.uniform(0, 1.6))) if rng.random() < 0.3 else image, rng)


def _expose(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Add uneven light, a colour cast and sensor noise."""
    shape = (image.height, image.width * 3)
    down, across = (rng.normal(0, 0.14) * np.linspace(-1, 1, n, dtype=np.float32) for n in image.size[::-1])
    cast = np.tile(rng.normal(1, 0.04, 3) * rng.uniform(0.85, 1.15), image.width).astype(np.float32)
    pixels = np.asarray(image).reshape(shape) * ((1 + down[:, None] + across.repeat(3)) * cast)  # (H, 3 W)
    pixels += np.frombuffer(rng.bytes(pixels.size), np.int8).reshape(shape) * np.float32(rng.uniform(0, 0.08))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8).reshape(image.height, image.width, 3))


@dataclass(frozen=True)
class Pen:
    """Draws in its own coordinates, y down: pixels = shape @ matrix.T + centre. The head of a flower has radius 1."""

    image: Image.Image
    rng: np.random.Generator
    centre: np.ndarray
    matrix: np.ndarray

    def fill(self, shapes: np.ndarray, colour: Values, gain: Values = 1.0, alpha: int = 255) -> None:
        """Fill polygons (..., n, 2) with one colour, or one each (..., 3), made lighter or darker by `gain` (...)."""
        canvas = ImageDraw.Draw(self.image, "RGB" if alpha == 255 else "RGBA")  # blending takes five times as long
        outlines = (shapes @ self.matrix.T + self.centre).reshape(-1, 2 * shapes.shape[-2])
        gains = np.broadcast_to(gain, shapes.shape[:-2]).reshape(-1, 1)
        inks = np.clip(gains * np.asarray(colour), 0, 255).astype(int)
        for outline, (red, green, blue) in zip(outlines.tolist(), inks.tolist(), strict=True):
            canvas.polygon(outline, (red, green, blue, alpha))

    def petals(self, outline: np.ndarray, angles: np.ndarray, radius: Values, colour: Colour, gain: Values = 1) -> None:
        """Draw a petal at each angle, each with its own length and shade, a dark edge and a pale middle."""
        layers = outline * np.array([[1, 1], [0.97, 0.86], [0.8, 0.4]])[:, None]  # (3, n, 2)
        lengths = np.multiply(radius, self.rng.uniform(0.9, 1.05, len(angles)))[:, None, None, None]
        shades = np.multiply(gain, self.rng.uniform(0.88, 1.05, len(angles)))[:, None] * [0.72, 0.95, 1.04]
        self.fill(_turn(layers, angles[:, None]) * lengths, colour, shades)

    def seeds(self, radius: float, count: int, rim: Colour, core: Colour) -> None:
        """Draw the disc of a flower: seeds along the golden spiral, from the rim to the core."""
        self.fill(CIRCLE * radius * 1.06, rim, 0.6)
        r = np.sqrt(np.arange(count, 0, -1) / count)[:, None]
        spots = radius * (r * _ray(np.arange(count) * GOLDEN))[:, None] + CIRCLE[::3] * radius * 1.4 / count**0.5
        self.fill(spots, r * np.array(rim) + (1 - r) * np.array(core), self.rng.uniform(0.8, 1.15, count))


def _vary(rng: np.random.Generator, colour: Values, spread: float = 0.08) -> Colour:
    return tuple(np.clip(colour * rng.normal(1, spread, 3), 0, 255).astype(int).tolist())


def _ray(angles: np.ndarray) -> np.ndarray:
    return np.stack([np.cos(angles), np.sin(angles)], axis=-1)


def _turn(shapes: np.ndarray, angles: Values) -> np.ndarray:
    """Rotate shapes (..., n, 2) clockwise by each of the angles, which broadcast against (...)."""
    cos, sin = np.cos(angles), np.sin(angles)
    return shapes @ np.moveaxis(np.array([[cos, sin], [-sin, cos]]), (0, 1), (-2, -1))


def _around(count: int, rng: np.random.Generator, wobble: float = 0.06) -> np.ndarray:
    return rng.uniform(0, 6.3) + np.arange(count) * 2 * np.pi / count + rng.normal(0, wobble, count)


def _petal(width: float, peak: float = 1.0, blunt: float = 0.6) -> np.ndarray:
    """An outline (22, 2) from (0, 0) to (1, 0) with half-width w(t) = width sin(pi t^peak)^blunt."""
    t = np.concatenate([np.linspace(0, 1, 12), np.linspace(1, 0, 12)[1:-1]])
    half = width * np.sin(np.pi * t**peak).clip(0) ** blunt
    return np.stack([t, np.where(np.arange(22) < 12, half, -half)], axis=1)


def _box(left: float, top: float, right: float, bottom: float) -> np.ndarray:
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]])


GOLDEN, UP = np.pi * (3 - 5**0.5), -np.pi / 2  # golden angle between two seeds; straight up
CIRCLE = _ray(np.arange(24) * np.pi / 12)
WHITE, CREAM, YELLOW, GOLD = (246, 244, 238), (250, 232, 190), (250, 214, 30), (246, 176, 16)
ORANGE, RED, CRIMSON, PINK = (238, 118, 30), (214, 36, 40), (160, 16, 44), (240, 138, 170)
PURPLE, BROWN, GREEN, GREY = (120, 40, 128), (78, 46, 22), (84, 134, 52), (96, 100, 108)


def _daisy(pen: Pen, colour: Colour) -> None:
    count, outline = int(pen.rng.integers(11, 24)), _petal(pen.rng.uniform(0.1, 0.15), 1.4, 0.5)
    for radius in (1.0, 0.94):
        pen.petals(outline, _around(count, pen.rng), radius, colour, 1.9 - radius)
    pen.seeds(pen.rng.uniform(0.2, 0.34), 50, ORANGE, YELLOW)


def _dandelion(pen: Pen, colour: Colour) -> None:
    if pen.rng.random() < 0.3:  # gone to seed
        tips = 0.85 * (_ray(_around(60, pen.rng)) * pen.rng.uniform(0.1, 1, (60, 1)) ** 0.5)[:, None]
        rays = _turn(_box(0, 0, 0.17, 0.012), pen.rng.uniform(0, 6.3, (60, 7)))
        pen.fill(CIRCLE, WHITE, alpha=70)
        pen.fill(tips * [[0], [1], [1.02]], CREAM, 0.8, alpha=150)
        pen.fill(tips[:, None] + rays, WHITE, alpha=190)
        return pen.seeds(0.14, 20, BROWN, GREEN)
    for radius, gain in ((1.0, 0.8), (0.88, 0.9), (0.7, 0.97), (0.5, 1.03), (0.3, 0.95)):
        pen.petals(_petal(0.055, 1.6, 0.4)[::2], _around(28, pen.rng, 0.12), radius, colour, gain)
    return None


def _rose(pen: Pen, colour: Colour) -> None:
    radii, angles = np.geomspace(1, 0.16, 22), np.arange(22) * GOLDEN + pen.rng.normal(0, 0.15, 22)
    pen.petals(_petal(0.62, 1.7, 0.45), angles, radii, colour, 0.7 + 0.3 * radii)


def _sunflower(pen: Pen, colour: Colour) -> None:
    count, outline = int(pen.rng.integers(15, 24)), _petal(pen.rng.uniform(0.1, 0.14), 0.9, 0.9)
    for radius, gain in ((1.0, 0.8), (0.96, 0.92), (0.88, 1.0)):
        pen.petals(outline, _around(count, pen.rng, 0.1), radius, colour, gain)
    pen.seeds(pen.rng.uniform(0.36, 0.52), 110, BROWN, BROWN if pen.rng.random() < 0.6 else GREEN)


def _tulip(pen: Pen, colour: Colour) -> None:
    if pen.rng.random() < 0.2:  # wide open
        pen.petals(_petal(0.36, 1.2, 0.5), _around(6, pen.rng), 1.0, colour)
        return pen.petals(_petal(0.14), _around(6, pen.rng), 0.4, CRIMSON)
    cup = replace(pen, centre=pen.centre + pen.matrix @ [0, 0.9])
    angles = UP + pen.rng.uniform(0.2, 0.35) * np.array([0.5, -0.5, 1, -1, 0])  # from back to front
    return cup.petals(_petal(0.3, 0.8, 0.62), angles, 1.8, colour, np.array([0.7, 0.7, 0.88, 0.88, 1.0]))


# Class -> the function that draws its head, its colours, its leaf.
FLOWERS: dict[str, tuple[Callable[[Pen, Colour], None], tuple[Colour, ...], np.ndarray]] = {
    "daisy": (_daisy, (WHITE, WHITE, WHITE, CREAM, PINK, YELLOW), _petal(0.12, 1.6)),
    "dandelion": (_dandelion, (YELLOW, YELLOW, GOLD), _petal(0.14, 1.8, 0.8)),
    "roses": (_rose, (RED, CRIMSON, PINK, WHITE, YELLOW, ORANGE), _petal(0.3, 0.9, 0.8)),
    "sunflowers": (_sunflower, (YELLOW, GOLD, GOLD, ORANGE), _petal(0.4, 0.7, 0.8)),
    "tulips": (_tulip, (RED, RED, YELLOW, WHITE, PINK, PURPLE), _petal(0.1, 0.9, 0.9)),
}
# Background -> dark and light colour, cells of the noise between them; shape scattered on it, its colour and alpha.
GROUNDS = {
    "sky": ((96, 156, 222), (226, 236, 246), 2, CIRCLE * [0.3, 0.08], WHITE, 8),
    "grass": ((36, 70, 24), (120, 160, 60), 5, _turn(_petal(0.04), UP) * 0.3, GREEN, 255),
    "soil": ((58, 42, 30), (158, 126, 96), 9, CIRCLE * 0.012, (150, 124, 100), 130),
    "bokeh": ((22, 44, 30), (90, 130, 70), 3, CIRCLE * 0.07, (220, 226, 170), 14),
    "hedge": ((20, 44, 18), (50, 90, 40), 4, _petal(0.25) * 0.2, GREEN, 255),
}


def _ground(rng: np.random.Generator, size: Size) -> Image.Image:
    """Draw a blurred background, chosen at random."""
    dark, light, cells, shape, colour, alpha = list(GROUNDS.values())[rng.integers(len(GROUNDS))]
    coarse, fine = (Image.fromarray(rng.integers(0, 256, (n, n), dtype=np.uint8)) for n in (cells, 4 * cells))
    mix = Image.blend(coarse.resize(size, Image.Resampling.BICUBIC), fine.resize(size, Image.Resampling.BICUBIC), 0.35)
    bright, dim = (Image.new("RGB", size, _vary(rng, tone)) for tone in (light, dark))
    image = Image.composite(bright, dim, mix)
    shapes = _turn(shape, rng.normal(0, 0.4, 100)) * rng.uniform(0.4, 1.4, (100, 1, 1))
    pen = Pen(image, rng, np.zeros(2), np.eye(2) * max(size))
    pen.fill(shapes + rng.uniform(0, 1.1, (100, 1, 2)), colour, rng.uniform(0.5, 1.3, 100), alpha)
    return image.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 1.6)))


def _garden(
    image: Image.Image,
    rng: np.random.Generator,
    head: Callable[[Pen, Colour], None],
    colours: tuple[Colour, ...],
    leaf: np.ndarray,
) -> None:
    """Draw one to four flowers, seen from above or from the side, the small ones first."""
    above, count = rng.random() < 0.35, 1 if rng.random() < 0.55 else int(rng.integers(2, 5))
    colour, green = colours[rng.integers(len(colours))], _vary(rng, GREEN, 0.15)
    radii = rng.uniform(*((0.22, 0.4) if count == 1 else (0.13, 0.24)), count) * min(image.size)
    for radius in np.sort(radii):
        centre = rng.uniform((0.2, 0.22), (0.8, 0.7 if above else 0.5)) * image.size
        lean, flat = rng.normal(0, 0.25), 1 if head is _tulip else rng.uniform(0.8 if above else 0.5, 1)
        pen = Pen(image, rng, centre, np.eye(2) * radius)
        _leaves(pen, leaf, green, lean, 0 if above else (image.height - centre[1]) / radius + 0.2)
        head(replace(pen, matrix=_turn(np.diag([1, flat]) * radius, lean).T), _vary(rng, colour))


def _leaves(pen: Pen, leaf: np.ndarray, green: Colour, lean: float, height: float) -> None:
    """Draw a stem of this height and leaves along it, or around the head when the height is 0."""
    count, t = int(pen.rng.integers(2, 7)), np.linspace(0, 1, 12)[:, None]
    stem = 2 * t * (1 - t) * [lean, height / 2] + t**2 * [pen.rng.normal(0, 0.5), height]
    angles = UP + pen.rng.choice([-1, 1], count) * pen.rng.uniform(0.4, 1.2, count)
    if height:
        for left, right, gain in ((-0.05, 0.05, 0.8), (-0.03, 0.01, 1.1)):
            pen.fill(np.concatenate([stem + [left, 0], stem[::-1] + [right, 0]]), green, gain)
    else:
        stem, angles = stem * 0, _around(count, pen.rng, 0.3)
    lengths, shades = pen.rng.uniform(1, 1.9, (count, 1, 1)), pen.rng.uniform(0.7, 1.1, count)
    leaves = stem[pen.rng.integers(4, 12, count), None]
    for shape, gain in ((leaf, 0.75), (leaf * [0.97, 0.86], 1.0), (leaf[:12] * 0.97, 1.12)):
        pen.fill(leaves + _turn(shape, angles) * lengths, green, gain * shades)


def _street(pen: Pen) -> None:
    pen.fill(_box(0, 0, 1, 1), _vary(pen.rng, (150, 190, 220)))
    for left in np.arange(-pen.rng.uniform(0, 0.1), 1, 0.22):
        top, dark = pen.rng.uniform(0.08, 0.45), pen.rng.uniform(0.6, 1.5, (7, 4))
        pen.fill(_box(left, top, left + 0.22, 0.85), _vary(pen.rng, (190, 150, 126), 0.2))
        windows = np.stack(np.meshgrid(left + np.arange(0.02, 0.2, 0.05), np.linspace(top + 0.04, 0.7, 7)), -1)
        pen.fill(windows[:, :, None] + _box(0, 0, 0.03, 0.4 * (0.72 - top) / 7 + 0.01), GREY, dark)
    pen.fill(_box(0, 0.8, 1, 1), GREY, 0.8)
    pen.fill(np.arange(0, 1, 0.16)[:, None, None] * [1, 0] + _box(0, 0.89, 0.08, 0.91), WHITE)


def _room(pen: Pen) -> None:
    x, table = pen.rng.uniform(0.05, 0.5), pen.rng.uniform(0.1, 0.35)
    window = [((x, 0.12, x + 0.32, 0.46), WHITE), *(((x + y, 0.14, x + y + 0.13, 0.44), GREY) for y in (0.02, 0.17))]
    legs = [((table + y, 0.6, table + y + 0.04, 0.94), BROWN) for y in (0.03, 0.43)]
    walls = [((0, 0, 1, 1), (206, 196, 180)), ((0, 0.72, 1, 1), (150, 110, 76))]
    for edges, colour in (*walls, *window, *legs, ((table, 0.56, table + 0.5, 0.61), BROWN)):
        pen.fill(_box(*edges), _vary(pen.rng, colour))


def _person(pen: Pen) -> None:
    skin, hair, coat = (_vary(pen.rng, colour, 0.1) for colour in ((206, 158, 126), BROWN, (110, 110, 130)))
    bust = [(1.9, 2, 0, 2.9, coat), (0.3, 0.8, 0, 0.8, skin), (0.88, 1.1, 0, -0.15, hair), (0.74, 0.95, 0, 0, skin)]
    face = [(size, 0.07, x, -0.05, colour) for x in (-0.28, 0.28) for size, colour in ((0.13, WHITE), (0.06, BROWN))]
    centre = pen.matrix @ [pen.rng.uniform(0.35, 0.65), 0.4]
    pen = replace(pen, centre=centre, matrix=np.eye(2) * min(pen.image.size) * 0.2)
    for width, height, x, y, colour in (*bust, *face, (0.24, 0.06, 0, 0.52, CRIMSON)):
        pen.fill(CIRCLE * [width, height] + [x, y], colour)


def _sign(pen: Pen) -> None:
    pen.fill(_box(0.47, 0.5, 0.53, 1), GREY)
    pen.fill(_box(0.07, 0.18, 0.93, 0.7), WHITE)
    pen.fill(_box(0.09, 0.2, 0.91, 0.68), pen.rng.integers(20, 130, 3))
    font = ImageFont.load_default(0.12 * pen.image.width)
    texts = pen.rng.choice(["OPEN", "EXIT", "PARKING", "SALE", "NO ENTRY"], 2, replace=False)
    for y, text in zip((0.33, 0.55), texts, strict=True):
        position = (0.5 * pen.image.width, y * pen.image.height)
        ImageDraw.Draw(pen.image).text(position, str(text), WHITE, font, anchor="mm")


def _chart(pen: Pen) -> None:
    count = int(pen.rng.integers(4, 9))
    pen.fill(_box(0, 0, 1, 1), WHITE)
    for left in np.linspace(0.13, 0.9 - 0.5 / count, count):
        bar = _box(left, 0.88 - pen.rng.uniform(0.15, 0.75), left + 0.5 / count, 0.88)
        pen.fill(bar, _vary(pen.rng, (90, 130, 190), 0.3))
    pen.fill(np.stack([_box(0.1, 0.08, 0.106, 0.88), _box(0.1, 0.874, 0.94, 0.882)]), GREY, 0.4)


SCENES = {"street": _street, "room": _room, "person": _person, "sign": _sign, "chart": _chart}
