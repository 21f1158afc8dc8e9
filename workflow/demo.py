"""The demo: everything on pictures that are drawn for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from winnow.common.progress import Reporter
from winnow.curate.workspace import Workspace
from winnow.embed.config import EmbeddingConfig
from winnow.embed.recipe import Recipe
from winnow.embed.weights import WeightsMissing
from winnow.workflow.experiment import Division
from winnow.workflow.pipeline import run


def demo(workspace: Workspace, reporter: Reporter, *, repeats: int = 10, seed: int = 0) -> dict[str, Any]:
    """`run` on drawn pictures; where the ImageNet weights cannot be had, with an untrained backbone, and it says so."""
    try:
        return run(workspace, EmbeddingConfig(), reporter, repeats=repeats, division=Division(seed))
    except WeightsMissing as error:
        bar = "=" * 100
        reporter.message(
            f"{bar}\nTHE BACKBONE IS UNTRAINED: {error}.\nScores below say nothing of what Winnow can do.\n{bar}"
        )
        return run(
            workspace, EmbeddingConfig(Recipe(weights="random")), reporter, repeats=repeats, division=Division(seed)
        )


def draw(folder: Path, per_class: int, seed: int, reporter: Reporter) -> None:
    """Draw the pictures of the demo, unless they are there already. Raises: InputError when other files are."""
    from winnow.curate.demo import dataset

    if folder.is_dir() and dataset.truth_path(folder).is_file():
        reporter.message(f"{folder} was drawn before and is used again; delete it to draw anew")
        return
    with reporter.progress("Drawing") as told:
        dataset.draw_dataset(folder, per_class=per_class, seed=seed, on_progress=told)
