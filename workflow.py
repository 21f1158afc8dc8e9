"""What joins the rooms: a scanned folder to its vectors, and vectors to runs with a report."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from curate import dataset as datasets
from curate import manifest
from curate.paths import from_text
from curate.workspace import Workspace
from embed import pipeline
from embed.ahead import processors
from embed.backbone import Backbone, load, obtain
from embed.backends import BACKENDS, PACKAGES
from embed.errors import InputError
from embed.images import PictureError
from embed.recipe import Recipe, digest
from embed.store import Store
from embed.versions import installed
from embed.weights import WeightsMissing
from record import Listener, Say, Work, leave_run

if TYPE_CHECKING:
    from heads.fit import Fit, Grid

PARITY_PICTURES = 8  # on which an export is compared with Keras
QUADRATIC = ("knn", "svm-linear", "svm-rbf")  # heads whose time grows with the square of the training pictures
QUADRATIC_LIMIT = 20_000  # training pictures above which they are left out unless they are named
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Vectors:
    """How vectors are chosen on the command line: the recipe, an exported backbone instead of weights, the engine."""

    recipe: Recipe = Recipe()
    backbone: Path | None = None
    backend: str = "onnx"
    workers: int | None = None


def embed(workspace: Workspace, choice: Vectors, on_progress: Progress, say: Say) -> tuple[Store, dict[str, Any]]:
    """Embed what has no vector yet. Returns the table, and what was done as `embed --json` prints it.

    Raises: InputError when weights, TensorFlow or disk space are missing, or there is no picture to embed.
    """
    start = time.monotonic()
    files = _files(workspace)
    if not files:
        raise InputError(f"{workspace.images} holds no picture that can be read: `winnow scan` lists what is wrong")
    backbone = _backbone(choice, files, say)
    store = Store(
        workspace.embeddings,
        backbone,
        choice.backend,
        f"{PACKAGES[choice.backend]} {installed(PACKAGES[choice.backend])}",
    )
    with workspace.lock(say):
        here = store.ids()
        missing = [(id, path) for id, path in files.items() if id not in here]
        filled = pipeline.Filled(0, [], 0.0)
        if missing:
            session = BACKENDS[choice.backend](backbone)
            filled = pipeline.fill(
                store, missing, backbone.recipe, session, workers=choice.workers, on_progress=on_progress
            )
        else:
            store.compact()  # drops what an earlier run left for readers that are done by now
    return store, {
        "embedded": filled.embedded,
        "reused": len(files) - len(missing),
        "failed": len(filled.failed),
        "failed_files": filled.failed,
        "images_per_second": round(filled.embedded / filled.seconds, 1) if filled.embedded else None,
        "total_seconds": round(time.monotonic() - start, 2),
        "dimension": int(np.prod(backbone.dimension)),
        "backend": choice.backend,
        "made_by": store.made_by(),
        "precision": backbone.recipe.precision,
        "recipe": str(backbone.recipe),
        "weights": backbone.recipe.weights,
        "alpha": backbone.recipe.alpha,
        "key": backbone.key,
        "parity": backbone.parity,
        "backbone": str(backbone.file),
        "store": str(store.path),
    }


def _files(workspace: Workspace) -> dict[str, Path]:
    """Of every readable picture: id -> one file that holds it."""
    import pyarrow.compute as pc

    table = manifest.read(workspace)
    good = table.filter(pc.is_null(table["problem"]))
    files: dict[str, Path] = {}
    for id, path in zip(good["id"].to_pylist(), good["path"].to_pylist(), strict=True):
        files.setdefault(id, workspace.images / from_text(path))
    return files


def _backbone(choice: Vectors, files: dict[str, Path], say: Say) -> Backbone:
    def pictures() -> np.ndarray:
        squares: list[np.ndarray] = []
        for path in files.values():
            try:
                squares.append(pipeline.pixels_of(path, choice.recipe))
            except PictureError:
                continue  # it went bad since the scan; embedding will say so
            if len(squares) == PARITY_PICTURES:
                break
        if not squares:
            raise InputError("none of the pictures can be read any more: run the command again")
        return np.stack(squares)

    return load(choice.backbone, choice.recipe) if choice.backbone else obtain(choice.recipe, pictures, say)


@contextmanager
def timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    """Note the seconds that a stage took."""
    start = time.monotonic()
    yield
    seconds[stage] = round(time.monotonic() - start, 2)


def prepare(
    workspace: Workspace, vectors: Vectors, listener: Listener, *, repeats: int, seed: int, group_by: str | None
) -> Work:
    """Scan, embed and divide: what every run begins with. Raises: InputError."""
    seconds: dict[str, float] = {}
    with listener.progress("Scanning") as told, timed(seconds, "scan"):
        found = manifest.scan(workspace, on_progress=told, say=listener.say)
    with listener.progress("Embedding") as told, timed(seconds, "embed"):
        store, made = embed(workspace, vectors, told, listener.say)
    data = datasets.read(workspace, repeats=repeats, seed=seed, group_by=group_by, among=store.ids())
    notes = [*found.warnings, *data.warnings]
    if failed := made["failed_files"]:
        notes.append(f"left out, {len(failed)} pictures that could not be embedded, as {failed[0]['path']}")
    for note in notes:
        listener.say(f"note: {note}")
    return Work(workspace, data, store.read(data.ids), made, found, notes, seed, seconds)


def compare(
    workspace: Workspace,
    vectors: Vectors,
    listener: Listener,
    *,
    heads: str | None = None,
    grid: str | None = None,
    repeats: int = 10,
    seed: int = 0,
    group_by: str | None = None,
    jobs: int | None = None,
    fresh: bool = False,
) -> dict[str, Any]:
    """Fit every head on every split, and leave a run folder with a report.

    Parameters: `heads`, names of kinds, comma-separated (None: all), or `grid`, a TOML file or the name of a shipped
    one; `jobs`, fits at a time (None: one a processor); `fresh`, fit anew what was fitted before.
    Returns: the document of the run (`metrics.json`), with `run` and `report`, its folder and its page.
    """
    from heads.fit import read_grid

    chosen = read_grid(grid) if grid else _grid(heads)
    work = prepare(workspace, vectors, listener, repeats=repeats, seed=seed, group_by=group_by)
    if heads is None and grid is None:
        chosen = _affordable(chosen, work, listener)
    rows, fits = _fit_all(work, chosen, seed, jobs, fresh, listener)
    return leave_run(work, "compare", rows, fits, listener)


def train(
    workspace: Workspace,
    vectors: Vectors,
    listener: Listener,
    *,
    kind: str,
    params: dict[str, Any],
    seed: int = 0,
    group_by: str | None = None,
) -> dict[str, Any]:
    """Train one head on one split, and leave a run folder with a report and `head.onnx`.

    Returns: as `compare`, with `weighted_f1`, `accuracy` and `model`, the path of `head.onnx`.
    """
    from heads.compare import table
    from heads.fit import Head, build, fit_head

    head = Head(kind, kind, params)
    build(head, seed)  # a wrong parameter is told before the work, not after it
    work = prepare(workspace, vectors, listener, repeats=1, seed=seed, group_by=group_by)
    with timed(work.seconds, "train"):
        estimator, fit = fit_head(head, work.X, work.data.y, work.splits[0], work.data.classes, seed)
    rows = table([head], [[fit]], work.splits)
    return leave_run(work, f"train-{kind}", rows, {kind: fit}, listener, estimator)


def run(
    workspace: Workspace,
    vectors: Vectors,
    listener: Listener,
    *,
    heads: str | None = None,
    repeats: int = 10,
    seed: int = 0,
    group_by: str | None = None,
    jobs: int | None = None,
) -> dict[str, Any]:
    """Scan, embed, compare, train the best head again for its file, report: from a folder to a run folder.

    Returns: {scan, embed, compare, train, report, seconds}, as `run --json` prints it.
    """
    from heads.fit import Head, fit_head

    grid = _grid(heads)
    work = prepare(workspace, vectors, listener, repeats=repeats, seed=seed, group_by=group_by)
    if heads is None:
        grid = _affordable(grid, work, listener)
    rows, fits = _fit_all(work, grid, seed, jobs, False, listener)
    best = Head(*(rows[0][name] for name in ("name", "kind", "params")))
    with timed(work.seconds, "train"):
        estimator, fits[best.name] = fit_head(best, work.X, work.data.y, work.splits[0], work.data.classes, seed)
    document = leave_run(work, "run", rows, fits, listener, estimator)
    return {
        "scan": work.scan.document(),
        "embed": work.made,
        "compare": {name: document[name] for name in ("heads", "data", "run")},
        "train": {"head": best.name} | {name: document[name] for name in ("run", "weighted_f1", "accuracy", "model")},
        "report": document["report"],
        "seconds": document["seconds"],
    }


def demo(workspace: Workspace, listener: Listener, *, repeats: int = 10, seed: int = 0) -> dict[str, Any]:
    """`run` on drawn pictures; where the ImageNet weights cannot be had, with an untrained backbone, and it says so."""
    try:
        return run(workspace, Vectors(), listener, repeats=repeats, seed=seed)
    except WeightsMissing as error:
        bar = "=" * 100
        listener.say(
            f"{bar}\nTHE BACKBONE IS UNTRAINED: {error}.\nScores below say nothing of what Winnow can do.\n{bar}"
        )
        return run(workspace, Vectors(Recipe(weights="random")), listener, repeats=repeats, seed=seed)


def draw(folder: Path, per_class: int, seed: int, listener: Listener) -> None:
    """Draw the pictures of the demo, unless they are there already. Raises: InputError when other files are."""
    from curate import sample

    if folder.is_dir() and sample.truth_path(folder).is_file():
        listener.say(f"{folder} was drawn before and is used again; delete it to draw anew")
        return
    with listener.progress("Drawing") as told:
        sample.draw(folder, per_class=per_class, seed=seed, on_picture=told)


def _grid(heads: str | None) -> Grid:
    from heads.fit import HEADS, Grid, heads_from_names

    return Grid(heads_from_names([name.strip() for name in heads.split(",")] if heads is not None else list(HEADS)))


def _affordable(grid: Grid, work: Work, listener: Listener) -> Grid:
    """The heads without those whose time grows with the square of a large training part; they can still be named."""
    pictures = len(work.splits[0].train)
    if pictures <= QUADRATIC_LIMIT:
        return grid
    listener.say(f"note: {', '.join(QUADRATIC)} are left out, slow on {pictures:,} pictures; name them with --heads")
    return replace(grid, heads=[head for head in grid.heads if head.kind not in QUADRATIC])


def _fit_all(
    work: Work, grid: Grid, seed: int, jobs: int | None, fresh: bool, listener: Listener
) -> tuple[list[dict[str, Any]], dict[str, Fit]]:
    """The rows of the comparison, and of every head the fit on the first split."""
    from heads.compare import compare as fit_all
    from heads.compare import table

    with listener.progress("Fitting") as told, timed(work.seconds, "compare"):
        fits = fit_all(
            grid.heads,
            work.X,
            work.data.y,
            work.splits,
            work.data.classes,
            seed=seed,
            validation=grid.validation,
            cache_dir=work.workspace.fits,
            data_key=digest([work.made["key"], work.data.ids]),
            fresh=fresh,
            jobs=jobs or processors(),
            on_fit=lambda done, total, head: told(done, total),
        )
    return table(grid.heads, fits, work.splits), {head.name: of[0] for head, of in zip(grid.heads, fits, strict=True)}
