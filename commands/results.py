"""What compare, train, tune, run and status print of their results."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from winnow.commands.console import printable
from winnow.commands.tables import Column, print_table

if TYPE_CHECKING:
    from winnow.heads.evaluation.cleaning_effect import CleaningEffect
    from winnow.heads.evaluation.learning_curve import LearningCurve
    from winnow.heads.evaluation.metrics import PairedDifference
    from winnow.workflow.pipeline import PipelineResult
    from winnow.workflow.runs import Run
    from winnow.workflow.status import Status
    from winnow.workflow.training import TunedRun

# Column, field of HeadScores, digits after the point.
FURTHER_SCORES: tuple[tuple[Column, str, int], ...] = (
    (Column("macro F1", 124), "macro_f1", 3),
    (Column("accuracy", 94), "accuracy", 3),
    (Column("log loss", 124), "log_loss", 3),
    (Column("ECE", 100), "ece", 3),
    (Column("val F1"), "val_weighted_f1", 3),
    (Column("fit s"), "fit_seconds", 2),
    (Column("predict s", 124), "predict_seconds", 3),
)


def print_comparison(run: Run) -> None:
    """The table of a comparison, the chosen head first."""
    columns: list[str | Column] = ["head", "weighted F1", "95% interval", "to chosen"]
    columns += [column for column, _, _ in FURTHER_SCORES]
    rows = []
    for head in run.scores:
        f1 = head.weighted_f1
        further = (f"{getattr(head, name):.{digits}f}" for _, name, digits in FURTHER_SCORES)
        interval = f"{f1.low:.3f}-{f1.high:.3f}"
        rows.append((head.name, f"{f1.mean:.3f}", interval, _difference(head.versus_chosen), *further))
    data = run.record.data
    splits = "1 split" if data.repeats == 1 else f"{data.repeats} splits"
    dataset = f"{data.pictures:,} pictures, {len(data.classes)} classes, {splits}"
    print_table(columns, rows, title=f"Test scores: {dataset} ({data.split_rule})", best=0)


def _difference(versus_chosen: PairedDifference | None) -> str:
    """The difference to the chosen head, marked where it is not significant."""
    if versus_chosen is None:
        return "chosen"
    return f"{versus_chosen.difference:+.3f}{'' if versus_chosen.p < 0.05 else ' n.s.'}"


def print_headline(run: Run, model: Path | None) -> None:
    """The head that was chosen, its score, and where the model and the report are."""
    best = run.scores[0]
    f1, name = best.weighted_f1, printable(best.name)
    click.echo(f"{name}: weighted F1 {f1.mean:.3f}, 95% interval {f1.low:.3f} to {f1.high:.3f}, on test pictures")
    print_files(run, model)


def print_files(run: Run, model: Path | None) -> None:
    """Where the model and the report of a run are."""
    if model:
        click.echo(f"Model:  {printable(str(model))}")
    click.echo(f"Report: {printable(str(run.report))}")


def print_cleaning(effect: CleaningEffect) -> None:
    """What the verdicts changed: a table on the same test images, and a sentence."""
    rows = []
    for head in effect.heads:
        gain = head.as_found.difference
        points = [f"{100 * value:+.1f}" for value in (gain.difference, gain.low, gain.high)]
        parts = (head.as_found, head.as_decided)
        scores = [f"{value:.3f}" for part in parts for value in (part.before, part.after)]
        rows.append((head.name, *scores[:2], points[0], f"{points[1]} to {points[2]}", *scores[2:]))
    columns: list[str | Column] = ["head", "F1 as found", "F1 as decided", "points", "95% interval"]
    columns += [Column("test decided: found", 110), Column("decided", 110)]
    print_table(columns, rows, title="Weighted F1 on the test pictures as found, trained before and after the verdicts")
    click.echo(effect.describe())


def print_learning_curve(curve: LearningCurve) -> None:
    """Weighted F1 over the number of training images, and an estimate for twice as many."""
    rows = []
    for point in curve.points:
        f1 = point.weighted_f1
        rows.append((f"{point.pictures:,}", f"{f1.mean:.3f}", f"{f1.low:.3f}-{f1.high:.3f}"))
    print_table(("pictures", "weighted F1", "95% interval"), rows, title=f"Trained on fewer pictures: {curve.head}")
    click.echo(printable(curve.describe()))


def print_status(status: Status) -> None:
    """What is done on a folder, one line per stage."""
    scanned, scored = status.scanned, status.scored
    changes = {"added": scanned.added, "changed": scanned.changed, "removed": scanned.removed}
    since = ", ".join(f"{count:,} {name}" for name, count in changes.items() if count)
    click.echo(f"Scanned:  {scanned.pictures:,} pictures{f'; since then {since}' if since else ''}")
    for table in status.embedded:
        missing = f", {table.missing:,} missing" if table.missing else ""
        click.echo(f"Embedded: {table.vectors:,}{missing}: {printable(table.recipe)}")
    stale = "; something has changed since" if scored.stale else ""
    click.echo(f"Scored:   {scored.pictures:,} pictures{stale}")
    decided = ", ".join(f"{count:,} {verdict}" for verdict, count in status.decided.items())
    click.echo(f"Decided:  {decided or 'nothing yet'}")
    for run in status.trained:
        f1, kind = run.weighted_f1, f"{run.kind.capitalize()}:"
        score = f"{f1['mean']:.3f} [{f1['low']:.3f}, {f1['high']:.3f}]"
        click.echo(f"{kind:9} {printable(run.head)}, weighted F1 {score}: {printable(run.run)}")
    sizes = ", ".join(f"{name} {size / 1e6:,.1f} MB" for name, size in status.bytes.items() if size > 50_000)
    click.echo(f"On disk:  {sizes}")


def print_pipeline(result: PipelineResult) -> None:
    """The result of run: the comparison, the model, and the seconds of each stage."""
    from winnow.commands.output.export_summary import describe_export

    print_comparison(result.run)
    print_headline(result.run, result.export.model if result.export else result.run.model)
    if result.export:
        click.echo(describe_export(result.export))
    stages = ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in result.seconds.items())
    click.echo(f"Time: {stages}")


def print_run(run: Run) -> None:
    """The result of compare or train: the table, the chosen head, and what was measured besides."""
    if len(run.scores) > 1:
        print_comparison(run)
    print_headline(run, run.model)
    outcome = run.record.outcome
    if outcome.cleaning:
        print_cleaning(outcome.cleaning)
    if outcome.learning_curve:
        print_learning_curve(outcome.learning_curve)


def print_search(result: TunedRun) -> None:
    """The result of tune: the settings chosen on each split, what they are worth, and where the report is."""
    search = result.search
    rows = [
        (
            " ".join(typed_settings(choice.params)[1::2]) or "the default",
            f"{choice.weighted_f1:.3f}",
            f"{choice.default:.3f}",
        )
        for choice in search.choices
    ]
    click.echo(f"The best of {search.searched:,} settings on each split, chosen on its training pictures alone:")
    print_table(("settings", "test weighted F1", "default settings"), rows, best=0)
    click.echo(f"{search.head} {search.describe()}")
    print_files(result.run, result.run.model)


def typed_settings(params: dict[str, Any]) -> list[str]:
    """Parameters of a head as they are typed: ["--set", "C=3.0", ...]."""
    return [word for name, value in params.items() for word in ("--set", f"{name}={value}")]
