"""The command that computes and stores vectors."""

from __future__ import annotations

from pathlib import Path

import click

from winnow.commands import console, options, progress
from winnow.embed.config import EmbeddingConfig


@click.command()
@options.images
@options.vectors
@click.option("--engine", type=click.Choice(["local"]), default="local", show_default=True, help="Where it runs.")
def embed(images: Path | None, workspace: Path | None, as_json: bool, vectors: EmbeddingConfig, engine: str) -> None:
    """Turn every picture into a vector, once; what is stored is used again.

    The first time MobileNetV2 is exported to ONNX and compared with Keras, which takes TensorFlow; from then on it is
    taken from the cache.
    """
    from winnow.workflow import features as joined

    place = console.open_workspace(images, workspace)
    found, _, made = joined.scan_and_embed(place, vectors, progress.show_progress, console.message)
    if as_json:
        return console.print_json(made | {"scan": found.to_json()})
    rate = f" at {made['images_per_second']:,.0f} a second" if made["embedded"] else ""
    click.echo(
        f"{made['embedded']:,} embedded{rate}, {made['reused']:,} were there already, {made['failed']:,} failed."
    )
    click.echo(f"{made['dimension']:,} numbers a picture: {made['recipe']}, by {made['backend']}.")
    click.echo(f"Largest difference of the exported network from Keras: {made['parity']:.1g}.")
    if made["int8"]:
        from winnow.workflow.int8 import in_words

        click.echo(in_words(made["int8"]))
    for failure in made["failed_files"]:
        click.echo(f"  {console.printable(failure['path'])}: {failure['message']}")
    console.print_next("compare", images, workspace)
    return None


GROUP = "Embed"
COMMANDS = (embed,)
