"""What a run writes down: the document of its numbers, its folder, its report."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from winnow.common.errors import InputError
from winnow.common.json_files import write_json
from winnow.common.paths import from_text, to_text
from winnow.common.progress import Reporter
from winnow.common.versions import PACKAGES, installed
from winnow.curate.dataset import Dataset
from winnow.curate.manifest import ScanResult
from winnow.curate.splits import SPLITS
from winnow.curate.summary import summarize_curation
from winnow.curate.workspace import Workspace
from winnow.embed.store import Store
from winnow.workflow import runs
from winnow.workflow.report import page as report

if TYPE_CHECKING:
    import pyarrow as pa

    from winnow.heads.evaluation.fit import Fit, Split

OnMessage = Callable[[str], None]


@dataclass(frozen=True)
class Experiment:
    """Everything that heads are trained on: the dataset, its vectors, and how they were made.

    rows: (R, D) float, R >= N: those of the plain view of all pictures first, then those of the mirror images, and so
    on. looks: int64 (N, V), the rows that each picture is judged by.
    """

    workspace: Workspace
    data: Dataset
    rows: np.ndarray
    looks: np.ndarray
    made: dict[str, Any]  # what `embed` returned
    embedding: dict[str, Any]  # the choice of vectors, as `Vectors.document` says it
    scan: ScanResult
    notes: list[str]  # what the person should know of the data
    seed: int
    seconds: dict[str, float]  # of each stage so far
    store: Store  # the table that X is from
    near: dict[str, int]  # id -> its group of near-duplicates
    scores: pa.Table  # what `curate.ranking.score` returned, now or the last time; empty before that
    as_found: bool  # without the verdicts
    cleaning: dict[str, Any] | None = None  # what `training.fit_cleaning` says of the verdicts
    learning_curve: dict[str, Any] | None = None  # what `training.fit_curve` says of more pictures
    search: dict[str, Any] | None = None  # what `heads.search.summary` says of the settings

    @property
    def X(self) -> np.ndarray:
        """The vectors of the plain view, (N, D)."""
        return self.rows[: len(self.data.ids)]

    @property
    def splits(self) -> list[Split]:
        """The divisions as index arrays of pictures."""
        from winnow.heads.evaluation.fit import Split

        rows = ({name: np.flatnonzero(part == name) for name in SPLITS} for part in self.data.splits)
        return [Split(**parts, groups=self.data.groups) for parts in rows]


@contextmanager
def timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    """Note the seconds that a stage took."""
    start = time.monotonic()
    yield
    seconds[stage] = round(time.monotonic() - start, 2)


def leave_run(
    experiment: Experiment,
    name: str,
    rows: list[dict[str, Any]],
    fits: dict[str, Fit],
    reporter: Reporter,
    estimator: Any = None,
) -> dict[str, Any]:
    """Write a run folder, whole or not at all.

    Parameters: `rows`, of `heads.compare.table`, the chosen head first; `fits`, of every head on the first split;
    `estimator`, the fitted first head, to be written as `head.onnx`.
    Returns: the document, with `run` and `report`, and with an estimator `weighted_f1`, `accuracy` and `model` (None
    when the file was not like the head: the person is told, the run stays).
    """
    now = datetime.now(UTC)
    folder = runs.new_folder(experiment.workspace.runs, name, now)
    try:
        document = _document(experiment, name.split("-")[0], rows, fits, reporter.command, now)
        _write_tables(experiment, folder, document, fits)
        start = time.monotonic()
        page = report.write(
            document, folder, lambda path: report.thumbnail(experiment.workspace.images / from_text(path))
        )
        experiment.seconds["report"] = round(time.monotonic() - start, 2)
        write_json(folder / "metrics.json", document)
        model = None
        if estimator is not None:
            model = _write_head(experiment, folder / "head.onnx", rows[0], estimator, reporter)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    result = document | {"run": str(folder), "report": str(page)}
    if estimator is not None:
        result |= {"weighted_f1": rows[0]["weighted_f1"], "accuracy": rows[0]["accuracy"], "model": model}
    return result


def _document(
    experiment: Experiment, kind: str, rows: list[dict[str, Any]], fits: dict[str, Fit], command: str, now: datetime
) -> dict[str, Any]:
    """What `metrics.json` holds and the report is made from."""
    data, made, test = experiment.data, experiment.made, experiment.splits[0].test
    proba = fits[rows[0]["name"]].proba["test"]
    return {
        "title": to_text(experiment.workspace.images.name),
        "command": to_text(command),
        "created": now.isoformat(timespec="seconds"),
        "kind": kind,
        "version": installed("winnow-images"),
        "data": _data_document(experiment),
        "vectors": {name: made[name] for name in ("recipe", "key", "dimension", "parity", "made_by", "precision")}
        | {"backbone": _backbone_in_words(made), "untrained": made["weights"] == "random"},
        "heads": [
            row | {"chosen": row is rows[0], "shown": runs.shown(fits[row["name"]], data.classes)} for row in rows
        ],
        "curation": None if experiment.as_found else summarize_curation(experiment.workspace, experiment.scores),
        "cleaning": experiment.cleaning,
        "learning_curve": experiment.learning_curve,
        "search": experiment.search,
        "most_wrong": runs.most_wrong(data.classes, [data.paths[row] for row in test], data.y[test], proba),
        "seconds": experiment.seconds,
    }


def _write_tables(experiment: Experiment, folder: Path, document: dict[str, Any], fits: dict[str, Fit]) -> None:
    """`splits.lance`, `history.csv`, `predictions.csv` of the chosen head, and `run.json`."""
    data, heads = experiment.data, document["heads"]
    digest = runs.write_splits(folder / "splits.lance", data.ids, data.labels, data.splits)
    runs.write_history(folder / "history.csv", {name: fit.history for name, fit in fits.items() if fit.history})
    proba = fits[heads[0]["name"]].proba
    parts = {part: (getattr(experiment.splits[0], part), proba[part]) for part in ("val", "test")}
    pictures = list(zip(data.ids, data.paths, strict=True))
    runs.write_predictions(folder / "predictions.csv", data.classes, pictures, data.y, parts, heads[0]["name"])
    said = {name: document[name] for name in ("command", "created", "kind", "version")}
    said |= {
        "seed": experiment.seed,
        "repeats": len(data.splits),
        "split_rule": data.split_rule,
        "splits_digest": digest,
    }
    said |= {"vectors": experiment.made["key"], "embedding": experiment.embedding}
    said |= {"heads": [{n: head[n] for n in ("name", "kind", "params")} for head in heads]}
    used = {"python": sys.version.split()[0]} | {name: installed(name) for name in PACKAGES}
    write_json(folder / "run.json", said | {"versions": used})


def _write_head(
    experiment: Experiment, file: Path, row: dict[str, Any], estimator: Any, reporter: Reporter
) -> str | None:
    from winnow.deploy.onnx.head import save_head
    from winnow.heads.evaluation.fit import HeadSpec

    head = HeadSpec(row["name"], row["kind"], row["params"])
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
