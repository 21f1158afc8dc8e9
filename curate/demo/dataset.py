"""Draw a labelled folder of procedural flower pictures with known noise, for the demo and for tests."""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from winnow.common.errors import InputError
from winnow.curate.demo.drawings import FLOWERS, SCENES, draw_picture

# Kind of noise -> its share of each class.
NOISE = {"broken": 0.02, "off_topic": 0.05, "mislabelled": 0.05, "duplicate": 0.07}


@dataclass(frozen=True)
class DrawnFile:
    """A row of the truth table."""

    path: str  # relative to the folder, with "/"
    label: str  # the class folder
    noise: str  # "", or a key of NOISE
    what: str  # the class or scene shown, how a duplicate was made, or how a file was broken
    duplicate_of: str  # a path or ""


def draw_dataset(
    folder: Path,
    *,
    per_class: int = 60,
    seed: int = 0,
    size: tuple[int, int] | None = None,
    noise: bool = True,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[DrawnFile]:
    """Write `folder/CLASS/NAME.jpg` and, beside the folder, the truth table `truth_path(folder)`.

    The same `seed` gives the same bytes with the same NumPy and Pillow.
    Parameters: `per_class`, files of each of the five classes, including their noise; `size`, (width, height) in
    pixels (None: varied, from 240 to 500); `noise`, False: draw only clean pictures; `on_progress`, called after each
    file with the number of files done and of all files.
    Returns: the rows of the truth table in the order of `path`.
    Raises: InputError when the folder is a file or not empty, or when `per_class` is less than 5 (1 without noise).
    """
    least = len(NOISE) + 1 if noise else 1
    if per_class < least:
        raise InputError(f"per_class must be {least} or more, not {per_class}")
    if folder.name in ("", ".."):
        raise InputError(f"{folder} is not the name of a new folder, as {folder / 'photos'} is")
    if folder.exists() and not (folder.is_dir() and next(folder.iterdir(), None) is None):
        raise InputError(f"{folder} exists and is not an empty folder", remedy="new-folder")
    part = folder.with_name(f"{folder.name}.part")  # renamed at the end, so that `folder` is always complete
    shutil.rmtree(part, ignore_errors=True)
    for label in FLOWERS:
        (part / label).mkdir(parents=True)
    rows = _plan(per_class, np.random.default_rng(seed), noise)
    for index, row in enumerate(rows):
        content = _content(row, part, np.random.default_rng([seed, index]), size)
        (part / row.path).write_bytes(content)
        on_progress(index + 1, len(rows))
    rows.sort(key=lambda row: row.path)
    _write_truth(folder, rows)
    if folder.exists():
        folder.rmdir()
    part.rename(folder)
    return rows


def _write_truth(folder: Path, rows: list[DrawnFile]) -> None:
    with truth_path(folder).open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, [field.name for field in fields(DrawnFile)], lineterminator="\n")
        table.writeheader()
        table.writerows(map(asdict, rows))


def truth_path(folder: Path) -> Path:
    """The path of the truth table of a drawn folder: `photos-truth.csv` beside `photos`."""
    folder = folder.resolve()
    return folder.with_name(f"{folder.name}-truth.csv")


def _plan(per_class: int, rng: np.random.Generator, noise: bool) -> list[DrawnFile]:
    """Plan the truth table, duplicates last, because they are made from files that are written before."""
    numbers = iter(rng.permutation(len(FLOWERS) * per_class) + 1)
    counts = {kind: max(1, round(share * per_class)) for kind, share in NOISE.items()} if noise else {}
    rows: list[DrawnFile] = []
    for turn, label in enumerate(FLOWERS):
        others = [other for other in FLOWERS if other != label]
        variants = {"broken": list(BREAKS), "off_topic": list(SCENES), "mislabelled": others, "duplicate": list(COPIES)}
        plan = [("", label)] * (per_class - sum(counts.values()))
        for kind, count in counts.items():
            plan += [(kind, variants[kind][(turn * count + k) % len(variants[kind])]) for k in range(count)]
        paths = [f"{label}/IMG_{next(numbers):04d}.jpg" for _ in plan]
        originals = iter(paths)
        for path, (kind, what) in zip(paths, plan, strict=True):
            original = next(originals) if kind == "duplicate" else ""
            rows.append(DrawnFile(path, label, kind, what, original))
    return sorted(rows, key=lambda row: row.noise == "duplicate")


def _content(row: DrawnFile, folder: Path, rng: np.random.Generator, size: tuple[int, int] | None) -> bytes:
    """The bytes of a file. Parameters: `folder`, that of the files written so far."""
    if row.noise == "duplicate":
        original = (folder / row.duplicate_of).read_bytes()
        return original if row.what == "exact" else _jpeg(COPIES[row.what](Image.open(io.BytesIO(original))), 80)
    if row.noise == "broken":
        return BREAKS[row.what](_jpeg(draw_picture(row.label, rng, size), 90))
    return _jpeg(draw_picture(row.what, rng, size), int(rng.integers(72, 96)))


def _jpeg(image: Image.Image, quality: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


# How a duplicate is made -> from its original.
COPIES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "exact": lambda image: image,
    "re-encoded": lambda image: image,
    "resized": lambda image: ImageOps.scale(image, 0.75),
    "cropped": lambda image: ImageOps.crop(image, min(image.size) // 20),
    "mirrored": ImageOps.mirror,
}
# How a file is broken -> from its bytes.
BREAKS: dict[str, Callable[[bytes], bytes]] = {
    "truncated": lambda data: data[: len(data) // 2],
    "empty": lambda data: b"",
    "text": lambda data: b"Shopping list: compost, a trowel, bulbs for spring.\n",
    "web page": lambda data: b"<!DOCTYPE html><title>404</title><p>This picture has moved.</p>\n",
    "no header": lambda data: bytes(64) + data[64:],
}
