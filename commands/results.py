"""What compare, train, tune, run and status print of their results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from winnow.commands.console import printable
from winnow.commands.tables import Column, print_table

# Column, key in the document of a head, digits after the point.
FURTHER_SCORES: tuple[tuple[Column, str, int], ...] = (
    (Column("macro F1", 124), "macro_f1", 3),
    (Column("accuracy", 94), "accuracy", 3),
    (Column("log loss", 124), "log_loss", 3),
    (Column("ECE", 100), "ece", 3),
    (Column("val F1"), "val_weighted_f1", 3),
    (Column("fit s"), "fit_seconds", 2),
    (Column("predict s", 124), "predict_seconds", 3),
)


def print_comparison(heads: Sequence[dict[str, Any]], data: dict[str, Any]) -> None:
    """The table of a comparison, the chosen head first."""
    columns: list[str | Column] = ["head", "weighted F1", "95% interval", "to chosen"]
    columns += [column for column, _, _ in FURTHER_SCORES]
    rows = []
    for head in heads:
        f1 = head["weighted_f1"]
        further = (f"{head[name]:.{digits}f}" for _, name, digits in FURTHER_SCORES)
        interval = f"{f1['low']:.3f}-{f1['high']:.3f}"
        rows.append((head["name"], f"{f1['mean']:.3f}", interval, _difference(head["versus_chosen"]), *further))
    splits = "1 split" if data["repeats"] == 1 else f"{data['repeats']} splits"
    dataset = f"{data['pictures']:,} pictures, {len(data['classes'])} classes, {splits}"
    print_table(columns, rows, title=f"Test scores: {dataset} ({data['split_rule']})", best=0)


def _difference(versus_chosen: dict[str, float] | None) -> str:
    """The difference to the chosen head, marked where it is not significant."""
    if versus_chosen is None:
        return "chosen"
    return f"{versus_chosen['difference']:+.3f}{'' if versus_chosen['p'] < 0.05 else ' n.s.'}"


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


def print_cleaning(effect: dict[str, Any]) -> None:
    """What the verdicts changed: a table on the same test images, and a sentence."""
    from winnow.heads.evaluation.cleaning_effect import CleaningEffect

    rows = []
    for head in effect["heads"]:
        test_as_found, test_as_decided = head["as_found"], head["as_decided"]
        scores = [f"{part[name]:.3f}" for part in (test_as_found, test_as_decided) for name in ("before", "after")]
        low, points, high = (f"{100 * test_as_found[name]:+.1f}" for name in ("low", "difference", "high"))
        rows.append((head["name"], *scores[:2], points, f"{low} to {high}", *scores[2:]))
    columns: list[str | Column] = ["trained on", "as found", "as decided", "points", "95% interval"]
    columns += [Column("test decided: found", 110), Column("decided", 110)]
    print_table(columns, rows, title="Weighted F1 on the test pictures as found, trained before and after the verdicts")
    click.echo(CleaningEffect.from_json(effect).describe())


def print_learning_curve(curve: dict[str, Any]) -> None:
    """Weighted F1 over the number of training images, and an estimate for twice as many."""
    from winnow.heads.evaluation.learning_curve import LearningCurve

    rows = []
    for size in curve["sizes"]:
        f1 = size["weighted_f1"]
        rows.append((f"{size['pictures']:,}", f"{f1['mean']:.3f}", f"{f1['low']:.3f}-{f1['high']:.3f}"))
    print_table(("pictures", "weighted F1", "95% interval"), rows, title=f"Trained on fewer pictures: {curve['head']}")
    click.echo(printable(LearningCurve.from_json(curve).describe()))


def print_status(summary: dict[str, Any]) -> None:
    """What is done on a folder, one line per stage."""
    scanned, scored = summary["scanned"], summary["scored"]
    since = ", ".join(f"{scanned[name]:,} {name}" for name in ("added", "changed", "removed") if scanned[name])
    click.echo(f"Scanned:  {scanned['pictures']:,} pictures{f'; since then {since}' if since else ''}")
    for table in summary["embedded"]:
        missing = f", {table['missing']:,} missing" if table["missing"] else ""
        click.echo(f"Embedded: {table['vectors']:,}{missing}: {printable(table['recipe'])}")
    stale = "; something has changed since" if scored["stale"] else ""
    click.echo(f"Scored:   {scored['pictures']:,} pictures{stale}")
    decided = ", ".join(f"{count:,} {verdict}" for verdict, count in summary["decided"].items())
    click.echo(f"Decided:  {decided or 'nothing yet'}")
    for run in summary["trained"]:
        f1, kind = run["weighted_f1"], f"{run['kind'].capitalize()}:"
        score = f"{f1['mean']:.3f} [{f1['low']:.3f}, {f1['high']:.3f}]"
        click.echo(f"{kind:9} {printable(run['head'])}, weighted F1 {score}: {printable(run['run'])}")
    sizes = ", ".join(f"{name} {size / 1e6:,.1f} MB" for name, size in summary["bytes"].items() if size > 50_000)
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
    from winnow.heads.evaluation.search import SearchResult

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
    click.echo(f"{result['head']} {SearchResult.from_json(result).describe()}")
    print_files(result)


def typed_settings(params: dict[str, Any]) -> list[str]:
    """Parameters of a head as they are typed: ["--set", "C=3.0", ...]."""
    return [word for name, value in params.items() for word in ("--set", f"{name}={value}")]
