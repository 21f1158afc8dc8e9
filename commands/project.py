"""The commands that go over all stages of a project: run, status, demo."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from winnow.commands import console, head_options, heads, options, progress, results
from winnow.commands.embedding_options import embedding_and_tta
from winnow.commands.groups import command

if TYPE_CHECKING:
    from winnow.embed.config import EmbeddingConfig

DEMO_FOLDER = Path("winnow-demo")


@command()
@options.images
@head_options.heads
@options.jobs
@options.repeated_dataset
@embedding_and_tta
def run(images: Path | None, workspace: Path | None, as_json: bool, **settings: Any) -> None:
    """Go from a folder of images to a report and one model file.

    Images are scanned, embedded and scored; heads are compared, the best one is trained, and exported with its
    backbone. Only what is missing is done.
    """
    from winnow.workflow import pipeline

    located = console.open_workspace(images, workspace)
    result = pipeline.run(located, reporter=progress.reporter(), **settings)
    if as_json:
        return console.print_json(result.to_json())
    results.print_pipeline(result)
    if _can_be_fine_tuned([head.kind for head in result.run.scores], settings["config"]):
        extra, without = ("--head", "finetune", "--tta", "flip"), ("layer", "pool", "augment", "tta")
        line = options.retype(heads.train, extra, without)
        console.message(f"Fine-tuning is often better, and takes a few minutes for a thousand pictures: {line}")
    return None


@command()
@options.images
def status(images: Path | None, workspace: Path | None, as_json: bool) -> None:
    """Show what is done, what is out of date, and what comes next."""
    from winnow.workflow.status import read_status

    current_status = read_status(console.open_workspace(images, workspace))
    if as_json:
        console.print_json(current_status.to_json())
    else:
        results.print_status(current_status)
        console.print_next(current_status.next, images, workspace)


@command()
@click.argument("folder", required=False, type=click.Path(path_type=Path))
@options.option(
    "Data",
    "--per-class",
    type=click.IntRange(min=8),
    default=60,
    help="Number of images to draw of each of five kinds of flower.",
)
@options.repeats
@options.option(
    "Splits",
    "--seed",
    type=int,
    metavar="N",
    default=0,
    help="Random seed for the images, the splits and for training.",
)
@options.workspace
@options.json
def demo(folder: Path | None, per_class: int, repeats: int, seed: int, workspace: Path | None, as_json: bool) -> None:
    """Draw images of flowers with known noise, and do `run` on them.

    They are drawn into FOLDER, by default winnow-demo, which is kept and used again.
    """
    from winnow.workflow.demo import draw_demo, run_demo

    folder = folder or DEMO_FOLDER
    reporter = progress.reporter()
    draw_demo(folder, per_class, seed, reporter)
    result = run_demo(console.open_workspace(folder, workspace), reporter, repeats=repeats, seed=seed)
    if as_json:
        console.print_json(result.to_json())
    else:
        results.print_pipeline(result)


def _can_be_fine_tuned(kinds: list[str], config: EmbeddingConfig) -> bool:
    """Whether fine-tuning is worth a line: it was not done, and Keras' trained weights are at hand."""
    return not ("finetune" in kinds or config.backbone or config.recipe.weights == "random")


GROUP = "Start here"
COMMANDS = (run, status, demo)
