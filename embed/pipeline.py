"""Files to vectors: threads that decode and infer side by side, a bounded window that keeps memory flat."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

import numpy as np

from winnow.common.threads import ahead, processors
from winnow.embed import images
from winnow.embed.augment import look
from winnow.embed.backends import Session
from winnow.embed.images import PictureError
from winnow.embed.recipe import Recipe
from winnow.embed.store import Store

COMMIT_SECONDS = 2.0  # a run that is killed loses at most this much work
COMMIT_BYTES = 128 * 2**20


Item = TypeVar("Item")
Outputs = tuple[np.ndarray, ...]  # of a session, a row for each picture


@dataclass(frozen=True)
class Done(Generic[Item]):
    """Items in the order in which they were given, what was wrong with each, and the rows of those without error."""

    items: tuple[Item, ...]
    errors: list[PictureError | None]
    outputs: Outputs  # empty when no item could be read


class Batch(NamedTuple):
    """Vectors of a few pictures in the order in which they were given, and those that could not be decoded.

    A row for each picture and view, R = B V of them.
    """

    ids: list[str]  # (R,)
    views: list[int]  # (R,)
    vectors: np.ndarray  # float32 (R, D) or (R, H, W, D)
    bottlenecks: np.ndarray  # float32 (R, bottleneck)
    failed: list[tuple[Path, PictureError]]


def pixels_of(path: Path, recipe: Recipe, id: str | None = None) -> np.ndarray:
    """The square uint8 RGB (S, S, 3) that a file is embedded from.

    Parameters: `id`, the sha256 (hex) that the file's bytes must still have; None: not checked.
    Raises: PictureError; with code `changed` when the bytes are others than those of `id`.
    """
    return images.square(_bytes_of(path, id), recipe.size, recipe.resize)


def looks_of(path: Path, recipe: Recipe, id: str, views: Sequence[int]) -> np.ndarray:
    """Several views of a file that is decoded once, uint8 RGB (V, S, S, 3); see `embed.views.look`.

    Raises: as `pixels_of`.
    """
    if tuple(views) == (0,):
        return pixels_of(path, recipe, id)[None]
    with images.decoded(_bytes_of(path, id), recipe.size) as (image, _):
        return np.stack([look(image, id, view, recipe.size, recipe.resize) for view in views])


def _bytes_of(path: Path, id: str | None) -> bytes:
    data = images.read_bytes(path)
    if id is not None and hashlib.sha256(data).hexdigest() != id:
        raise PictureError("changed", "the file changed while it was being embedded: run the command again")
    return data


def run(
    items: Iterable[Item],
    read: Callable[[Item], np.ndarray],
    session: Callable[[np.ndarray], Outputs],
    *,
    workers: int | None = None,
    batch: int = 1,
) -> Iterator[Done[Item]]:
    """What a session gives for the pixels of items, in order, `batch` at a time; a bad picture costs only itself.

    Each of `workers` threads (None: one a processor) decodes a few pictures and runs the network on them, so decoding
    and inference overlap without a queue between them, and no thread waits for another in the middle of an inference.
    At most two batches a thread are under way, however many items there are.
    Parameters: `read`, gives uint8 (S, S, 3), of one shape in a batch, or raises PictureError; `session`, takes them
    stacked, uint8 (B, S, S, 3), and gives arrays of B rows.
    """
    workers = workers or processors()

    def experiment(chunk: tuple[Item, ...]) -> Done[Item]:
        pixels: list[np.ndarray] = []
        errors: list[PictureError | None] = []
        for item in chunk:
            try:
                pixels.append(read(item))
                errors.append(None)
            except PictureError as error:
                errors.append(error)
        return Done(chunk, errors, session(np.stack(pixels)) if pixels else ())

    for _, made in ahead(experiment, batched(items, batch), workers, window=2 * workers):
        yield made.result()


def embed(
    files: Iterable[tuple[str, Path]],
    recipe: Recipe,
    session: Session,
    *,
    views: Sequence[int] = (0,),
    workers: int | None = None,
    batch: int = 1,
) -> Iterator[Batch]:
    """Vectors of (id, path) pairs, in order, the views of each together; a bad picture is left out of its batch."""
    nothing = np.empty((0, 0), dtype=np.float32)

    def read(file: tuple[str, Path]) -> np.ndarray:
        return looks_of(file[1], recipe, file[0], views)

    def each(looks: np.ndarray) -> Outputs:
        """(B, V, S, S, 3) -> outputs of B V rows, never more than a batch at a time."""
        flat = looks.reshape(-1, *looks.shape[2:])
        parts = [session(flat[start : start + batch]) for start in range(0, len(flat), batch)]
        return parts[0] if len(parts) == 1 else tuple(map(np.concatenate, zip(*parts, strict=True)))

    for done in run(files, read, each, workers=workers, batch=max(1, batch // len(views))):
        pairs = list(zip(done.items, done.errors, strict=True))
        good = [id for (id, _), error in pairs if error is None]
        vectors, bottlenecks = done.outputs or (nothing, nothing)
        rows = [(id, view) for id in good for view in views]
        failed = [(path, error) for (_, path), error in pairs if error]
        yield Batch([id for id, _ in rows], [view for _, view in rows], vectors, bottlenecks, failed)


class Filling:
    """A table that is being filled: what is added is committed every `COMMIT_SECONDS` or `COMMIT_BYTES`.

    ids: of pictures that got vectors; rows: vectors that were stored. failed: path, code and message of pictures.
    seconds: from the start to the last commit.
    """

    def __init__(self, store: Store) -> None:
        self.ids: set[str] = set()
        self.rows = 0
        self.failed: list[dict[str, str]] = []
        self.seconds = 0.0
        self._store = store
        self._waiting: list[Batch] = []
        self._bytes = 0
        self._start = self._last = time.monotonic()

    @property
    def embedded(self) -> int:
        """Pictures that got vectors."""
        return len(self.ids)

    def add(self, batch: Batch) -> None:
        """Take vectors and failures. Raises: InputError when the disk is full."""
        self.failed += [{"path": str(path), "code": error.code, "message": str(error)} for path, error in batch.failed]
        if batch.ids:
            self._waiting.append(batch)
            self._bytes += batch.vectors.nbytes
        if self._bytes > COMMIT_BYTES or time.monotonic() - self._last > COMMIT_SECONDS:
            self.commit()

    def commit(self) -> None:
        """Store what waits. Raises: InputError when the disk is full."""
        waiting, self._waiting, self._bytes = self._waiting, [], 0
        if waiting:
            ids = [id for batch in waiting for id in batch.ids]
            views = [view for batch in waiting for view in batch.views]
            vectors, bottlenecks = (np.concatenate([batch[column] for batch in waiting]) for column in (2, 3))
            self._store.append(ids, vectors, bottlenecks, views)
            self.ids.update(ids)
            self.rows += len(ids)
            self.seconds = time.monotonic() - self._start
        self._last = time.monotonic()


def fill(
    store: Store,
    files: Sequence[tuple[str, Path]],
    recipe: Recipe,
    session: Session,
    *,
    views: Sequence[int] = (0,),
    workers: int | None = None,
    batch: int = 1,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    filling: Filling | None = None,
) -> Filling:
    """Embed (id, path) pairs into a store, committing as it goes, so that a kill loses little.

    Parameters: `views`, those to make of each; `on_progress`, told (done, total) pictures; `filling`, one that was
    begun, to go on with.
    Raises: InputError when the disk is full.
    """
    filling, done = filling or Filling(store), 0
    try:
        for made in embed(files, recipe, session, views=views, workers=workers, batch=batch):
            filling.add(made)
            done += len(made.ids) // len(views) + len(made.failed)
            on_progress(done, len(files))
    finally:
        filling.commit()
    store.compact()
    return filling


def batched(items: Iterable[Item], size: int) -> Iterator[tuple[Item, ...]]:
    """Tuples of `size` items, the last of what is left (as itertools.batched, which Python 3.11 has not)."""
    items = iter(items)
    while chunk := tuple(islice(items, size)):
        yield chunk
