"""What scan, score, prune and undo print of their results."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from winnow.commands import console, tables
from winnow.common.atomic_write import atomic_write
from winnow.common.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

    from winnow.curate.journal import Line
    from winnow.curate.manifest import ScanResult
    from winnow.curate.noise.score_summary import Suspect
    from winnow.workflow.scoring import PrunePlan, ScoreResult

PRINTED = 20  # rows of a long list that are printed
PRINTED_LABEL_ERRORS = 10


def print_scan(result: ScanResult) -> None:
    """What a scan found: labels, copies, poor images, problems."""
    click.echo(f"{result.images:,} pictures among {result.files:,} files, {result.read:,} of them read now.")
    if result.labels:
        tables.print_table(("label", "pictures"), [(label, f"{count:,}") for label, count in result.labels.items()])
    for count, description in (
        (result.unlabelled, "without a label"),
        (result.exact_duplicates, "copies of a picture that is there already"),
        (len(result.problems), "that cannot be used"),
    ):
        if count:
            click.echo(f"{count:,} {description}")
    print_quality(result.quality)
    for problem in result.problems[:PRINTED]:
        click.echo(f"  {console.printable(problem.path)}  {problem.code}: {problem.message}")
    _print_rest(len(result.problems))
    for warning in result.warnings:
        console.message(f"note: {warning}")


def print_quality(counts: dict[str, int]) -> None:
    """How many images break each rule of quality, and what the rule is."""
    from winnow.curate.noise.quality import RULES

    for rule in RULES:
        if count := counts.get(rule.name):
            click.echo(f"{count:,} {rule.name.replace('_', ' ')}: {rule.description}")


def print_scores(result: ScoreResult) -> None:
    """The images to look at next, the likely label errors, and how many duplicates and poor images there are."""
    summary, batch = result.summary, result.summary.review_batch
    row_by_path = {row["path"]: row for row in result.table.to_pylist()}
    if batch.paths:
        rows = [row_by_path[path] for path in batch.paths]
        tables.print_table(
            ("look at these next", "label", "off-topic"),
            [(row["path"], row["label"] or "", f"{row['off_topic']:.3f}") for row in rows],
        )
    click.echo(batch.outlook.summary_sentence)
    _print_label_errors(summary.suspects)
    if count := summary.near_duplicates:
        groups, mixed_groups = summary.duplicate_groups, summary.mixed_groups
        mixed = f", {mixed_groups:,} of them under several labels" if mixed_groups else ""
        click.echo(f"{count:,} near-duplicates in {groups:,} groups{mixed}: winnow prune --duplicates")
    print_quality(summary.quality)
    if summary.verdicts:
        click.echo("Decided: " + ", ".join(f"{count:,} {verdict}" for verdict, count in summary.verdicts.items()))


def _print_label_errors(suspects: Sequence[Suspect]) -> None:
    likely = sorted((one for one in suspects if one.label_suspect), key=lambda one: -(one.label_suspect or 0.0))
    if likely:
        tables.print_table(
            ("perhaps mislabelled", "label", "suggested label", "score"),
            [
                (one.path, one.label or "", one.suggested_label or "", f"{one.label_suspect:.3f}")
                for one in likely[:PRINTED_LABEL_ERRORS]
            ],
        )


def write_csv(file: Path, table: pa.Table) -> None:
    """Write all rows as CSV, completely or not at all; an existing special file, such as a pipe, is written into."""
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
        raise InputError(f"{file}: {error.strerror}", remedy="another-file") from None


def print_plan(plan: PrunePlan, recorded: bool) -> None:
    """The images that the rules drop."""
    drops = plan.drops
    for decision in drops[:PRINTED]:
        click.echo(f"  {console.printable(decision.path)}  {decision.reason}")
    _print_rest(len(drops))
    click.echo(f"{len(drops):,} {'dropped' if recorded else 'would be dropped'}.")
    if mixed := plan.in_mixed_groups:
        console.message(f"note: {mixed} of the duplicates have copies under other labels: `winnow review` shows them")
    if drops:
        console.message("To take it back: winnow undo" if recorded else "The same command with --yes records it.")


def print_undone(lines: Sequence[Line]) -> None:
    """The verdicts that hold again."""
    for line in lines[:PRINTED]:
        verdict = "undecided" if line.verdict == "undo" else line.verdict
        label = f" {console.printable(line.label)}" if line.label else ""
        click.echo(f"  {console.printable(line.path)}  {verdict}{label} again")
    noun = "verdict" if len(lines) == 1 else "verdicts"
    click.echo(f"{len(lines):,} {noun} taken back." if lines else "There is nothing to take back.")


def _print_rest(count: int) -> None:
    if count > PRINTED:
        click.echo(f"  … and {count - PRINTED:,} more: --json lists them all")
