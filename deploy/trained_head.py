"""A run folder read back: the head that was trained, on which pictures, and how well it did."""

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

# What is read of run.json and metrics.json, and must be there.
_RUN = ("created", "embedding", "heads", "repeats", "split_rule", "vectors")
_DATA = ("dropped", "found", "pictures", "relabelled")
_HEAD = ("accuracy", "macro_f1", "shown", "weighted_f1")


@dataclass(frozen=True)
class Trained:
    """What `winnow train` and `winnow run` left in a folder.

    head: onnx.ModelProto of head.onnx, kind, params and classes what it says of itself, classes in the order of its
    probabilities. run: run.json; document: metrics.json. parts: split -> {id: label} of the division that it was
    trained on. judged: id -> the probabilities (C,) that the run gave a test picture, of its vector as it is stored.
    """

    folder: Path
    head: Any
    kind: str
    params: dict[str, Any]
    classes: list[str]
    run: dict[str, Any]
    document: dict[str, Any]
    parts: dict[str, dict[str, str]]
    judged: dict[str, np.ndarray]


def read(folder: Path) -> Trained:
    """Read a run folder. Raises: InputError when it holds no trained head, or is damaged, or of an earlier version."""
    if not (folder / "run.json").is_file():
        raise InputError(f"{folder} is no run: name a folder below NAME.winnow/runs that `winnow run` or `train` left")
    try:
        return _read(folder)
    except InputError:
        raise
    except Exception as error:  # protobuf and onnx raise a dozen kinds on damaged bytes
        raise InputError(f"{folder} is damaged ({type(error).__name__}): train again") from None


def find(run: Path | None, workspace: Path | None) -> Path:
    """The folder of a run: it is named by its path, or by its name in a workspace; None: the youngest with a head.

    Parameters: `workspace`, None: the one in the current folder. Raises: InputError when there is none.
    """
    if run is not None and run.is_dir():
        return run
    try:
        runs = find_workspace(None, workspace).runs
    except InputError:
        if workspace is not None:
            raise
        raise InputError("which run? Name its folder in NAME.winnow/runs, or its workspace with --workspace") from None
    if run is not None:
        return runs / run
    found = sorted(runs.glob("*/head.onnx"), key=lambda file: file.stat().st_mtime_ns)
    if not found:
        raise InputError(f"no head is trained yet in {runs.parent}: `winnow run` or `winnow train --head lda` first")
    return found[-1].parent


def _read(folder: Path) -> Trained:
    import onnx

    run, document = (json.loads((folder / name).read_text(encoding="utf-8")) for name in ("run.json", "metrics.json"))
    if not (folder / "head.onnx").is_file():
        raise InputError(_no_head(folder, run))
    if "embedding" not in run:
        raise InputError(f"{folder} was left by an earlier version: `winnow train` again, with the same options")
    for names, of in ((_RUN, run), (_DATA, document["data"]), (_HEAD, document["heads"][0])):
        missing = [name for name in names if of[name] is None]
        if missing:
            raise KeyError(missing[0])
    head = onnx.load(folder / "head.onnx", load_external_data=False)
    onnx.checker.check_model(head)
    said = {prop.key: prop.value for prop in head.metadata_props}
    kind, params, classes = said["kind"], json.loads(said["params"]), json.loads(said["labels"])
    parts = _parts(folder / "splits.lance")
    trained = {label for of in parts.values() for label in of.values()}
    if (kind, said["vectors"]) != (run["heads"][0]["kind"], run["vectors"]) or not trained <= set(classes):
        raise InputError(f"{folder}: head.onnx is not that of this run: train again")
    return Trained(folder, head, kind, params, classes, run, document, parts, _judged(folder, classes))


def _no_head(folder: Path, run: dict[str, Any]) -> str:
    if run.get("kind") == "compare":
        best = run["heads"][0]["kind"]
        return f"{folder} is a comparison, which keeps no head: `winnow train --head {best}` and export that run"
    return f"{folder} holds no head.onnx: train again"


def _parts(path: Path) -> dict[str, dict[str, str]]:
    table = open_table(path)
    if table is None:
        raise InputError(f"{path} is missing: train again")
    with wrap_read_errors(path):
        rows = table.to_table(columns=["id", "label", "split"], filter="repeat = 0").to_pylist()
    parts: dict[str, dict[str, str]] = {"train": {}, "val": {}, "test": {}}
    for row in rows:
        if row["split"]:
            parts[row["split"]][row["id"]] = row["label"]
    return parts


def _judged(folder: Path, classes: list[str]) -> dict[str, np.ndarray]:
    with (folder / "predictions.csv").open(newline="", encoding="utf-8") as stream:
        return {
            row["id"]: np.array([float(row[f"p_{name}"]) for name in classes], dtype=np.float32)
            for row in csv.DictReader(stream)
            if row["split"] == "test"
        }
