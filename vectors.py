"""From a scanned folder to the table of its vectors: the backbone that was asked for, and what is still missing."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from curate import manifest
from curate.paths import from_text
from curate.workspace import Workspace
from embed import pipeline
from embed.backbone import Backbone, load, obtain
from embed.backends import BACKENDS, PACKAGES
from embed.errors import InputError
from embed.images import PictureError
from embed.recipe import Recipe
from embed.store import Store
from embed.versions import installed

PARITY_PICTURES = 8  # on which an export is compared with Keras
Progress = Callable[[int, int], None]
Say = Callable[[str], None]


@dataclass(frozen=True)
class Vectors:
    """How vectors are chosen on the command line: the recipe, an exported backbone instead of weights, the engine."""

    recipe: Recipe = Recipe()
    backbone: Path | None = None
    backend: str = "onnx"
    workers: int | None = None

    def document(self) -> dict[str, Any]:
        """As JSON can hold it; `of` is the way back."""
        backbone = None if self.backbone is None else str(self.backbone.resolve())
        return {"recipe": asdict(self.recipe), "backbone": backbone, "backend": self.backend}

    @classmethod
    def of(cls, said: dict[str, Any] | None) -> Vectors:
        """From `document`; the default for None."""
        if said is None:
            return cls()
        return cls(Recipe(**said["recipe"]), said["backbone"] and Path(said["backbone"]), said["backend"])


def embed(workspace: Workspace, choice: Vectors, on_progress: Progress, say: Say) -> tuple[Store, dict[str, Any]]:
    """Embed what has no vector yet. Returns the table, and what was done as `embed --json` prints it.

    Raises: InputError when weights, TensorFlow or disk space are missing, or there is no picture to embed.
    """
    start = time.monotonic()
    files = files_of(workspace)
    if not files:
        raise InputError(f"{workspace.images} holds no picture that can be read: `winnow scan` lists what is wrong")
    backbone = backbone_of(choice, files, say)
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


def files_of(workspace: Workspace) -> dict[str, Path]:
    """Of every readable picture: id -> one file that holds it."""
    import pyarrow.compute as pc

    table = manifest.read(workspace)
    good = table.filter(pc.is_null(table["problem"]))
    files: dict[str, Path] = {}
    for id, path in zip(good["id"].to_pylist(), good["path"].to_pylist(), strict=True):
        files.setdefault(id, workspace.images / from_text(path))
    return files


def backbone_of(choice: Vectors, files: dict[str, Path], say: Say) -> Backbone:
    """The exported backbone that was asked for; `files` are pictures to compare a new export with Keras on."""

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
