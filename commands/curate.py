"""The commands that curate the images: scan, score, review, decide, prune, undo, materialize."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from winnow.commands import console, curation_results, options, progress
from winnow.commands.embedding_options import embedding
from winnow.commands.groups import command
from winnow.commands.remedies import with_remedy
from winnow.common.errors import InputError
from winnow.curate.journal import REASONS

if TYPE_CHECKING:
    from winnow.curate.workspace import Workspace
    from winnow.embed.config import EmbeddingConfig


@command()
@options.images
@options.option(
    "Data",
    "--labels",
    metavar="folder|parent|FILE.csv",
    default_text="folder, or what the last scan used",
    help="Where labels come from: the top folder, the innermost folder, or a CSV file with the columns path and label.",
)
@options.workers
def scan(images: Path | None, workspace: Path | None, as_json: bool, labels: str | None, workers: int | None) -> None:
    """Read every image once, and list broken and duplicate files.

    Each file is decoded completely. A second scan reads only files that are new or changed.
    """
    from winnow.curate import manifest

    located = console.open_workspace(images, workspace)
    with progress.show_progress("Scanning") as on_progress:
        rule = labels and options.label_rule(labels)
        result = manifest.scan(located, rule, on_progress, workers, console.message)
    if as_json:
        console.print_json(result.to_json())
    else:
        curation_results.print_scan(result)
        console.print_next("run", images, workspace)


@command()
@options.images
@options.option("Output", "--csv", "csv_file", type=options.FILE, help="Write all scores of every image to this file.")
@options.as_found
@embedding
def score(
    images: Path | None,
    workspace: Path | None,
    as_json: bool,
    csv_file: Path | None,
    as_found: bool,
    config: EmbeddingConfig,
) -> None:
    """Rank images by how likely they are noise.

    Noise is what is off-topic, mislabelled, duplicated or of poor quality. Scores learn from the verdicts so far: look
    at the first ten images, decide, and score again. `review` and `prune` use the vectors that were scored last.
    """
    from winnow.workflow import scoring

    located = console.open_workspace(images, workspace)
    result = scoring.score(located, config, progress.reporter(), as_found)
    if csv_file is not None:
        curation_results.write_csv(csv_file, result.table)
    if as_json:
        return console.print_json(result.to_json())
    curation_results.print_scores(result)
    if csv_file is not None:
        click.echo(f"All scores: {console.printable(str(csv_file))}")
    console.print_next("review", images, workspace)
    return None


@command()
@options.images
@options.port
@options.browser
@options.option("Review", "--accept", is_flag=True, help="Record tags and deletions made in the App without asking.")
def review(
    images: Path | None, workspace: Path | None, as_json: bool, port: int | None, browser: bool, accept: bool
) -> None:
    """Drop, keep or relabel images in the FiftyOne App.

    The App listens on this computer only. Ctrl-C ends it; every click is on the disk by then.
    """
    from winnow.curate.app.launch import ReviewOptions
    from winnow.workflow import scoring

    located = console.open_workspace(images, workspace)
    result = scoring.review(located, progress.reporter(), ReviewOptions(port, browser, accept, console.ask))
    if result.unconfirmed:
        console.message("To record them, answer at a terminal at the next review, or give --accept.")
    if as_json:
        console.print_json(result.to_json())
    else:
        console.print_next("compare", images, workspace)


@command()
@click.argument("paths", nargs=-1, metavar="[IMAGES] PATH...", type=click.Path(path_type=Path))
@options.option("Data", "--drop", is_flag=True, help="Leave these images out.")
@options.option("Data", "--keep", is_flag=True, help="These images are right as they are.")
@options.option("Data", "--relabel", "label", metavar="NAME", help="These images belong to the class NAME.")
@options.option(
    "Data", "--reason", type=click.Choice(REASONS), default_text=REASONS[0], help="Why the images are dropped."
)
@options.option(
    "Data", "--from", "source", type=click.File("rb"), help="Read paths from a file, one per line; - is standard input."
)
@options.workspace
@options.json
def decide(paths: tuple[Path, ...], workspace: Path | None, as_json: bool, **verdict: Any) -> None:
    """Record a verdict on images: drop, keep or relabel.

    The last verdict on an image holds. IMAGES is the first argument only when it is a folder with a workspace. A PATH
    is that of a file, or one as `scan` and `score` print it. A renamed image keeps its verdict.
    """
    from winnow.curate import decisions

    verdict_name = _verdict_name(**{name: verdict[name] for name in ("drop", "keep", "label", "reason")})
    images, rest = _split_images(paths, workspace)
    source = verdict["source"]
    named = [str(path) for path in rest] + (decisions.parse_paths(source.read()) if source else [])
    if not named:
        raise click.UsageError("name the pictures, or give a file of their names with --from")
    located = console.open_workspace(images, workspace)
    reason, label, scores = verdict["reason"], verdict["label"], _off_topic_scores(located)
    result = decisions.decide(located, named, verdict_name, reason, label, console.message, scores)
    if as_json:
        return console.print_json(result.to_json())
    click.echo(f"{result.recorded:,} recorded.")
    return console.message("To take it back: winnow undo")


@command()
@options.images
@options.option(
    "Data", "--duplicates", is_flag=True, help="Copies and near-duplicates, except the one of each group that is kept."
)
@options.option(
    "Data",
    "--off-topic-above",
    type=click.FloatRange(0, 1),
    metavar="X",
    help="Images whose off-topic score, before any verdict, is above X.",
)
@options.option("Data", "--unreadable", is_flag=True, help="Files that cannot be decoded.")
@options.option(
    "Data",
    "--quality",
    is_flag=True,
    help="Images that are dark, bright, blurred, tiny, thin or of one colour.",
)
@options.option("Output", "--yes", is_flag=True, help="Record the verdicts, instead of only listing them.")
def prune(
    images: Path | None, workspace: Path | None, as_json: bool, off_topic_above: float | None, yes: bool, **rules: bool
) -> None:
    """Drop the clear cases by rule.

    Without --yes, the images are only listed. An image with the verdict keep stays.
    """
    from winnow.curate.decisions import PruneRules
    from winnow.workflow import scoring

    if off_topic_above is None and not any(rules.values()):
        raise click.UsageError("name a rule: --duplicates, --off-topic-above X, --unreadable or --quality")
    located = console.open_workspace(images, workspace)
    plan = scoring.prune(located, progress.reporter(), PruneRules(off_topic_above=off_topic_above, **rules), record=yes)
    if as_json:
        rows = [{"path": decision.path, "reason": decision.reason} for decision in plan.drops]
        console.print_json({"dropped" if yes else "would_drop": len(plan.drops), "pictures": rows})
    else:
        curation_results.print_plan(plan, recorded=yes)


@command()
@options.images
@options.option("Data", "--last", type=click.IntRange(min=1), default=1, help="Number of clicks or commands.")
def undo(images: Path | None, workspace: Path | None, as_json: bool, last: int) -> None:
    """Take back the last click or command that recorded verdicts.

    The previous verdicts are restored.
    """
    from winnow.curate.journal import Journal

    located = console.open_workspace(images, workspace)
    if not located.exists():
        raise InputError(f"{located.folder} is no workspace", remedy="undo-folder")
    lines = Journal(located.folder, on_message=console.message).undo(last)
    if as_json:
        console.print_json({"undone": len(lines), "batches": len({line.undoes for line in lines})})
    else:
        curation_results.print_undone(lines)


@command()
@click.argument("paths", nargs=-1, required=True, metavar="[IMAGES] OUT", type=click.Path(path_type=Path))
@options.option("Output", "--link/--copy", default=True, help="Write symbolic links to the images, or copies of them.")
@options.workspace
@options.json
def materialize(paths: tuple[Path, ...], link: bool, workspace: Path | None, as_json: bool) -> None:
    """Write the dataset as decided to a new folder.

    OUT gets a folder for each class, and a README of what was dropped. IMAGES is the first argument only when it is a
    folder with a workspace.
    """
    from winnow.curate.export import materialize as export

    images, rest = _split_images(paths, workspace, alone=False)
    if len(rest) != 1:
        raise click.UsageError("name one new folder, as in `winnow materialize clean`")
    located = console.open_workspace(images, workspace)
    with progress.show_progress("Writing") as on_progress:
        result = export.materialize(
            located, rest[0], copy=not link, on_progress=on_progress, on_message=console.message
        )
    if as_json:
        return console.print_json(result.to_json())
    how = "linked" if link else "copied"
    return click.echo(f"{result.written:,} pictures {how} to {console.printable(str(rest[0]))}")


GROUP = "Curate"
COMMANDS = (scan, score, review, decide, prune, undo, materialize)


def _verdict_name(drop: bool, keep: bool, label: str | None, reason: str | None) -> str:
    """drop, keep or relabel. Raises: click.UsageError unless exactly one was typed."""
    if drop + keep + (label is not None) != 1:
        raise click.UsageError("give one of --drop, --keep or --relabel NAME")
    if reason and not drop:
        raise click.UsageError("--reason goes with --drop")
    return "drop" if drop else "keep" if keep else "relabel"


def _split_images(
    paths: tuple[Path, ...], workspace: Path | None, alone: bool = True
) -> tuple[Path | None, tuple[Path, ...]]:
    """IMAGES, when the first path is a folder that has a workspace, and the other paths.

    Parameters: `alone`, whether a folder that stands alone is meant as IMAGES too. Raises: InputError for a folder
    without a workspace.
    """
    from winnow.curate.workspace import find_workspace

    if not paths or not paths[0].is_dir() or (len(paths) == 1 and not alone):
        return None, paths
    if not find_workspace(paths[0], workspace).exists():
        raise InputError(f"{paths[0]} has no workspace here", remedy="scan-folder", folder=paths[0])
    return paths[0], paths[1:]


def _off_topic_scores(workspace: Workspace) -> dict[str, float | None]:
    """Map ids to scores, which are recorded beside a verdict; empty where none can be read."""
    from winnow.curate.noise import score_table

    try:
        scores = score_table.read(workspace)
    except InputError as error:
        console.message(f"note: {with_remedy(error)}; the verdict is recorded without a score")
        return {}
    return dict(zip(scores["id"].to_pylist(), scores["off_topic"].to_pylist(), strict=True))
