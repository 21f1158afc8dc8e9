"""What joins the rooms: a scanned folder to its vectors, their scores, and runs with a report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from winnow.common.errors import InputError
from winnow.common.progress import Reporter
from winnow.curate.noise.score_summary import summarize
from winnow.curate.workspace import Workspace
from winnow.embed.config import EmbeddingConfig
from winnow.workflow import fitting, tasks
from winnow.workflow.experiment import Division, prepare
from winnow.workflow.runs import leave_run
from winnow.workflow.scoring import timed

if TYPE_CHECKING:
    pass


def run(
    workspace: Workspace,
    vectors: EmbeddingConfig,
    reporter: Reporter,
    *,
    heads: str | None = None,
    repeats: int = 10,
    division: Division | None = None,
    jobs: int | None = None,
) -> dict[str, Any]:
    """Scan, embed, score, compare, train the best head again for its file, report, export: from a folder to one file.

    Returns: {scan, embed, score, compare, train, report, export, seconds}, as `run --json` prints it.
    """
    grid = fitting.named(heads)
    experiment = prepare(
        workspace, tasks.beside_tails(grid, vectors), reporter, division or Division(), repeats, scored=True
    )
    if heads is None:
        grid = fitting.affordable(grid, experiment, reporter)
    grid, experiments = tasks.for_heads(experiment, grid, vectors, reporter)
    compared, fits = fitting.fit_all(experiment, grid, jobs, False, reporter, experiments)
    best = compared[0].spec
    experiment = experiments[best.name]
    with timed(experiment.seconds, "train"):
        estimator, fits[best.name] = fitting.fit_one(experiment, best, reporter)
    document = leave_run(experiment, "run", compared, fits, reporter, estimator)
    with timed(experiment.seconds, "export"):
        exported = _exported(document, reporter)
    return {
        "scan": experiment.scan.to_json(),
        "embed": experiment.made,
        "score": summarize(experiment.scores).to_json(),
        "compare": {name: document[name] for name in ("heads", "data", "run")},
        "train": {"head": best.name} | {name: document[name] for name in ("run", "weighted_f1", "accuracy", "model")},
        "report": document["report"],
        "export": exported,
        "seconds": experiment.seconds,
    }


def _exported(document: dict[str, Any], reporter: Reporter) -> dict[str, Any] | None:
    """The one file to deploy, beside the report; None, and the reason is told, when it cannot be had."""
    from winnow.deploy.export import export

    if document["model"] is None:
        return None
    run = Path(document["run"])
    try:
        return export(run, run / "model.onnx", reporter)
    except InputError as error:
        reporter.message(f"note: model.onnx was not written: {error}")
        return None
