"""The command that computes and stores vectors."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from winnow.commands import console, options, progress
from winnow.commands.embedding_options import embedding
from winnow.commands.groups import command
from winnow.embed.config import EmbeddingConfig

if TYPE_CHECKING:
    from winnow.workflow.embedding import EmbedResult
    from winnow.workflow.int8 import Int8Effect


@command()
@options.images
@embedding
@options.option("Embedding", "--engine", type=click.Choice(["local"]), default="local", help="Where the network runs.")
def embed(images: Path | None, workspace: Path | None, as_json: bool, config: EmbeddingConfig, engine: str) -> None:
    """Compute the vector of each image, once, and store it.

    Vectors that are stored are used again. The first time, MobileNetV2 is exported to ONNX and compared with Keras,
    which needs TensorFlow; after that, the exported file is taken from the cache.
    """
    from winnow.workflow import embedding

    located = console.open_workspace(images, workspace)
    folder = embedding.scan_and_embed(located, config, progress.reporter())
    if as_json:
        console.print_json(folder.embedding.to_json() | {"scan": folder.scan.to_json()})
    else:
        _print_result(folder.embedding)
        console.print_next("compare", images, workspace)


def _print_result(result: EmbedResult) -> None:
    rate = f" at {result.images_per_second:,.0f} a second" if result.images_per_second and result.embedded else ""
    click.echo(f"{result.embedded:,} embedded{rate}, {result.reused:,} were there already, {result.failed:,} failed.")
    click.echo(f"{result.dimension:,} numbers per picture: {result.recipe}, by {result.backend}.")
    click.echo(f"Largest difference of the exported network from Keras: {result.parity:.1g}.")
    if result.int8:
        click.echo(describe_int8(result.int8))
    for failure in result.failed_files:
        click.echo(f"  {console.printable(failure.path)}: {failure.message}")


def describe_int8(effect: Int8Effect) -> str:
    """What int8 costs and whether it pays on this processor, in one line."""
    from winnow.workflow.int8 import has_vnni

    f1, speedup, vnni = effect.weighted_f1, f"{effect.speedup:.1f} times as fast", has_vnni()
    line = f"int8: cosine to fp32 {effect.cosine_mean:.3f} (least {effect.cosine_min:.3f})"
    if f1:
        points = f"[{100 * f1.low:+.1f}, {100 * f1.high:+.1f} points]"
        line += f", weighted F1 {f1.fp32:.3f} -> {f1.int8:.3f} {points}"
    line += f" on {effect.measured_on} pictures; "
    if not effect.pays:
        why = "this processor has no VNNI: " if vnni is False else ""
        return f"{line}{why}{speedup} as fp32 here, which does not pay: leave --precision int8 out."
    return f"{line}{speedup} here{', without VNNI' if vnni is False else ''}."


GROUP = "Embed"
COMMANDS = (embed,)
