"""The commands: parse, call, print. `winnow COMMAND --help` explains each."""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if not __package__:  # run as a file: the checkout it lies in is `winnow`, here and in every process that is started
    _CHECKOUT = Path(__file__).resolve().parent
    _PACKAGE = str(_CHECKOUT / "commands" / "from_checkout")
    sys.path[:] = [_PACKAGE, *(folder for folder in sys.path if folder != str(_CHECKOUT))]
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (_PACKAGE, os.environ.get("PYTHONPATH"))))

from winnow.commands import console, curate, deploy, heads, options  # noqa: E402
from winnow.commands.remedies import with_remedy  # noqa: E402
from winnow.common.errors import InputError  # noqa: E402

if TYPE_CHECKING:
    from winnow.curate.manifest import ScanResult
    from winnow.embed.config import EmbeddingConfig

ROOMS = {
    "Start here": ("run", "status", "demo"),
    "Curate": ("scan", "score", "review", "decide", "prune", "undo", "materialize"),
    "Embed": ("embed",),
    "Heads": ("compare", "train", "tune"),
    "Deploy": ("export", "predict", "evaluate"),
}


class Rooms(click.Group):
    """Lists the commands by room, and turns what a person can mend into one line and exit code 1."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """A section of the help for each room."""
        for room, names in ROOMS.items():
            with formatter.section(room):
                formatter.write_dl([(name, self.commands[name].get_short_help_str(90)) for name in names])

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; click prints its own exceptions as one line on stderr."""
        try:
            return super().invoke(ctx)
        except InputError as error:
            raise click.ClickException(console.shown(with_remedy(error))) from None
        except KeyboardInterrupt:
            starts_anew = ctx.invoked_subcommand in ("predict", "evaluate", "tune")
            kept = "" if starts_anew else "; what was done is kept: run the same command to go on"
            raise click.ClickException(f"interrupted{kept}") from None
        except OSError as error:
            if error.errno is None or isinstance(error, BrokenPipeError):
                raise
            where = f"{console.shown(str(error.filename))}: " if error.filename else ""
            raise click.ClickException(f"{where}{error.strerror}; mend that and run the same command again") from None


@click.group(cls=Rooms, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="winnow-images", prog_name="winnow")
def main() -> None:
    """Turn a folder of photographs into a classifier that can be trusted, without a GPU.

    IMAGES is the folder of pictures, one folder a class. Left out, it is $WINNOW_IMAGES or the one *.winnow in the
    current folder. It is only read: results are kept in NAME.winnow.
    """
    if not sys.warnoptions:
        warnings.simplefilter("ignore")  # of libraries, for developers: they are errors in the tests
    os.environ.setdefault("LANCE_LOG", "error")


@main.command()
@options.images
@click.option(
    "--labels",
    metavar="folder|parent|FILE.csv",
    help="Where labels come from: the top folder (at first), the innermost one, or a CSV file (path,label).",
)
@options.workers
def scan(images: Path | None, workspace: Path | None, as_json: bool, labels: str | None, workers: int | None) -> None:
    """Look at every picture once: what there is, what is broken, what is there twice.

    Each file is really decoded. A second scan reads only files that are new or changed.
    """
    from winnow.curate import manifest

    place = console.opened(images, workspace)
    with console.progress("Scanning") as told:
        found = manifest.scan(place, _rule(labels), told, workers, console.message)
    if as_json:
        console.print_json(found.to_json())
    else:
        _print_scan(found)
        console.print_next("run", images, workspace)


@main.command()
@options.images
@options.vectors
@click.option("--engine", type=click.Choice(["local"]), default="local", show_default=True, help="Where it runs.")
def embed(images: Path | None, workspace: Path | None, as_json: bool, vectors: EmbeddingConfig, engine: str) -> None:
    """Turn every picture into a vector, once; what is stored is used again.

    The first time MobileNetV2 is exported to ONNX and compared with Keras, which takes TensorFlow; from then on it is
    taken from the cache.
    """
    from winnow.workflow import features as joined

    place = console.opened(images, workspace)
    found, _, made = joined.scan_and_embed(place, vectors, console.progress, console.message)
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
        click.echo(f"  {console.shown(failure['path'])}: {failure['message']}")
    console.print_next("compare", images, workspace)
    return None


@main.command()
@options.images
@options.heads
@options.repeats
@options.jobs
@options.division
@options.learned_vectors
def run(images: Path | None, workspace: Path | None, as_json: bool, **rest: Any) -> None:
    """From a folder to a report and one file to deploy: scan, embed, compare heads, train the best, export it."""
    from winnow.workflow import pipeline

    result = pipeline.run(console.opened(images, workspace), reporter=console.reporter(), **rest)
    _print_whole(result, as_json)
    if not as_json and _can_be_fine_tuned(result, rest["vectors"]):
        words = ["--head", "finetune", "--tta", "flip"]
        line = options.as_typed(heads.train, words, without=("layer", "pool", "augment", "tta"))
        console.message(f"Fine-tuning is often better, and takes some minutes for a thousand pictures: {line}")


@main.command()
@options.images
def status(images: Path | None, workspace: Path | None, as_json: bool) -> None:
    """How far the work is: what is scanned, embedded, scored, decided and trained, and what to do next."""
    from winnow.workflow.status import status as found

    place = console.opened(images, workspace)
    said = found(place)
    if as_json:
        return console.print_json(said)
    console.status(said)
    console.print_next(said["next"], images, workspace)
    return None


@main.command()
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
    reporter = console.reporter()
    demo.draw(folder, per_class, seed, reporter)
    result = demo.demo(console.opened(folder, workspace), reporter, repeats=repeats, seed=seed)
    _print_whole(result, as_json)


def _rule(labels: str | None) -> str | None:
    return labels if labels in (None, "folder", "parent") else str(Path(labels).expanduser().resolve())


def _print_scan(found: ScanResult) -> None:
    click.echo(f"{found.images:,} pictures among {found.files:,} files, {found.read:,} of them read now.")
    if found.labels:
        console.table(("label", "pictures"), [(label, f"{count:,}") for label, count in found.labels.items()])
    for count, what in (
        (found.unlabelled, "without a label"),
        (found.exact_duplicates, "copies of a picture that is there already"),
        (len(found.problems), "that cannot be used"),
    ):
        if count:
            click.echo(f"{count:,} {what}")
    console.quality(found.quality)
    for problem in found.problems[:20]:
        click.echo(f"  {console.shown(problem.path)}  {problem.code}: {problem.message}")
    if len(found.problems) > 20:
        click.echo(f"  … and {len(found.problems) - 20:,} more: --json lists them all")
    for warning in found.warnings:
        console.message(f"note: {warning}")


def _print_whole(result: dict[str, Any], as_json: bool) -> None:
    if as_json:
        return console.print_json(result)
    console.comparison(result["compare"]["heads"], result["compare"]["data"])
    model = (result["export"] or result["train"])["model"]
    console.headline(result["compare"] | {"report": result["report"], "model": model})
    stages = ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in result["seconds"].items())
    click.echo(f"Time: {stages}")
    return None


def _can_be_fine_tuned(result: dict[str, Any], vectors: EmbeddingConfig) -> bool:
    tails = [head for head in result["compare"]["heads"] if head["kind"] == "finetune"]
    return not (tails or vectors.backbone or vectors.recipe.weights == "random")


for command in (*curate.COMMANDS, *heads.COMMANDS, *deploy.COMMANDS):
    main.add_command(command)

if __name__ == "__main__":
    main()
