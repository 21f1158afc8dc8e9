"""The commands that fit heads: compare, train, tune."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from winnow.commands import console, head_options, options, progress, results
from winnow.commands.embedding_options import embedding_and_tta
from winnow.commands.groups import command

if TYPE_CHECKING:
    from winnow.embed.config import EmbeddingConfig
    from winnow.workflow.runs import Run


@command()
@options.images
@head_options.heads
@options.option(
    "Head",
    "--grid",
    metavar="FILE|report",
    help="Heads and their parameters from a TOML file; `report` is the grid of the 2022 report.",
)
@options.option(
    "Output",
    "--cleaning",
    is_flag=True,
    help="Also train on the images as found, and measure what the verdicts change on the same test images.",
)
@options.option(
    "Output",
    "--learning-curve",
    is_flag=True,
    help="Also train the best head on fewer images, and estimate what twice as many would bring.",
)
@options.option("Training", "--fresh", is_flag=True, help="Fit again what was fitted before.")
@options.jobs
@options.repeated_dataset
@embedding_and_tta
def compare(images: Path | None, workspace: Path | None, as_json: bool, **settings: Any) -> None:
    """Compare heads by weighted F1 on the same repeated splits.

    The table says which differences are significant. Fits that did not change are reused.
    """
    from winnow.workflow import training

    if settings["heads"] and settings["grid"]:
        raise click.UsageError("--heads and --grid exclude each other")
    if settings["cleaning"] and settings["dataset"].as_found:
        raise click.UsageError("--cleaning compares the folder as found and as decided: leave out --as-found")
    located = console.open_workspace(images, workspace)
    config = settings.pop("config")
    run = training.compare(located, config, progress.reporter(), training.CompareOptions(**settings))
    if as_json:
        console.print_json(run.to_json())
    else:
        results.print_run(run)


@command()
@options.images
@head_options.kind
@head_options.params
@options.dataset
@embedding_and_tta
def train(images: Path | None, workspace: Path | None, as_json: bool, **settings: Any) -> None:
    """Train one head, and write a report and head.onnx.

    The report has learning curves, a classification report and confusion matrices.
    """
    from winnow.workflow import training

    located = console.open_workspace(images, workspace)
    run = training.train(located, reporter=progress.reporter(), **settings)
    if as_json:
        console.print_json(run.to_json())
    else:
        results.print_run(run)
        _print_export_line(run, settings["config"])


@command()
@options.images
@head_options.kind
@options.option(
    "Head",
    "--candidates",
    type=click.IntRange(2, 10_000),
    default_text="30; finetune: 6",
    help="Number of settings to try, the default settings included.",
)
@options.jobs
@options.searched_dataset
@embedding_and_tta
def tune(images: Path | None, workspace: Path | None, as_json: bool, **settings: Any) -> None:
    """Search for better settings of one head, and train it with them.

    On each split, settings are searched on the training images only, and the ones chosen are then compared with the
    default settings on the test images. head.onnx is trained with the settings chosen on the first split.
    """
    from winnow.workflow import training

    located = console.open_workspace(images, workspace)
    result = training.tune(located, reporter=progress.reporter(), **settings)
    if as_json:
        return console.print_json(result.to_json())
    results.print_search(result)
    console.message(f"To train with these: {options.retype(train, results.typed_settings(result.search.params))}")
    _print_export_line(result.run, settings["config"])
    return None


def _print_export_line(run: Run, config: EmbeddingConfig) -> None:
    """Print the command that exports the trained head, if there is one."""
    if run.model:
        tta = ["--tta", "flip"] if config.tta == "mean" else []  # one file cannot average over all augmentations
        console.message(f"Next: {shlex.join(['winnow', 'export', str(run.folder), *tta])}")


GROUP = "Heads"
COMMANDS = (compare, train, tune)
