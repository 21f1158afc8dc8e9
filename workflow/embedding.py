"""From a folder to the table of its vectors: the backbone is resolved, and what has no vector yet is embedded."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from winnow.common.errors import InputError
from winnow.common.paths import from_text
from winnow.common.progress import OnMessage, OnProgress, Reporter
from winnow.common.threads import Lazy, processors
from winnow.common.versions import installed_version
from winnow.curate import manifest
from winnow.curate.image_file import is_picture
from winnow.curate.manifest import FileProblem, ScanResult
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
from winnow.workflow.int8 import Int8Effect

if TYPE_CHECKING:
    from PIL.Image import Image

LARGE = 5 * 10**9  # bytes of vectors that are not stored without a confirmation
Missing = dict[tuple[int, ...], list[tuple[str, Path]]]  # augmentations -> (id, path) of the images that lack them


@dataclass(frozen=True)
class EmbedResult:
    """What one call of `embed` did, and how the vectors of its table are made.

    augment: rows per image, the plain one included. vectors: rows that were stored now. failed_files: path, code and
    message of images that could not be embedded. while_scanning: images embedded by the scan that had just decoded
    them. parity: largest difference of the exported network from Keras. backbone, store: files.
    """

    embedded: int
    reused: int
    augment: int
    vectors: int
    failed_files: list[FileProblem]
    images_per_second: float | None
    total_seconds: float
    while_scanning: int
    workers: int
    batch: int
    backend: str
    dimension: int
    made_by: str
    precision: str
    int8: Int8Effect | None
    recipe: str
    weights: str
    alpha: float
    key: str
    parity: float
    backbone: str
    store: str
    scan_seconds: float | None = None  # None where nothing was scanned

    @property
    def failed(self) -> int:
        """Images that could not be embedded."""
        return len(self.failed_files)

    def to_json(self) -> dict[str, Any]:
        """As `embed --json` prints it."""
        document = asdict(self) | {"failed": self.failed, "int8": self.int8 and self.int8.to_json()}
        return {name: value for name, value in document.items() if name != "scan_seconds" or value is not None}


@dataclass(frozen=True)
class EmbeddedFolder:
    """A folder whose manifest and table of vectors are up to date: what every later stage starts from.

    config, backbone, store: the configuration, resolved once, and the table that it leads to.
    """

    scan: ScanResult
    config: EmbeddingConfig
    backbone: Backbone
    store: Store
    embedding: EmbedResult


class ScanEmbedder:
    """A `manifest.Visitor` that embeds pictures which a scan has just decoded, those that have no vector yet.

    Parameters: `session`, gives the session when the first picture needs it.
    """

    def __init__(self, store: Store, recipe: Recipe, session: Callable[[], Session]) -> None:
        self._store, self._recipe, self._session = store, recipe, session
        self._stored: set[str] = set()

    def __enter__(self) -> ScanEmbedder:
        self._stored = self._store.ids()
        self.writer = TableWriter(self._store)
        return self

    def __exit__(self, *_: object) -> None:
        self.writer.commit()

    def visit(self, id: str, data: bytes, image: Image) -> Outputs | None:
        """The rows of one picture; None when it has a vector."""
        if id in self._stored:
            return None
        square = images.decode_square(data, self._recipe.size, self._recipe.resize, whole=image)
        return self._session()(square[None])

    def store(self, id: str, outputs: Outputs) -> None:
        """Add the rows to the table; of exact copies only the first."""
        if id not in self._stored:
            self._stored.add(id)
            vectors, bottlenecks = outputs
            self.writer.add(EmbeddedBatch([id], [0], vectors, bottlenecks, []))


def scan_and_embed(workspace: Workspace, config: EmbeddingConfig, reporter: Reporter) -> EmbeddedFolder:
    """Bring the manifest and the table up to date; a new picture is read and decoded once for both.

    The seconds of the scan include the embedding of new pictures, which happens meanwhile.
    Raises: InputError as `embed`.
    """
    start = time.monotonic()
    visitor, backbone = None, None
    # An int8 network is calibrated on scanned pictures, and the room that maps take is confirmed first.
    if config.recipe.precision == "fp32" and config.recipe.pool == "avg":
        backbone = _check_backend(config, _export_or_load(config, _picture_files(workspace), reporter.message))
        session = Lazy(partial(BACKENDS[config.backend], backbone))
        visitor = ScanEmbedder(open_store(workspace, config, backbone), backbone.recipe, session)
    with reporter.progress("Scanning and embedding" if visitor else "Scanning") as on_progress:
        scan_result = manifest.scan(
            workspace,
            on_progress=on_progress,
            workers=config.workers,
            on_message=reporter.message,
            visitor=visitor,
        )
    scanned = time.monotonic()
    with reporter.progress("Embedding") as on_progress:
        writer = visitor.writer if visitor else None
        backbone, store, result = _embed(workspace, config, on_progress, reporter.message, backbone, writer)
    scan_seconds, total_seconds = round(scanned - start, 2), round(time.monotonic() - start, 2)
    result = replace(result, scan_seconds=scan_seconds, total_seconds=total_seconds)
    return EmbeddedFolder(scan_result, config, backbone, store, result)


def embed(
    workspace: Workspace, config: EmbeddingConfig, on_progress: OnProgress, on_message: OnMessage
) -> tuple[Store, EmbedResult]:
    """Embed what was scanned and has no vector yet.

    Raises: InputError when weights, TensorFlow or disk space are missing, or there is no picture to embed.
    """
    _, store, result = _embed(workspace, config, on_progress, on_message)
    return store, result


def embed_scanned(
    workspace: Workspace, scan_result: ScanResult, config: EmbeddingConfig, reporter: Reporter, what: str
) -> EmbeddedFolder:
    """As `scan_and_embed`, for a folder that has just been scanned. Parameters: `what`, the title of the progress."""
    with reporter.progress(what) as on_progress:
        backbone, store, result = _embed(workspace, config, on_progress, reporter.message)
    return EmbeddedFolder(scan_result, config, backbone, store, result)


def resolve_backbone(
    workspace: Workspace, config: EmbeddingConfig, files: dict[str, Path], on_message: OnMessage
) -> Backbone:
    """The exported backbone of a configuration.

    Parameters: `files`, id -> a picture: a new export is compared with Keras on some, and an int8 network, which is
    kept in the workspace, is calibrated on some. Raises: InputError.
    """
    plain = replace(config, recipe=replace(config.recipe, precision="fp32"))
    backbone = _export_or_load(plain, files.values(), on_message)
    if config.recipe.precision == "int8" and backbone.recipe.precision == "fp32":
        backbone = int8.calibrated(workspace, backbone, files, on_message)
    return _check_backend(config, backbone)


def open_store(workspace: Workspace, config: EmbeddingConfig, backbone: Backbone) -> Store:
    """The table of vectors of a backbone, which need not exist yet."""
    engine = BACKEND_PACKAGES[config.backend]
    return Store(workspace.embeddings, backbone, config.backend, f"{engine} {installed_version(engine)}")


def _embed(
    workspace: Workspace,
    config: EmbeddingConfig,
    on_progress: OnProgress,
    on_message: OnMessage,
    backbone: Backbone | None = None,
    writer: TableWriter | None = None,
) -> tuple[Backbone, Store, EmbedResult]:
    """As `embed`. Parameters: `backbone`, where it is resolved already; `writer`, what a scan has embedded so far."""
    start = time.monotonic()
    files = manifest.files_by_id(workspace)
    if not files:
        raise InputError(f"{workspace.images} holds no picture that can be read", remedy="unreadable")
    backbone = backbone or resolve_backbone(workspace, config, files, on_message)
    store = open_store(workspace, config, backbone)
    writer = writer or TableWriter(store)
    while_scanning = writer.embedded
    with workspace.lock(on_message):
        missing = _missing(store, files, config.rows_per_image, on_message)
        _confirm_room(config, backbone, _count_rows(missing), on_message)
        _embed_missing(store, missing, config, backbone, writer, on_progress)
    result = EmbedResult(
        embedded=writer.embedded,
        reused=len(files) - len(writer.ids) - len(writer.failed),
        augment=config.rows_per_image,
        vectors=writer.rows,
        failed_files=[FileProblem(str(path), error.code, str(error)) for path, error in writer.failed],
        images_per_second=round(writer.embedded / writer.seconds, 1) if writer.rows else None,
        total_seconds=round(time.monotonic() - start, 2),
        while_scanning=while_scanning,
        workers=config.workers or processors(),
        batch=config.batch_size or BATCH_SIZES[config.backend],
        backend=config.backend,
        **_origin(backbone, store),
    )
    return backbone, store, result


def _embed_missing(
    store: Store,
    missing: Missing,
    config: EmbeddingConfig,
    backbone: Backbone,
    writer: TableWriter,
    on_progress: OnProgress,
) -> None:
    session, rows, done = Lazy(partial(BACKENDS[config.backend], backbone)), _count_rows(missing), 0
    for augmentations, pairs in missing.items():
        embed_to_table(
            writer,
            pairs,
            backbone.recipe,
            session(),
            augmentations=augmentations,
            workers=config.workers,
            batch_size=config.batch_size or BATCH_SIZES[config.backend],
            on_progress=_scaled_progress(on_progress, done, len(augmentations), rows),
        )
        done += len(augmentations) * len(pairs)
    if not missing:
        store.compact()  # removes replaced versions that an earlier run left for processes that were still reading


def _scaled_progress(on_progress: OnProgress, before: int, rows_per_image: int, rows: int) -> OnProgress:
    """Progress over all rows, from the progress over images of which each has as many rows."""
    return lambda done, total: on_progress(before + done * rows_per_image, rows)


def _origin(backbone: Backbone, store: Store) -> dict[str, Any]:
    """Fields of an EmbedResult: which network the vectors of a table come from, and how."""
    recipe = backbone.recipe
    return {
        "dimension": int(np.prod(backbone.dimension)),
        "made_by": store.engine_version(),
        "precision": recipe.precision,
        "int8": int8.read_effect(backbone) if recipe.precision == "int8" else None,
        "recipe": str(recipe),
        "weights": recipe.weights,
        "alpha": recipe.alpha,
        "key": backbone.key,
        "parity": backbone.parity,
        "backbone": str(backbone.file),
        "store": str(store.path),
    }


def _missing(store: Store, files: dict[str, Path], rows_per_image: int, on_message: OnMessage) -> Missing:
    if rows_per_image > 1 and (outdated := store.discard_outdated_augmentations()):
        on_message(f"{outdated:,} augmented images follow another recipe than today's: they are embedded again")
    stored = [store.ids(number) for number in range(rows_per_image)]
    missing: Missing = {}
    for id, path in files.items():
        if lacking := tuple(number for number in range(rows_per_image) if id not in stored[number]):
            missing.setdefault(lacking, []).append((id, path))
    return missing


def _count_rows(missing: Missing) -> int:
    return sum(len(augmentations) * len(pairs) for augmentations, pairs in missing.items())


def _confirm_room(config: EmbeddingConfig, backbone: Backbone, rows: int, on_message: OnMessage) -> None:
    """Report what maps and augmentations will take on the disk, and have more than `LARGE` confirmed.

    Raises: InputError when it is not confirmed.
    """
    numbers = int(np.prod(backbone.dimension)) + backbone.bottleneck
    expected = 2 * numbers * rows
    if rows and (config.rows_per_image > 1 or config.recipe.pool == "none"):
        on_message(f"{rows:,} vectors of {numbers:,} numbers take about {expected / 10**9:,.2f} GB")
    if expected > LARGE and not config.confirm_storage(f"Store {expected / 10**9:,.1f} GB of vectors?"):
        size = f"{expected / 10**9:,.1f} GB"
        raise InputError(f"{rows:,} vectors of {numbers:,} numbers would take {size}", remedy="large")


def _picture_files(workspace: Workspace) -> Iterator[Path]:
    """Files that look like pictures, whether they were scanned or not. Raises: InputError when there is none."""
    none = True
    for entry in walk(workspace.images, lambda path, error: None):
        file = workspace.images / from_text(entry.path)
        if is_picture(file, entry):
            none = False
            yield file
    if none:
        raise InputError(f"{workspace.images} holds no picture that can be read", remedy="unreadable")


def _check_backend(config: EmbeddingConfig, backbone: Backbone) -> Backbone:
    """The backbone, if the backend can run it. Raises: InputError."""
    if backbone.recipe.precision == "int8" and config.backend != "onnx":
        raise InputError(f"the backend {config.backend} cannot run an int8 network", remedy="fp-or-onnx")
    return backbone


def _export_or_load(config: EmbeddingConfig, files: Iterable[Path], on_message: OnMessage) -> Backbone:
    """The backbone file that was named, else the exported one from the cache, else a new export."""

    def parity_pixels() -> np.ndarray:
        squares: list[np.ndarray] = []
        for path in files:
            try:
                squares.append(read_square(path, config.recipe))
            except PictureError:
                continue  # a scan reports it
            if len(squares) == PARITY_IMAGES:
                break
        if not squares:
            raise InputError("none of the pictures can be read", remedy="unreadable")
        return np.stack(squares)

    if config.backbone:
        return load_backbone(config.backbone, config.recipe)
    return load_or_export(config.recipe, parity_pixels, on_message)
