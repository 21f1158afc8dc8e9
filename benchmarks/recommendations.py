"""What the report recommends to do next, and what each is worth: `python -m benchmarks.recommendations PHOTOGRAPHS`.

Each row is fitted on the same seeded splits (70/15/15) as the plain head, the dense head of the report with its
defaults on plain vectors, and compared with it in pairs. `--splits` and `--tail-splits` say how many.
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

LISTENER = reporter("recommendations")
VIEWS = 8
SIDE_BY_SIDE = "out_relu,block_16_project_BN,block_13_expand_relu"
LARGER = Recipe(size=288)
FAST = {"lr": 0.1, "momentum": 0.9}
HURRIED = {"unfreeze": 1, "epochs": 4}


@dataclass(frozen=True)
class Row:
    """One recommendation: the head with its parameters, the vectors that it learns from."""

    what: str
    kind: str = "dense"
    params: dict[str, Any] = field(default_factory=dict)
    vectors: EmbeddingConfig = EmbeddingConfig()


ROWS = (
    Row("the plain head"),
    Row("learning rate falls: step", params={"schedule": "step"}),
    Row("learning rate falls: exponential", params={"schedule": "exponential"}),
    Row("learning rate falls: cosine", params={"schedule": "cosine"}),
    Row("0.1, momentum 0.9, constant", params=FAST),
    Row("0.1, momentum 0.9, cosine after a warm-up", params=FAST | {"schedule": "cosine", "warmup": 5}),
    Row("0.1, momentum 0.9, reduced on plateau", params=FAST | {"schedule": "plateau"}),
    Row("0.1, one-cycle", params=FAST | {"schedule": "one-cycle"}),
    Row("0.1, momentum decays from 0.9 to 0", params=FAST | {"momentum_end": 0.0}),
    Row("stops early", params={"patience": 10}),
    Row("balanced class weights", params={"class_weight": "balanced"}),
    Row("temperature scaling", params={"calibration": "temperature"}),
    Row("judged with the mirror image", vectors=EmbeddingConfig(augment=2, tta="flip")),
    Row(f"augmentation, {VIEWS} views", vectors=EmbeddingConfig(augment=VIEWS)),
    Row(f"{VIEWS} views, judged with the mirror image", vectors=EmbeddingConfig(augment=VIEWS, tta="flip")),
    Row(f"{VIEWS} views, judged by all of them", vectors=EmbeddingConfig(augment=VIEWS, tta="mean")),
    Row("pictures of 288", vectors=EmbeddingConfig(LARGER)),
    Row("three layers side by side", vectors=EmbeddingConfig(Recipe(layer=SIDE_BY_SIDE))),
    Row("triplets, then a linear layer", "triplet"),
    Row("supervised contrastive, then a linear layer", "supcon"),
    Row("another head", "logistic"),
    Row("another head", "lda"),
    Row("288 and the mirror image", "logistic", vectors=EmbeddingConfig(LARGER, augment=2, tta="flip")),
    Row("288 and the mirror image", "lda", vectors=EmbeddingConfig(LARGER, augment=2, tta="flip")),
    Row(f"288, {VIEWS} views, mirror image", "logistic", vectors=EmbeddingConfig(LARGER, augment=VIEWS, tta="flip")),
    Row("fine-tuning in a hurry: last block, 4 views, 4 epochs", "finetune", HURRIED, EmbeddingConfig(augment=4)),
    Row("fine-tuning, last block", "finetune", {"unfreeze": 1}),
    Row("fine-tuning, last six blocks, judged with the mirror image", "finetune", vectors=EmbeddingConfig(tta="flip")),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photographs", type=Path)
    parser.add_argument("--splits", type=int, default=10)
    parser.add_argument("--tail-splits", type=int, default=5, help="of the fine-tuned rows but the last")
    given = parser.parse_args()
    start, lines, plain = time.perf_counter(), {}, None
    with tempfile.TemporaryDirectory() as folder:
        workspace = find_workspace(given.photographs, Path(folder) / "recommendations.winnow")
        for together in groups():
            few = together[0].kind == "finetune" and together[0] is not ROWS[-1]
            used = given.tail_splits if few else given.splits
            every, sizes, seconds = fitted(workspace, together, given.splits, used)
            plain = plain or every[0]
            for row, fits in zip(together, every, strict=True):
                lines[ROWS.index(row)] = line(row, fits, plain, sizes, seconds)
                print(" | ".join(lines[ROWS.index(row)]), file=sys.stderr)
        alone = by_itself(workspace, ROWS[-1])
        experiment = prepare(workspace, EmbeddingConfig(), LISTENER, DatasetOptions(repeats=given.splits))
        dense = HeadSpec("dense", "dense", {})
        curve = fitting.fit_curve(experiment, dense, fitting.fit_options(experiment, Grid([dense]), None), LISTENER)
    title = ["recommendation", "head", "weighted F1", "points to the plain head", "on val", "ECE", "log loss"]
    title += ["splits", "s: vectors", "s: a fit"]
    print(f"{machine('onnxruntime', 'scikit-learn', 'keras', 'tensorflow')}\n")
    print(table(title, [lines[number] for number in sorted(lines)]))
    print(f"\nThe last row's fit by itself, on all processors: {alone:.0f} s; in the table there is one on each.")
    print(f"\nMore samples: {curve.describe()}")
    print(f"\nAll of it took {(time.perf_counter() - start) / 60:.1f} minutes.")


def groups() -> list[list[Row]]:
    """Rows that learn from the same vectors, so that dense heads among them are trained together; each tail alone."""
    of: dict[Any, list[Row]] = {}
    for number, row in enumerate(ROWS):
        of.setdefault(number if row.kind == "finetune" else str(row.vectors.to_json()), []).append(row)
    return list(of.values())


def fitted(workspace, together: list[Row], splits: int, used: int) -> tuple[list[list[Fit]], tuple[int, int], float]:
    """Fits of each on the first `used` of the splits; pictures in train and test; seconds that the vectors took."""
    choice = together[0].vectors
    heads = [HeadSpec(f"{number} {row.what}", row.kind, row.params) for number, row in enumerate(together)]
    start = time.perf_counter()
    experiment = prepare(workspace, tasks.vector_config(Grid(heads), choice), LISTENER, DatasetOptions(repeats=splits))
    grid, experiments = tasks.experiments_by_head(experiment, Grid(heads), choice, LISTENER)
    seconds = time.perf_counter() - start
    task, divided = tasks.as_task(experiments[heads[0].name])
    fits = compare(grid.heads, task, divided[:used], FitOptions(jobs=processors(), cache=workspace.fits))
    return fits, (len(divided[0].train), len(divided[0].test)), seconds


def by_itself(workspace, row: Row) -> float:
    """Seconds of one fit on the first split, when no other runs."""
    grid = Grid([HeadSpec(row.what, row.kind, row.params)])
    experiment = prepare(workspace, tasks.vector_config(grid, row.vectors), LISTENER, DatasetOptions(repeats=1))
    grid, experiments = tasks.experiments_by_head(experiment, grid, row.vectors, LISTENER)
    _, fit = fitting.fit_one(experiments[row.what], grid.heads[0], LISTENER)
    return fit.fit_seconds


def line(row: Row, fits: list[Fit], plain: list[Fit], sizes: tuple[int, int], seconds: float) -> list[str]:
    f1, of_plain = (np.array([fit.metrics["test"]["weighted_f1"] for fit in of]) for of in (fits, plain))
    interval = corrected_interval(f1, *sizes)
    gap = ""
    if fits is not plain:
        gap = paired(f1, of_plain[: len(f1)], *sizes).describe_points().replace(" points", "")
    others = [f"{np.mean([fit.metrics[part][name] for fit in fits]):.3f}" for part, name in OTHERS]
    spent = [str(len(f1)), f"{seconds:.0f}", f"{np.mean([fit.fit_seconds for fit in fits]):.1f}"]
    return [row.what, row.kind, f"{interval.mean:.3f} [{interval.low:.3f}, {interval.high:.3f}]", gap, *others, *spent]


OTHERS = (("val", "weighted_f1"), ("test", "ece"), ("test", "log_loss"))


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        sys.exit(str(error))
