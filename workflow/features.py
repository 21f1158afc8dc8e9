"""From a scanned folder to the table of its vectors: the backbone that was asked for, and what is still missing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from winnow.common.errors import InputError
from winnow.common.paths import from_text
from winnow.common.threads import Lazy, processors
from winnow.common.versions import installed_version
from winnow.curate import manifest
from winnow.curate.image_file import is_picture
from winnow.curate.walk import walk
from winnow.curate.workspace import Workspace
from winnow.embed import images
from winnow.embed.backbone import PARITY_IMAGES, Backbone, load_backbone, load_or_export
from winnow.embed.backends import BACKEND_PACKAGES, BACKENDS, BATCH_SIZES, Session
from winnow.embed.config import EmbeddingConfig
from winnow.embed.images import PictureError
from winnow.embed.pipeline import EmbeddedBatch, Outputs, TableWriter, embed_to_table, read_square
from winnow.embed.recipe import Recipe
from winnow.embed.store import Store
from winnow.workflow import int8

if TYPE_CHECKING:
    from PIL.Image import Image

LARGE = 5 * 10**9  # bytes of vectors that are not stored without asking
Progress = Callable[[int, int], None]
OnMessage = Callable[[str], None]
Missing = dict[tuple[int, ...], list[tuple[str, Path]]]  # views -> (id, path) of the pictures that lack just these


class WhileScanning:
    """Embeds pictures that a scan has just decoded, those that have no vector yet (see `manifest.Visitor`).

    Parameters: `session`, gives the session when the first picture needs it.
    """

    def __init__(self, store: Store, recipe: Recipe, session: Callable[[], Session]) -> None:
        self._store, self._recipe, self._session = store, recipe, session
        self._here: set[str] = set()

    def __enter__(self) -> WhileScanning:
        self._here = self._store.ids()
        self.writer = TableWriter(self._store)
        return self

    def __exit__(self, *_: object) -> None:
        self.writer.commit()

    def visit(self, id: str, data: bytes, image: Image) -> Outputs | None:
        """The rows of one picture; None when it has a vector."""
        if id in self._here:
            return None
        square = images.decode_square(data, self._recipe.size, self._recipe.resize, whole=image)
        return self._session()(square[None])

    def store(self, id: str, seen: Outputs) -> None:
        """Add them to the table; of exact copies only the first."""
        if id not in self._here:
            self._here.add(id)
            vectors, bottlenecks = seen
            self.writer.add(EmbeddedBatch([id], [0], vectors, bottlenecks, []))


def scan_and_embed(
    workspace: Workspace, choice: EmbeddingConfig, progress: Callable[[str], Any], on_message: OnMessage
) -> tuple[manifest.ScanResult, Store, dict[str, Any]]:
    """Bring the manifest and the table up to date; a picture that is new is read and decoded once for both.

    Parameters: `progress`, as that of `record.Reporter`.
    Returns: as `manifest.scan`, and as `embed` with `scan_seconds` besides, in which new pictures are embedded, too.
    Raises: InputError as `embed`.
    """
    start = time.monotonic()
    visitor, backbone = None, None
    # An int8 network is made of pictures that were scanned, and how much room maps take is asked first.
    if choice.recipe.precision == "fp32" and choice.recipe.pool == "avg":
        backbone = _able(choice, _exported(choice, _pictures(workspace), on_message))
        session = Lazy(partial(BACKENDS[choice.backend], backbone))
        visitor = WhileScanning(_table(workspace, choice, backbone), backbone.recipe, session)
    with progress("Scanning and embedding" if visitor else "Scanning") as told:
        found = manifest.scan(
            workspace, on_progress=told, workers=choice.workers, on_message=on_message, visitor=visitor
        )
    scanned = time.monotonic()
    with progress("Embedding") as told:
        store, made = embed(workspace, choice, told, on_message, backbone, visitor.writer if visitor else None)
    seconds = {"scan_seconds": round(scanned - start, 2), "total_seconds": round(time.monotonic() - start, 2)}
    return found, store, made | seconds


def embed(
    workspace: Workspace,
    choice: EmbeddingConfig,
    on_progress: Progress,
    on_message: OnMessage,
    backbone: Backbone | None = None,
    writer: TableWriter | None = None,
) -> tuple[Store, dict[str, Any]]:
    """Embed what was scanned and has no vector yet.

    Parameters: `backbone`, that of the choice when it is there already; `writer`, the one that embedded while scanning.
    Returns: the table, and what was done as `embed --json` prints it.
    Raises: InputError when weights, TensorFlow or disk space are missing, or there is no picture to embed.
    """
    start = time.monotonic()
    files = manifest.files_by_id(workspace)
    if not files:
        raise InputError(f"{workspace.images} holds no picture that can be read: `winnow scan` lists what is wrong")
    backbone = backbone or backbone_of(workspace, choice, files, on_message)
    store = _table(workspace, choice, backbone)
    writer = writer or TableWriter(store)
    scanned, batch = writer.embedded, choice.batch_size or BATCH_SIZES[choice.backend]
    with workspace.lock(on_message):
        missing = _missing(store, files, choice.rows_per_image, on_message)
        rows = sum(len(views) * len(pairs) for views, pairs in missing.items())
        _room(choice, backbone, rows, on_message)
        session = Lazy(partial(BACKENDS[choice.backend], backbone))
        done = 0
        for views, pairs in missing.items():
            embed_to_table(
                writer,
                pairs,
                backbone.recipe,
                session(),
                augmentations=views,
                workers=choice.workers,
                batch_size=batch,
                on_progress=_part(on_progress, done, len(views), rows),
            )
            done += len(views) * len(pairs)
        if not missing:
            store.compact()  # drops what an earlier run left for readers that are done by now
    return store, {
        "embedded": writer.embedded,
        "reused": len(files) - len(writer.ids) - len(writer.failed),
        "augment": choice.rows_per_image,
        "vectors": writer.rows,
        "failed": len(writer.failed),
        "failed_files": [
            {"path": str(path), "code": error.code, "message": str(error)} for path, error in writer.failed
        ],
        "images_per_second": round(writer.embedded / writer.seconds, 1) if writer.rows else None,
        "total_seconds": round(time.monotonic() - start, 2),
        "while_scanning": scanned,
        "workers": choice.workers or processors(),
        "batch": batch,
        "backend": choice.backend,
        **_made_with(backbone, store),
    }


def _made_with(backbone: Backbone, store: Store) -> dict[str, Any]:
    """Which network made the vectors of a table, and how, for `embed --json`."""
    recipe = backbone.recipe
    return {
        "dimension": int(np.prod(backbone.dimension)),
        "made_by": store.engine_version(),
        "precision": recipe.precision,
        "int8": int8.effect(backbone) if recipe.precision == "int8" else None,
        "recipe": str(recipe),
        "weights": recipe.weights,
        "alpha": recipe.alpha,
        "key": backbone.key,
        "parity": backbone.parity,
        "backbone": str(backbone.file),
        "store": str(store.path),
    }


def _part(on_progress: Progress, before: int, views: int, rows: int) -> Progress:
    """What tells, of pictures with as many views each, how many of all rows are done."""
    return lambda done, total: on_progress(before + done * views, rows)


def _missing(store: Store, files: dict[str, Path], views: int, on_message: OnMessage) -> Missing:
    if views > 1 and (old := store.discard_outdated_augmentations()):
        on_message(f"{old:,} augmented views were made another way than today and are made anew")
    here = [store.ids(view) for view in range(views)]
    missing: Missing = {}
    for id, path in files.items():
        if lacks := tuple(view for view in range(views) if id not in here[view]):
            missing.setdefault(lacks, []).append((id, path))
    return missing


def _room(choice: EmbeddingConfig, backbone: Backbone, rows: int, on_message: OnMessage) -> None:
    """Tell what maps and views will take on the disk. Raises: InputError when that is much, and is not wanted."""
    numbers = int(np.prod(backbone.dimension)) + backbone.bottleneck
    expected = 2 * numbers * rows
    if rows and (choice.rows_per_image > 1 or choice.recipe.pool == "none"):
        on_message(f"{rows:,} vectors of {numbers:,} numbers take about {expected / 10**9:,.2f} GB")
    if expected > LARGE and not choice.confirm_storage(f"Store {expected / 10**9:,.1f} GB of vectors?"):
        raise InputError(
            f"{rows:,} vectors of {numbers:,} numbers would take {expected / 10**9:,.1f} GB: --yes stores them; fewer "
            "--augment, or a smaller --size, take less"
        )


def _table(workspace: Workspace, choice: EmbeddingConfig, backbone: Backbone) -> Store:
    engine = BACKEND_PACKAGES[choice.backend]
    return Store(workspace.embeddings, backbone, choice.backend, f"{engine} {installed_version(engine)}")


def _pictures(workspace: Workspace) -> Iterator[Path]:
    """Files that look like pictures, whether they were scanned or not. Raises: InputError when there is none."""
    none = True
    for entry in walk(workspace.images, lambda path, error: None):
        file = workspace.images / from_text(entry.path)
        if is_picture(file, entry):
            none = False
            yield file
    if none:
        raise InputError(f"{workspace.images} holds no picture that can be read: `winnow scan` lists what is wrong")


def backbone_of(
    workspace: Workspace, choice: EmbeddingConfig, files: dict[str, Path], on_message: OnMessage
) -> Backbone:
    """The exported backbone that was asked for; `files` are pictures to compare a new export with Keras on, and to
    calibrate an int8 one on, which is kept in the workspace."""
    plain = replace(choice, recipe=replace(choice.recipe, precision="fp32"))
    backbone = _exported(plain, files.values(), on_message)
    if choice.recipe.precision == "int8" and backbone.recipe.precision == "fp32":
        backbone = int8.int8(workspace, backbone, files, on_message)
    return _able(choice, backbone)


def _able(choice: EmbeddingConfig, backbone: Backbone) -> Backbone:
    if backbone.recipe.precision == "int8" and choice.backend != "onnx":
        raise InputError(f"--backend {choice.backend} has no int8: use --backend onnx, or --precision fp32")
    return backbone


def _exported(choice: EmbeddingConfig, files: Iterable[Path], on_message: OnMessage) -> Backbone:
    def pictures() -> np.ndarray:
        squares: list[np.ndarray] = []
        for path in files:
            try:
                squares.append(read_square(path, choice.recipe))
            except PictureError:
                continue  # a scan says so
            if len(squares) == PARITY_IMAGES:
                break
        if not squares:
            raise InputError("none of the pictures can be read: `winnow scan` lists what is wrong")
        return np.stack(squares)

    return (
        load_backbone(choice.backbone, choice.recipe)
        if choice.backbone
        else load_or_export(choice.recipe, pictures, on_message)
    )


def read_rows(store: Store, ids: Sequence[str], choice: EmbeddingConfig) -> tuple[np.ndarray, np.ndarray]:
    """The rows of a table that heads learn from and are judged by: (rows, looks).

    rows: (R, D), the N plain views in the order of ids, then N rows of each other view, and where vectors are judged by
    the mirror image too, N means of both; float32, maps float16. looks: int64 (N, V), the rows that each picture is
    judged by; maps with the mirror image by both of them, since their mean would show things where they never were.
    """
    is_map, n_views = choice.recipe.pool == "none", choice.rows_per_image
    averaged = choice.tta == "flip" and not is_map
    dtype = np.float16 if is_map else np.float32
    plain = store.read(ids, augmentation=0).astype(dtype, copy=False)
    blocks = n_views + averaged
    every: np.ndarray = plain[None] if blocks == 1 else np.empty((blocks, *plain.shape), dtype)  # once: maps are large
    every[0] = plain
    for view in range(1, n_views):
        every[view] = store.read(ids, augmentation=view)
    if averaged:
        np.mean(every[:2], axis=0, out=every[-1])
    judged = [n_views] if averaged else range({"none": 1, "flip": 2, "mean": n_views}[choice.tta])
    return every.reshape(-1, plain.shape[1]), np.arange(len(ids))[:, None] + len(ids) * np.array(judged)
