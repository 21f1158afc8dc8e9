"""The commands that find noise and decide on it: parse, call, print. `cli.py` adds them to the others."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from winnow.commands import console, options, progress, results, tables
from winnow.common.atomic_write import atomic_write
from winnow.common.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

    from winnow.curate.manifest import ScanResult
    from winnow.curate.workspace import Workspace
    from winnow.embed.config import EmbeddingConfig

REASONS = ("off_topic", "duplicate", "quality", "unreadable", "other")
SHOWN = 10  # rows of a list that are printed


@click.command()
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

    place = console.open_workspace(images, workspace)
    with progress.show_progress("Scanning") as told:
        found = manifest.scan(place, _rule(labels), told, workers, console.message)
    if as_json:
        console.print_json(found.to_json())
    else:
        _print_scan(found)
        console.print_next("run", images, workspace)


@click.command()
@options.images
@click.option("--csv", "file", type=options.FILE, help="Write every row of every score to this file.")
@options.as_found
@options.vectors
def score(
    images: Path | None,
    workspace: Path | None,
    as_json: bool,
    file: Path | None,
    as_found: bool,
    vectors: EmbeddingConfig,
) -> None:
    """Rank pictures by how likely they are noise: off-topic, mislabelled, doubled, of poor quality.

    Verdicts given so far are learned from: score, look at the first ten, decide, and score again. `review` and `prune`
    go on with the vectors that were last ranked by.
    """
    from winnow.workflow import scoring

    place = console.open_workspace(images, workspace)
    table, said = scoring.score(place, vectors, progress.reporter(), as_found)
    if file is not None:
        _write_csv(file, table)
    if as_json:
        return console.print_json(said)
    _print_scores(table, said)
    if file is not None:
        click.echo(f"Every row: {console.printable(str(file))}")
    console.print_next("review", images, workspace)
    return None


@click.command()
@options.images
@click.option("--port", type=click.IntRange(1, 65535), help="Of the App.  [default: 5151, or the next free one]")
@click.option("--browser/--no-browser", default=True, help="Open the App in a browser, or only print its address.")
@click.option("--accept", is_flag=True, help="Record tags and deletions made in the App without asking.")
def review(
    images: Path | None,
    workspace: Path | None,
    as_json: bool,
    port: int | None,
    browser: bool,
    accept: bool,
) -> None:
    """Look at the pictures in the FiftyOne App, and drop, keep or relabel them there.

    It listens on this computer only. Ctrl-C ends it; every click is on the disk by then.
    """
    from winnow.workflow import scoring

    place = console.open_workspace(images, workspace)
    said = scoring.review(
        place,
        progress.reporter(),
        port=port,
        browser=browser,
        accept=accept,
        ask=lambda text: click.confirm(text, err=True),
    )
    if as_json:
        return console.print_json(said)
    console.print_next("compare", images, workspace)
    return None


@click.command()
@click.argument("paths", nargs=-1, metavar="[IMAGES] PATH...", type=click.Path(path_type=Path))
@click.option("--drop", is_flag=True, help="Leave these pictures out.")
@click.option("--keep", is_flag=True, help="These pictures are right as they are.")
@click.option("--relabel", "label", metavar="NAME", help="These pictures belong to another class.")
@click.option("--reason", type=click.Choice(REASONS), help="Why they are dropped.  [default: off_topic]")
@click.option("--from", "source", type=click.File("rb"), help="Paths from a file, one a line; - for stdin.")
@options.workspace
@options.json
def decide(
    paths: tuple[Path, ...],
    drop: bool,
    keep: bool,
    label: str | None,
    reason: str | None,
    source: Any,
    workspace: Path | None,
    as_json: bool,
) -> None:
    """Record a verdict on pictures: drop, keep or relabel. The last verdict on a picture holds.

    IMAGES is the first argument only when it is a folder with a workspace. A PATH is that of a file or one as `scan`
    and `score` print it. A verdict is on the content: a renamed picture keeps it.
    """
    from winnow.curate import decisions

    if drop + keep + (label is not None) != 1:
        raise click.UsageError("say one of --drop, --keep or --relabel NAME")
    if reason and not drop:
        raise click.UsageError("--reason goes with --drop")
    images, rest = _split_images(paths, workspace)
    named = [str(path) for path in rest] + (decisions.parse_paths(source.read()) if source else [])
    if not named:
        raise click.UsageError("name the pictures, or give a file of their names with --from")
    place = console.open_workspace(images, workspace)
    verdict = "drop" if drop else "keep" if keep else "relabel"
    said = decisions.decide(place, named, verdict, reason, label, console.message, _off_topic(place))
    if as_json:
        return console.print_json(said)
    click.echo(f"{said['recorded']:,} recorded.")
    console.message("Taken back by: winnow undo")
    return None


@click.command()
@options.images
@click.option("--duplicates", is_flag=True, help="Copies and near-duplicates, but the one that is kept.")
@click.option("--off-topic-above", type=click.FloatRange(0, 1), metavar="X", help="Pictures stranger than X, 0 to 1.")
@click.option("--unreadable", is_flag=True, help="Files that cannot be decoded.")
@click.option("--quality", is_flag=True, help="Too dark, too bright, blurred, tiny, thin or of one colour.")
@click.option("--yes", is_flag=True, help="Record it; else it is only shown.")
def prune(
    images: Path | None, workspace: Path | None, as_json: bool, off_topic_above: float | None, yes: bool, **rules: bool
) -> None:
    """Drop pictures by rule: shows which, and records it with --yes. A kept picture stays."""
    from winnow.workflow import scoring

    if off_topic_above is None and not any(rules.values()):
        raise click.UsageError("say which: --duplicates, --off-topic-above X, --unreadable or --quality")
    place = console.open_workspace(images, workspace)
    plan = scoring.prune(place, progress.reporter(), record=yes, off_topic_above=off_topic_above, **rules)
    said = {"dropped" if yes else "would_drop": len(plan)}
    if as_json:
        rows = [{"path": decision.path, "reason": decision.reason} for decision in plan]
        return console.print_json(said | {"pictures": rows})
    for decision in plan[: 2 * SHOWN]:
        click.echo(f"  {console.printable(decision.path)}  {decision.reason}")
    if len(plan) > 2 * SHOWN:
        click.echo(f"  … and {len(plan) - 2 * SHOWN:,} more: --json lists them all")
    click.echo(f"{len(plan):,} {'dropped' if yes else 'would be dropped'}.")
    if plan:
        console.message("Taken back by: winnow undo" if yes else "The same command with --yes records it.")
    return None


@click.command()
@options.images
@click.option("--last", type=click.IntRange(min=1), default=1, show_default=True, help="How many of them.")
def undo(images: Path | None, workspace: Path | None, as_json: bool, last: int) -> None:
    """Take back the last click or command that recorded verdicts; what held before holds again."""
    from winnow.curate.journal import Journal

    place = console.open_workspace(images, workspace)
    if not place.exists():
        raise InputError(
            f"{place.folder} is no workspace: `winnow undo` where `winnow scan` was run, or use --workspace"
        )
    lines = Journal(place.folder, on_message=console.message).undo(last)
    if as_json:
        return console.print_json({"undone": len(lines), "batches": len({line.undoes for line in lines})})
    for line in lines[: 2 * SHOWN]:
        now = "undecided" if line.verdict == "undo" else line.verdict
        click.echo(
            f"  {console.printable(line.path)}  {now}{f' {console.printable(line.label)}' if line.label else ''} again"
        )
    many = "verdict" if len(lines) == 1 else "verdicts"
    click.echo(f"{len(lines):,} {many} taken back." if lines else "There is nothing to take back.")
    return None


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="[IMAGES] OUT", type=click.Path(path_type=Path))
@click.option("--link/--copy", default=True, help="Symbolic links to the pictures, or copies.  [default: link]")
@options.workspace
@options.json
def materialize(paths: tuple[Path, ...], link: bool, workspace: Path | None, as_json: bool) -> None:
    """Write the dataset as decided as a new folder OUT, a folder for each class, with a README of what was dropped.

    IMAGES is the first argument only when it is a folder with a workspace.
    """
    from winnow.curate.export import materialize as made

    images, rest = _split_images(paths, workspace, alone=False)
    if len(rest) != 1:
        raise click.UsageError("name one new folder, as in `winnow materialize clean`")
    place = console.open_workspace(images, workspace)
    with progress.show_progress("Writing") as told:
        said = made.materialize(place, rest[0], copy=not link, on_progress=told, on_message=console.message)
    if as_json:
        return console.print_json(said)
    click.echo(f"{said['written']:,} pictures {'linked' if link else 'copied'} to {console.printable(str(rest[0]))}")
    return None


GROUP = "Curate"
COMMANDS = (scan, score, review, decide, prune, undo, materialize)


def _split_images(
    paths: tuple[Path, ...], workspace: Path | None, alone: bool = True
) -> tuple[Path | None, tuple[Path, ...]]:
    """IMAGES, when the first path is a folder that has a workspace, and the others.

    Parameters: `alone`, whether a folder that stands alone is meant as IMAGES too. Raises: InputError for a folder
    without a workspace.
    """
    from winnow.curate.workspace import find_workspace

    if not paths or not paths[0].is_dir() or (len(paths) == 1 and not alone):
        return None, paths
    if not find_workspace(paths[0], workspace).exists():
        raise InputError(f"{paths[0]} has no workspace here: `winnow scan` it, or use --workspace")
    return paths[0], paths[1:]


def _off_topic(place: Workspace) -> dict[str, float | None]:
    """Id -> score, to be written beside a verdict; none where there are none that can be read."""
    from winnow.curate.noise import score_table

    try:
        scores = score_table.read(place)
    except InputError as error:
        console.message(f"note: {error}; the verdict is recorded without a score")
        return {}
    return dict(zip(scores["id"].to_pylist(), scores["off_topic"].to_pylist(), strict=True))


def _write_csv(file: Path, table: pa.Table) -> None:
    """Every row as CSV, whole or not at all; what is there already and no ordinary file (a pipe) is written into."""
    import csv
    import io

    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(table.column_names)
    for row in table.to_pylist():
        row["quality"] = " ".join(row["quality"] or ())
        writer.writerow(["" if value is None else value for value in row.values()])
    try:
        target = file.resolve()
        with target.open("wb") if target.exists() and not target.is_file() else atomic_write(target) as stream:
            stream.write(text.getvalue().encode())
    except OSError as error:
        raise InputError(f"{file}: {error.strerror}; mend that or name another file") from None


def _print_scores(table: pa.Table, said: dict[str, Any]) -> None:
    row_of = {row["path"]: row for row in table.to_pylist()}
    if said["next"]:
        rows = [row_of[path] for path in said["next"]]
        tables.print_table(
            ("look at these next", "label", "off-topic"),
            [(row["path"], row["label"] or "", f"{row['off_topic']:.3f}") for row in rows],
        )
    click.echo(said["outlook"]["words"])
    wrong = sorted((row for row in said["suspects"] if row["label_suspect"]), key=lambda row: -row["label_suspect"])
    if wrong:
        tables.print_table(
            ("perhaps mislabelled", "label", "rather", "suspect"),
            [
                (row["path"], row["label"] or "", row["suggested_label"] or "", f"{row['label_suspect']:.3f}")
                for row in wrong[:SHOWN]
            ],
        )
    if count := said["near_duplicates"]:
        mixed = f", {said['mixed_groups']:,} of them under several labels" if said["mixed_groups"] else ""
        click.echo(
            f"{count:,} near-duplicates in {said['duplicate_groups']:,} groups{mixed}: winnow prune --duplicates"
        )
    results.print_quality(said["quality"])
    if said["verdicts"]:
        click.echo("Decided: " + ", ".join(f"{count:,} {verdict}" for verdict, count in said["verdicts"].items()))


def _rule(labels: str | None) -> str | None:
    return labels if labels in (None, "folder", "parent") else str(Path(labels).expanduser().resolve())


def _print_scan(found: ScanResult) -> None:
    click.echo(f"{found.images:,} pictures among {found.files:,} files, {found.read:,} of them read now.")
    if found.labels:
        tables.print_table(("label", "pictures"), [(label, f"{count:,}") for label, count in found.labels.items()])
    for count, what in (
        (found.unlabelled, "without a label"),
        (found.exact_duplicates, "copies of a picture that is there already"),
        (len(found.problems), "that cannot be used"),
    ):
        if count:
            click.echo(f"{count:,} {what}")
    results.print_quality(found.quality)
    for problem in found.problems[:20]:
        click.echo(f"  {console.printable(problem.path)}  {problem.code}: {problem.message}")
    if len(found.problems) > 20:
        click.echo(f"  … and {len(found.problems) - 20:,} more: --json lists them all")
    for warning in found.warnings:
        console.message(f"note: {warning}")
