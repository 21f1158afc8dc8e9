"""What the commands show: progress and messages on stderr, results on stdout, one JSON document with --json."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from winnow.common.progress import Reporter
    from winnow.curate.workspace import Workspace

LINE_SECONDS = 5.0  # between two lines of progress where there is no terminal to draw a bar on


def message(text: str) -> None:
    """A message for the person, on stderr; what a name in it could tell the terminal to do is made visible instead."""
    click.echo("\n".join(map(shown, text.split("\n"))), err=True)


def asked(question: str) -> bool:
    """What the person answers, on a terminal; no, where nobody can be asked."""
    return sys.stdin.isatty() and sys.stderr.isatty() and click.confirm(question, err=True)


def print_json(value: Any) -> None:
    """The one JSON document of a command, on stdout, in UTF-8. Raises: OSError when not all of it can be written."""
    from winnow.common.json_files import to_json

    sys.stdout.flush()
    content, done = f"{to_json(value)}\n".encode(), 0
    while done < len(content):  # a stream without buffer takes as much as there is room for
        done += sys.stdout.buffer.write(memoryview(content)[done:])
    sys.stdout.buffer.flush()


@contextmanager
def progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """Give a function that is told (done, total): a bar with rate and time left, or a line every few seconds."""
    if sys.stderr.isatty():
        with _bar(what) as told:
            yield told
    else:
        yield _lines(what)


@contextmanager
def _bar(what: str) -> Iterator[Callable[[int, int], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Any) -> Text:
            return Text(f"{task.finished_speed or task.speed or 0:,.0f}/s" if task.completed > 20 else "")

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Rate(), TimeRemainingColumn())
    bar = Progress(*columns, console=Console(stderr=True), transient=True)
    tasks: list[Any] = []

    def told(done: int, total: int) -> None:
        if not tasks:  # bar and clock start with the work: before it something may be asked, which a bar would garble
            bar.start()
            tasks.append(bar.add_task(what, total=total))
        bar.update(tasks[0], completed=done, total=total)

    try:
        yield told
    finally:
        bar.stop()


def _lines(what: str) -> Callable[[int, int], None]:
    start = last = 0.0
    before = 0

    def told(done: int, total: int) -> None:
        nonlocal start, last, before
        now = time.monotonic()
        if not start:  # the clock starts with the work, not with what comes before it
            start, last, before = now, now, done
        if now - last > LINE_SECONDS and before < done < total:
            last = now
            rate = (done - before) / (now - start)
            message(f"{what}: {done} of {total}, {rate:.3g}/s, {(total - done) / rate:.0f} s left")

    return told


def table(
    columns: Sequence[str | tuple[str, int]], rows: Sequence[Sequence[str]], title: str = "", best: int | None = None
) -> None:
    """A table on stdout: the first column left, the others right; the row `best` is marked with a star.

    Parameters: `columns`, names, or (name, characters that the terminal must be wide to show the column at all).
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(width=None if sys.stdout.isatty() else 140, highlight=False)
    named = [(column, 0) if isinstance(column, str) else column for column in columns]
    wanted = [number for number, (_, least) in enumerate(named) if console.width >= least]
    drawn = Table(title=Text(title) if title else None, title_justify="left", box=box.SIMPLE_HEAD, title_style="bold")
    widths = [max(len(row[number]) for row in [[name for name, _ in named], *rows]) for number in wanted[1:]]
    rest = console.width - sum(width + 3 for width in widths) - 4  # what the frame leaves for the first column
    drawn.add_column(named[0][0], no_wrap=True, overflow="ellipsis", max_width=max(rest, 8))
    for number, width in zip(wanted[1:], widths, strict=True):
        drawn.add_column(named[number][0], no_wrap=True, justify="right", min_width=width)
    for index, row in enumerate(rows):
        mark = "" if best is None else "* " if index == best else "  "
        cells = [Text((mark if number == 0 else "") + shown(row[number])) for number in wanted]
        drawn.add_row(*cells, style="bold green" if index == best else None)
    console.print(drawn)


def shown(text: str) -> str:
    """A name on one line, without the control characters that a terminal would obey."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def comparison(heads: Sequence[dict[str, Any]], data: dict[str, Any]) -> None:
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
    columns: list[str | tuple[str, int]] = ["head", "weighted F1", "95% interval", "to chosen"]
    columns += [
        ("macro F1", 124),
        ("accuracy", 94),
        ("log loss", 124),
        ("ECE", 100),
        "val F1",
        "fit s",
        ("predict s", 124),
    ]
    times = data["repeats"]
    on = f"{data['pictures']:,} pictures, {len(data['classes'])} classes, {times} split{'s' if times > 1 else ''}"
    table(columns, rows, title=f"Test scores: {on} ({data['split_rule']})", best=0)


def _difference(versus: dict[str, float] | None) -> str:
    if versus is None:
        return "chosen"
    return f"{versus['difference']:+.3f}{'' if versus['p'] < 0.05 else ' n.s.'}"


def headline(result: dict[str, Any]) -> None:
    """The head that was chosen, its score, and where the report is."""
    best = result["heads"][0]
    f1 = best["weighted_f1"]
    name = shown(best["name"])
    click.echo(
        f"{name}: weighted F1 {f1['mean']:.3f}, 95% interval {f1['low']:.3f} to {f1['high']:.3f}, on test pictures"
    )
    files(result)


def files(result: dict[str, Any]) -> None:
    """Where the model and the report of a run are."""
    if model := result.get("model"):
        click.echo(f"Model:  {shown(str(model))}")
    click.echo(f"Report: {shown(str(result['report']))}")


def quality(counts: dict[str, int]) -> None:
    """How many pictures break each rule of quality, and what the rule is."""
    from winnow.curate.noise.quality import RULES

    for rule in RULES:
        if count := counts.get(rule.name):
            click.echo(f"{count:,} {rule.name.replace('_', ' ')}: {rule.words}")


def cleaning(said: dict[str, Any]) -> None:
    """What the verdicts bought: a table on the same test pictures, and a sentence."""
    from winnow.heads.evaluation.cleaning_effect import in_words

    rows = []
    for head in said["heads"]:
        row, beside = head["as_found"], head["as_decided"]
        scores = [f"{part[name]:.3f}" for part in (row, beside) for name in ("before", "after")]
        low, points, high = (f"{100 * row[name]:+.1f}" for name in ("low", "difference", "high"))
        rows.append((head["name"], *scores[:2], points, f"{low} to {high}", *scores[2:]))
    columns: list[str | tuple[str, int]] = ["trained on", "as found", "as decided", "points", "95% interval"]
    columns += [("test decided: found", 110), ("decided", 110)]
    table(columns, rows, title="Weighted F1 on the test pictures as found, trained before and after the verdicts")
    click.echo(in_words(said))


def learning_curve(said: dict[str, Any]) -> None:
    """Weighted F1 over the number of training pictures, and a sentence of what twice as many would bring."""
    from winnow.heads.evaluation.learning_curve import in_words

    rows = []
    for size in said["sizes"]:
        f1 = size["weighted_f1"]
        rows.append((f"{size['pictures']:,}", f"{f1['mean']:.3f}", f"{f1['low']:.3f}-{f1['high']:.3f}"))
    table(("pictures", "weighted F1", "95% interval"), rows, title=f"Trained on fewer pictures: {said['head']}")
    click.echo(shown(in_words(said)))


def status(said: dict[str, Any]) -> None:
    """How far the work on a folder is, a line a room."""
    scanned, scored = said["scanned"], said["scored"]
    since = ", ".join(f"{scanned[name]:,} {name}" for name in ("added", "changed", "removed") if scanned[name])
    click.echo(f"Scanned:  {scanned['pictures']:,} pictures{f'; since then {since}' if since else ''}")
    for table in said["embedded"]:
        lacks = f", {table['missing']:,} missing" if table["missing"] else ""
        click.echo(f"Embedded: {table['vectors']:,}{lacks}: {shown(table['recipe'])}")
    click.echo(f"Scored:   {scored['pictures']:,} pictures{'; something has changed since' if scored['stale'] else ''}")
    decided = ", ".join(f"{count:,} {verdict}" for verdict, count in said["decided"].items())
    click.echo(f"Decided:  {decided or 'nothing yet'}")
    for run in said["trained"]:
        f1 = run["weighted_f1"]
        score = f"{f1['mean']:.3f} [{f1['low']:.3f}, {f1['high']:.3f}]"
        click.echo(f"{run['kind'].capitalize() + ':':9} {shown(run['head'])}, weighted F1 {score}: {shown(run['run'])}")
    sizes = ", ".join(f"{name} {size / 1e6:,.1f} MB" for name, size in said["bytes"].items() if size > 50_000)
    click.echo(f"On disk:  {sizes}")


def opened(images: Path | None, workspace: Path | None) -> Workspace:
    """The workspace that a command is about, which is told. Raises: InputError."""
    from winnow.curate.workspace import find_workspace

    place = find_workspace(images, workspace)
    message(f"Pictures: {shown(str(place.images))}   Workspace: {shown(str(place.folder))}")
    return place


def print_next(command: str, images: Path | None, workspace: Path | None) -> None:
    """The command that a person would type next, as this one was typed."""
    words = ["winnow", command]
    if images is not None:
        words.append(f"./{images}" if str(images).startswith("-") else str(images))
    if workspace is not None:
        words += ["--workspace", str(workspace)]
    message(f"Next: {shlex.join(words)}")


def reporter() -> Reporter:
    """Who shows progress and messages here, and how this command was typed."""
    from winnow.common.progress import Reporter

    return Reporter(progress, message, shlex.join(["winnow", *sys.argv[1:]]))
