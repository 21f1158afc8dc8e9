"""The commands that use a trained model: parse, call, print. `cli.py` adds them to the others."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from winnow.commands import console, options, progress
from winnow.common.errors import InputError
from winnow.common.paths import to_text

if TYPE_CHECKING:
    from winnow.commands.output.sinks import Doubtful
    from winnow.curate.export.image_folder import ImageFolderWriter
    from winnow.curate.workspace import Workspace

DOUBTFUL = 0.5  # probability below which a picture is doubtful
NOT_GATHERED = "Nothing is gathered in {}: doubtful pictures are gathered at the end, all or none"


@click.command()
@click.argument("run", required=False, type=click.Path(path_type=Path))
@click.option("-o", "--output", "out", type=options.FILE, help="FILE.onnx to write.  [default: in the run]")
@options.option(
    "--input",
    "shape",
    type=click.Choice(["square", "any"]),
    default="square",
    help="square: pictures that were made square before. any: one picture of any size, resized inside.",
)
@options.option(
    "--precision",
    type=click.Choice(["fp32", "fp16", "int8"]),
    default="fp32",
    help="Of the backbone. fp16: weights in half the bytes. int8: weights and arithmetic, calibrated on your pictures.",
)
@options.option(
    "--tta",
    type=click.Choice(["none", "flip"]),
    help="mirror: the mean of a picture and its mirror image, for twice the time.  [default: as in the run]",
)
@options.option(
    "--unfamiliar",
    metavar="SHARE",
    type=click.FloatRange(0, 0.5),
    default=0.05,
    help="Of the pictures of known classes, so many may be turned away as unfamiliar.",
)
@options.workspace
@options.json
def export(
    run: Path | None,
    out: Path | None,
    shape: str,
    precision: str,
    tta: str | None,
    unfamiliar: float,
    workspace: Path | None,
    as_json: bool,
) -> None:
    """Make one file of backbone, head and labels, and prove that it says the same.

    RUN is a folder that `winnow run` or `winnow train` left, or its name; left out, it is the last one with a trained
    head. The file is compared with Python's own path on the test pictures, and a model card is written beside it.
    """
    from winnow.deploy import export as exporting
    from winnow.deploy import trained_head

    run = trained_head.find(run, workspace)
    console.message(f"Run: {console.printable(str(run))}")
    how = {"any_size": shape == "any", "precision": precision, "tta": tta or ""}
    said = exporting.export(run, out, progress.reporter(), unfamiliar=unfamiliar, workspace=workspace, **how)
    if as_json:
        return console.print_json(said)
    click.echo(f"Model: {console.printable(said['model'])}, {said['bytes'] / 1e6:,.1f} MB")
    click.echo(f"Card:  {console.printable(said['card'])}")
    model = f"./{said['model']}" if said["model"].startswith("-") else said["model"]
    console.message(f"Next: {shlex.join(['winnow', 'predict', model, 'PICTURES'])}")
    return None


@click.command()
@click.argument("file", metavar="MODEL", type=click.Path(path_type=Path))
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=click.Path(readable=False))
@options.option(
    "--top", metavar="K", type=click.IntRange(min=1), default=1, help="Labels of a picture, the best first."
)
@options.json
@click.option("--jsonl", is_flag=True, help="Print a JSON document for each picture, as they come.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV, as they come.")
@click.option("--sort-into", type=options.FOLDER, help="Link the pictures into a new folder, a folder for each label.")
@click.option("--review", is_flag=True, help="Open the doubtful ones, unfamiliar or not probable, in the FiftyOne App.")
@click.option("--into", type=options.FOLDER, help="Link the doubtful ones into a new folder, to be labelled.")
@click.option(
    "--below",
    metavar="P",
    type=click.FloatRange(0, 1),
    help=f"Probability below which a picture is doubtful.  [default: {DOUBTFUL}]",
)
@click.option("--copy", is_flag=True, help="Copy pictures instead of linking them.")
@click.option("--port", type=click.IntRange(1, 65535), help="Of the App.  [default: 5151, or the next free one]")
@click.option("--browser/--no-browser", default=True, help="Open the App in a browser, or only print its address.")
@options.workers
def predict(
    file: Path,
    paths: tuple[str, ...],
    top: int,
    as_json: bool,
    jsonl: bool,
    as_csv: bool,
    sort_into: Path | None,
    review: bool,
    into: Path | None,
    below: float | None,
    copy: bool,
    port: int | None,
    browser: bool,
    workers: int | None,
) -> None:
    """Say what pictures show: a label, its probability, and how familiar the picture is, 0 to 1.

    MODEL is a FILE.onnx that `winnow export` made. PATH is a file, a folder, a pattern, or - for a list on standard
    input, one path a line or each ended by NUL. What cannot be read is shown with the reason.
    """
    from winnow.commands.output import predictions, sinks
    from winnow.deploy.inference import predict as prediction
    from winnow.deploy.inference.model import load

    form = _form(as_json, jsonl, as_csv)
    _check_usage(copy, below, sort_into is not None, review or into is not None)
    model = load(file)
    names = [name for path in paths for name in (_listed() if path == "-" else [path])]
    folders = prediction.folders_of(names)
    if into is None and review:
        into = Path(f"{file.stem}-doubtful-{datetime.now():%Y%m%d-%H%M%S}")
    stream = prediction.predict(model, prediction.files_of(names, console.message), workers)
    sorter, place = _targets(sort_into, into, copy, folders)
    count, doubtful = sinks.Count(model.threshold), sinks.Doubtful(DOUBTFUL if below is None else below)
    rows: list[dict[str, Any]] = []
    wanted: list[sinks.Sink] = [count.add] if place is None else [count.add, doubtful.add]
    if sorter is not None:
        wanted.append(sinks.sorting(sorter))
    wanted.append(predictions.PRINTERS[form](model, top, rows))
    whole = sinks.feed(stream, wanted, count)
    console.message(count.in_words(whole))
    if not whole:
        if place is not None:
            console.message(NOT_GATHERED.format(place.images))
        raise click.exceptions.Exit(1)
    said: dict[str, Any] = {"predictions": rows, "model": to_text(str(file)), **count.document()}
    if sorter is not None:
        said["sorted_into"] = to_text(str(sorter.out))
        console.message(f"Sorted into {sorter.out}")
    try:
        gathered = None if place is None else _gathered(doubtful, place, copy, folders, said)
    finally:
        if as_json:
            console.print_json(said)
    if gathered is not None:
        _look_at(gathered, copy, review, port, browser)
    if count.failed == count.pictures:
        raise click.exceptions.Exit(1)


@click.command()
@click.argument("file", metavar="MODEL", type=click.Path(path_type=Path))
@click.argument("folder", type=click.Path(path_type=Path))
@options.option(
    "--labels",
    metavar="folder|parent|FILE.csv",
    default="folder",
    help="Where labels come from: the top folder, the innermost one, or a CSV file (path,label).",
)
@click.option("--report", type=options.FILE, help="Write one HTML page with matrix, table and mistakes to this file.")
@click.option("--csv", "table", type=options.FILE, help="Write what is said of every picture to this file.")
@options.json
@options.workers
def evaluate(
    file: Path,
    folder: Path,
    labels: str,
    report: Path | None,
    table: Path | None,
    as_json: bool,
    workers: int | None,
) -> None:
    """Judge a model on a folder of labelled pictures that it was not trained on.

    MODEL is a FILE.onnx that `winnow export` made. FOLDER needs no workspace, and nothing is written in it.
    """
    from winnow.commands.output import evaluation as evaluated
    from winnow.deploy.inference import evaluate as evaluation
    from winnow.deploy.inference.model import load

    written = [each for each in (report, table) if each is not None]
    evaluated.check_targets(folder, written)
    rule = labels if labels in ("folder", "parent") else str(Path(labels).expanduser().resolve())
    result = evaluation.evaluate(load(file), folder, rule, progress.reporter(), workers)
    if as_json:
        console.print_json(result)
    else:
        evaluated.show(result)
    if report is not None:
        evaluated.write_page(result, report)
    if table is not None:
        evaluated.write_csv(result, table)
    for each in [] if as_json else written:
        console.message(f"Written: {each}")


GROUP = "Deploy"
COMMANDS = (export, predict, evaluate)


def _form(as_json: bool, jsonl: bool, as_csv: bool) -> str:
    """How predictions are printed. Raises: click.UsageError when it is to be done in two ways."""
    forms = [form for form, wanted in (("json", as_json), ("jsonl", jsonl), ("csv", as_csv)) if wanted]
    if len(forms) > 1:
        raise click.UsageError("--json, --jsonl and --csv exclude each other")
    return forms[0] if forms else "text"


def _check_usage(copy: bool, below: float | None, sorted_: bool, doubtful: bool) -> None:
    """Raises: click.UsageError for options that do not go together."""
    if below is not None and not doubtful:
        raise click.UsageError("--below goes with --review or --into")
    if copy and not doubtful and not sorted_:
        raise click.UsageError("--copy goes with --sort-into, --into or --review")


def _listed() -> list[str]:
    from winnow.deploy.inference.predict import named

    return named(sys.stdin.buffer.read())


def _targets(
    sort_into: Path | None, into: Path | None, copy: bool, folders: Sequence[Path]
) -> tuple[ImageFolderWriter | None, Workspace | None]:
    """Where pictures are sorted, and where the doubtful ones are gathered. Raises: InputError when they cannot be."""
    from winnow.curate.export import collect as doubtful
    from winnow.curate.export.image_folder import ImageFolderWriter

    place = None if into is None else doubtful.place(into, folders)
    if sort_into is None:
        return None, place
    out = sort_into.expanduser().resolve()
    for other in (place.images, place.folder) if place else ():
        if out.is_relative_to(other) or other.is_relative_to(out):
            raise InputError(f"{out} and {other} would lie in one another: give --sort-into and --into folders apart")
    return ImageFolderWriter(out, copy, folders), place


def _gathered(
    found: Doubtful, place: Workspace, copy: bool, folders: Sequence[Path], said: dict[str, Any]
) -> Workspace | None:
    """Gather what is doubtful, and tell it in the document `said`. Returns: its workspace, None for nothing."""
    from winnow.curate.export.collect import collect

    said["doubtful"] = found.document()
    if not found.rows:
        console.message(f"None is doubtful: all are familiar and at least {found.below:g} probable")
        return None
    try:
        workspace = collect([*found.rows.values()], place.images, copy, console.message, folders)
    except KeyboardInterrupt:
        console.message(NOT_GATHERED.format(place.images))
        raise
    said["doubtful"]["folder"] = to_text(str(workspace.images))
    many = "1 doubtful picture is" if len(found.rows) == 1 else f"{len(found.rows):,} doubtful pictures are"
    console.message(f"{many} in {workspace.images}")
    return workspace


def _look_at(place: Workspace, copy: bool, review: bool, port: int | None, browser: bool) -> None:
    """Open the App on what was gathered, or say how. What is made of copies is copied too: they may go."""
    from winnow.workflow import scoring

    if not review:
        return console.print_next("review", place.images, place.folder)
    how: dict[str, Any] = {"port": port, "browser": browser, "accept": False}
    scoring.review(place, progress.reporter(), **how, ask=lambda text: click.confirm(text, err=True))
    words = ["winnow", "materialize", str(place.images), "labelled", "--workspace", str(place.folder)]
    return console.message(f"Next: {shlex.join(words + ['--copy'] * copy)}")
