"""The gain of each recommendation of the 2022 report: `python -m benchmarks.recommendations PHOTOGRAPHS`.

Each row is fitted on the same seeded splits (70/15/15) as the plain head, which is the report's dense head with default
parameters on vectors without augmentation, and compared with it by a paired test. `--splits` is the number of splits,
`--finetune-splits` that of the fine-tuned rows except the last.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import machine
from benchmarks.measures import table
from benchmarks.quiet import reporter
from winnow.common.errors import InputError
from winnow.common.threads import processors
from winnow.curate.workspace import find_workspace
from winnow.embed.config import EmbeddingConfig
from winnow.embed.recipe import Recipe
from winnow.heads.evaluation.compare import compare
from winnow.heads.evaluation.fit import Fit, FitOptions, Grid, HeadSpec
from winnow.heads.evaluation.metrics import corrected_interval, paired
from winnow.workflow import fitting, tasks
from winnow.workflow.experiment import DatasetOptions, prepare

REPORTER = reporter("recommendations")
AUGMENT = 8
SIDE_BY_SIDE = "out_relu,block_16_project_BN,block_13_expand_relu"
LARGER = Recipe(size=288)
FAST = {"lr": 0.1, "momentum": 0.9}
FAST_FINETUNE = {"unfreeze": 1, "epochs": 4}


@dataclass(frozen=True)
class Row:
    """One recommendation: a head with its parameters, and the vectors that it is trained on."""

    name: str
    kind: str = "dense"
    params: dict[str, Any] = field(default_factory=dict)
    vectors: EmbeddingConfig = EmbeddingConfig()


ROWS = (
    Row("the plain head"),
    Row("learning rate decay: step", params={"schedule": "step"}),
    Row("learning rate decay: exponential", params={"schedule": "exponential"}),
    Row("learning rate decay: cosine", params={"schedule": "cosine"}),
    Row("0.1, momentum 0.9, constant", params=FAST),
    Row("0.1, momentum 0.9, cosine after a warm-up", params=FAST | {"schedule": "cosine", "warmup": 5}),
    Row("0.1, momentum 0.9, reduced on plateau", params=FAST | {"schedule": "plateau"}),
    Row("0.1, one-cycle", params=FAST | {"schedule": "one-cycle"}),
    Row("0.1, momentum decays from 0.9 to 0", params=FAST | {"momentum_end": 0.0}),
    Row("early stopping", params={"patience": 10}),
    Row("balanced class weights", params={"class_weight": "balanced"}),
    Row("temperature scaling", params={"calibration": "temperature"}),
    Row("test-time augmentation: mirror image", vectors=EmbeddingConfig(augment=2, tta="flip")),
    Row(f"augmentation, {AUGMENT} rows per image", vectors=EmbeddingConfig(augment=AUGMENT)),
    Row(
        f"augmentation, {AUGMENT} rows; tested with the mirror image",
        vectors=EmbeddingConfig(augment=AUGMENT, tta="flip"),
    ),
    Row(f"augmentation, {AUGMENT} rows; all of them in tests", vectors=EmbeddingConfig(augment=AUGMENT, tta="mean")),
    Row("pictures of 288", vectors=EmbeddingConfig(LARGER)),
    Row("three layers side by side", vectors=EmbeddingConfig(Recipe(layer=SIDE_BY_SIDE))),
    Row("triplets, then a linear layer", "triplet"),
    Row("supervised contrastive, then a linear layer", "supcon"),
    Row("another head", "logistic"),
    Row("another head", "lda"),
    Row("288 and the mirror image", "logistic", vectors=EmbeddingConfig(LARGER, augment=2, tta="flip")),
    Row("288 and the mirror image", "lda", vectors=EmbeddingConfig(LARGER, augment=2, tta="flip")),
    Row(
        f"288, {AUGMENT} rows per image, mirror image",
        "logistic",
        vectors=EmbeddingConfig(LARGER, augment=AUGMENT, tta="flip"),
    ),
    Row(
        "fine-tuning, fast: last block, 4 rows per image, 4 epochs",
        "finetune",
        FAST_FINETUNE,
        EmbeddingConfig(augment=4),
    ),
    Row("fine-tuning, last block", "finetune", {"unfreeze": 1}),
    Row("fine-tuning, last six blocks; mirror image in tests", "finetune", vectors=EmbeddingConfig(tta="flip")),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photographs", type=Path)
    parser.add_argument("--splits", type=int, default=10)
    parser.add_argument("--finetune-splits", type=int, default=5, help="splits of the fine-tuned rows except the last")
    arguments = parser.parse_args()
    start, lines, plain = time.perf_counter(), {}, None
    with tempfile.TemporaryDirectory() as folder:
        workspace = find_workspace(arguments.photographs, Path(folder) / "recommendations.winnow")
        for group in groups():
            few = group[0].kind == "finetune" and group[0] is not ROWS[-1]
            used = arguments.finetune_splits if few else arguments.splits
            group_fits, sizes, seconds = fit_rows(workspace, group, arguments.splits, used)
            plain = plain or group_fits[0]
            for row, fits in zip(group, group_fits, strict=True):
                lines[ROWS.index(row)] = line(row, fits, plain, sizes, seconds)
                print(" | ".join(lines[ROWS.index(row)]), file=sys.stderr)
        single = fit_seconds(workspace, ROWS[-1])
        experiment = prepare(workspace, EmbeddingConfig(), REPORTER, DatasetOptions(repeats=arguments.splits))
        dense = HeadSpec("dense", "dense", {})
        curve = fitting.fit_curve(experiment, dense, fitting.fit_options(experiment, Grid([dense]), None), REPORTER)
    title = ["recommendation", "head", "weighted F1", "points over the plain head", "on val", "ECE", "log loss"]
    title += ["splits", "s, vectors", "s per fit"]
    print(f"{machine('onnxruntime', 'scikit-learn', 'keras', 'tensorflow')}\n")
    print(table(title, [lines[number] for number in sorted(lines)]))
    print(f"\nOne fit of the last row on all processors: {single:.0f} s; in the table each fit has one processor.")
    print(f"\nMore images: {curve.describe()}")
    print(f"\nTotal: {(time.perf_counter() - start) / 60:.1f} minutes.")


def groups() -> list[list[Row]]:
    """Rows with the same vectors, so that their dense heads are trained as one batch; each fine-tuned row by itself."""
    rows: dict[Any, list[Row]] = {}
    for number, row in enumerate(ROWS):
        rows.setdefault(number if row.kind == "finetune" else str(row.vectors.to_json()), []).append(row)
    return list(rows.values())


def fit_rows(workspace, group: list[Row], splits: int, used: int) -> tuple[list[list[Fit]], tuple[int, int], float]:
    """Fits of each row on the first `used` splits; images in train and test; seconds to compute the vectors."""
    config = group[0].vectors
    heads = [HeadSpec(f"{number} {row.name}", row.kind, row.params) for number, row in enumerate(group)]
    start = time.perf_counter()
    experiment = prepare(workspace, tasks.vector_config(Grid(heads), config), REPORTER, DatasetOptions(repeats=splits))
    grid, experiments = tasks.experiments_by_head(experiment, Grid(heads), config, REPORTER)
    seconds = time.perf_counter() - start
    task, row_splits = tasks.as_task(experiments[heads[0].name])
    fits = compare(grid.heads, task, row_splits[:used], FitOptions(jobs=processors(), cache=workspace.fits))
    return fits, (len(row_splits[0].train), len(row_splits[0].test)), seconds


def fit_seconds(workspace, row: Row) -> float:
    """Seconds of one fit on the first split, with no other running."""
    grid = Grid([HeadSpec(row.name, row.kind, row.params)])
    experiment = prepare(workspace, tasks.vector_config(grid, row.vectors), REPORTER, DatasetOptions(repeats=1))
    grid, experiments = tasks.experiments_by_head(experiment, grid, row.vectors, REPORTER)
    _, fit = fitting.fit_one(experiments[row.name], grid.heads[0], REPORTER)
    return fit.fit_seconds


def line(row: Row, fits: list[Fit], plain: list[Fit], sizes: tuple[int, int], seconds: float) -> list[str]:
    f1, plain_f1 = (np.array([fit.metrics["test"]["weighted_f1"] for fit in part]) for part in (fits, plain))
    interval = corrected_interval(f1, *sizes)
    gap = ""
    if fits is not plain:
        gap = paired(f1, plain_f1[: len(f1)], *sizes).describe_points().replace(" points", "")
    others = [f"{np.mean([fit.metrics[part][name] for fit in fits]):.3f}" for part, name in OTHERS]
    costs = [str(len(f1)), f"{seconds:.0f}", f"{np.mean([fit.fit_seconds for fit in fits]):.1f}"]
    return [row.name, row.kind, f"{interval.mean:.3f} [{interval.low:.3f}, {interval.high:.3f}]", gap, *others, *costs]


OTHERS = (("val", "weighted_f1"), ("test", "ece"), ("test", "log_loss"))


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        sys.exit(str(error))
