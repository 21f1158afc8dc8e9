"""Measure how well familiarity separates pictures of no known class from held-out ones, and print it as Markdown.

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
from winnow.workflow import embedding

SEEDS = range(20, 25)  # of splits; methods and settings were chosen on other splits and other drawn pictures
DRAWN = 200  # pictures of each kind
MANY_SEEDS = range(100, 140)  # many, because one split says little about a share of 5%
THRESHOLD = 0.05  # of familiarity, below which a picture is called unfamiliar
# Common changes to photographs; the last three are saved as JPEG 90.
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
    arguments = parser.parse_args()
    start = time.monotonic()
    draw_pictures(arguments.folder / "drawn")
    photographs = embed_folder(arguments.photographs, arguments.folder / "photographs.winnow")
    drawn = embed_folder(arguments.folder / "drawn", arguments.folder / "drawn.winnow")
    write_changed(arguments.photographs, arguments.folder / "photographs.winnow", arguments.folder / "changed")
    changed = embed_folder(arguments.folder / "changed", arguments.folder / "changed.winnow")
    print(format_heading(photographs, arguments.seeds))
    table = auroc_table(photographs, drawn, arguments.seeds)
    print(f"\n### Separating known from unknown pictures: AUROC\n\n{table}", flush=True)
    print(f"\n### Below a familiarity of {THRESHOLD}\n\n{rejection_table(photographs, drawn, arguments.seeds)}")
    print(f"\n### Photographs that were changed\n\n{changed_table(photographs, changed, arguments.seeds)}")
    print(f"\n### Is it calibrated?\n\n{calibration_table(photographs)}")
    print(f"\nAll of it took {(time.monotonic() - start) / 60:.1f} minutes.")


def on_message(message: str) -> None:
    print(message, file=sys.stderr)


def format_heading(photographs: Photographs, seeds: list[int]) -> str:
    """The date, the machine, the versions and the data of the measurement."""
    versions = ", ".join(f"{name} {version(name)}" for name in ("numpy", "scikit-learn", "onnxruntime"))
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {platform.machine()}, {os.cpu_count()} processors, Python "
        f"{platform.python_version()}, {versions}. {len(photographs.ids):,} photographs, {DRAWN} drawn flowers, "
        f"{DRAWN} drawn scenes; splits of seeds {', '.join(map(str, seeds))}."
    )


def draw_pictures(folder: Path) -> None:
    """Draw `folder/flowers` and `folder/scenes` with a seed of their own, unless they exist."""
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


def write_changed(images: Path, workspace: Path, folder: Path) -> None:
    """Write `folder/CHANGE/ID.jpg` for every photograph, unless they exist."""
    if folder.is_dir():
        return
    on_message("changing photographs")
    part = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    for kind in CHANGES:
        (part / kind).mkdir(parents=True)
    for id, file in _files(Workspace(workspace, images.resolve())).items():
        image = Image.fromarray(decode(read_bytes(file))[0])
        for kind, change in CHANGES.items():
            change(image).save(part / kind / f"{id}.jpg", quality=50 if "JPEG" in kind else 90)
    part.rename(folder)


def _files(workspace: Workspace) -> dict[str, Path]:
    """Map each id to one file."""
    table = manifest.read(workspace)
    pairs = zip(table["id"].to_pylist(), table["path"].to_pylist(), strict=True)
    return {id: workspace.images / path for id, path in pairs if id}


def embed_folder(images: Path, folder: Path) -> Photographs:
    """Embed a folder: the stored vectors (float16 precision) of its pictures, exact copies once."""
    workspace = Workspace(folder, images.resolve())
    manifest.scan(workspace, on_message=on_message)
    store, _ = embedding.embed(workspace, embedding.EmbeddingConfig(), lambda done, total: None, on_message)
    table = manifest.read(workspace)
    labels = {id: label for id, label in zip(*(table[name].to_pylist() for name in ("id", "label")), strict=True) if id}
    ids = sorted(labels)
    files = _files(workspace)
    names = np.array([files[id].stem for id in ids])
    vectors = store.read(ids), store.read(ids, "bottleneck")
    return Photographs(np.array(ids), np.array([labels[id] for id in ids]), names, *vectors)


def split_pictures(pictures: Photographs, seed: int) -> Iterator[Photographs]:
    """Yield train, val and test: 70/15/15, stratified by class."""
    parts = splits.split_labelled(pictures.ids.tolist(), pictures.labels.tolist(), np.arange(len(pictures.ids)), seed)
    for part in ("train", "val", "test"):
        yield pictures.select(parts == part)


def cases(photographs: Photographs, drawn: Photographs) -> Iterator[tuple[str, Photographs, Photographs]]:
    """Yield for each column its name, the pictures of known classes, and those of unknown classes."""
    for label in np.unique(photographs.labels):
        left_out = photographs.labels == label
        yield f"{label} left out", photographs.select(~left_out), photographs.select(left_out)
    for kind in ("flowers", "scenes"):
        yield f"drawn {kind}", photographs, drawn.select(drawn.labels == kind)


def auroc_table(photographs: Photographs, drawn: Photographs, seeds: list[int]) -> str:
    """Test pictures of known classes against those of unknown ones, means over seeds; the last columns are means."""
    columns: list[str] = []
    cells: dict[str, list[float]] = {name: [] for name in METHODS}
    for column, known, unknown in cases(photographs, drawn):
        columns.append(column)
        by_method: dict[str, list[float]] = {name: [] for name in METHODS}
        for seed in seeds:
            train, _, test = split_pictures(known, seed)
            head = baselines.logistic().fit(train.pooled, train.labels)
            for name, method in METHODS.items():
                by_method[name].append(_auroc(method(train, head), test, unknown))
        for name, values in by_method.items():
            cells[name].append(float(np.mean(values)))
    left_out = [column.endswith("left out") for column in columns]
    rows = [
        [name, *(f"{value:.3f}" for value in (*row, np.mean(np.array(row)[left_out]), np.mean(row)))]
        for name, row in cells.items()
    ]
    return measures.table(["AUROC", *columns, "mean of left out", "mean of all"], rows)


def rejection_table(photographs: Photographs, drawn: Photographs, seeds: list[int]) -> str:
    """Calibrated on val: the shares of test pictures and of unknown ones below the threshold, mean and extremes."""
    rows = []
    for column, known, unknown in cases(photographs, drawn):
        shares = []
        for seed in seeds:
            familiarity, test = fit_familiarity(known, seed)
            shares.append([(familiarity(pictures) < THRESHOLD).mean() for pictures in (test, unknown)])
        rows.append([column, *(f"{mean:.1%} ({low:.1%}–{high:.1%})" for mean, low, high in _spans(np.array(shares)))])
    return measures.table(["", "held-out known pictures", "unknown pictures"], rows)


def changed_table(photographs: Photographs, changed: Photographs, seeds: list[int]) -> str:
    """Calibrated on val as it is: the shares of test pictures below the threshold, as they are and changed."""
    shares: dict[str, list[float]] = {kind: [] for kind in ("as they are", *CHANGES)}
    for seed in seeds:
        familiarity, test = fit_familiarity(photographs, seed)
        for kind, values in shares.items():
            same = changed.select((changed.labels == kind) & np.isin(changed.names, test.ids))
            pictures = test if kind == "as they are" else same
            values.append(float((familiarity(pictures) < THRESHOLD).mean()))
    rows = [[kind, f"{np.mean(values):.1%} ({min(values):.1%}–{max(values):.1%})"] for kind, values in shares.items()]
    return measures.table(["held-out known photographs", "below the threshold"], rows)


def calibration_table(photographs: Photographs) -> str:
    """Shares of test pictures below several thresholds, over many splits."""
    thresholds = (0.01, THRESHOLD, 0.1, 0.2, 0.5)
    shares = []
    for seed in MANY_SEEDS:
        familiarity, test = fit_familiarity(photographs, seed)
        shares.append([(familiarity(test) < threshold).mean() for threshold in thresholds])
    cells = [f"{mean:.1%} ({low:.1%}–{high:.1%})" for mean, low, high in _spans(np.array(shares))]
    title = [f"{len(MANY_SEEDS)} splits", *(f"below {threshold}" for threshold in thresholds)]
    return measures.table(title, [["held-out known pictures", *cells]])


def fit_familiarity(known: Photographs, seed: int) -> tuple[Score, Photographs]:
    """Familiarity fitted on train and calibrated on val, and the pictures of test."""
    train, val, test = split_pictures(known, seed)
    score = winnow(train)
    calibration = novelty.calibrate(score(val))
    return lambda pictures: novelty.conformal_p_value(calibration, score(pictures)), test


def _spans(shares: np.ndarray) -> list[tuple[float, float, float]]:
    return list(zip(shares.mean(axis=0), shares.min(axis=0), shares.max(axis=0), strict=True))


def _auroc(score: Score, test: Photographs, unknown: Photographs) -> float:
    scores = np.concatenate([score(test), score(unknown)])
    return measures.ranking(np.arange(len(scores)) >= len(test.ids), scores)["AUROC"]


if __name__ == "__main__":
    main()
