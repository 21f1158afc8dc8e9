"""Process predictions as they arrive: count them, collect the uncertain ones, sort pictures into folders."""

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
COUNTER_SECONDS = 0.5  # between two updates of the counter


@dataclass
class PredictionCounts:
    """How many pictures were predicted, failed, and are unfamiliar (below `threshold`), and in what time."""

    threshold: float
    pictures: int = 0
    failed: int = 0
    unfamiliar: int = 0
    start: float = field(default_factory=time.monotonic)
    seconds: float = 0.0

    def add(self, prediction: Prediction) -> None:
        """Count one prediction."""
        self.pictures += 1
        self.failed += prediction.problem is not None
        self.unfamiliar += bool(prediction.unfamiliar)
        self.seconds = time.monotonic() - self.start

    def to_json(self) -> dict[str, Any]:
        """As `predict --json` prints it."""
        rate = round(self.pictures / self.seconds, 1) if self.seconds else None
        return {
            "pictures": self.pictures,
            "failed": self.failed,
            "unfamiliar": self.unfamiliar,
            "familiarity_threshold": self.threshold,
            "images_per_second": rate,
        }

    def describe(self, complete: bool) -> str:
        """One line for the terminal. Parameters: `complete`, False when prediction was interrupted."""
        pictures = "picture" if self.pictures == 1 else "pictures"
        rate = f" at {self.pictures / self.seconds:,.0f} per second" if self.seconds else ""
        failed = f", {self.failed:,} could not be read" if self.failed else ""
        unfamiliar = f"{self.unfamiliar:,} unfamiliar (below {self.threshold:g})"
        return f"{'' if complete else 'Interrupted: '}{self.pictures:,} {pictures}{rate}: {unfamiliar}{failed}."


@dataclass
class UncertainPictures:
    """The pictures that a person should review: unfamiliar, or with a label less probable than `below`.

    rows : resolved path -> the picture and its prediction.
    """

    below: float
    rows: dict[str, UncertainPicture] = field(default_factory=dict)

    def add(self, prediction: Prediction) -> None:
        """Keep a prediction if it is uncertain; links to one file count once."""
        label, probability, familiarity = prediction.label, prediction.probability, prediction.familiarity
        if label is None or probability is None or familiarity is None:
            return
        if prediction.unfamiliar or not probability >= self.below:
            picture = UncertainPicture(prediction.file, label, probability, familiarity)
            self.rows.setdefault(os.path.realpath(prediction.file), picture)

    def to_json(self) -> dict[str, Any]:
        """The key `doubtful` of `predict --json`, before anything is collected in a folder."""
        return {"pictures": len(self.rows), "below": self.below, "folder": None}


def sort_sink(writer: ImageFolderWriter) -> Sink:
    """A sink that puts each picture, once, into the folder of its label."""
    seen: set[str] = set()

    def put(prediction: Prediction) -> None:
        if prediction.label is None or (file := os.path.realpath(prediction.file)) in seen:
            return
        seen.add(file)
        try:
            writer.add(prediction.file, None if prediction.unfamiliar else prediction.label)
        except PictureError as error:
            console.message(f"{prediction.path} is not in {writer.out}: {error}")

    return put


def feed(predictions: Generator[Prediction, None, None], sinks: Sequence[Sink], counts: PredictionCounts) -> bool:
    """Pass each prediction to every sink. Returns: False when Ctrl-C interrupted it."""
    show_count = _counter()
    try:
        with closing(predictions):
            for prediction in predictions:
                for sink in sinks:
                    sink(prediction)
                show_count(counts.pictures)
    except KeyboardInterrupt:
        return False
    finally:
        show_count(0)
    return True


def _counter() -> Callable[[int], None]:
    """A function that shows how many are done, on a terminal whose output goes elsewhere; 0 clears the line."""
    last = 0.0
    is_shown = sys.stderr.isatty() and not sys.stdout.isatty()

    def show_count(done: int) -> None:
        nonlocal last
        if is_shown and (not done or time.monotonic() - last > COUNTER_SECONDS):
            last = time.monotonic()
            click.echo(f"\r{done:,} pictures" if done else "\r\x1b[K", nl=False, err=True)

    return show_count
