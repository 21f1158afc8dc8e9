"""What compare, train, tune, run and status print of their results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from winnow.commands.console import printable
from winnow.commands.tables import Column, print_table


def print_comparison(heads: Sequence[dict[str, Any]], data: dict[str, Any]) -> None:
    """The table of a comparison, the chosen head first."""
    rows = []
    for head in heads:
        f1, versus = head["weighted_f1"], head["versus_chosen"]
        rows.append(
            (
                head["name"],
                f"{f1['mean']:.3f}",
                f"{f1['low']:.3f}-{f1['high']:.3f}",
                _difference(versus),
                f"{head['macro_f1']:.3f}",
                f"{head['accuracy']:.3f}",
                f"{head['log_loss']:.3f}",
                f"{head['ece']:.3f}",
                f"{head['val_weighted_f1']:.3f}",
                f"{head['fit_seconds']:.2f}",
                f"{head['predict_seconds']:.3f}",
            )
        )
    columns: list[str | Column] = ["head", "weighted F1", "95% interval", "to chosen"]
    columns += [
        Column("macro F1", 124),
        Column("accuracy", 94),
        Column("log loss", 124),
        Column("ECE", 100),
        "val F1",
        "fit s",
        Column("predict s", 124),
    ]
    times = data["repeats"]
    on = f"{data['pictures']:,} pictures, {len(data['classes'])} classes, {times} split{'s' if times > 1 else ''}"
    print_table(columns, rows, title=f"Test scores: {on} ({data['split_rule']})", best=0)


def _difference(versus: dict[str, float] | None) -> str:
    if versus is None:
        return "chosen"
    return f"{versus['difference']:+.3f}{'' if versus['p'] < 0.05 else ' n.s.'}"


def print_headline(result: dict[str, Any]) -> None:
    """The head that was chosen, its score, and where the report is."""
    best = result["heads"][0]
    f1 = best["weighted_f1"]
    name = printable(best["name"])
    click.echo(
        f"{name}: weighted F1 {f1['mean']:.3f}, 95% interval {f1['low']:.3f} to {f1['high']:.3f}, on test pictures"
    )
    print_files(result)


def print_files(result: dict[str, Any]) -> None:
    """Where the model and the report of a run are."""
    if model := result.get("model"):
        click.echo(f"Model:  {printable(str(model))}")
    click.echo(f"Report: {printable(str(result['report']))}")


def print_cleaning(said: dict[str, Any]) -> None:
    """What the verdicts bought: a table on the same test pictures, and a sentence."""
    from winnow.heads.evaluation.cleaning_effect import in_words

    rows = []
    for head in said["heads"]:
        row, beside = head["as_found"], head["as_decided"]
        scores = [f"{part[name]:.3f}" for part in (row, beside) for name in ("before", "after")]
        low, points, high = (f"{100 * row[name]:+.1f}" for name in ("low", "difference", "high"))
        rows.append((head["name"], *scores[:2], points, f"{low} to {high}", *scores[2:]))
    columns: list[str | Column] = ["trained on", "as found", "as decided", "points", "95% interval"]
    columns += [Column("test decided: found", 110), Column("decided", 110)]
    print_table(columns, rows, title="Weighted F1 on the test pictures as found, trained before and after the verdicts")
    click.echo(in_words(said))


def print_learning_curve(said: dict[str, Any]) -> None:
    """Weighted F1 over the number of training pictures, and a sentence of what twice as many would bring."""
    from winnow.heads.evaluation.learning_curve import in_words

    rows = []
    for size in said["sizes"]:
        f1 = size["weighted_f1"]
        rows.append((f"{size['pictures']:,}", f"{f1['mean']:.3f}", f"{f1['low']:.3f}-{f1['high']:.3f}"))
    print_table(("pictures", "weighted F1", "95% interval"), rows, title=f"Trained on fewer pictures: {said['head']}")
    click.echo(printable(in_words(said)))


def print_status(said: dict[str, Any]) -> None:
    """How far the work on a folder is, a line a room."""
    scanned, scored = said["scanned"], said["scored"]
    since = ", ".join(f"{scanned[name]:,} {name}" for name in ("added", "changed", "removed") if scanned[name])
    click.echo(f"Scanned:  {scanned['pictures']:,} pictures{f'; since then {since}' if since else ''}")
    for table in said["embedded"]:
        lacks = f", {table['missing']:,} missing" if table["missing"] else ""
        click.echo(f"Embedded: {table['vectors']:,}{lacks}: {printable(table['recipe'])}")
    click.echo(f"Scored:   {scored['pictures']:,} pictures{'; something has changed since' if scored['stale'] else ''}")
    decided = ", ".join(f"{count:,} {verdict}" for verdict, count in said["decided"].items())
    click.echo(f"Decided:  {decided or 'nothing yet'}")
    for run in said["trained"]:
        f1 = run["weighted_f1"]
        score = f"{f1['mean']:.3f} [{f1['low']:.3f}, {f1['high']:.3f}]"
        click.echo(
            f"{run['kind'].capitalize() + ':':9} {printable(run['head'])}, weighted F1 {score}: {printable(run['run'])}"
        )
    sizes = ", ".join(f"{name} {size / 1e6:,.1f} MB" for name, size in said["bytes"].items() if size > 50_000)
    click.echo(f"On disk:  {sizes}")


def print_run(result: dict[str, Any]) -> None:
    """The result of run: the comparison, the model, and the seconds of each stage."""
    print_comparison(result["compare"]["heads"], result["compare"]["data"])
    model = (result["export"] or result["train"])["model"]
    print_headline(result["compare"] | {"report": result["report"], "model": model})
    stages = ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in result["seconds"].items())
    click.echo(f"Time: {stages}")


def print_comparison_run(result: dict[str, Any]) -> None:
    """The result of compare or train: the table, the chosen head, and what was measured besides."""
    if len(result["heads"]) > 1:
        print_comparison(result["heads"], result["data"])
    print_headline(result)
    if result.get("cleaning"):
        print_cleaning(result["cleaning"])
    if result.get("learning_curve"):
        print_learning_curve(result["learning_curve"])


def print_search(result: dict[str, Any]) -> None:
    """The result of tune: the settings chosen on each split, what they are worth, and where the report is."""
    from winnow.heads.evaluation.search import in_words

    rows = [
        (
            " ".join(typed_settings(choice["params"])[1::2]) or "the default",
            f"{choice['weighted_f1']:.3f}",
            f"{choice['default']:.3f}",
        )
        for choice in result["chosen_on_each_split"]
    ]
    click.echo(f"The best of {result['searched']:,} settings on each split, chosen on its training pictures alone:")
    print_table(("settings", "test weighted F1", "default settings"), rows, best=0)
    click.echo(f"{result['head']} {in_words(result)}")
    print_files(result)


def typed_settings(params: dict[str, Any]) -> list[str]:
    """Parameters of a head as they are typed: ["--set", "C=3.0", ...]."""
    return [word for name, value in params.items() for word in ("--set", f"{name}={value}")]
