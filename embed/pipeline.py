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

BATCH = 4  # small batches stay in the processor's cache: 1 to 8 are the fastest on a CPU
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
    """Vectors of up to `BATCH` pictures in the order in which they were given, and those that could not be decoded."""

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
    return images.fit(images.read(data, box=recipe.size)[0], recipe.size, recipe.resize)


def run(
    items: Iterable[Item],
    read: Callable[[Item], np.ndarray],
    session: Callable[[np.ndarray], Outputs],
    *,
    workers: int | None = None,
    batch: int = BATCH,
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
    batch: int = BATCH,
) -> Iterator[Batch]:
    """Vectors of (id, path) pairs, in order, as `run` gives them; a bad picture is left out of its batch."""
    nothing = np.empty((0, 0), dtype=np.float32)
    for done in run(files, lambda file: pixels_of(file[1], recipe, file[0]), session, workers=workers, batch=batch):
        pairs = list(zip(done.items, done.errors, strict=True))
        ids = [id for (id, _), error in pairs if error is None]
        vectors, bottlenecks = done.outputs or (nothing, nothing)
        yield Batch(ids, vectors, bottlenecks, [(path, error) for (_, path), error in pairs if error])


@dataclass(frozen=True)
class Filled:
    """What `fill` did: how many vectors were stored, which pictures failed, and the seconds that it took."""

    embedded: int
    failed: list[dict[str, str]]  # path, code, message
    seconds: float  # from the first decode to the last commit


def fill(
    store: Store,
    files: Sequence[tuple[str, Path]],
    recipe: Recipe,
    session: Session,
    *,
    workers: int | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Filled:
    """Embed (id, path) pairs into a store, committing every `COMMIT_SECONDS` or `COMMIT_BYTES`, so a kill loses little.

    Parameters: `on_progress`, told (done, total) pictures. Raises: InputError when the disk is full.
    """
    failed: list[dict[str, str]] = []
    waiting: list[Batch] = []
    done = embedded = size = 0
    start = last = time.monotonic()
    for batch in embed(files, recipe, session, workers=workers):
        failed += [{"path": str(path), "code": error.code, "message": str(error)} for path, error in batch.failed]
        done += len(batch.ids) + len(batch.failed)
        if batch.ids:
            waiting.append(batch)
            size += batch.vectors.nbytes
        if size > COMMIT_BYTES or time.monotonic() - last > COMMIT_SECONDS:
            embedded += _commit(store, waiting)
            size, last = 0, time.monotonic()
        on_progress(done, len(files))
    embedded += _commit(store, waiting)
    store.compact()
    return Filled(embedded, failed, time.monotonic() - start)


def batched(items: Iterable[Item], size: int) -> Iterator[tuple[Item, ...]]:
    """Tuples of `size` items, the last of what is left (as itertools.batched, which Python 3.11 has not)."""
    items = iter(items)
    while chunk := tuple(islice(items, size)):
        yield chunk


def _commit(store: Store, waiting: list[Batch]) -> int:
    ids = [id for batch in waiting for id in batch.ids]
    if ids:
        vectors, bottlenecks = (np.concatenate([batch[column] for batch in waiting]) for column in (1, 2))
        store.append(ids, vectors, bottlenecks)
    waiting.clear()
    return len(ids)
