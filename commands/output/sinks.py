"""What is done with predictions as they come: counted, gathered when they are doubtful, sorted into folders."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import click

from winnow.commands import console
from winnow.curate.export.collect import UncertainPicture
from winnow.curate.export.image_folder import ImageFolderWriter
from winnow.deploy.inference.predict import Prediction
from winnow.embed.images import PictureError

Sink = Callable[[Prediction], object]
TELL_SECONDS = 0.5


@dataclass
class Count:
    """How many pictures there were, and how they came out."""

    threshold: float
    pictures: int = 0
    failed: int = 0
    unfamiliar: int = 0
    start: float = field(default_factory=time.monotonic)
    seconds: float = 0.0

    def add(self, found: Prediction) -> None:
        """Count one."""
        self.pictures += 1
        self.failed += found.problem is not None
        self.unfamiliar += bool(found.unfamiliar)
        self.seconds = time.monotonic() - self.start

    def document(self) -> dict[str, Any]:
        """As `predict --json` prints it."""
        rate = round(self.pictures / self.seconds, 1) if self.seconds else None
        return {
            "pictures": self.pictures,
            "failed": self.failed,
            "unfamiliar": self.unfamiliar,
            "familiarity_threshold": self.threshold,
            "images_per_second": rate,
        }

    def in_words(self, whole: bool) -> str:
        """One line for the person. Parameters: `whole`, whether nothing was interrupted."""
        many = "picture" if self.pictures == 1 else "pictures"
        rate = f" at {self.pictures / self.seconds:,.0f} a second" if self.seconds else ""
        failed = f", {self.failed:,} could not be read" if self.failed else ""
        unfamiliar = f"{self.unfamiliar:,} unfamiliar (below {self.threshold:g})"
        return f"{'' if whole else 'Interrupted: '}{self.pictures:,} {many}{rate}: {unfamiliar}{failed}."


@dataclass
class Doubtful:
    """The pictures that a person should look at: unfamiliar, or of a label that is not probable."""

    below: float
    rows: dict[str, UncertainPicture] = field(default_factory=dict)  # by the resolved path

    def add(self, found: Prediction) -> None:
        """Keep one if it is doubtful; the same file once, by whatever links it is met."""
        label, probability, familiarity = found.label, found.probability, found.familiarity
        if label is None or probability is None or familiarity is None:
            return
        if found.unfamiliar or not probability >= self.below:
            self.rows.setdefault(
                os.path.realpath(found.file), UncertainPicture(found.file, label, probability, familiarity)
            )

    def document(self) -> dict[str, Any]:
        """As `predict --json` prints it, before anything is gathered in a folder."""
        return {"pictures": len(self.rows), "below": self.below, "folder": None}


def sorting(sorter: ImageFolderWriter) -> Sink:
    """Puts each picture, once, into the folder of its label."""
    seen: set[str] = set()

    def put(found: Prediction) -> None:
        if found.label is None or (file := os.path.realpath(found.file)) in seen:
            return
        seen.add(file)
        try:
            sorter.add(found.file, None if found.unfamiliar else found.label)
        except PictureError as error:
            console.message(f"{found.path} is not in {sorter.out}: {error}")

    return put


def feed(stream: Generator[Prediction, None, None], sinks: Sequence[Sink], count: Count) -> bool:
    """Give each prediction to every sink as it comes. Returns: whether all came, and nobody pressed Ctrl-C."""
    tell = _counter()
    try:
        with closing(stream):
            for found in stream:
                for sink in sinks:
                    sink(found)
                tell(count.pictures)
    except KeyboardInterrupt:
        return False
    finally:
        tell(0)
    return True


def _counter() -> Callable[[int], None]:
    """Shows how many are done on a terminal that shows nothing else; 0 wipes that away."""
    last = 0.0
    shown = sys.stderr.isatty() and not sys.stdout.isatty()

    def tell(done: int) -> None:
        nonlocal last
        if shown and (not done or time.monotonic() - last > TELL_SECONDS):
            last = time.monotonic()
            click.echo(f"\r{done:,} pictures" if done else "\r\x1b[K", nl=False, err=True)

    return tell
