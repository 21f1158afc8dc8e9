"""How good a model is on pictures that it never saw: a folder with labels, and what the model says of it."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from winnow.common.errors import InputError
from winnow.common.formatting import round_finite
from winnow.common.paths import to_text
from winnow.common.threads import map_ahead, processors
from winnow.common.versions import installed_version
from winnow.curate import labels
from winnow.deploy.inference import predict
from winnow.deploy.inference.model import ID_DIGITS
from winnow.embed import images
from winnow.embed.images import PictureError
from winnow.heads.evaluation.metrics import bootstrap_f1, bootstrap_interval, classification_report, confusion, metrics
from winnow.workflow import runs

if TYPE_CHECKING:
    from winnow.common.progress import Reporter
    from winnow.deploy.inference.model import Model
    from winnow.deploy.inference.predict import File, Prediction

Pair = tuple["Prediction", str]  # what is said of a picture that could be read, and its label


class Found(NamedTuple):
    """The pictures in a folder that a model can be judged on, each once, and what was left out."""

    files: list[File]  # the first path of each picture, below the folder
    labels: list[str]
    left_out: dict[str, int]  # why -> how many
    problems: list[dict[str, Any]]  # path, code, message
    warnings: list[str]


def evaluate(model: Model, folder: Path, rule: str, reporter: Reporter, workers: int | None = None) -> dict[str, Any]:
    """Judge a model on the labelled pictures in a folder, each once; nothing is written there.

    Left out and counted are copies, pictures that the model was trained or chosen on, those without a label or with
    several, and those that cannot be read. Pictures of classes that the model does not know are not in the scores
    either: of them it is told how well familiarity sets them apart.
    Parameters: `rule`, where labels come from, as `scan` reads them: folder, parent or a CSV file; `workers`, threads.
    Returns: what `evaluate --json` prints. Raises: InputError when there is nothing that it can be judged on.
    """
    start = time.monotonic()
    found = _find(folder, rule, set(model.said["trained_on"]), reporter, workers)
    _check(model, folder, found)
    predictions = []
    with reporter.progress("Predicting") as told:
        for row in predict.predict(model, found.files, workers):
            predictions.append(row)
            told(len(predictions), len(found.files))
    pairs = list(zip(predictions, found.labels, strict=True))
    read = [pair for pair in pairs if pair[0].problem is None]
    columns = {label: column for column, label in enumerate(model.labels)}
    judged, strangers = ([pair for pair in read if (pair[1] in columns) is known] for known in (True, False))
    failed = [{"path": p.path, "code": p.problem, "message": p.problem_message} for p, _ in pairs if p.problem]
    if not judged:
        raise InputError(f"{folder}: no picture of a class that the model knows can be read: {failed[0]['message']}")
    return {
        "model": to_text(str(model.file)),
        "folder": to_text(str(folder.resolve())),
        "command": to_text(reporter.command),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "version": installed_version("winnow-images"),
        **_scores(model, columns, judged),
        "unknown": _unknown(judged, strangers),
        "claimed": model.said["metrics"],
        "left_out": found.left_out,
        "problems": found.problems + failed,
        "warnings": found.warnings,
        "predictions": [_row(columns, *pair) for pair in pairs],
        "seconds": round(time.monotonic() - start, 2),
    }


def _find(folder: Path, rule: str, trained_on: set[str], reporter: Reporter, workers: int | None) -> Found:
    """Parameters: `trained_on`, the first digits of ids that are left out."""
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise InputError(f"{folder} {what}: name a folder of pictures with labels")
    labels.assign_labels(rule, [], folder.resolve())  # a bad rule is told before the work, not after it
    named = predict.files_of([folder], reporter.message)
    files = [(to_text(file.relative_to(folder).as_posix()), file) for _, file in named]
    assigned = labels.assign_labels(rule, [path for path, _ in files], folder.resolve())
    ids, problems = _identified(files, reporter, workers)
    read = [(id, file, label) for id, file, label in zip(ids, files, assigned.labels, strict=True) if id]
    first = {id: file for id, file, _ in reversed(read)}
    label_of, labelled = _labels([(id, label) for id, _, label in read]), {id for id, _, label in read if label}
    seen = {id for id in first if id[:ID_DIGITS] in trained_on}
    bare = {id for id, label in label_of.items() if label is None} - seen
    kept = {id: label for id, label in label_of.items() if label is not None and id not in seen}
    left_out = {"copies": len(read) - len(first), "trained_on": len(seen)}
    left_out |= {"unlabelled": len(bare - labelled), "conflicting": len(bare & labelled)}
    warnings = [] if trained_on else ["the model does not name its training pictures: some may be among these"]
    return Found([first[id] for id in kept], list(kept.values()), left_out, problems, assigned.warnings + warnings)


def _identified(
    files: list[File], reporter: Reporter, workers: int | None
) -> tuple[list[str | None], list[dict[str, Any]]]:
    """The sha256 (hex) of every file, None of one that cannot be read, and the problems of these."""

    def identify(file: File) -> str:
        data = images.read_bytes(file[1])
        if not data:
            images.decode(data)  # says what is wrong with it
        return hashlib.sha256(data).hexdigest()

    workers = workers or processors()
    ids: list[str | None] = []
    problems = []
    with reporter.progress("Reading") as told:
        for (path, _), future in map_ahead(identify, files, workers, window=4 * workers):
            try:
                ids.append(future.result())
            except PictureError as error:
                ids.append(None)
                problems.append({"path": path, "code": error.code, "message": str(error)})
            told(len(ids), len(files))
    return ids, problems


def _labels(rows: list[tuple[str, str | None]]) -> dict[str, str | None]:
    """Id -> label of most of its copies, in the order of (id, label) rows."""
    import pyarrow as pa

    from winnow.curate.dataset import majority_labels

    ids, named = ([row[column] for row in rows] for column in (0, 1))
    columns = {"id": ids, "label": named, "problem": [None] * len(rows)}
    return majority_labels(pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()}))


def _check(model: Model, folder: Path, found: Found) -> None:
    """Raise InputError unless a picture has a label that the model knows, and was not trained or chosen on."""
    if not set(found.labels).isdisjoint(model.labels):
        return
    theirs, ours = (", ".join(sorted(of)[:5]) for of in (set(found.labels), model.labels))
    if found.labels:
        why = f"none of its labels ({theirs}) is one of the model's ({ours}): name the folders so, or use --labels"
    elif count := found.left_out["trained_on"]:
        why = f"the model was trained or chosen on {count:,} of its pictures and no other has a label: name others"
    elif found.problems and not any(found.left_out.values()):
        why = f"no picture can be read: {found.problems[0]['message']}"
    else:
        why = "no picture has a label: put those of each class in a folder of its own, or use --labels FILE.csv"
    raise InputError(f"{folder}: {why}")


def _scores(model: Model, columns: dict[str, int], judged: list[Pair]) -> dict[str, Any]:
    """Metrics, classes and mistakes of pictures whose label the model knows, and the same without the unfamiliar.

    Parameters: `columns`, label -> column of its probability.
    """
    y = np.array([columns[label] for _, label in judged])
    proba = np.stack([np.asarray(said.probabilities) for said, _ in judged])
    familiar = np.array([not said.unfamiliar for said, _ in judged])
    values = metrics(y, proba)
    low, high = bootstrap_interval(bootstrap_f1(y, proba))
    counts = confusion(y, proba.argmax(axis=1), len(model.labels))
    occurs = np.flatnonzero(counts.sum(axis=0) + counts.sum(axis=1))  # as macro F1 has it
    classes, counts = [model.labels[c] for c in occurs], counts[np.ix_(occurs, occurs)]
    present = {label for _, label in judged}
    return {
        "pictures": len(y),
        "classes": classes,
        "absent": [label for label in model.labels if label not in present],
        **values,
        "weighted_f1": {"mean": values["weighted_f1"], "low": low, "high": high},
        "confusion": counts.tolist(),
        "classification_report": classification_report(counts, classes),
        "familiarity": {
            "threshold": model.threshold,
            "unfamiliar": int((~familiar).sum()),
            "rest": metrics(y[familiar], proba[familiar]) if familiar.any() else None,
        },
        "most_wrong": runs.most_wrong(model.labels, [said.path for said, _ in judged], y, proba),
    }


def _unknown(judged: list[Pair], strangers: list[Pair]) -> dict[str, Any]:
    """Of pictures of classes that the model does not know: how many it marks, and the AUROC of telling them apart."""
    pictures = Counter(label for _, label in strangers)
    marked = Counter(label for said, label in strangers if said.unfamiliar)
    return {
        "pictures": len(strangers),
        "unfamiliar": marked.total(),
        "labels": {label: {"pictures": n, "unfamiliar": marked[label]} for label, n in pictures.most_common()},
        "auroc": _auroc(judged, strangers) if strangers else None,
    }


def _auroc(judged: list[Pair], strangers: list[Pair]) -> float:
    """How often a picture of a known class is more familiar than one of an unknown class; equal ones count half."""
    from sklearn.metrics import roc_auc_score

    known = [True] * len(judged) + [False] * len(strangers)
    return float(roc_auc_score(known, np.nan_to_num([said.familiarity for said, _ in judged + strangers])))


def _row(columns: dict[str, int], said: Prediction, label: str) -> dict[str, Any]:
    own = None
    if said.probabilities is not None and label in columns:
        own = float(said.probabilities[columns[label]])
    return {
        "path": said.path,
        "label": label,
        "predicted": said.label,
        "probability": round_finite(said.probability),
        "label_probability": round_finite(own),
        "familiarity": round_finite(said.familiarity),
        "unfamiliar": said.unfamiliar,
        "problem": said.problem,
        "problem_message": said.problem_message,
    }
