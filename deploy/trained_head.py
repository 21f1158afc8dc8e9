"""Read a run folder back: the head that was trained, on which pictures, and how it scored.

Runs of version 0.1.0 keep opening: `EmbeddingConfig.from_json` and `heads.kinds.current_kind` translate their names.
"""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from winnow.common.errors import InputError
from winnow.common.tables import open_table, wrap_read_errors
from winnow.curate.workspace import find_workspace
from winnow.embed.config import EmbeddingConfig
from winnow.heads.kinds import current_kind

# Keys of run.json and metrics.json that must be there.
_RUN_KEYS = ("created", "embedding", "heads", "repeats", "split_rule", "vectors")
_DATA_KEYS = ("dropped", "found", "pictures", "relabelled")
_HEAD_KEYS = ("accuracy", "macro_f1", "shown", "weighted_f1")


@dataclass(frozen=True)
class TrainedHead:
    """The trained head of a run, and what the run recorded about it.

    folder : the run folder.
    model : onnx.ModelProto of head.onnx.
    name, kind, params : of the head.
    classes : labels in the order of the head's probabilities.
    embedding : how the vectors of the run were made.
    vectors : the key of their table.
    repeats : number of splits that the scores are means over.
    split_rule : how the pictures were split, in words.
    splits : "train", "val" and "test" -> {id: label} of the split that the head was trained on.
    test_probabilities : id -> probabilities, float32 (C,), that the run stored for a test picture.
    metrics : the document metrics.json.
    """

    folder: Path
    model: Any
    name: str
    kind: str
    params: dict[str, Any]
    classes: list[str]
    embedding: EmbeddingConfig
    vectors: str
    repeats: int
    split_rule: str
    splits: dict[str, dict[str, str]]
    test_probabilities: dict[str, np.ndarray]
    metrics: dict[str, Any]


def read_run(folder: Path) -> TrainedHead:
    """Read a run folder. Raises: InputError when it has no trained head, is damaged, or of an earlier version."""
    if not (folder / "run.json").is_file():
        raise InputError(f"{folder} is no run folder", remedy="name-run")
    try:
        return _read(folder)
    except InputError:
        raise
    except Exception as error:  # protobuf and onnx raise a dozen kinds on damaged bytes
        raise InputError(f"{folder} is damaged ({type(error).__name__})", remedy="train-again") from None


def find_run(run: Path | None, workspace: Path | None) -> Path:
    """The folder of a run that is given by its path, or by its name in a workspace; None: the latest with a head.

    Parameters: `workspace`, None: the one in the current folder. Raises: InputError when there is none.
    """
    if run is not None and run.is_dir():
        return run
    try:
        runs = find_workspace(None, workspace).runs
    except InputError:
        if workspace is not None:
            raise
        raise InputError("it is not clear which run is meant", remedy="which-run") from None
    if run is not None:
        return runs / run
    heads = sorted(runs.glob("*/head.onnx"), key=lambda file: file.stat().st_mtime_ns)
    if not heads:
        raise InputError(f"no head is trained yet in {runs.parent}", remedy="train-first")
    return heads[-1].parent


def _read(folder: Path) -> TrainedHead:
    import onnx

    run, metrics = (json.loads((folder / name).read_text(encoding="utf-8")) for name in ("run.json", "metrics.json"))
    if not (folder / "head.onnx").is_file():
        _raise_no_head(folder, run)
    if "embedding" not in run:
        raise InputError(
            f"{folder} was written by an earlier version and does not record its vectors", remedy="train-again"
        )
    for names, document in ((_RUN_KEYS, run), (_DATA_KEYS, metrics["data"]), (_HEAD_KEYS, metrics["heads"][0])):
        missing = [name for name in names if document[name] is None]
        if missing:
            raise KeyError(missing[0])
    model = onnx.load(folder / "head.onnx", load_external_data=False)
    onnx.checker.check_model(model)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    kind, classes = metadata["kind"], json.loads(metadata["labels"])
    splits = _read_splits(folder / "splits.lance")
    labels = {label for split in splits.values() for label in split.values()}
    if (kind, metadata["vectors"]) != (run["heads"][0]["kind"], run["vectors"]) or not labels <= set(classes):
        raise InputError(f"{folder}: head.onnx is not that of this run", remedy="train-again")
    return TrainedHead(
        folder=folder,
        model=model,
        name=run["heads"][0]["name"],
        kind=current_kind(kind),
        params=json.loads(metadata["params"]),
        classes=classes,
        embedding=EmbeddingConfig.from_json(run["embedding"]),
        vectors=run["vectors"],
        repeats=run["repeats"],
        split_rule=run["split_rule"],
        splits=splits,
        test_probabilities=_read_test_probabilities(folder / "predictions.csv", classes),
        metrics=metrics,
    )


def _raise_no_head(folder: Path, run: dict[str, Any]) -> None:
    if run.get("kind") == "compare":
        best = current_kind(run["heads"][0]["kind"])
        raise InputError(f"{folder} is a comparison, which keeps no head", remedy="train-compared", head=best)
    raise InputError(f"{folder} holds no head.onnx", remedy="train-again")


def _read_splits(path: Path) -> dict[str, dict[str, str]]:
    table = open_table(path)
    if table is None:
        raise InputError(f"{path} is missing", remedy="train-again")
    with wrap_read_errors(path):
        rows = table.to_table(columns=["id", "label", "split"], filter="repeat = 0").to_pylist()
    splits: dict[str, dict[str, str]] = {"train": {}, "val": {}, "test": {}}
    for row in rows:
        if row["split"]:
            splits[row["split"]][row["id"]] = row["label"]
    return splits


def _read_test_probabilities(file: Path, classes: list[str]) -> dict[str, np.ndarray]:
    with file.open(newline="", encoding="utf-8") as stream:
        return {
            row["id"]: np.array([float(row[f"p_{name}"]) for name in classes], dtype=np.float32)
            for row in csv.DictReader(stream)
            if row["split"] == "test"
        }
