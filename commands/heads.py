"""The commands that fit heads: parse, call, print. `cli.py` adds them to the others."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import click

from winnow.commands import console, options, progress, results, tables


@click.command()
@options.images
@options.heads
@click.option(
    "--grid",
    metavar="FILE|report",
    help="Heads with parameters, from a TOML file; `report` is the one that is shipped.",
)
@options.repeats
@click.option(
    "--cleaning",
    is_flag=True,
    help="Train on the pictures as found, too, and say what the verdicts bought on the same test pictures.",
)
@click.option(
    "--learning-curve",
    is_flag=True,
    help="Train the best head on parts of the training pictures, too, and guess what twice as many would bring.",
)
@click.option("--fresh", is_flag=True, help="Fit again what was fitted before.")
@options.jobs
@options.division
@options.learned_vectors
def compare(
    images: Path | None, workspace: Path | None, as_json: bool, heads: str | None, grid: str | None, **rest: Any
) -> None:
    """Compare heads by weighted F1 on the same repeated splits, and say which differences mean something."""
    from winnow.workflow import training

    if heads and grid:
        raise click.UsageError("--heads and --grid exclude each other")
    if rest["cleaning"] and rest["division"].as_found:
        raise click.UsageError("--cleaning compares the folder as found and as decided: leave out --as-found")
    result = training.compare(
        console.open_workspace(images, workspace), reporter=progress.reporter(), heads=heads, grid=grid, **rest
    )
    _print_run(result, as_json)


@click.command()
@options.images
@click.option("--head", "kind", type=click.Choice(options.HEADS), required=True, help="Which kind of head.")
@options.head
@options.division
@options.learned_vectors
def train(images: Path | None, workspace: Path | None, as_json: bool, **rest: Any) -> None:
    """Train one head: curves, matrices, a report, and head.onnx."""
    from winnow.workflow import training

    result = training.train(console.open_workspace(images, workspace), reporter=progress.reporter(), **rest)
    _print_run(result, as_json)
    if not as_json:
        _say_next(result, rest["vectors"])


@click.command()
@options.images
@click.option("--head", "kind", type=click.Choice(options.HEADS), required=True, help="Which kind of head.")
@options.option(
    "--candidates",
    type=click.IntRange(2, 10_000),
    help="Settings to try, the default included.  [default: 30; tail: 6]",
)
@options.option(
    "--repeats", type=click.IntRange(1, 1000), default=5, help="Splits, each with a whole search of its own."
)
@options.jobs
@options.division
@options.learned_vectors
def tune(images: Path | None, workspace: Path | None, as_json: bool, **rest: Any) -> None:
    """Search the settings of one head, say honestly what that is worth, and train the head with those found.

    On each split the settings are searched on its training pictures only, and what was found is judged on its test
    pictures, beside the default settings. Those found on the first split are the ones to use: head.onnx has them.
    """
    from winnow.workflow import training

    result = training.tune(console.open_workspace(images, workspace), reporter=progress.reporter(), **rest)
    if as_json:
        return console.print_json(result)
    _print_tuned(result)
    console.message(f"To train with these: {options.as_typed(train, _settings(result['params']))}")
    _say_next(result, rest["vectors"])
    return None


def _say_next(result: dict[str, Any], vectors: Any) -> None:
    if result["model"]:
        look = ["--tta", "flip"] if vectors.tta == "mean" else []  # no file looks at all views
        console.message(f"Next: {shlex.join(['winnow', 'export', result['run'], *look])}")


def _print_run(result: dict[str, Any], as_json: bool) -> None:
    if as_json:
        return console.print_json(result)
    if len(result["heads"]) > 1:
        results.print_comparison(result["heads"], result["data"])
    results.print_headline(result)
    if result.get("cleaning"):
        results.print_cleaning(result["cleaning"])
    if result.get("learning_curve"):
        results.print_learning_curve(result["learning_curve"])
    return None


def _print_tuned(said: dict[str, Any]) -> None:
    """What a search found on each split, a sentence of what it is worth, and where the report is."""
    from winnow.heads.evaluation.search import in_words

    rows = [
        (" ".join(_settings(of["params"])[1::2]) or "the default", f"{of['weighted_f1']:.3f}", f"{of['default']:.3f}")
        for of in said["chosen_on_each_split"]
    ]
    click.echo(f"Of {said['searched']:,} settings the best on each split, by its training pictures alone:")
    tables.print_table(("settings", "test weighted F1", "of the default"), rows, best=0)
    click.echo(f"{said['head']} {in_words(said)}")
    results.print_files(said)


def _settings(params: dict[str, Any]) -> list[str]:
    """Parameters as they are typed: ["--set", "C=3.0", ...]."""
    return [word for name, value in params.items() for word in ("--set", f"{name}={value}")]


GROUP = "Heads"
COMMANDS = (compare, train, tune)
