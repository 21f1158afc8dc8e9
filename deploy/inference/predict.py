"""What a model says of pictures: files found as a person names them, predicted in a stream."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

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

# Pixels that a graph which resizes is given, in one picture and in all at a time: it needs about 50 bytes for each.
MOST_WHOLE = 50_000_000
OnMessage = Callable[[str], None]
File = tuple[str, Path]  # a path as it was given or found, valid Unicode (see `curate.paths`), and the file


class Prediction(NamedTuple):
    """What a model says of one file; of one that could not be read only `problem` and `problem_message`."""

    path: str  # as given or found
    file: Path
    label: str | None
    probability: float | None  # of the label
    familiarity: float | None  # 0-1; how many held-out pictures are at least as strange
    unfamiliar: bool | None  # familiarity is below the model's threshold
    probabilities: np.ndarray | None  # float32 (C,), in the order of the model's labels
    problem: str | None  # code of a `PictureError`
    problem_message: str | None


def predict(model: Model, files: Iterable[File], workers: int | None = None) -> Generator[Prediction, None, None]:
    """A prediction for each file, in order, as fast as they are embedded and in memory that stays flat.

    Parameters: `workers`, threads that decode and infer (None: one a processor).
    Raises: InputError at once when the model cannot be run.
    """

    session = model.session()
    if not model.any_size:
        made = pipeline.decode_and_infer(
            files, lambda file: pipeline.read_square(_named(file), model.recipe), session, workers=workers
        )
        return _rows(model, made)
    budget = WeightedSemaphore(MOST_WHOLE)

    def run(pixels: np.ndarray) -> tuple[np.ndarray, ...]:
        with budget.hold(pixels[..., 0].size):
            return session(pixels)

    return _rows(model, pipeline.decode_and_infer(files, lambda file: _whole(_named(file)), run, workers=workers))


def _named(file: File) -> Path:
    if not file[0]:  # which would be the current folder
        raise PictureError("unreadable", "no such file: the path is empty")
    return file[1]


def _whole(file: Path) -> np.ndarray:
    pixels, _ = images.decode(images.read_bytes(file))
    height, width, _ = pixels.shape
    if height * width > MOST_WHOLE:
        limit = f"{MOST_WHOLE // 10**6} megapixels, the limit of a model for pictures of any size"
        raise PictureError("too_large", f"{width} x {height} is over {limit}: make it smaller")
    return pixels


def _rows(model: Model, batches: Iterable[pipeline.InferredBatch[File]]) -> Generator[Prediction, None, None]:
    for done in batches:
        rows = zip(*done.outputs, strict=True)
        for (path, file), error in zip(done.items, done.errors, strict=True):
            if error is None:
                yield _prediction(model, path, file, *next(rows))
            else:
                yield Prediction(path, file, None, None, None, None, None, error.code, str(error))


def _prediction(
    model: Model, path: str, file: Path, label: str, probabilities: np.ndarray, familiarity: np.float32
) -> Prediction:
    unfamiliar = not familiarity >= model.threshold  # NaN is unfamiliar too
    return Prediction(
        path, file, label, float(probabilities.max()), float(familiarity), unfamiliar, probabilities, None, None
    )


def best(model: Model, prediction: Prediction, count: int) -> list[tuple[str, float]]:
    """The `count` most likely labels of a picture that could be read, the best first, and their probabilities."""
    probabilities = prediction.probabilities
    if probabilities is None:
        return []
    order = np.argsort(-probabilities, kind="stable")[:count]
    return [(model.labels[column], float(probabilities[column])) for column in order]


def files_of(paths: Sequence[str | Path], on_message: OnMessage = lambda _: None) -> Iterator[File]:
    """The files that paths mean, in the order in which they are given: a file is itself, a folder the pictures in it.

    A pattern that the shell did not expand (`*`, `?`, `[`, `**`) is expanded, unless a file has that very name. What is
    not there is given too: reading it says so. Folders are walked as `scan` does, in the order of names.
    Parameters: `on_message`, told what was passed over. Raises: InputError at the end when there was no file at all.
    """
    found = 0
    for path in [os.fspath(path) for path in paths]:
        for match in _matches(path):
            for file in _below(match, on_message) if _is_folder(match) else [(to_text(match), Path(match))]:
                found += 1
                yield file
    if not found:
        where = ", ".join(to_text(os.fspath(path)) for path in paths[:3]) or "the list"
        raise InputError(f"no picture was found in {where}: name pictures, or a folder that holds some")


def folders_of(paths: Sequence[str | Path]) -> list[Path]:
    """The folders among what paths mean (see `files_of`)."""
    return [Path(match) for path in paths for match in _matches(os.fspath(path)) if _is_folder(match)]


def named(text: bytes) -> list[str]:
    """Paths of a list: each ended by NUL where there is one (as `find -print0` writes it), else one a line."""
    return [os.fsdecode(name) for name in text.split(b"\0") if name] if b"\0" in text else parse_paths(text)


def _matches(path: str) -> list[str]:
    """What a path means, itself or as a pattern; not what lies below a folder that the pattern matches too."""
    if not glob.has_magic(path) or os.path.lexists(path):
        return [path]
    found: list[str] = []
    folders: set[Path] = set()
    for match in sorted(glob.glob(path, recursive=True)):
        if folders.isdisjoint(Path(match).parents):
            found.append(match)
            if _is_folder(match):
                folders.add(Path(match))
    return found or [path]


def _is_folder(path: str) -> bool:
    try:
        return path != "" and Path(path).is_dir()
    except OSError:  # a name that is too long, or a folder above that may not be looked into
        return False


def _below(folder: str, on_message: OnMessage) -> Iterator[File]:
    def unlisted(path: str, error: OSError) -> None:
        on_message(
            f"{to_text(os.path.join(folder, path))}: {error.strerror}; passed over: check the permissions of the folder"
        )

    others = 0
    for entry in walk(Path(folder), unlisted):
        file = Path(folder, from_text(entry.path))
        if is_picture(file, entry):
            yield to_text(str(file)), file
        else:
            others += 1
    if others:
        on_message(
            f"{to_text(folder)}: {others:,} {'file' if others == 1 else 'files'} passed over that are no pictures"
        )
