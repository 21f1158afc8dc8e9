"""Draws a labelled folder of procedural flower pictures whose noise is known: for `winnow demo` and for tests."""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from winnow.common.errors import InputError
from winnow.curate.demo.drawings import FLOWERS, SCENES, picture

Row = dict[str, str]

NOISE = {"broken": 0.02, "off_topic": 0.05, "mislabelled": 0.05, "duplicate": 0.07}  # share of each class


def draw(
    folder: Path,
    *,
    per_class: int = 60,
    seed: int = 0,
    size: tuple[int, int] | None = None,
    noise: bool = True,
    on_picture: Callable[[int, int], None] | None = None,
) -> list[Row]:
    """Write `folder/CLASS/NAME.jpg` and, beside the folder, the truth table `truth_path(folder)`.

    Each of the five classes gets `per_class` files, its noise among them; `noise=False` draws only what the label
    says. The same `seed` gives the same bytes with the same NumPy and Pillow. `size` is (width, height) in pixels;
    without it pictures vary from 240 to 500. `on_picture` is called after each with (files done, files in all).

    Returns the rows of the truth table in the order of `path`: `path` (relative to the folder, with "/"), `label`
    (the class folder), `noise` ("", "off_topic", "duplicate", "mislabelled" or "broken"), `what` (the class or scene
    shown, how a duplicate was made, or how a file was broken) and `duplicate_of` (a path or "").

    Raises InputError when the folder is a file or not empty, or when `per_class` is less than 5 (1 without noise).
    """
    least = len(NOISE) + 1 if noise else 1
    if per_class < least:
        raise InputError(f"per_class must be {least} or more. Got {per_class} instead.")
    if folder.name in ("", ".."):
        raise InputError(f"{folder} is not the name of a new folder: give one, as in `{folder / 'photos'}`.")
    if folder.exists() and not (folder.is_dir() and next(folder.iterdir(), None) is None):
        raise InputError(f"{folder} is there already and is not an empty folder: name a new one, or delete it.")
    part = folder.with_name(f"{folder.name}.part")  # becomes `folder` when all is drawn: a half-drawn one is none
    shutil.rmtree(part, ignore_errors=True)
    for label in FLOWERS:
        (part / label).mkdir(parents=True)
    rows = _plan(per_class, np.random.default_rng(seed), noise)
    for index, row in enumerate(rows):
        content = _content(row, part, np.random.default_rng([seed, index]), size)
        (part / row["path"]).write_bytes(content)
        if on_picture is not None:
            on_picture(index + 1, len(rows))
    rows.sort(key=lambda row: row["path"])
    _write_truth(folder, rows)
    if folder.exists():
        folder.rmdir()
    part.rename(folder)
    return rows


def _write_truth(folder: Path, rows: list[Row]) -> None:
    with truth_path(folder).open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(rows)


def truth_path(folder: Path) -> Path:
    """Where the truth table of a drawn folder is: `photos-truth.csv` beside `photos`."""
    folder = folder.resolve()
    return folder.with_name(f"{folder.name}-truth.csv")


def _plan(per_class: int, rng: np.random.Generator, noise: bool) -> list[Row]:
    """The truth table, duplicates last: they are made from files that have been written by then."""
    numbers = iter(rng.permutation(len(FLOWERS) * per_class) + 1)
    counts = {kind: max(1, round(share * per_class)) for kind, share in NOISE.items()} if noise else {}
    rows: list[Row] = []
    for turn, label in enumerate(FLOWERS):
        others = [other for other in FLOWERS if other != label]
        ways = {"broken": list(BREAKS), "off_topic": list(SCENES), "mislabelled": others, "duplicate": list(COPIES)}
        plan = [("", label)] * (per_class - sum(counts.values()))
        for kind, count in counts.items():
            plan += [(kind, ways[kind][(turn * count + k) % len(ways[kind])]) for k in range(count)]
        paths = [f"{label}/IMG_{next(numbers):04d}.jpg" for _ in plan]
        originals = iter(paths)
        for path, (kind, what) in zip(paths, plan, strict=True):
            original = next(originals) if kind == "duplicate" else ""
            rows.append({"path": path, "label": label, "noise": kind, "what": what, "duplicate_of": original})
    return sorted(rows, key=lambda row: row["noise"] == "duplicate")


def _content(row: Row, folder: Path, rng: np.random.Generator, size: tuple[int, int] | None) -> bytes:
    what = row["what"]
    if row["noise"] == "duplicate":
        original = (folder / row["duplicate_of"]).read_bytes()
        return original if what == "exact" else _jpeg(COPIES[what](Image.open(io.BytesIO(original))), 80)
    if row["noise"] == "broken":
        return BREAKS[what](_jpeg(picture(row["label"], rng, size), 90))
    return _jpeg(picture(what, rng, size), int(rng.integers(72, 96)))


def _jpeg(image: Image.Image, quality: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


COPIES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "exact": lambda image: image,
    "re-encoded": lambda image: image,
    "resized": lambda image: ImageOps.scale(image, 0.75),
    "cropped": lambda image: ImageOps.crop(image, min(image.size) // 20),
    "mirrored": ImageOps.mirror,
}
BREAKS: dict[str, Callable[[bytes], bytes]] = {
    "truncated": lambda data: data[: len(data) // 2],
    "empty": lambda data: b"",
    "text": lambda data: b"Shopping list: compost, a trowel, bulbs for spring.\n",
    "web page": lambda data: b"<!DOCTYPE html><title>404</title><p>This picture has moved.</p>\n",
    "no header": lambda data: bytes(64) + data[64:],
}
