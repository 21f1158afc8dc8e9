"""The whole pipeline: from a folder to a report and one file to deploy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from winnow.common.errors import InputError
from winnow.common.progress import Reporter
from winnow.curate.noise import score_summary
from winnow.curate.workspace import Workspace
from winnow.embed.config import EmbeddingConfig
from winnow.workflow import fitting, tasks
from winnow.workflow.experiment import TEN_SPLITS, DatasetOptions, Experiment, prepare
from winnow.workflow.export import export_run
from winnow.workflow.runs import Outcome, Run, write_run
from winnow.workflow.stage_timer import StageTimer

if TYPE_CHECKING:
    from winnow.deploy.export import ExportReport


@dataclass(frozen=True)
class PipelineResult:
    """What `run` did; export: None where no file could be written. seconds: by stage."""

    experiment: Experiment
    run: Run
    export: ExportReport | None
    seconds: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        """As `run --json` prints it: scan, embed, score, compare, train, report, export, seconds."""
        document, folder = self.run.to_json(), self.experiment.folder
        trained = {name: document[name] for name in ("run", "weighted_f1", "accuracy", "model")}
        return {
            "scan": folder.scan.to_json(),
            "embed": folder.embedding.to_json(),
            "score": score_summary.summarize(self.experiment.scores).to_json(),
            "compare": {name: document[name] for name in ("heads", "data", "run")},
            "train": {"head": self.run.scores[0].name} | trained,
            "report": document["report"],
            "export": self.export and self.export.to_json(),
            "seconds": self.seconds,
        }


def run(
    workspace: Workspace,
    config: EmbeddingConfig,
    reporter: Reporter,
    *,
    heads: str | None = None,
    dataset: DatasetOptions = TEN_SPLITS,
    jobs: int | None = None,
) -> PipelineResult:
    """Scan, embed, score, compare heads, train the best one again for its file, report, and export.

    Parameters: `heads` and `jobs`, as of `training.CompareOptions`. Raises: InputError.
    """
    timer = StageTimer()
    grid = fitting.grid_of_kinds(heads)
    experiment = prepare(workspace, tasks.vector_config(grid, config), reporter, dataset, timer, scored=True)
    if heads is None:
        grid = fitting.without_quadratic(grid, experiment, reporter)
    grid, experiments = tasks.experiments_by_head(experiment, grid, config, reporter, timer)
    with timer.stage("compare"):
        options = fitting.fit_options(experiment, grid, jobs)
        scores, fits = fitting.fit_all(grid, experiments, options, reporter)
    best = scores[0].spec
    experiment = experiments[best.name]
    with timer.stage("train"):
        estimator, fits[best.name] = fitting.fit_one(experiment, best, reporter)
    run = write_run(experiment, "run", Outcome(scores, fits, estimator), reporter, timer)
    with timer.stage("export"):
        exported = _export(run, experiment, reporter)
    return PipelineResult(experiment, run, exported, timer.seconds)


def _export(run: Run, experiment: Experiment, reporter: Reporter) -> ExportReport | None:
    """The one file to deploy, in the run folder; None, with a message, where it cannot be written."""
    from winnow.deploy.source import ExportOptions

    if run.model is None:
        return None
    try:
        return export_run(run.folder, None, ExportOptions(), reporter, backbone=experiment.folder.backbone)
    except InputError as error:
        reporter.message(f"note: model.onnx was not written: {reporter.describe_error(error)}")
        return None
