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

from embed import images
from embed.ahead import ahead, processors
from embed.backends import Session
from embed.images import PictureError
from embed.recipe import Recipe
from embed.store import Store

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
    """Vectors of a few pictures in the order in which they were given, and those that could not be decoded."""

    ids: list[str]
    vectors: np.ndarray  # float32 (B, D) or (B, H, W, D)
    bottlenecks: np.ndarray  # float32 (B, bottleneck)
    failed: list[tuple[Path, PictureError]]


def pixels_of(path: Path, recipe: Recipe, id: str | None = None) -> np.ndarray:
    """The square uint8 RGB (S, S, 3) that a file is embedded from.

    Parameters: `id`, the sha256 (hex) that the file's bytes must still have; None: not checked.
    Raises: PictureError; with code `changed` when the bytes are others than those of `id`.
    """
    data = images.read_bytes(path)
    if id is not None and hashlib.sha256(data).hexdigest() != id:
        raise PictureError("changed", "the file changed while it was being embedded: run the command again")
    return images.square(data, recipe.size, recipe.resize)


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

    def work(chunk: tuple[Item, ...]) -> Done[Item]:
        pixels: list[np.ndarray] = []
        errors: list[PictureError | None] = []
        for item in chunk:
            try:
                pixels.append(read(item))
                errors.append(None)
            except PictureError as error:
                errors.append(error)
        return Done(chunk, errors, session(np.stack(pixels)) if pixels else ())

    for _, made in ahead(work, batched(items, batch), workers, window=2 * workers):
        yield made.result()


def embed(
    files: Iterable[tuple[str, Path]],
    recipe: Recipe,
    session: Session,
    *,
    workers: int | None = None,
    batch: int = 1,
) -> Iterator[Batch]:
    """Vectors of (id, path) pairs, in order, as `run` gives them; a bad picture is left out of its batch."""
    nothing = np.empty((0, 0), dtype=np.float32)
    for done in run(files, lambda file: pixels_of(file[1], recipe, file[0]), session, workers=workers, batch=batch):
        pairs = list(zip(done.items, done.errors, strict=True))
        ids = [id for (id, _), error in pairs if error is None]
        vectors, bottlenecks = done.outputs or (nothing, nothing)
        yield Batch(ids, vectors, bottlenecks, [(path, error) for (_, path), error in pairs if error])


class Filling:
    """A table that is being filled: what is added is committed every `COMMIT_SECONDS` or `COMMIT_BYTES`.

    embedded: vectors stored. failed: path, code and message of pictures. seconds: from the start to the last commit.
    """

    def __init__(self, store: Store) -> None:
        self.embedded = 0
        self.failed: list[dict[str, str]] = []
        self.seconds = 0.0
        self._store = store
        self._waiting: list[Batch] = []
        self._bytes = 0
        self._start = self._last = time.monotonic()

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
            vectors, bottlenecks = (np.concatenate([batch[column] for batch in waiting]) for column in (1, 2))
            self._store.append(ids, vectors, bottlenecks)
            self.embedded += len(ids)
            self.seconds = time.monotonic() - self._start
        self._last = time.monotonic()


def fill(
    store: Store,
    files: Sequence[tuple[str, Path]],
    recipe: Recipe,
    session: Session,
    *,
    workers: int | None = None,
    batch: int = 1,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    filling: Filling | None = None,
) -> Filling:
    """Embed (id, path) pairs into a store, committing as it goes, so that a kill loses little.

    Parameters: `on_progress`, told (done, total) pictures; `filling`, one that was begun, to go on with.
    Raises: InputError when the disk is full.
    """
    filling, done = filling or Filling(store), 0
    try:
        for made in embed(files, recipe, session, workers=workers, batch=batch):
            filling.add(made)
            done += len(made.ids) + len(made.failed)
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
