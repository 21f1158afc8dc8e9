"""The commands that use a trained head: export, predict, evaluate."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from winnow.commands import console, options, progress
from winnow.commands.groups import command
from winnow.common.errors import InputError
from winnow.common.paths import to_text

if TYPE_CHECKING:
    from winnow.commands.output.prediction_sinks import PredictionCounts, Sink, UncertainPictures
    from winnow.curate.export.image_folder import ImageFolderWriter
    from winnow.curate.workspace import Workspace
    from winnow.deploy.inference.predict import Prediction

UNCERTAIN_BELOW = 0.5  # probability
NOTHING_COLLECTED = "Nothing is collected in {}: uncertain pictures are collected at the end, all or none"
model_file = click.argument("file", metavar="MODEL", type=click.Path(path_type=Path))


@command()
@click.argument("run", required=False, type=click.Path(path_type=Path))
@options.option(
    "Output",
    "-o",
    "--output",
    "out",
    type=options.FILE,
    default_text="model.onnx in the run",
    help="File to write.",
)
@options.option(
    "Output",
    "--input",
    "shape",
    type=click.Choice(["square", "any"]),
    default="square",
    help="square: the model takes batches of square images. any: it takes one image of any size, and resizes it.",
)
@options.option(
    "Output",
    "--precision",
    type=click.Choice(["fp32", "fp16", "int8"]),
    default="fp32",
    help="Precision of the backbone. fp16: weights in half the bytes. int8: 8-bit weights and arithmetic, calibrated "
    "on your images.",
)
@options.option(
    "Output",
    "--tta",
    type=click.Choice(["none", "flip"]),
    default_text="as in the run",
    help="flip: average over an image and its mirror image, which takes twice the time.",
)
@options.option(
    "Output",
    "--unfamiliar",
    metavar="SHARE",
    type=click.FloatRange(0, 0.5),
    default=0.05,
    help="Share of the images of known classes that may be reported as unfamiliar.",
)
@options.workspace
@options.json
def export(run: Path | None, out: Path | None, workspace: Path | None, as_json: bool, **settings: Any) -> None:
    """Write backbone, head and labels as one ONNX file.

    RUN is a folder that `winnow run` or `winnow train` wrote, or its name. If it is left out, the last run with a
    trained head is taken. The file is compared with the Python pipeline on the test images, and a model card is
    written beside it.
    """
    from winnow.commands.output.export_summary import describe_export
    from winnow.deploy.source import ExportOptions
    from winnow.deploy.trained_head import find_run
    from winnow.workflow.export import export_run

    run = find_run(run, workspace)
    console.message(f"Run: {console.printable(str(run))}")
    export_options = ExportOptions(any_size=settings.pop("shape") == "any", **settings)
    report = export_run(run, out, export_options, progress.reporter(), workspace)
    console.message(describe_export(report))
    if as_json:
        return console.print_json(report.to_json())
    click.echo(f"Model: {console.printable(str(report.model))}, {report.bytes / 1e6:,.1f} MB")
    click.echo(f"Card:  {console.printable(str(report.card))}")
    model = f"./{report.model}" if str(report.model).startswith("-") else str(report.model)
    return console.message(f"Next: {shlex.join(['winnow', 'predict', model, 'PICTURES'])}")


@dataclass(frozen=True)
class PredictOutput:
    """What `predict` prints and writes.

    top: labels per image. sort_into: folder for links by label. into: folder for links to uncertain images, those that
    are unfamiliar or less probable than `below`. review: open the App on them. copy: copy instead of linking.
    """

    top: int
    as_json: bool
    jsonl: bool
    as_csv: bool
    sort_into: Path | None
    review: bool
    into: Path | None
    below: float | None
    copy: bool

    def __post_init__(self) -> None:
        """Raises: click.UsageError for options that do not go together."""
        if self.as_json + self.jsonl + self.as_csv > 1:
            raise click.UsageError("--json, --jsonl and --csv exclude each other")
        collects = self.review or self.into is not None
        if self.below is not None and not collects:
            raise click.UsageError("--below goes with --review or --into")
        if self.copy and not collects and self.sort_into is None:
            raise click.UsageError("--copy goes with --sort-into, --into or --review")

    @property
    def form(self) -> str:
        """How predictions are printed: json, jsonl, csv or text."""
        return "json" if self.as_json else "jsonl" if self.jsonl else "csv" if self.as_csv else "text"

    @property
    def threshold(self) -> float:
        """Probability below which an image is uncertain."""
        return UNCERTAIN_BELOW if self.below is None else self.below

    def uncertain_folder(self, file: Path) -> Path | None:
        """The folder for uncertain images, by default named after the model; None if images are not collected."""
        if self.into is None and self.review:
            return Path(f"{file.stem}-uncertain-{datetime.now():%Y%m%d-%H%M%S}")
        return self.into


@command()
@model_file
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=click.Path(readable=False))
@options.passed_as(
    "output",
    PredictOutput,
    options.option(
        "Output", "--top", metavar="K", type=click.IntRange(min=1), default=1, help="Labels per image, the best first."
    ),
    options.json,
    options.option("Output", "--jsonl", is_flag=True, help="Print a JSON document for each image as it comes."),
    options.option("Output", "--csv", "as_csv", is_flag=True, help="Print a line of CSV for each image as it comes."),
    options.option("Output", "--sort-into", type=options.FOLDER, help="Link images into a new folder, by label."),
    options.option("Output", "--copy", is_flag=True, help="Copy images instead of linking them."),
    options.option(
        "Review", "--review", is_flag=True, help="Open uncertain images (unfamiliar, or not probable) in the App."
    ),
    options.option("Review", "--into", type=options.FOLDER, help="Link uncertain images into a new folder."),
    options.option(
        "Review",
        "--below",
        metavar="P",
        type=click.FloatRange(0, 1),
        default_text=str(UNCERTAIN_BELOW),
        help="Probability below which an image is uncertain.",
    ),
)
@options.port
@options.browser
@options.workers
def predict(
    file: Path, paths: tuple[str, ...], output: PredictOutput, port: int | None, browser: bool, workers: int | None
) -> None:
    """Classify images with an exported model.

    Each image gets a label, its probability, and its familiarity, 0 to 1; unfamiliar images may be of no known class.
    MODEL is a FILE.onnx that `winnow export` wrote. PATH is a file, a folder, a pattern, or - for a list on standard
    input, one path per line or each ended by NUL. For an image that cannot be read, the reason is shown.
    """
    from winnow.commands.output import prediction_printers, prediction_sinks
    from winnow.deploy.inference import predict as prediction
    from winnow.deploy.inference.model import load

    model = load(file)
    names = [name for path in paths for name in (_paths_from_stdin() if path == "-" else [path])]
    folders = prediction.find_folders(names)
    targets = _open_targets(output, file, folders)
    counts = prediction_sinks.PredictionCounts(model.threshold)
    document: dict[str, Any] = {"predictions": [], "model": to_text(str(file))}
    printer = prediction_printers.PRINTERS[output.form](model, output.top, document["predictions"])
    stream = prediction.predict(model, prediction.find_files(names, console.message), workers)
    _feed(stream, [counts.add, *targets.receivers(), printer], counts, targets)
    document |= counts.to_json()
    collected = _finish(output, document, targets, folders)
    if collected is not None:
        _review(collected, output, port, browser)
    if counts.failed == counts.pictures:
        raise click.exceptions.Exit(1)


@command()
@model_file
@click.argument("folder", type=click.Path(path_type=Path))
@options.option(
    "Data",
    "--labels",
    metavar="folder|parent|FILE.csv",
    default="folder",
    help="Where labels come from: the top folder, the innermost folder, or a CSV file with the columns path and label.",
)
@options.option(
    "Output", "--report", type=options.FILE, help="Write a page with matrix, table and mistakes to this HTML file."
)
@options.option(
    "Output", "--csv", "csv_file", type=options.FILE, help="Write the prediction for every image to this file."
)
@options.json
@options.workers
def evaluate(
    file: Path,
    folder: Path,
    labels: str,
    report: Path | None,
    csv_file: Path | None,
    as_json: bool,
    workers: int | None,
) -> None:
    """Measure a model on a folder of labelled images.

    Images that the model was trained on are left out. MODEL is a FILE.onnx that `winnow export` wrote. FOLDER needs no
    workspace, and nothing is written into it.
    """
    from winnow.commands.output import evaluation_report as output
    from winnow.deploy.inference import evaluate as evaluation
    from winnow.deploy.inference.model import load

    files = [target for target in (report, csv_file) if target is not None]
    output.check_targets(folder, files)
    result = evaluation.evaluate(load(file), folder, options.label_rule(labels), progress.reporter(), workers)
    if as_json:
        console.print_json(result.to_json())
    else:
        output.print_evaluation(result)
    if report is not None:
        output.write_page(result, report)
    if csv_file is not None:
        output.write_csv(result, csv_file)
    for target in [] if as_json else files:
        console.message(f"Written: {target}")


GROUP = "Deploy"
COMMANDS = (export, predict, evaluate)


def _paths_from_stdin() -> list[str]:
    from winnow.deploy.inference.predict import parse_path_list

    return parse_path_list(sys.stdin.buffer.read())


@dataclass(frozen=True)
class _Targets:
    """Where predictions go besides standard output: images sorted by label, and uncertain ones; None for neither."""

    writer: ImageFolderWriter | None
    uncertain: UncertainPictures | None
    uncertain_workspace: Workspace | None

    def receivers(self) -> list[Sink]:
        """Functions to call with each prediction."""
        from winnow.commands.output.prediction_sinks import sort_sink

        collecting = [] if self.uncertain is None else [self.uncertain.add]
        return collecting + ([] if self.writer is None else [sort_sink(self.writer)])


def _open_targets(output: PredictOutput, file: Path, folders: Sequence[Path]) -> _Targets:
    """Raises: InputError when images cannot be sorted or collected there."""
    from winnow.commands.output.prediction_sinks import UncertainPictures
    from winnow.curate.export import collect
    from winnow.curate.export.image_folder import ImageFolderWriter

    into = output.uncertain_folder(file)
    workspace = None if into is None else collect.plan_workspace(into, folders)
    uncertain = None if workspace is None else UncertainPictures(output.threshold)
    if output.sort_into is None:
        return _Targets(None, uncertain, workspace)
    out = output.sort_into.expanduser().resolve()
    for other in (workspace.images, workspace.folder) if workspace else ():
        if out.is_relative_to(other) or other.is_relative_to(out):
            raise InputError(f"{out} and {other} would lie in one another", remedy="folders-apart")
    return _Targets(ImageFolderWriter(out, output.copy, folders), uncertain, workspace)


def _feed(
    stream: Generator[Prediction, None, None], receivers: Sequence[Sink], counts: PredictionCounts, targets: _Targets
) -> None:
    """Classify all images. Raises: click.exceptions.Exit after an interruption."""
    from winnow.commands.output.prediction_sinks import feed

    complete = feed(stream, receivers, counts)
    console.message(counts.describe(complete))
    if not complete:
        if targets.uncertain_workspace is not None:
            console.message(NOTHING_COLLECTED.format(targets.uncertain_workspace.images))
        raise click.exceptions.Exit(1)


def _finish(
    output: PredictOutput, document: dict[str, Any], targets: _Targets, folders: Sequence[Path]
) -> Workspace | None:
    """Collect uncertain images and print the JSON document. Returns: the workspace of the collected images, or None."""
    if targets.writer is not None:
        document["sorted_into"] = to_text(str(targets.writer.out))
        console.message(f"Sorted into {targets.writer.out}")
    try:
        if targets.uncertain is None or targets.uncertain_workspace is None:
            return None
        return _collect(targets.uncertain, targets.uncertain_workspace, output.copy, folders, document)
    finally:
        if output.as_json:
            console.print_json(document)


def _collect(
    uncertain: UncertainPictures, workspace: Workspace, copy: bool, folders: Sequence[Path], document: dict[str, Any]
) -> Workspace | None:
    """Collect uncertain images, and add them to the document. Returns: their workspace, or None when there are none."""
    from winnow.curate.export.collect import collect

    document["doubtful"] = uncertain.to_json()
    if not uncertain.rows:
        console.message(f"No picture is uncertain: all are familiar and at least {uncertain.below:g} probable")
        return None
    try:
        collected = collect([*uncertain.rows.values()], workspace.images, copy, console.message, folders)
    except KeyboardInterrupt:
        console.message(NOTHING_COLLECTED.format(workspace.images))
        raise
    document["doubtful"]["folder"] = to_text(str(collected.images))
    count = len(uncertain.rows)
    noun = "1 uncertain picture is" if count == 1 else f"{count:,} uncertain pictures are"
    console.message(f"{noun} in {collected.images}")
    return collected


def _review(workspace: Workspace, output: PredictOutput, port: int | None, browser: bool) -> None:
    """Open the App on the collected images, or print the command that does. Copies are materialised as copies."""
    from winnow.curate.app.launch import ReviewOptions
    from winnow.workflow import scoring

    if not output.review:
        return console.print_next("review", workspace.images, workspace.folder)
    scoring.review(workspace, progress.reporter(), ReviewOptions(port, browser, accept=False, ask=console.ask))
    words = ["winnow", "materialize", str(workspace.images), "labelled", "--workspace", str(workspace.folder)]
    return console.message(f"Next: {shlex.join(words + ['--copy'] * output.copy)}")
