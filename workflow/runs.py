"""The folder that a comparison or a training leaves behind: what was done, on what, and what came of it."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from winnow.common.digests import digest
from winnow.common.errors import InputError
from winnow.common.tables import disk_errors

if TYPE_CHECKING:
    from winnow.heads.evaluation.fit import Fit


def new_folder(runs: Path, name: str, now: datetime) -> Path:
    """Make `runs/TIME-NAME`, with a number behind it when two runs begin in one second."""
    stem = f"{now:%Y%m%d-%H%M%S}-{name}"
    try:
        runs.mkdir(parents=True, exist_ok=True)
        for number in range(1, 1000):
            folder = runs / (stem if number == 1 else f"{stem}-{number}")
            try:
                folder.mkdir()
                return folder
            except FileExistsError:
                continue
    except OSError as error:
        raise InputError(f"{runs}: {error.strerror}; make room there or use --workspace") from None
    raise InputError(f"{runs}: a thousand runs began in this second; wait for one")


def write_splits(file: Path, ids: Sequence[str], labels: Sequence[str], parts: Sequence[np.ndarray]) -> str:
    """`splits.lance`: `repeat`, `id`, `label`, `split`, a row for each picture and repeat. Returns the digest (hex)."""
    import lance
    import pyarrow as pa

    tables = [
        pa.table({"repeat": np.full(len(ids), repeat, np.int32), "id": ids, "label": labels, "split": part.tolist()})
        for repeat, part in enumerate(parts)
    ]
    with disk_errors(file):
        lance.write_dataset(pa.concat_tables(tables), file, mode="create")
    return digest([[list(ids), part.tolist()] for part in parts])


def write_history(file: Path, histories: dict[str, dict[str, list[float]]]) -> None:
    """`history.csv`: a row for each head and epoch (from 0) with the losses and scores of that epoch."""
    names = list(dict.fromkeys(name for history in histories.values() for name in history))
    rows = (
        [head, epoch, *(history[name][epoch] if name in history else "" for name in names)]
        for head, history in histories.items()
        for epoch in range(len(next(iter(history.values()))))
    )
    _write_csv(file, ["head", "epoch", *names], rows)


def write_predictions(
    file: Path,
    classes: Sequence[str],
    pictures: Sequence[tuple[str, str]],
    y: np.ndarray,
    parts: dict[str, tuple[np.ndarray, np.ndarray]],
    head: str,
) -> None:
    """`predictions.csv`: what a head says of the val and test pictures.

    Parameters: `pictures`, (id, path) of every row; `y` int (N,); `parts`, split -> (rows (n,), probabilities (n, C)).
    """
    rows = (
        [head, split, *pictures[row], classes[y[row]], classes[int(p.argmax())], *(f"{value:.6f}" for value in p)]
        for split, (indexes, probabilities) in parts.items()
        for row, p in zip(indexes.tolist(), probabilities, strict=True)
    )
    columns = ["head", "split", "id", "path", "label", "predicted", *(f"p_{name}" for name in classes)]
    _write_csv(file, columns, rows)


def _write_csv(file: Path, columns: Sequence[str], rows: Any) -> None:
    try:
        with file.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream)
            writer.writerow(columns)
            writer.writerows(rows)
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        raise InputError(f"{file}: {error.strerror}; make room there") from None


def most_wrong(
    classes: Sequence[str], paths: Sequence[str], y: np.ndarray, probabilities: np.ndarray, most: int = 24
) -> list[dict[str, Any]]:
    """The pictures whose own label has the lowest probability among those given another, worst first.

    Parameters: `paths` (n,), `y` int (n,), `probabilities` (n, C), rows in the same order.
    """
    predicted = probabilities.argmax(axis=1)
    own = probabilities[np.arange(len(y)), y]
    wrong = np.flatnonzero(predicted != y)
    return [
        {
            "path": paths[row],
            "label": classes[y[row]],
            "predicted": classes[predicted[row]],
            "probability": float(probabilities[row, predicted[row]]),
            "label_probability": float(own[row]),
        }
        for row in wrong[np.argsort(own[wrong], kind="stable")][:most].tolist()
    ]


def shown(fit: Fit, classes: Sequence[str]) -> dict[str, Any]:
    """What the report draws of one fit: matrices on train and test, the report by class, the curves."""
    from winnow.heads.evaluation.metrics import classification_report

    return {
        "repeat": 0,
        "confusion": {part: fit.confusion[part] for part in ("train", "test")},
        "classification_report": classification_report(np.array(fit.confusion["test"]), list(classes)),
        "history": fit.history,
        "best_epoch": fit.best_epoch,
    }
