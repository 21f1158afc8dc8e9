"""Predict pictures: find the files that paths mean, and stream a prediction for each."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from winnow.common.errors import InputError
from winnow.common.paths import from_text, to_text
from winnow.common.threads import WeightedSemaphore
from winnow.curate.decisions import parse_paths
from winnow.curate.image_file import is_picture
from winnow.curate.walk import walk
from winnow.embed import images, pipeline
from winnow.embed.images import PictureError

if TYPE_CHECKING:
    from winnow.deploy.inference.model import Model

# Pixels that a graph with any input size takes in one picture, and in all pictures at a time: it needs about 50 bytes
# for each.
MAX_PIXELS = 50_000_000
OnMessage = Callable[[str], None]
File = tuple[str, Path]  # a path as valid Unicode (see `common.paths`), and the file


@dataclass(frozen=True)
class Prediction:
    """What a model predicts for one file, or the problem of a file that could not be read.

    path : as it was given or found.
    label, probability : the most probable label, and its probability.
    familiarity : 0–1, about the share of held-out pictures that look at least as unusual (see `deploy.novelty`).
    unfamiliar : whether the familiarity is below the model's threshold.
    probabilities : float32 (C,), in the order of the model's labels.
    problem, problem_message : code and text of a `PictureError`; then all of the above but the path are None.
    """

    path: str
    file: Path
    label: str | None = None
    probability: float | None = None
    familiarity: float | None = None
    unfamiliar: bool | None = None
    probabilities: np.ndarray | None = None
    problem: str | None = None
    problem_message: str | None = None


def predict(model: Model, files: Iterable[File], workers: int | None = None) -> Generator[Prediction, None, None]:
    """Predict each file, in order, at the rate of `embed` and in constant memory.

    Parameters: `workers`, threads that decode and infer (None: one per processor).
    Raises: InputError at once when the model cannot be run.
    """
    session = model.session()
    if not model.any_size:

        def read_square(file: File) -> np.ndarray:
            return pipeline.read_square(_checked_path(file), model.recipe)

        return _predictions(model, pipeline.decode_and_infer(files, read_square, session, workers=workers))
    semaphore = WeightedSemaphore(MAX_PIXELS)

    def run(pixels: np.ndarray) -> tuple[np.ndarray, ...]:
        with semaphore.hold(pixels[..., 0].size):
            return session(pixels)

    return _predictions(model, pipeline.decode_and_infer(files, _read_whole, run, workers=workers))


def _checked_path(file: File) -> Path:
    if not file[0]:  # as a path it would be the current folder
        raise PictureError("unreadable", "no such file: the path is empty")
    return file[1]


def _read_whole(file: File) -> np.ndarray:
    pixels, _ = images.decode(images.read_bytes(_checked_path(file)))
    height, width, _ = pixels.shape
    if height * width > MAX_PIXELS:
        limit = f"{MAX_PIXELS // 10**6} megapixels, the limit of a model for pictures of any size"
        raise PictureError("too_large", f"{width} x {height} is over {limit}: make it smaller")
    return pixels


def _predictions(model: Model, batches: Iterable[pipeline.InferredBatch[File]]) -> Generator[Prediction, None, None]:
    for batch in batches:
        outputs = zip(*batch.outputs, strict=True)
        for (path, file), error in zip(batch.items, batch.errors, strict=True):
            if error is None:
                label, probabilities, familiarity = next(outputs)
                yield Prediction(
                    path=path,
                    file=file,
                    label=label,
                    probability=float(probabilities.max()),
                    familiarity=float(familiarity),
                    unfamiliar=not familiarity >= model.threshold,  # written so that NaN is unfamiliar
                    probabilities=probabilities,
                )
            else:
                yield Prediction(path, file, problem=error.code, problem_message=str(error))


def top_labels(model: Model, prediction: Prediction, count: int) -> list[tuple[str, float]]:
    """The `count` most probable labels with their probabilities, best first; none for a file with a problem."""
    probabilities = prediction.probabilities
    if probabilities is None:
        return []
    order = np.argsort(-probabilities, kind="stable")[:count]
    return [(model.labels[column], float(probabilities[column])) for column in order]


def find_files(paths: Sequence[str | Path], on_message: OnMessage = lambda _: None) -> Iterator[File]:
    """Yield the files that paths mean, in order: a file itself, or the pictures in a folder.

    A glob pattern that the shell did not expand (`*`, `?`, `[`, `**`) is expanded, unless a file has that very name.
    A path that does not exist is yielded as well, and becomes a problem when it is read. Folders are walked as `scan`
    does, in the order of names.
    Parameters: `on_message`, called with a message about what is skipped.
    Raises: InputError at the end when there was no file at all.
    """
    count = 0
    for path in [os.fspath(path) for path in paths]:
        for match in _expand(path):
            for file in _pictures_in(match, on_message) if _is_folder(match) else [(to_text(match), Path(match))]:
                count += 1
                yield file
    if not count:
        where = ", ".join(to_text(os.fspath(path)) for path in paths[:3]) or "the list"
        raise InputError(f"no picture was found in {where}", remedy="name-pictures")


def find_folders(paths: Sequence[str | Path]) -> list[Path]:
    """The folders among the paths, with patterns expanded as in `find_files`."""
    return [Path(match) for path in paths for match in _expand(os.fspath(path)) if _is_folder(match)]


def parse_path_list(text: bytes) -> list[str]:
    """The paths of a list: each ended by NUL if it has one (as `find -print0` writes it), else one per line."""
    return [os.fsdecode(name) for name in text.split(b"\0") if name] if b"\0" in text else parse_paths(text)


def _expand(path: str) -> list[str]:
    """A path, or the matches of a pattern without those inside of a folder that matches, too."""
    if not glob.has_magic(path) or os.path.lexists(path):
        return [path]
    matches: list[str] = []
    folders: set[Path] = set()
    for match in sorted(glob.glob(path, recursive=True)):
        if folders.isdisjoint(Path(match).parents):
            matches.append(match)
            if _is_folder(match):
                folders.add(Path(match))
    return matches or [path]


def _is_folder(path: str) -> bool:
    try:
        return path != "" and Path(path).is_dir()
    except OSError:  # the name is too long, or a folder above it may not be read
        return False


def _pictures_in(folder: str, on_message: OnMessage) -> Iterator[File]:
    def on_unlisted(path: str, error: OSError) -> None:
        on_message(
            f"{to_text(os.path.join(folder, path))}: {error.strerror}; skipped: check the permissions of the folder"
        )

    others = 0
    for entry in walk(Path(folder), on_unlisted):
        file = Path(folder, from_text(entry.path))
        if is_picture(file, entry):
            yield to_text(str(file)), file
        else:
            others += 1
    if others:
        files = "1 file that is no picture" if others == 1 else f"{others:,} files that are no pictures"
        on_message(f"{to_text(folder)}: skipped {files}")
