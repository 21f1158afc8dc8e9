"""What a run writes down: the document of its numbers, its folder, its report."""

from __future__ import annotations

import io
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from curate.dataset import Dataset
from curate.manifest import Scan
from curate.paths import from_text
from curate.splits import PARTS
from curate.workspace import Workspace
from embed import images
from embed.images import PictureError
from embed.versions import PACKAGES, installed
from heads import report, runs

if TYPE_CHECKING:
    from heads.fit import Fit, Split

THUMBNAIL = 192  # pixels, longer side


@dataclass(frozen=True)
class Work:
    """Everything that heads are trained on: the dataset, its vectors (N, D) float32, and how they were made."""

    workspace: Workspace
    data: Dataset
    X: np.ndarray
    made: dict[str, Any]  # what `embed` returned
    scan: Scan
    seed: int
    seconds: dict[str, float]  # of each stage so far

    @property
    def splits(self) -> list[Split]:
        """The divisions as index arrays, as heads take them."""
        from heads.fit import Split

        rows = ({name: np.flatnonzero(part == name) for name in PARTS} for part in self.data.parts)
        return [Split(**parts, groups=self.data.groups) for parts in rows]


def leave_run(
    work: Work,
    name: str,
    rows: list[dict[str, Any]],
    fits: dict[str, Fit],
    command: str,
    estimator: Any = None,
) -> dict[str, Any]:
    """Write the run folder; `estimator` is the first row's head, to be written as `head.onnx`."""
    data, made, best = work.data, work.made, rows[0]
    now = datetime.now(UTC)
    folder = runs.new_folder(work.workspace.runs, name, now)
    pictures = list(zip(data.ids, data.paths, strict=True))
    test, fit = work.splits[0].test, fits[best["name"]]
    document = {
        "title": work.workspace.images.name,
        "command": command,
        "created": now.isoformat(timespec="seconds"),
        "kind": name.split("-")[0],
        "version": installed("winnow-images"),
        "data": _data_document(work),
        "vectors": {name: made[name] for name in ("recipe", "key", "dimension", "parity", "backend", "precision")}
        | {"backbone": _backbone_in_words(made), "untrained": made["weights"] == "random"},
        "heads": [row | {"chosen": row is best, "shown": runs.shown(fits[row["name"]], data.classes)} for row in rows],
        "most_wrong": runs.most_wrong(data.classes, [data.paths[row] for row in test], data.y[test], fit.proba["test"]),
        "seconds": work.seconds,
    }
    digest = runs.write_splits(folder / "splits.lance", data.ids, data.labels, data.parts)
    runs.write_history(folder / "history.csv", {name: fit.history for name, fit in fits.items() if fit.history})
    parts = {part: (getattr(work.splits[0], part), fit.proba[part]) for part in ("val", "test")}
    runs.write_predictions(folder / "predictions.csv", data.classes, pictures, data.y, parts, best["name"])
    model = folder / "head.onnx"
    if estimator is not None:
        from heads.export import save_head
        from heads.fit import Head

        head = Head(*(best[field] for field in ("name", "kind", "params")))
        save_head(
            model, estimator, head, data.classes, work.X[test], {"recipe": made["recipe"], "vectors": made["key"]}
        )
    keep = ("command", "created", "kind", "version")
    used = {"python": sys.version.split()[0]} | {name: installed(name) for name in PACKAGES}
    arguments = {"seed": work.seed, "repeats": len(data.parts), "split_rule": data.rule, "splits_digest": digest}
    kept = {name: document[name] for name in keep} | arguments | {"vectors": made["key"], "versions": used}
    runs.write_json(
        folder / "run.json", kept | {"heads": [{n: row[n] for n in ("name", "kind", "params")} for row in rows]}
    )
    start = time.monotonic()
    page = report.write(document, folder, lambda path: _thumbnail(work.workspace.images / from_text(path)))
    work.seconds["report"] = round(time.monotonic() - start, 2)
    runs.write_json(folder / "metrics.json", document)
    result = document | {"run": str(folder), "report": str(page)}
    if estimator is not None:
        result |= {"weighted_f1": best["weighted_f1"], "accuracy": best["accuracy"], "model": str(model)}
    return result


def _data_document(work: Work) -> dict[str, Any]:
    data = work.data
    return {
        "images": str(work.workspace.images),
        "pictures": len(data.ids),
        "classes": data.classes,
        "splits": data.counts(),
        "repeats": len(data.parts),
        "split_rule": data.rule,
        "left_out": data.left_out,
        "problems": work.scan.problems,
        "exact_duplicates": work.scan.exact_duplicates,
        "warnings": [*work.scan.warnings, *data.warnings],
    }


def _backbone_in_words(made: dict[str, Any]) -> str:
    weights = {"imagenet": "ImageNet weights", "random": "untrained"}.get(
        made["weights"], f"weights of {made['weights']}"
    )
    return f"MobileNetV2 {made['alpha']}, {weights}"


def _thumbnail(path: Path) -> bytes | None:
    """A small JPEG of a picture, or None when it cannot be read any more."""
    from PIL import Image

    try:
        pixels, _ = images.read(images.read_bytes(path), box=THUMBNAIL)
    except PictureError:
        return None
    picture = Image.fromarray(pixels)
    picture.thumbnail((THUMBNAIL, THUMBNAIL))
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=80)
    return stream.getvalue()
