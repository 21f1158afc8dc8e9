"""Evaluate a model on a folder of labelled pictures that it was not trained on."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from winnow import __version__
from winnow.common.errors import InputError
from winnow.common.formatting import round_finite
from winnow.common.paths import to_text
from winnow.common.threads import map_ahead, processors
from winnow.curate import labels
from winnow.deploy.inference import predict
from winnow.deploy.inference.model import ID_DIGITS
from winnow.embed import images
from winnow.embed.images import PictureError
from winnow.heads.evaluation.metrics import (
    Interval,
    WrongPrediction,
    bootstrap_f1,
    bootstrap_interval,
    classification_report,
    confusion,
    metrics,
    most_wrong,
)

if TYPE_CHECKING:
    from winnow.common.progress import Reporter
    from winnow.deploy.inference.model import Model
    from winnow.deploy.inference.predict import File, Prediction

MAX_NAMED = 5  # labels that an error names


@dataclass(frozen=True)
class FileProblem:
    """A file that could not be used: its path, the code and the message of the `PictureError`."""

    path: str
    code: str
    message: str


@dataclass(frozen=True)
class LabelledPrediction:
    """A prediction beside the true label, with the probability of that label; None when the model does not know it."""

    prediction: Prediction
    label: str
    label_probability: float | None

    def to_json(self) -> dict[str, Any]:
        """As `evaluate --json` and `--csv` write it."""
        return {
            "path": self.prediction.path,
            "label": self.label,
            "predicted": self.prediction.label,
            "probability": round_finite(self.prediction.probability),
            "label_probability": round_finite(self.label_probability),
            "familiarity": round_finite(self.prediction.familiarity),
            "unfamiliar": self.prediction.unfamiliar,
            "problem": self.prediction.problem,
            "problem_message": self.prediction.problem_message,
        }


@dataclass(frozen=True)
class Scores:
    """The scores on n pictures of classes that the model knows.

    pictures : n.
    classes : labels that occur, as true label or as prediction, in the order of the model.
    absent : labels of the model without a picture.
    metrics : of `heads.evaluation.metrics.metrics`.
    weighted_f1 : with its bootstrap interval.
    confusion : int (K, K) over `classes`, rows are true labels.
    classification_report : of `heads.evaluation.metrics.classification_report`.
    most_wrong : of `heads.evaluation.metrics.most_wrong`.
    unfamiliar : pictures below the threshold of familiarity.
    familiar_metrics : of the other pictures; None when there is none.
    """

    pictures: int
    classes: list[str]
    absent: list[str]
    metrics: dict[str, float]
    weighted_f1: Interval
    confusion: np.ndarray
    classification_report: dict[str, Any]
    most_wrong: list[WrongPrediction]
    unfamiliar: int
    familiar_metrics: dict[str, float] | None


@dataclass(frozen=True)
class UnknownClasses:
    """Pictures of classes that the model does not know; they are not part of the scores.

    pictures, unfamiliar : label -> number of pictures, and of those below the threshold of familiarity.
    auroc : of separating them from the other pictures by familiarity; None without such pictures.
    """

    pictures: dict[str, int] = field(default_factory=dict)
    unfamiliar: dict[str, int] = field(default_factory=dict)
    auroc: float | None = None

    def to_json(self) -> dict[str, Any]:
        """The key `unknown` of `evaluate --json`."""
        return {
            "pictures": sum(self.pictures.values()),
            "unfamiliar": sum(self.unfamiliar.values()),
            "labels": {
                label: {"pictures": count, "unfamiliar": self.unfamiliar.get(label, 0)}
                for label, count in self.pictures.items()
            },
            "auroc": self.auroc,
        }


@dataclass(frozen=True)
class Evaluation:
    """The result of `evaluate`.

    model, folder, command, created, version : what was evaluated, on what, how, when, and by which Winnow.
    threshold : of the model's familiarity.
    claimed : the scores in the model's metadata, on the test pictures of its own collection.
    left_out : reason ("copies", "trained_on", "unlabelled", "conflicting") -> number of pictures.
    predictions : of every picture that was used, unreadable ones included.
    """

    model: Path
    folder: Path
    command: str
    created: str
    version: str | None
    threshold: float
    scores: Scores
    unknown: UnknownClasses
    claimed: dict[str, Any]
    left_out: dict[str, int]
    problems: list[FileProblem]
    warnings: list[str]
    predictions: list[LabelledPrediction]
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """As `evaluate --json` prints it."""
        scores = self.scores
        return {
            "model": to_text(str(self.model)),
            "folder": to_text(str(self.folder)),
            "command": to_text(self.command),
            "created": self.created,
            "version": self.version,
            "pictures": scores.pictures,
            "classes": scores.classes,
            "absent": scores.absent,
            **scores.metrics,
            "weighted_f1": scores.weighted_f1.to_json(),
            "confusion": scores.confusion.tolist(),
            "classification_report": scores.classification_report,
            "familiarity": {
                "threshold": self.threshold,
                "unfamiliar": scores.unfamiliar,
                "rest": scores.familiar_metrics,
            },
            "most_wrong": [wrong.to_json() for wrong in scores.most_wrong],
            "unknown": self.unknown.to_json(),
            "claimed": self.claimed,
            "left_out": self.left_out,
            "problems": [asdict(problem) for problem in self.problems],
            "warnings": self.warnings,
            "predictions": [row.to_json() for row in self.predictions],
            "seconds": self.seconds,
        }


@dataclass(frozen=True)
class EvaluationSet:
    """The pictures in a folder that a model can be evaluated on, each once, and what was left out.

    files : the first path of each picture, relative to the folder, and the file.
    labels : of each picture.
    left_out, problems, warnings : as in `Evaluation`.
    """

    files: list[File]
    labels: list[str]
    left_out: dict[str, int]
    problems: list[FileProblem]
    warnings: list[str]


def evaluate(model: Model, folder: Path, rule: str, reporter: Reporter, workers: int | None = None) -> Evaluation:
    """Evaluate a model on the labelled pictures in a folder, each once; nothing is written there.

    These are left out and counted: copies, pictures that the model was trained or chosen on, pictures without a label
    or with several, and unreadable files. Pictures of classes that the model does not know are not scored, but used to
    measure how well familiarity separates them.
    Parameters: `rule`, where labels come from, as in `scan`: "folder", "parent" or a CSV file; `workers`, threads.
    Raises: InputError when there is no picture to evaluate on.
    """
    start = time.monotonic()
    pictures = _collect_pictures(folder, rule, set(model.metadata["trained_on"]), reporter, workers)
    _check_labels(model, folder, pictures)
    columns = {label: column for column, label in enumerate(model.labels)}
    rows = []
    with reporter.progress("Predicting") as on_progress:
        predictions = predict.predict(model, pictures.files, workers)
        for label, prediction in zip(pictures.labels, predictions, strict=True):
            rows.append(LabelledPrediction(prediction, label, _label_probability(prediction, columns.get(label))))
            on_progress(len(rows), len(pictures.files))
    read = [row for row in rows if row.prediction.problem is None]
    known, unknown = ([row for row in read if (row.label in columns) is is_known] for is_known in (True, False))
    failed = [
        FileProblem(row.prediction.path, row.prediction.problem, row.prediction.problem_message or "")
        for row in rows
        if row.prediction.problem is not None
    ]
    if not known:
        raise InputError(f"{folder}: no picture of a class that the model knows can be read: {failed[0].message}")
    return Evaluation(
        model=model.file,
        folder=folder.resolve(),
        command=reporter.command,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        version=__version__,
        threshold=model.threshold,
        scores=_score(model.labels, known),
        unknown=_score_unknown(known, unknown),
        claimed=model.metadata["metrics"],
        left_out=pictures.left_out,
        problems=pictures.problems + failed,
        warnings=pictures.warnings,
        predictions=rows,
        seconds=round(time.monotonic() - start, 2),
    )


def _label_probability(prediction: Prediction, column: int | None) -> float | None:
    if prediction.probabilities is None or column is None:
        return None
    return float(prediction.probabilities[column])


def _collect_pictures(
    folder: Path, rule: str, trained_on: set[str], reporter: Reporter, workers: int | None
) -> EvaluationSet:
    """Parameters: `trained_on`, the first `ID_DIGITS` digits of ids that are left out."""
    if not folder.is_dir():
        raise InputError(f"{folder} {'is a file' if folder.exists() else 'does not exist'}", remedy="labelled-folder")
    labels.assign_labels(rule, [], folder.resolve())  # a wrong rule is reported before the work
    files = [
        (to_text(file.relative_to(folder).as_posix()), file)
        for _, file in predict.find_files([folder], reporter.message)
    ]
    assigned = labels.assign_labels(rule, [path for path, _ in files], folder.resolve())
    ids, problems = _identify(files, reporter, workers)
    read = [(id, file, label) for id, file, label in zip(ids, files, assigned.labels, strict=True) if id]
    first = {id: file for id, file, _ in reversed(read)}
    label_by_id, labelled = (
        _majority_labels([(id, label) for id, _, label in read]),
        {id for id, _, label in read if label},
    )
    seen = {id for id in first if id[:ID_DIGITS] in trained_on}
    without_label = {id for id, label in label_by_id.items() if label is None} - seen
    kept = {id: label for id, label in label_by_id.items() if label is not None and id not in seen}
    left_out = {"copies": len(read) - len(first), "trained_on": len(seen)}
    left_out |= {"unlabelled": len(without_label - labelled), "conflicting": len(without_label & labelled)}
    warnings = [] if trained_on else ["the model does not list its training pictures: some may be among these"]
    return EvaluationSet(
        [first[id] for id in kept], list(kept.values()), left_out, problems, assigned.warnings + warnings
    )


def _identify(files: list[File], reporter: Reporter, workers: int | None) -> tuple[list[str | None], list[FileProblem]]:
    """The sha256 (hex) of every file, None for an unreadable one, and the problems of these."""

    def identify(file: File) -> str:
        data = images.read_bytes(file[1])
        if not data:
            images.decode(data)  # raises the PictureError of an empty file
        return hashlib.sha256(data).hexdigest()

    workers = workers or processors()
    ids: list[str | None] = []
    problems = []
    with reporter.progress("Reading") as on_progress:
        for (path, _), future in map_ahead(identify, files, workers, window=4 * workers):
            try:
                ids.append(future.result())
            except PictureError as error:
                ids.append(None)
                problems.append(FileProblem(path, error.code, str(error)))
            on_progress(len(ids), len(files))
    return ids, problems


def _majority_labels(rows: list[tuple[str, str | None]]) -> dict[str, str | None]:
    """Map id to the label of most of its copies, in the order of (id, label) rows; None: no label, or a tie."""
    import pyarrow as pa

    from winnow.curate.dataset import majority_labels

    ids, names = ([row[column] for row in rows] for column in (0, 1))
    columns = {"id": ids, "label": names, "problem": [None] * len(rows)}
    return majority_labels(pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()}))


def _check_labels(model: Model, folder: Path, pictures: EvaluationSet) -> None:
    """Raises: InputError unless a picture that is not left out has a label that the model knows."""
    if not set(pictures.labels).isdisjoint(model.labels):
        return
    if pictures.labels:
        names, known = (", ".join(sorted(set(names))[:MAX_NAMED]) for names in (pictures.labels, model.labels))
        raise InputError(
            f"{folder}: none of its labels ({names}) is one of the model's ({known})", remedy="match-labels"
        )
    if count := pictures.left_out["trained_on"]:
        raise InputError(
            f"{folder}: the model was trained or chosen on {count:,} of its pictures and no other has a label",
            remedy="other-pictures",
        )
    if pictures.problems and not any(pictures.left_out.values()):
        raise InputError(f"{folder}: no picture can be read: {pictures.problems[0].message}")
    raise InputError(f"{folder}: no picture has a label", remedy="two-classes")


def _score(names: list[str], rows: list[LabelledPrediction]) -> Scores:
    """Score readable pictures whose label is one of the model's, `names`."""
    columns = {label: column for column, label in enumerate(names)}
    y = np.array([columns[row.label] for row in rows])
    proba = np.stack([np.asarray(row.prediction.probabilities) for row in rows])
    familiar = np.array([not row.prediction.unfamiliar for row in rows])
    matrix = confusion(y, proba.argmax(axis=1), len(names))
    occurs = np.flatnonzero(matrix.sum(axis=0) + matrix.sum(axis=1))  # the classes that macro F1 is over
    classes, matrix = [names[column] for column in occurs], matrix[np.ix_(occurs, occurs)]
    present = {row.label for row in rows}
    values = metrics(y, proba)
    return Scores(
        pictures=len(y),
        classes=classes,
        absent=[label for label in names if label not in present],
        metrics=values,
        weighted_f1=Interval(values["weighted_f1"], *bootstrap_interval(bootstrap_f1(y, proba))),
        confusion=matrix,
        classification_report=classification_report(matrix, classes),
        most_wrong=most_wrong(names, [row.prediction.path for row in rows], y, proba),
        unfamiliar=int((~familiar).sum()),
        familiar_metrics=metrics(y[familiar], proba[familiar]) if familiar.any() else None,
    )


def _score_unknown(known: list[LabelledPrediction], unknown: list[LabelledPrediction]) -> UnknownClasses:
    if not unknown:
        return UnknownClasses()
    from sklearn.metrics import roc_auc_score

    is_known = [True] * len(known) + [False] * len(unknown)
    familiarity = np.nan_to_num([row.prediction.familiarity for row in known + unknown])
    return UnknownClasses(
        pictures=dict(Counter(row.label for row in unknown).most_common()),
        unfamiliar=dict(Counter(row.label for row in unknown if row.prediction.unfamiliar)),
        auroc=float(roc_auc_score(is_known, familiarity)),
    )
