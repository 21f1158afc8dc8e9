"""The demo: the whole pipeline on pictures that are drawn for it."""

from __future__ import annotations

from pathlib import Path

from winnow.common.progress import Reporter
from winnow.curate.workspace import Workspace
from winnow.embed.config import EmbeddingConfig
from winnow.embed.recipe import Recipe
from winnow.embed.weights import WeightsMissing
from winnow.workflow.experiment import DatasetOptions
from winnow.workflow.pipeline import PipelineResult, run


def run_demo(workspace: Workspace, reporter: Reporter, *, repeats: int = 10, seed: int = 0) -> PipelineResult:
    """`run` on drawn pictures; without ImageNet weights the backbone is untrained, with a prominent warning."""
    dataset = DatasetOptions(seed=seed, repeats=repeats)
    try:
        return run(workspace, EmbeddingConfig(), reporter, dataset=dataset)
    except WeightsMissing as error:
        bar = "=" * 100
        warning = "These scores do not show what Winnow can do."
        reporter.message(f"{bar}\nTHE BACKBONE IS UNTRAINED: {reporter.describe_error(error)}.\n{warning}\n{bar}")
        return run(workspace, EmbeddingConfig(Recipe(weights="random")), reporter, dataset=dataset)


def draw_demo(folder: Path, per_class: int, seed: int, reporter: Reporter) -> None:
    """Draw the pictures of the demo, unless they are there already. Raises: InputError when other files are."""
    from winnow.curate.demo import dataset

    if folder.is_dir() and dataset.truth_path(folder).is_file():
        reporter.message(f"{folder} was drawn before and is used again; delete it to draw other pictures")
        return
    with reporter.progress("Drawing") as on_progress:
        dataset.draw_dataset(folder, per_class=per_class, seed=seed, on_progress=on_progress)
