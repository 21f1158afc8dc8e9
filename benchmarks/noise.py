"""A pool of photographs and of seeded noise, scanned and embedded once, and folders that are sampled from it."""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from winnow.curate import manifest
from winnow.curate.demo.drawings import SCENES, draw_picture
from winnow.curate.noise import duplicates
from winnow.curate.workspace import Workspace
from winnow.embed.config import EmbeddingConfig
from winnow.embed.images import decode
from winnow.workflow.embedding import embed

SEEDS = range(10, 15)  # thresholds of `curate` were chosen with seeds below 10
COPIED = 100  # photographs per seed that are copied as each kind of near-duplicate
OFF_TOPIC = 200  # drawn and blurred pictures in the pool


def _reencoded(image: Image.Image, rng: np.random.Generator) -> tuple[Image.Image, int]:
    return image, int(rng.integers(40, 81))


def _resized(image: Image.Image, rng: np.random.Generator) -> tuple[Image.Image, int]:
    return ImageOps.scale(image, rng.uniform(0.5, 0.8)), 90


def _cropped(image: Image.Image, rng: np.random.Generator) -> tuple[Image.Image, int]:
    """Crop 5 to 10% of the width and of the height, at a random position."""
    size = np.array(image.size)
    cropped = np.round(size * (1 - rng.uniform(0.05, 0.10))).astype(int)
    left, top = (int(rng.integers(0, room + 1)) for room in size - cropped)
    return image.crop((left, top, left + int(cropped[0]), top + int(cropped[1]))), 90


def _brightened(image: Image.Image, rng: np.random.Generator) -> tuple[Image.Image, int]:
    return ImageEnhance.Brightness(image).enhance(1 + rng.choice([-1, 1]) * rng.uniform(0.15, 0.20)), 90


def _mirrored(image: Image.Image, rng: np.random.Generator) -> tuple[Image.Image, int]:
    return ImageOps.mirror(image), 90


NEAR: dict[str, Callable[[Image.Image, np.random.Generator], tuple[Image.Image, int]]] = {
    "re-encoded": _reencoded,
    "resized": _resized,
    "cropped": _cropped,
    "brightness": _brightened,
    "mirrored": _mirrored,
}


@dataclass(frozen=True)
class Pool:
    """All pictures, rows (N,) in the order of paths."""

    table: Any  # the manifest
    pooled: np.ndarray  # float32 (N, 1280)
    bottleneck: np.ndarray  # float32 (N, 320)
    verdicts: dict[str, str]  # path of a photograph -> verdict by eye, for half of them

    @cached_property
    def paths(self) -> list[str]:
        """Paths below the pool's folder."""
        return self.table["path"].to_pylist()

    @cached_property
    def photographs(self) -> np.ndarray:
        """Rows of the unchanged photographs: int64 (n,)."""
        return self.under("photographs")

    @cached_property
    def labels(self) -> np.ndarray:
        """Class of the photograph that a picture shows or copies: int64 (N,), a number of their own for drawn ones."""
        return np.unique([path.split("/")[-2] for path in self.paths], return_inverse=True)[1]

    @cached_property
    def source(self) -> list[str]:
        """`LABEL/NAME` of the photograph that a picture shows or copies."""
        return ["/".join(path.split("/")[-2:]) for path in self.paths]

    @cached_property
    def groups(self) -> np.ndarray:
        """Near-duplicates among the photographs and the off-topic pictures, as Winnow finds them: int64 (N,)."""
        rows = np.concatenate([self.photographs, self.under("drawn"), self.under("blurred")])
        near = self.near(rows).group
        groups = np.arange(len(self.paths))
        for row, number in zip(rows[near >= 0], near[near >= 0], strict=True):
            groups[row] = len(groups) + number
        return groups

    def under(self, folder: str) -> np.ndarray:
        """Rows of the pictures below a folder of the pool: int64 (n,)."""
        return np.array([row for row, path in enumerate(self.paths) if path.startswith(f"{folder}/")], dtype=np.int64)

    def near(self, rows: np.ndarray, thumbnails: bool = True) -> duplicates.Duplicates:
        """Find near-duplicates among rows of the pool, verified on thumbnails or not."""
        table = self.table.take(rows)
        return duplicates.find_near_duplicates(
            self.bottleneck[rows],
            table["phash"].to_numpy(),
            table["pixels"].to_pylist(),
            table["width"].to_numpy().astype(np.int64) * table["height"].to_numpy(),
            self.labels[rows],
            [self.paths[row] for row in rows],
            manifest.thumbnails(table) if thumbnails else None,
        )


class Folder(NamedTuple):
    """A folder of pictures, some of which are noise."""

    rows: np.ndarray  # int64 (n,), of the pool
    labels: np.ndarray  # int64 (n,), as the folder says
    noise: np.ndarray  # bool (n,)


def off_topic(pool: Pool, kind: str, share: float, seed: int) -> Folder:
    """Add a share of noise of `kind` to the photographs without known noise: "drawn", "blurred" or "left out".

    Drawn pictures get a random label; a blurred picture replaces its photograph; "left out" pictures are of one class
    (which depends on the seed) among the other four.
    """
    rng = np.random.default_rng([seed, int(1000 * share)])
    rows = clean(pool)
    if kind == "left out":
        away = rows[pool.labels[rows] == np.unique(pool.labels[rows])[seed % 5]]
        rows = np.setdiff1d(rows, away)
        noise = rng.choice(away, round(share * len(rows)), replace=False)
    else:
        noise = rng.choice(pool.under(kind), round(share * len(rows)), replace=False)
    if kind == "blurred":
        gone = {pool.source[row] for row in noise}
        rows = np.array([row for row in rows if pool.source[row] not in gone])
        placed = pool.labels[noise]
    else:
        placed = rng.choice(np.unique(pool.labels[rows]), len(noise))
    every = np.append(rows, noise)
    return Folder(every, np.append(pool.labels[rows], placed), np.arange(len(every)) >= len(rows))


def flipped(pool: Pool, kind: str, seed: int, share: float = 0.1) -> Folder:
    """Flip a share of the labels of the photographs without known noise: to any other class ("uniform"), or to the next
    class ("asymmetric")."""
    rng = np.random.default_rng(seed)
    rows = clean(pool)
    classes, y = np.unique(pool.labels[rows], return_inverse=True)
    noise = np.isin(np.arange(len(rows)), rng.choice(len(rows), round(share * len(rows)), replace=False))
    step = rng.integers(1, len(classes), len(rows)) if kind == "uniform" else 1
    return Folder(rows, np.where(noise, (y + step) % len(classes), y), noise)


def clean(pool: Pool) -> np.ndarray:
    """Rows of the photographs without known noise: those that are good by eye, and those without a verdict."""
    good = [row for row in pool.photographs if pool.verdicts.get(pool.source[row], "ok") == "ok"]
    return np.array(good, dtype=np.int64)


def pool(photographs: Path, verdicts: Path, folder: Path, on_message: Callable[[str], None]) -> Pool:
    """Load the pool in `folder`, which is written, scanned and embedded when it is not there yet.

    It holds `photographs` (links), `near/SEED/KIND`, `drawn` and `blurred`; the same seed gives the same pictures.
    """
    images = folder / "pool"
    if not images.is_dir():
        on_message("writing the pictures with noise")
        shutil.rmtree(folder / "pool.part", ignore_errors=True)
        _write(photographs.resolve(), folder / "pool.part")
        (folder / "pool.part").rename(images)
    workspace = Workspace(folder / "pool.winnow", images)
    manifest.scan(workspace, on_message=on_message)
    store, result = embed(workspace, EmbeddingConfig(), lambda done, total: None, on_message)
    on_message(f"embedded {result.embedded} pictures, {result.reused} were there")
    table = manifest.read(workspace)
    ids = table["id"].to_pylist()
    with verdicts.open(newline="", encoding="utf-8") as file:
        known = {row["path"]: row["verdict"] for row in csv.DictReader(file)}
    return Pool(table, store.read(ids), store.read(ids, "bottleneck"), known)


def _write(photographs: Path, folder: Path) -> None:
    originals = sorted(path.relative_to(photographs) for path in photographs.rglob("*.jpg"))
    for name in originals:
        link = folder / "photographs" / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(photographs / name)
    for seed in SEEDS:
        rng = np.random.default_rng(seed)
        for row in rng.choice(len(originals), COPIED, replace=False):
            image = _open(photographs / originals[row])
            for kind, make in NEAR.items():
                changed, quality = make(image, rng)
                _save(changed, folder / "near" / str(seed) / kind / originals[row], quality)
    scenes = list(SCENES)
    rng = np.random.default_rng(SEEDS.stop)
    for number in range(OFF_TOPIC):
        _save(
            draw_picture(scenes[number % len(scenes)], rng, None), folder / "drawn" / "scene" / f"{number:03}.jpg", 90
        )
    for row in rng.choice(len(originals), OFF_TOPIC, replace=False):
        image = _open(photographs / originals[row])
        blur = ImageFilter.GaussianBlur(max(image.size) / rng.uniform(10, 20))
        _save(image.filter(blur), folder / "blurred" / originals[row], 90)


def _open(path: Path) -> Image.Image:
    return Image.fromarray(decode(path.read_bytes())[0])


def _save(image: Image.Image, path: Path, quality: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality)
    path.write_bytes(stream.getvalue())
