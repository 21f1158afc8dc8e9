"""The folder that a comparison or a training leaves behind: what was done, on what, and what came of it."""

from __future__ import annotations

import csv
import os
import shutil
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from winnow.common.digests import digest
from winnow.common.errors import InputError
from winnow.common.json_files import write_json
from winnow.common.paths import from_text, to_text
from winnow.common.progress import Reporter
from winnow.common.tables import wrap_write_errors
from winnow.common.versions import PACKAGES, installed_version
from winnow.curate.summary import summarize_curation
from winnow.workflow.experiment import Experiment
from winnow.workflow.report import page as report

if TYPE_CHECKING:
    from winnow.heads.evaluation.fit import Fit, HeadSpec
    from winnow.heads.evaluation.head_scores import HeadScores
    from winnow.workflow.report.document import RunDocument


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
    with wrap_write_errors(file):
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


def leave_run(
    experiment: Experiment,
    name: str,
    scores: list[HeadScores],
    fits: dict[str, Fit],
    reporter: Reporter,
    estimator: Any = None,
) -> dict[str, Any]:
    """Write a run folder, whole or not at all.

    Parameters: `scores`, of the heads, the chosen one first; `fits`, of every head on the first split;
    `estimator`, the fitted first head, to be written as `head.onnx`.
    Returns: the document, with `run` and `report`, and with an estimator `weighted_f1`, `accuracy` and `model` (None
    when the file was not like the head: the person is told, the run stays).
    """
    now = datetime.now(UTC)
    folder = new_folder(experiment.workspace.runs, name, now)
    try:
        document = _document(experiment, name.split("-")[0], scores, fits, reporter.command, now)
        _write_tables(experiment, folder, document, fits)
        start = time.monotonic()
        page = report.write(
            cast("RunDocument", document),
            folder,
            lambda path: report.thumbnail(experiment.workspace.images / from_text(path)),
        )
        experiment.seconds["report"] = round(time.monotonic() - start, 2)
        write_json(folder / "metrics.json", document)
        model = None
        if estimator is not None:
            model = _write_head(experiment, folder / "head.onnx", scores[0].spec, estimator, reporter)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    result = document | {"run": str(folder), "report": str(page)}
    if estimator is not None:
        result |= {"weighted_f1": scores[0].weighted_f1.to_json(), "accuracy": scores[0].accuracy, "model": model}
    return result


def _document(
    experiment: Experiment, kind: str, scores: list[HeadScores], fits: dict[str, Fit], command: str, now: datetime
) -> dict[str, Any]:
    """What `metrics.json` holds and the report is made from."""
    data, made, test = experiment.data, experiment.made, experiment.splits[0].test
    proba = fits[scores[0].name].proba["test"]
    return {
        "title": to_text(experiment.workspace.images.name),
        "command": to_text(command),
        "created": now.isoformat(timespec="seconds"),
        "kind": kind,
        "version": installed_version("winnow-images"),
        "data": _data_document(experiment),
        "vectors": {name: made[name] for name in ("recipe", "key", "dimension", "parity", "made_by", "precision")}
        | {"backbone": _backbone_in_words(made), "untrained": made["weights"] == "random"},
        "heads": [
            head.to_json() | {"chosen": head is scores[0], "shown": shown(fits[head.name], data.classes)}
            for head in scores
        ],
        "curation": None if experiment.as_found else summarize_curation(experiment.workspace, experiment.scores),
        "cleaning": experiment.cleaning and experiment.cleaning.to_json(),
        "learning_curve": experiment.learning_curve and experiment.learning_curve.to_json(),
        "search": experiment.search and experiment.search.to_json(),
        "most_wrong": most_wrong(data.classes, [data.paths[row] for row in test], data.y[test], proba),
        "seconds": experiment.seconds,
    }


def _write_tables(experiment: Experiment, folder: Path, document: dict[str, Any], fits: dict[str, Fit]) -> None:
    """`splits.lance`, `history.csv`, `predictions.csv` of the chosen head, and `run.json`."""
    data, heads = experiment.data, document["heads"]
    digest = write_splits(folder / "splits.lance", data.ids, data.labels, data.splits)
    write_history(folder / "history.csv", {name: fit.history for name, fit in fits.items() if fit.history})
    proba = fits[heads[0]["name"]].proba
    parts = {part: (getattr(experiment.splits[0], part), proba[part]) for part in ("val", "test")}
    pictures = list(zip(data.ids, data.paths, strict=True))
    write_predictions(folder / "predictions.csv", data.classes, pictures, data.y, parts, heads[0]["name"])
    said = {name: document[name] for name in ("command", "created", "kind", "version")}
    said |= {
        "seed": experiment.seed,
        "repeats": len(data.splits),
        "split_rule": data.split_rule,
        "splits_digest": digest,
    }
    said |= {"vectors": experiment.made["key"], "embedding": experiment.embedding}
    said |= {"heads": [{n: head[n] for n in ("name", "kind", "params")} for head in heads]}
    used = {"python": sys.version.split()[0]} | {name: installed_version(name) for name in PACKAGES}
    write_json(folder / "run.json", said | {"versions": used})


def _write_head(experiment: Experiment, file: Path, head: HeadSpec, estimator: Any, reporter: Reporter) -> str | None:
    from winnow.deploy.onnx.head import save_head

    extra = {"recipe": experiment.made["recipe"], "vectors": experiment.made["key"]}
    try:
        save_head(file, estimator, head, experiment.data.classes, experiment.X[experiment.splits[0].test], extra)
    except InputError as error:
        reporter.message(f"note: {file.name} was not written: {error}")
        return None
    return str(file)


def _data_document(experiment: Experiment) -> dict[str, Any]:
    data = experiment.data
    return {
        "images": to_text(str(experiment.workspace.images)),
        "pictures": len(data.ids),
        "classes": data.classes,
        "splits": data.split_counts(),
        "repeats": len(data.splits),
        "split_rule": data.split_rule,
        "found": data.as_found_counts,
        "dropped": data.dropped,
        "relabelled": data.relabelled,
        "left_out": data.left_out,
        "problems": [problem.to_json() for problem in experiment.scan.problems],
        "exact_duplicates": experiment.scan.exact_duplicates,
        "warnings": experiment.notes,
    }


def _backbone_in_words(made: dict[str, Any]) -> str:
    weights = {"imagenet": "ImageNet weights", "random": "untrained"}.get(
        made["weights"], f"weights of {made['weights']}"
    )
    return f"MobileNetV2 {made['alpha']}, {weights}"
