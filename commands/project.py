"""The commands that go over all stages of a project: run, status, demo."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from winnow.commands import console, heads, options, progress, results

if TYPE_CHECKING:
    from winnow.embed.config import EmbeddingConfig


@click.command()
@options.images
@options.heads
@options.repeats
@options.jobs
@options.division
@options.learned_vectors
def run(images: Path | None, workspace: Path | None, as_json: bool, **rest: Any) -> None:
    """From a folder to a report and one file to deploy: scan, embed, compare heads, train the best, export it."""
    from winnow.workflow import pipeline

    result = pipeline.run(console.open_workspace(images, workspace), reporter=progress.reporter(), **rest)
    _print_whole(result, as_json)
    if not as_json and _can_be_fine_tuned(result, rest["vectors"]):
        words = ["--head", "finetune", "--tta", "flip"]
        line = options.as_typed(heads.train, words, without=("layer", "pool", "augment", "tta"))
        console.message(f"Fine-tuning is often better, and takes some minutes for a thousand pictures: {line}")


@click.command()
@options.images
def status(images: Path | None, workspace: Path | None, as_json: bool) -> None:
    """How far the work is: what is scanned, embedded, scored, decided and trained, and what to do next."""
    from winnow.workflow.status import status as found

    place = console.open_workspace(images, workspace)
    said = found(place)
    if as_json:
        return console.print_json(said)
    results.print_status(said)
    console.print_next(said["next"], images, workspace)
    return None


@click.command()
@click.argument("folder", required=False, type=click.Path(path_type=Path))
@click.option(
    "--per-class",
    type=click.IntRange(min=8),
    default=60,
    show_default=True,
    help="Pictures drawn of each of five flowers.",
)
@options.repeats
@click.option("--seed", type=int, default=0, show_default=True, help="Of the pictures, the splits and the heads.")
@options.workspace
@options.json
def demo(folder: Path | None, per_class: int, repeats: int, seed: int, workspace: Path | None, as_json: bool) -> None:
    """Draw pictures of flowers, with known noise among them, and do `run` on them.

    They go to FOLDER, `winnow-demo` by default, which is kept and used again.
    """
    from winnow.workflow import demo

    folder = folder or Path("winnow-demo")
    reporter = progress.reporter()
    demo.draw(folder, per_class, seed, reporter)
    result = demo.demo(console.open_workspace(folder, workspace), reporter, repeats=repeats, seed=seed)
    _print_whole(result, as_json)


def _print_whole(result: dict[str, Any], as_json: bool) -> None:
    if as_json:
        return console.print_json(result)
    results.print_comparison(result["compare"]["heads"], result["compare"]["data"])
    model = (result["export"] or result["train"])["model"]
    results.print_headline(result["compare"] | {"report": result["report"], "model": model})
    stages = ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in result["seconds"].items())
    click.echo(f"Time: {stages}")
    return None


def _can_be_fine_tuned(result: dict[str, Any], vectors: EmbeddingConfig) -> bool:
    tails = [head for head in result["compare"]["heads"] if head["kind"] == "finetune"]
    return not (tails or vectors.backbone or vectors.recipe.weights == "random")


GROUP = "Start here"
COMMANDS = (run, status, demo)
