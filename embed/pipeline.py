"""Files to vectors: threads that decode and infer in parallel, with a bounded window that keeps memory use flat."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np

from winnow.common.progress import OnProgress, ignore_progress
from winnow.common.threads import map_ahead, processors
from winnow.embed import images
from winnow.embed.augment import augment_image
from winnow.embed.backends import Session
from winnow.embed.images import PictureError
from winnow.embed.recipe import Recipe
from winnow.embed.store import Store

COMMIT_SECONDS = 2.0  # a killed run loses at most this much work
COMMIT_BYTES = 128 * 2**20


Item = TypeVar("Item")
Outputs = tuple[np.ndarray, ...]  # outputs of a session, each with one row per image


@dataclass(frozen=True)
class InferredBatch(Generic[Item]):
    """The outputs of one batch.

    items: the items of the batch, in input order.
    errors: for each item, why it could not be decoded, or None.
    outputs: one row per item without error; empty if there is none.
    """

    items: tuple[Item, ...]
    errors: list[PictureError | None]
    outputs: Outputs


@dataclass(frozen=True)
class EmbeddedBatch:
    """The vectors of a few images in input order: R rows, one per image and augmentation.

    ids: (R,) ids of the images.
    augmentations: (R,) numbers of the augmentations, see `embed.augment`.
    vectors: float32 (R, D) or (R, H, W, D).
    bottlenecks: float32 (R, bottleneck).
    failed: the files that could not be decoded, with the reason.
    """

    ids: list[str]
    augmentations: list[int]
    vectors: np.ndarray
    bottlenecks: np.ndarray
    failed: list[tuple[Path, PictureError]]


def read_square(path: Path, recipe: Recipe, id: str | None = None) -> np.ndarray:
    """Read the square of a file that is embedded: uint8 RGB (S, S, 3).

    Parameters: `id`, the sha256 (hex) that the file's bytes must still have; None skips the check.
    Raises: PictureError; its code is `changed` if the bytes have another sha256.
    """
    return images.decode_square(_read_bytes(path, id), recipe.size, recipe.resize)


def read_augmented_squares(path: Path, recipe: Recipe, id: str, augmentations: Sequence[int]) -> np.ndarray:
    """Read several augmentations of a file, which is decoded once: uint8 RGB (A, S, S, 3).

    Parameters: `augmentations`, their numbers, see `embed.augment.augment_image`. Raises: as `read_square`.
    """
    if tuple(augmentations) == (0,):
        return read_square(path, recipe, id)[None]
    with images.open_image(_read_bytes(path, id), recipe.size) as (image, _):
        return np.stack([augment_image(image, id, number, recipe.size, recipe.resize) for number in augmentations])


def _read_bytes(path: Path, id: str | None) -> bytes:
    data = images.read_bytes(path)
    if id is not None and hashlib.sha256(data).hexdigest() != id:
        raise PictureError("changed", "the file changed while it was being embedded: embed it again")
    return data


def decode_and_infer(
    items: Iterable[Item],
    read: Callable[[Item], np.ndarray],
    session: Callable[[np.ndarray], Outputs],
    *,
    workers: int | None = None,
    batch_size: int = 1,
) -> Iterator[InferredBatch[Item]]:
    """Decode items and run a session on them, in order; an image that cannot be decoded affects no other one.

    Each of `workers` threads (None: one per processor) decodes a batch and runs the network on it, so decoding and
    inference overlap without a queue between them, and no thread waits for another one in the middle of an inference.
    At most two batches per thread are in progress, however many items there are.

    Parameters: `read`, returns uint8 (S, S, 3), of one shape within a batch, or raises PictureError; `session`, takes
    them stacked, uint8 (B, S, S, 3), and returns arrays with B rows.
    """
    workers = workers or processors()

    def infer(batch: tuple[Item, ...]) -> InferredBatch[Item]:
        pixels: list[np.ndarray] = []
        errors: list[PictureError | None] = []
        for item in batch:
            try:
                pixels.append(read(item))
                errors.append(None)
            except PictureError as error:
                errors.append(error)
        return InferredBatch(batch, errors, session(np.stack(pixels)) if pixels else ())

    for _, future in map_ahead(infer, batched(items, batch_size), workers, window=2 * workers):
        yield future.result()


def embed_files(
    files: Iterable[tuple[str, Path]],
    recipe: Recipe,
    session: Session,
    *,
    augmentations: Sequence[int] = (0,),
    workers: int | None = None,
    batch_size: int = 1,
) -> Iterator[EmbeddedBatch]:
    """Embed (id, path) pairs in order, the augmentations of an image in succession; failed files have no rows."""
    empty = np.empty((0, 0), dtype=np.float32)

    def read(file: tuple[str, Path]) -> np.ndarray:
        return read_augmented_squares(file[1], recipe, file[0], augmentations)

    def infer(squares: np.ndarray) -> Outputs:
        """(B, A, S, S, 3) to outputs with B A rows, never more than `batch_size` per call."""
        flat = squares.reshape(-1, *squares.shape[2:])
        parts = [session(flat[start : start + batch_size]) for start in range(0, len(flat), batch_size)]
        return parts[0] if len(parts) == 1 else tuple(map(np.concatenate, zip(*parts, strict=True)))

    images_per_batch = max(1, batch_size // len(augmentations))
    for batch in decode_and_infer(files, read, infer, workers=workers, batch_size=images_per_batch):
        outcomes = list(zip(batch.items, batch.errors, strict=True))
        rows = [(id, number) for (id, _), error in outcomes if error is None for number in augmentations]
        vectors, bottlenecks = batch.outputs or (empty, empty)
        yield EmbeddedBatch(
            ids=[id for id, _ in rows],
            augmentations=[number for _, number in rows],
            vectors=vectors,
            bottlenecks=bottlenecks,
            failed=[(path, error) for (_, path), error in outcomes if error],
        )


class TableWriter:
    """Appends embedded batches to a table, with a commit every `COMMIT_SECONDS` or `COMMIT_BYTES`.

    ids: images that have got vectors.
    rows: number of vectors stored.
    failed: files that could not be embedded, with the reason.
    seconds: time from the start to the last commit.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self.ids: set[str] = set()
        self.rows = 0
        self.failed: list[tuple[Path, PictureError]] = []
        self.seconds = 0.0
        self._pending: list[EmbeddedBatch] = []
        self._pending_bytes = 0
        self._start = self._last_commit = time.monotonic()

    @property
    def embedded(self) -> int:
        """Number of images that have got vectors."""
        return len(self.ids)

    def add(self, batch: EmbeddedBatch) -> None:
        """Add a batch and commit if it is time. Raises: InputError if the disk is full."""
        self.failed += batch.failed
        if batch.ids:
            self._pending.append(batch)
            self._pending_bytes += batch.vectors.nbytes
        if self._pending_bytes > COMMIT_BYTES or time.monotonic() - self._last_commit > COMMIT_SECONDS:
            self.commit()

    def commit(self) -> None:
        """Store what was added since the last commit. Raises: InputError if the disk is full."""
        batches, self._pending, self._pending_bytes = self._pending, [], 0
        if batches:
            ids = [id for batch in batches for id in batch.ids]
            self.store.append(
                ids,
                np.concatenate([batch.vectors for batch in batches]),
                np.concatenate([batch.bottlenecks for batch in batches]),
                [number for batch in batches for number in batch.augmentations],
            )
            self.ids.update(ids)
            self.rows += len(ids)
            self.seconds = time.monotonic() - self._start
        self._last_commit = time.monotonic()


def embed_to_table(
    writer: TableWriter,
    files: Sequence[tuple[str, Path]],
    recipe: Recipe,
    session: Session,
    *,
    augmentations: Sequence[int] = (0,),
    workers: int | None = None,
    batch_size: int = 1,
    on_progress: OnProgress = ignore_progress,
) -> None:
    """Embed (id, path) pairs into the table of a writer, with commits on the way, so that a killed run loses little.

    Parameters: `augmentations`, the numbers of those to embed of each image; `on_progress`, called with the numbers of
    images done and in total.
    Raises: InputError if the disk is full.
    """
    done = 0
    try:
        for batch in embed_files(
            files, recipe, session, augmentations=augmentations, workers=workers, batch_size=batch_size
        ):
            writer.add(batch)
            done += len(batch.ids) // len(augmentations) + len(batch.failed)
            on_progress(done, len(files))
    finally:
        writer.commit()
    writer.store.compact()


def batched(items: Iterable[Item], size: int) -> Iterator[tuple[Item, ...]]:
    """Yield tuples of `size` items, the last one possibly shorter (`itertools.batched` is new in Python 3.12)."""
    items = iter(items)
    while batch := tuple(islice(items, size)):
        yield batch
