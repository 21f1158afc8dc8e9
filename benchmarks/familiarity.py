"""Measure how well pictures of no known class are told from held-out ones, and print it as Markdown.

`python -m benchmarks.familiarity PHOTOGRAPHS`: PHOTOGRAPHS is a folder of CLASS/NAME.jpg. Drawn pictures, changed
copies of the photographs and all vectors are kept in `--folder` for the next time.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter

from benchmarks import measures
from benchmarks.ood_scores import METHODS, Photographs, Score, winnow
from winnow.curate import manifest, splits
from winnow.curate.demo.drawings import FLOWERS, SCENES, draw_picture
from winnow.curate.workspace import Workspace
from winnow.deploy import novelty
from winnow.embed.images import decode, read_bytes
from winnow.heads.models import baselines
from winnow.workflow import features

SEEDS = range(20, 25)  # of splits; methods and settings were chosen on other splits and other drawn pictures
DRAWN = 200  # pictures of each kind
MANY_SEEDS = range(100, 140)  # one split says little about one picture in twenty
THRESHOLD = 0.05  # of familiarity, below which a picture is called unfamiliar
# What may happen to a photograph on its way; the last three are saved as JPEG 90.
CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "saved as JPEG 50": lambda image: image,
    "15% brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.15),
    "half as wide and high": lambda image: image.resize(
        (image.width // 2, image.height // 2), Image.Resampling.LANCZOS
    ),
    "slightly blurred": lambda image: image.filter(ImageFilter.GaussianBlur(1)),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.familiarity", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("photographs", type=Path)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "winnow-benchmark-familiarity")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    asked = parser.parse_args()
    start = time.monotonic()
    draw(asked.folder / "drawn")
    photographs = embedded(asked.photographs, asked.folder / "photographs.winnow")
    drawn = embedded(asked.folder / "drawn", asked.folder / "drawn.winnow")
    change(asked.photographs, asked.folder / "photographs.winnow", asked.folder / "changed")
    changed = embedded(asked.folder / "changed", asked.folder / "changed.winnow")
    print(heading(photographs, asked.seeds))
    print(f"\n### Known from unknown: AUROC\n\n{aurocs(photographs, drawn, asked.seeds)}", flush=True)
    print(f"\n### Below a familiarity of {THRESHOLD}\n\n{rejected(photographs, drawn, asked.seeds)}")
    print(f"\n### Photographs that were changed\n\n{turned_away(photographs, changed, asked.seeds)}")
    print(f"\n### Is it calibrated?\n\n{calibrated(photographs)}")
    print(f"\nAll of it took {(time.monotonic() - start) / 60:.1f} minutes.")


def on_message(message: str) -> None:
    print(message, file=sys.stderr)


def heading(photographs: Photographs, seeds: list[int]) -> str:
    """When, on what and with what this was measured."""
    versions = ", ".join(f"{name} {version(name)}" for name in ("numpy", "scikit-learn", "onnxruntime"))
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {platform.machine()}, {os.cpu_count()} processors, Python "
        f"{platform.python_version()}, {versions}. {len(photographs.ids):,} photographs, {DRAWN} drawn flowers, "
        f"{DRAWN} drawn scenes; splits of seeds {', '.join(map(str, seeds))}."
    )


def draw(folder: Path) -> None:
    """`folder/flowers` and `folder/scenes`, drawn with a seed of their own; left as they are when they are there."""
    if folder.is_dir():
        return
    on_message("drawing pictures")
    part = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    for kind, names in (("flowers", list(FLOWERS)), ("scenes", list(SCENES))):
        (part / kind).mkdir(parents=True)
        rng = np.random.default_rng([SEEDS.start, len(kind)])
        for number in range(DRAWN):
            image = draw_picture(names[number % len(names)], rng, None)
            image.save(part / kind / f"{number:03}.jpg", quality=90)
    part.rename(folder)


def change(images: Path, workspace: Path, folder: Path) -> None:
    """`folder/CHANGE/ID.jpg` of every photograph; left as they are when they are there."""
    if folder.is_dir():
        return
    on_message("changing photographs")
    part = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    for kind in CHANGES:
        (part / kind).mkdir(parents=True)
    for id, file in _files(Workspace(workspace, images.resolve())).items():
        image = Image.fromarray(decode(read_bytes(file))[0])
        for kind, changes in CHANGES.items():
            changes(image).save(part / kind / f"{id}.jpg", quality=50 if "JPEG" in kind else 90)
    part.rename(folder)


def _files(workspace: Workspace) -> dict[str, Path]:
    """Of each id one file."""
    table = manifest.read(workspace)
    pairs = zip(table["id"].to_pylist(), table["path"].to_pylist(), strict=True)
    return {id: workspace.images / path for id, path in pairs if id}


def embedded(images: Path, folder: Path) -> Photographs:
    """The stored vectors (float16 steps) of a folder's pictures, exact copies once."""
    workspace = Workspace(folder, images.resolve())
    manifest.scan(workspace, on_message=on_message)
    store, _ = features.embed(workspace, features.EmbeddingConfig(), lambda done, total: None, on_message)
    table = manifest.read(workspace)
    labels = {id: label for id, label in zip(*(table[name].to_pylist() for name in ("id", "label")), strict=True) if id}
    ids = sorted(labels)
    files = _files(workspace)
    names = np.array([files[id].stem for id in ids])
    found = store.read(ids), store.read(ids, "bottleneck")
    return Photographs(np.array(ids), np.array([labels[id] for id in ids]), names, *found)


def divided(pictures: Photographs, seed: int) -> Iterator[Photographs]:
    """train, val and test, 70/15/15 by class."""
    parts = splits.split_labelled(pictures.ids.tolist(), pictures.labels.tolist(), np.arange(len(pictures.ids)), seed)
    for part in ("train", "val", "test"):
        yield pictures.select(parts == part)


def cases(photographs: Photographs, drawn: Photographs) -> Iterator[tuple[str, Photographs, Photographs]]:
    """Of each column its name, the pictures of known classes, and those of none."""
    for label in np.unique(photographs.labels):
        away = photographs.labels == label
        yield f"{label} left out", photographs.select(~away), photographs.select(away)
    for kind in ("flowers", "scenes"):
        yield f"drawn {kind}", photographs, drawn.select(drawn.labels == kind)


def aurocs(photographs: Photographs, drawn: Photographs, seeds: list[int]) -> str:
    """Test pictures of known classes against pictures of none, means over seeds; the last columns are means."""
    columns: list[str] = []
    cells: dict[str, list[float]] = {name: [] for name in METHODS}
    for column, known, unknown in cases(photographs, drawn):
        columns.append(column)
        found: dict[str, list[float]] = {name: [] for name in METHODS}
        for seed in seeds:
            train, _, test = divided(known, seed)
            head = baselines.logistic().fit(train.pooled, train.labels)
            for name, method in METHODS.items():
                found[name].append(_auroc(method(train, head), test, unknown))
        for name, values in found.items():
            cells[name].append(float(np.mean(values)))
    left_out = [column.endswith("left out") for column in columns]
    rows = [
        [name, *(f"{value:.3f}" for value in (*row, np.mean(np.array(row)[left_out]), np.mean(row)))]
        for name, row in cells.items()
    ]
    return measures.table(["AUROC", *columns, "mean of left out", "mean of all"], rows)


def rejected(photographs: Photographs, drawn: Photographs, seeds: list[int]) -> str:
    """Calibrated on val: the shares of test pictures and of unknown ones below the threshold, mean and extremes."""
    rows = []
    for column, known, unknown in cases(photographs, drawn):
        shares = []
        for seed in seeds:
            said, test = usual(known, seed)
            shares.append([(said(asked) < THRESHOLD).mean() for asked in (test, unknown)])
        rows.append([column, *(f"{mean:.1%} ({low:.1%}–{high:.1%})" for mean, low, high in _spans(np.array(shares)))])
    return measures.table(["", "held-out known pictures", "unknown pictures"], rows)


def turned_away(photographs: Photographs, changed: Photographs, seeds: list[int]) -> str:
    """Calibrated on val as it is: the shares of test pictures below the threshold, as they are and changed."""
    shares: dict[str, list[float]] = {kind: [] for kind in ("as they are", *CHANGES)}
    for seed in seeds:
        said, test = usual(photographs, seed)
        for kind, found in shares.items():
            same = changed.select((changed.labels == kind) & np.isin(changed.names, test.ids))
            found.append(float((said(test if kind == "as they are" else same) < THRESHOLD).mean()))
    rows = [[kind, f"{np.mean(found):.1%} ({min(found):.1%}–{max(found):.1%})"] for kind, found in shares.items()]
    return measures.table(["held-out known photographs", "turned away"], rows)


def calibrated(photographs: Photographs) -> str:
    """Shares of test pictures below several thresholds, over many splits."""
    thresholds = (0.01, THRESHOLD, 0.1, 0.2, 0.5)
    shares = []
    for seed in MANY_SEEDS:
        said, test = usual(photographs, seed)
        shares.append([(said(test) < threshold).mean() for threshold in thresholds])
    cells = [f"{mean:.1%} ({low:.1%}–{high:.1%})" for mean, low, high in _spans(np.array(shares))]
    title = [f"{len(MANY_SEEDS)} splits", *(f"below {threshold}" for threshold in thresholds)]
    return measures.table(title, [["held-out known pictures", *cells]])


def usual(known: Photographs, seed: int) -> tuple[Score, Photographs]:
    """Familiarity fitted on train and calibrated on val, and the pictures of test."""
    train, val, test = divided(known, seed)
    score = winnow(train)
    calibration = novelty.calibrate(score(val))
    return lambda asked: novelty.familiarity(calibration, score(asked)), test


def _spans(shares: np.ndarray) -> list[tuple[float, float, float]]:
    return list(zip(shares.mean(axis=0), shares.min(axis=0), shares.max(axis=0), strict=True))


def _auroc(score: Score, test: Photographs, unknown: Photographs) -> float:
    strange = np.concatenate([score(test), score(unknown)])
    return measures.ranking(np.arange(len(strange)) >= len(test.ids), strange)["AUROC"]


if __name__ == "__main__":
    main()
