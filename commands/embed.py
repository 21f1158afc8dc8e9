"""The command that computes and stores vectors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from winnow.commands import console, options, progress
from winnow.commands.embedding_options import embedding
from winnow.commands.groups import command
from winnow.embed.config import EmbeddingConfig


@command()
@options.images
@embedding
@options.option("Embedding", "--engine", type=click.Choice(["local"]), default="local", help="Where the network runs.")
def embed(images: Path | None, workspace: Path | None, as_json: bool, vectors: EmbeddingConfig, engine: str) -> None:
    """Compute the vector of each image, once, and store it.

    Vectors that are stored are used again. The first time, MobileNetV2 is exported to ONNX and compared with Keras,
    which needs TensorFlow; after that, the exported file is taken from the cache.
    """
    from winnow.workflow import features

    located = console.open_workspace(images, workspace)
    scan_result, _, result = features.scan_and_embed(located, vectors, progress.show_progress, console.message)
    if as_json:
        console.print_json(result | {"scan": scan_result.to_json()})
    else:
        _print_result(result)
        console.print_next("compare", images, workspace)


def _print_result(result: dict[str, Any]) -> None:
    rate = f" at {result['images_per_second']:,.0f} a second" if result["embedded"] else ""
    reused, failed = result["reused"], result["failed"]
    click.echo(f"{result['embedded']:,} embedded{rate}, {reused:,} were there already, {failed:,} failed.")
    click.echo(f"{result['dimension']:,} numbers per picture: {result['recipe']}, by {result['backend']}.")
    click.echo(f"Largest difference of the exported network from Keras: {result['parity']:.1g}.")
    if result["int8"]:
        from winnow.workflow.int8 import in_words

        click.echo(in_words(result["int8"]))
    for failure in result["failed_files"]:
        click.echo(f"  {console.printable(failure['path'])}: {failure['message']}")


GROUP = "Embed"
COMMANDS = (embed,)
