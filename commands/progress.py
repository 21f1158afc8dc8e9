"""Progress on stderr: a bar on a terminal, a line every few seconds elsewhere."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from winnow.commands.console import message
from winnow.commands.remedies import with_remedy
from winnow.common.progress import OnProgress, Reporter

LINE_SECONDS = 5.0  # between two lines of progress where there is no terminal to draw a bar on


def reporter() -> Reporter:
    """Reporter for this terminal, with the command as it was typed."""
    return Reporter(show_progress, message, shlex.join(["winnow", *sys.argv[1:]]), with_remedy)


@contextmanager
def show_progress(description: str) -> Iterator[OnProgress]:
    """Give a function to call with (done, total), which shows rate and time left."""
    if sys.stderr.isatty():
        with _bar(description) as on_progress:
            yield on_progress
    else:
        yield _lines(description)


@contextmanager
def _bar(description: str) -> Iterator[OnProgress]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Any) -> Text:
            return Text(f"{task.finished_speed or task.speed or 0:,.0f}/s" if task.completed > 20 else "")

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Rate(), TimeRemainingColumn())
    bar = Progress(*columns, console=Console(stderr=True), transient=True)
    tasks: list[Any] = []

    def on_progress(done: int, total: int) -> None:
        if not tasks:  # bar and clock start with the work: a question asked before it would be garbled by a bar
            bar.start()
            tasks.append(bar.add_task(description, total=total))
        bar.update(tasks[0], completed=done, total=total)

    try:
        yield on_progress
    finally:
        bar.stop()


def _lines(description: str) -> OnProgress:
    start = last = 0.0
    first_done = 0

    def on_progress(done: int, total: int) -> None:
        nonlocal start, last, first_done
        now = time.monotonic()
        if not start:  # the clock starts with the work, not with what comes before it
            start, last, first_done = now, now, done
        if now - last > LINE_SECONDS and first_done < done < total:
            last = now
            rate = (done - first_done) / (now - start)
            message(f"{description}: {done} of {total}, {rate:.3g}/s, {(total - done) / rate:.0f} s left")

    return on_progress
