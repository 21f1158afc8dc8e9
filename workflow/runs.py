"""Runs: the folder that a comparison or a training writes, and the record of it."""

from __future__ import annotations

import csv
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from winnow import __version__
from winnow.common.digests import digest
from winnow.common.errors import InputError
from winnow.common.json_files import write_json
from winnow.common.paths import from_text, to_text
from winnow.common.progress import Reporter
from winnow.common.tables import wrap_write_errors
from winnow.common.versions import PACKAGES, installed_version
from winnow.curate.summary import summarize_curation
from winnow.workflow.experiment import Experiment
from winnow.workflow.report import page
from winnow.workflow.stage_timer import StageTimer

if TYPE_CHECKING:
    from winnow.heads.evaluation.cleaning_effect import CleaningEffect
    from winnow.heads.evaluation.fit import Fit
    from winnow.heads.evaluation.head_scores import HeadScores
    from winnow.heads.evaluation.learning_curve import LearningCurve
    from winnow.heads.evaluation.metrics import WrongPrediction
    from winnow.heads.evaluation.search import SearchResult
    from winnow.workflow.report.document import RunDocument


def new_folder(runs: Path, name: str, now: datetime) -> Path:
    """Make `runs/TIME-NAME`, with a number at its end when two runs begin in one second."""
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
        raise InputError(f"{runs}: {error.strerror}", remedy="room-or-workspace") from None
    raise InputError(f"{runs}: a thousand runs began in this second: wait for one")


def write_splits(file: Path, ids: Sequence[str], labels: Sequence[str], parts: Sequence[np.ndarray]) -> str:
    """`splits.lance`: `repeat`, `id`, `label`, `split`, one row per image and repeat. Returns the digest (hex)."""
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
    """`history.csv`: one row per head and epoch (from 0) with the losses and scores of that epoch."""
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
    images: Sequence[tuple[str, str]],
    y: np.ndarray,
    parts: dict[str, tuple[np.ndarray, np.ndarray]],
    head: str,
) -> None:
    """`predictions.csv`: the probabilities of a head on the val and test images.

    Parameters: `images`, (id, path) of every row; `y` int (N,); `parts`, split -> (rows (n,), probabilities (n, C)).
    """
    rows = (
        [head, split, *images[row], classes[y[row]], classes[int(p.argmax())], *(f"{value:.6f}" for value in p)]
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


@dataclass(frozen=True)
class DatasetSummary:
    """The images that the heads were trained and tested on.

    splits: split -> class -> images, of the first split. found, dropped, relabelled: see `curate.dataset.Dataset`.
    left_out: classes too small to be divided -> images. problems: path, code and message of files that cannot be used.
    """

    images: str
    pictures: int
    classes: list[str]
    splits: dict[str, Any]
    repeats: int
    split_rule: str
    found: dict[str, int]
    dropped: dict[str, int]
    relabelled: int
    left_out: dict[str, int]
    problems: list[dict[str, str]]
    exact_duplicates: int
    warnings: list[str]


@dataclass(frozen=True)
class VectorsSummary:
    """The vectors that the heads were trained on; see `embedding.EmbedResult`."""

    recipe: str
    key: str
    dimension: int
    parity: float
    made_by: str
    precision: str
    backbone: str
    untrained: bool


@dataclass(frozen=True)
class Outcome:
    """What training or comparing heads gave, to be written as a run.

    scores: the chosen head first. fits: head name -> its fit on the first split. estimator: the fitted chosen head, to
    be written as `head.onnx`; None for a comparison.
    """

    scores: list[HeadScores]
    fits: dict[str, Fit]
    estimator: Any = None
    cleaning: CleaningEffect | None = None
    learning_curve: LearningCurve | None = None
    search: SearchResult | None = None


@dataclass(frozen=True)
class RunRecord:
    """Everything that `metrics.json` holds and the report shows; `workflow.report.document` describes the JSON.

    shown_fits: head name -> what the report draws of its fit on the first split. seconds: by stage.
    """

    title: str
    command: str
    created: str
    kind: str
    version: str
    data: DatasetSummary
    vectors: VectorsSummary
    outcome: Outcome
    shown_fits: dict[str, dict[str, Any]]
    curation: dict[str, Any] | None
    most_wrong: list[WrongPrediction]
    seconds: dict[str, float]

    def to_json(self) -> RunDocument:
        """The document of `metrics.json`."""
        scores, outcome = self.outcome.scores, self.outcome
        document = {name: getattr(self, name) for name in ("title", "command", "created", "kind", "version")}
        document |= {"data": asdict(self.data), "vectors": asdict(self.vectors)}
        document["heads"] = [
            head.to_json() | {"chosen": head is scores[0], "shown": self.shown_fits[head.name]} for head in scores
        ]
        document |= {
            "curation": self.curation,
            "cleaning": outcome.cleaning and outcome.cleaning.to_json(),
            "learning_curve": outcome.learning_curve and outcome.learning_curve.to_json(),
            "search": outcome.search and outcome.search.to_json(),
            "most_wrong": [wrong.to_json() for wrong in self.most_wrong],
            "seconds": self.seconds,
        }
        return cast("RunDocument", document)


@dataclass(frozen=True)
class Run:
    """A run as it lies on the disk.

    model: `head.onnx`; None where the run is a comparison, or the file differed from the head and was not written.
    """

    record: RunRecord
    folder: Path
    report: Path
    model: Path | None

    @property
    def scores(self) -> list[HeadScores]:
        """The scores of the heads, the chosen one first."""
        return self.record.outcome.scores

    def to_json(self) -> dict[str, Any]:
        """The document with `run` and `report`; of a trained head also `weighted_f1`, `accuracy` and `model`."""
        document = {**self.record.to_json(), "run": str(self.folder), "report": str(self.report)}
        if self.record.outcome.estimator is not None:
            best = self.scores[0]
            model = None if self.model is None else str(self.model)
            document |= {"weighted_f1": best.weighted_f1.to_json(), "accuracy": best.accuracy, "model": model}
        return document


def write_run(experiment: Experiment, name: str, outcome: Outcome, reporter: Reporter, timer: StageTimer) -> Run:
    """Write a run folder; it is removed again if writing fails.

    Parameters: `name`, the kind of run, or the kind and a head, as "train-lda".
    Raises: InputError when a file cannot be written.
    """
    now = datetime.now(UTC)
    folder = new_folder(experiment.workspace.runs, name, now)
    try:
        record = _record(experiment, name.split("-")[0], outcome, reporter.command, timer)
        record = replace(record, created=now.isoformat(timespec="seconds"))
        _write_tables(experiment, folder, record)
        with timer.stage("report"):
            images = experiment.workspace.images
            report = page.write(record.to_json(), folder, lambda path: page.thumbnail(images / from_text(path)))
        write_json(folder / "metrics.json", record.to_json())
        model = None
        if outcome.estimator is not None:
            model = _write_head(experiment, folder / "head.onnx", outcome, reporter)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return Run(record, folder, report, model)


def _shown_fit(fit: Fit, classes: Sequence[str]) -> dict[str, Any]:
    """What the report draws of one fit: matrices on train and test, scores by class, curves over the epochs."""
    from winnow.heads.evaluation.metrics import classification_report

    return {
        "repeat": 0,
        "confusion": {part: fit.confusion[part] for part in ("train", "test")},
        "classification_report": classification_report(np.array(fit.confusion["test"]), list(classes)),
        "history": fit.history,
        "best_epoch": fit.best_epoch,
    }


def _record(experiment: Experiment, kind: str, outcome: Outcome, command: str, timer: StageTimer) -> RunRecord:
    from winnow.heads.evaluation.metrics import most_wrong

    dataset, test, chosen = experiment.dataset, experiment.splits[0].test, outcome.scores[0]
    curation = None if experiment.options.as_found else summarize_curation(experiment.workspace, experiment.scores)
    probabilities = outcome.fits[chosen.name].proba["test"]
    return RunRecord(
        title=to_text(experiment.workspace.images.name),
        command=to_text(command),
        created="",
        kind=kind,
        version=__version__,
        data=_dataset_summary(experiment),
        vectors=_vectors_summary(experiment),
        outcome=outcome,
        shown_fits={head.name: _shown_fit(outcome.fits[head.name], dataset.classes) for head in outcome.scores},
        curation=curation,
        most_wrong=most_wrong(dataset.classes, [dataset.paths[row] for row in test], dataset.y[test], probabilities),
        seconds=timer.seconds,
    )


def _dataset_summary(experiment: Experiment) -> DatasetSummary:
    dataset, scan = experiment.dataset, experiment.folder.scan
    return DatasetSummary(
        images=to_text(str(experiment.workspace.images)),
        pictures=len(dataset.ids),
        classes=dataset.classes,
        splits=dataset.split_counts(),
        repeats=len(dataset.splits),
        split_rule=dataset.split_rule,
        found=dataset.as_found_counts,
        dropped=dataset.dropped,
        relabelled=dataset.relabelled,
        left_out=dataset.left_out,
        problems=[problem.to_json() for problem in scan.problems],
        exact_duplicates=scan.exact_duplicates,
        warnings=experiment.notes,
    )


def _vectors_summary(experiment: Experiment) -> VectorsSummary:
    embedding = experiment.folder.embedding
    names = {"imagenet": "ImageNet weights", "random": "untrained"}
    weights = names.get(embedding.weights, f"weights of {embedding.weights}")
    shared = ("recipe", "key", "dimension", "parity", "made_by", "precision")
    return VectorsSummary(
        **{name: getattr(embedding, name) for name in shared},
        backbone=f"MobileNetV2 {embedding.alpha}, {weights}",
        untrained=embedding.weights == "random",
    )


def _write_tables(experiment: Experiment, folder: Path, record: RunRecord) -> None:
    """`splits.lance`, `history.csv`, `predictions.csv` of the chosen head, and `run.json`."""
    dataset, fits, scores = experiment.dataset, record.outcome.fits, record.outcome.scores
    splits_digest = write_splits(folder / "splits.lance", dataset.ids, dataset.labels, dataset.splits)
    write_history(folder / "history.csv", {name: fit.history for name, fit in fits.items() if fit.history})
    proba = fits[scores[0].name].proba
    parts = {part: (getattr(experiment.splits[0], part), proba[part]) for part in ("val", "test")}
    images = list(zip(dataset.ids, dataset.paths, strict=True))
    write_predictions(folder / "predictions.csv", dataset.classes, images, dataset.y, parts, scores[0].name)
    document: dict[str, Any] = {name: getattr(record, name) for name in ("command", "created", "kind", "version")}
    document |= {
        "seed": experiment.options.seed,
        "repeats": len(dataset.splits),
        "split_rule": dataset.split_rule,
        "splits_digest": splits_digest,
        "vectors": experiment.folder.embedding.key,
        "embedding": experiment.folder.config.to_json(),
        "heads": [{"name": head.name, "kind": head.kind, "params": head.params} for head in scores],
        "versions": {"python": sys.version.split()[0]} | {name: installed_version(name) for name in PACKAGES},
    }
    write_json(folder / "run.json", document)


def _write_head(experiment: Experiment, file: Path, outcome: Outcome, reporter: Reporter) -> Path | None:
    """`head.onnx`; None, with a message, where the file differs from the head."""
    from winnow.deploy.onnx.head import save_head

    embedding = experiment.folder.embedding
    metadata = {"recipe": embedding.recipe, "vectors": embedding.key}
    test = experiment.X[experiment.splits[0].test]
    try:
        save_head(file, outcome.estimator, outcome.scores[0].spec, experiment.dataset.classes, test, metadata)
    except InputError as error:
        reporter.message(f"note: {file.name} was not written: {reporter.describe_error(error)}")
        return None
    return file
