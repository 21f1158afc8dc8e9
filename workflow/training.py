"""From a folder to trained heads: `compare`, `train` and `tune` each write a run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from winnow.common.errors import InputError
from winnow.common.progress import Reporter
from winnow.curate.journal import Journal, current_verdicts
from winnow.curate.workspace import Workspace
from winnow.embed.config import EmbeddingConfig
from winnow.workflow import fitting, tasks
from winnow.workflow.experiment import FIVE_SPLITS, ONE_SPLIT, TEN_SPLITS, DatasetOptions, dataset_as_found, prepare
from winnow.workflow.runs import Outcome, Run, write_run
from winnow.workflow.stage_timer import StageTimer

if TYPE_CHECKING:
    from winnow.heads.evaluation.search import SearchResult


@dataclass(frozen=True)
class CompareOptions:
    """What is compared, and what besides is measured.

    heads: comma-separated kinds (None: `heads.kinds.DEFAULT_HEADS`). grid: a TOML file, or the name of a shipped grid,
    instead of heads. jobs: fits at a time (None: one per processor). fresh: fit again what was fitted before.
    cleaning: measure the effect of the verdicts, too. learning_curve: fit the chosen head on smaller parts of the train
    split, too, and extrapolate.
    """

    heads: str | None = None
    grid: str | None = None
    jobs: int | None = None
    fresh: bool = False
    cleaning: bool = False
    learning_curve: bool = False
    dataset: DatasetOptions = TEN_SPLITS


def compare(workspace: Workspace, config: EmbeddingConfig, reporter: Reporter, options: CompareOptions) -> Run:
    """Fit every head on every split, and write a run with a report. Raises: InputError."""
    from winnow.heads.evaluation.grid_file import read_grid

    timer = StageTimer()
    grid = read_grid(options.grid) if options.grid else fitting.grid_of_kinds(options.heads)
    if options.cleaning:
        _check_cleaning(workspace, config, [head.kind for head in grid.heads], reporter)
    experiment = prepare(workspace, tasks.vector_config(grid, config), reporter, options.dataset, timer)
    if options.heads is None and options.grid is None:
        grid = fitting.without_quadratic(grid, experiment, reporter)
    fit_options = fitting.fit_options(experiment, grid, options.jobs, options.fresh)
    effect = curve = None
    if options.cleaning:
        as_found = dataset_as_found(experiment, reporter)
        with timer.stage("compare"):
            scores, fits, effect = fitting.fit_cleaning(experiment, as_found, grid, fit_options, reporter)
    else:
        grid, experiments = tasks.experiments_by_head(experiment, grid, config, reporter, timer)
        with timer.stage("compare"):
            scores, fits = fitting.fit_all(grid, experiments, fit_options, reporter)
        experiment = experiments[scores[0].name]
    if options.learning_curve:
        best = next(head for head in grid.heads if head.name == scores[0].name)
        with timer.stage("learning_curve"):
            curve = fitting.fit_curve(experiment, best, fit_options, reporter)
    outcome = Outcome(scores, fits, cleaning=effect, learning_curve=curve)
    return write_run(experiment, "compare", outcome, reporter, timer)


def train(
    workspace: Workspace,
    config: EmbeddingConfig,
    reporter: Reporter,
    *,
    kind: str,
    params: dict[str, Any],
    dataset: DatasetOptions = ONE_SPLIT,
) -> Run:
    """Train one head on the first split, and write a run with a report and `head.onnx`. Raises: InputError."""
    from winnow.heads.evaluation.fit import Grid, HeadSpec, build
    from winnow.heads.evaluation.head_scores import rank_heads

    timer = StageTimer()
    grid = Grid([HeadSpec(kind, kind, params)])
    build(grid.heads[0], dataset.seed)  # a wrong parameter is reported before the work, not after it
    dataset = replace(dataset, repeats=1)
    experiment = prepare(workspace, tasks.vector_config(grid, config), reporter, dataset, timer)
    grid, experiments = tasks.experiments_by_head(experiment, grid, config, reporter, timer)
    with timer.stage("train"):
        estimator, fit = fitting.fit_one(experiments[kind], grid.heads[0], reporter)
    scores = rank_heads(grid.heads, [[fit]], experiment.splits)
    outcome = Outcome(scores, {kind: fit}, estimator)
    return write_run(experiments[kind], f"train-{kind}", outcome, reporter, timer)


@dataclass(frozen=True)
class TunedRun:
    """A run of the head with the settings of the first split, and what the search is worth."""

    run: Run
    search: SearchResult

    def to_json(self) -> dict[str, Any]:
        """The document of the run with the keys of the search.

        `weighted_f1` is that of settings searched anew on each split, on test images that the search did not use.
        """
        return self.run.to_json() | self.search.to_json()


def tune(
    workspace: Workspace,
    config: EmbeddingConfig,
    reporter: Reporter,
    *,
    kind: str,
    dataset: DatasetOptions = FIVE_SPLITS,
    candidates: int | None = None,
    jobs: int | None = None,
) -> TunedRun:
    """Search settings of one kind of head on every split, and write a run of the head with those of the first split.

    Parameters: `candidates`, number of settings, the default among them (None: as `search_spaces.candidates` has it);
    `jobs`, fits at a time (None: one per processor). Raises: InputError for a head without settings to tune.
    """
    from winnow.heads.evaluation import search, search_spaces
    from winnow.heads.evaluation.fit import Grid
    from winnow.heads.evaluation.head_scores import rank_heads

    timer = StageTimer()
    settings = search_spaces.candidates(kind, candidates, dataset.seed)  # an unfit kind is reported before the work
    grid = Grid(settings)
    experiment = prepare(workspace, tasks.vector_config(grid, config), reporter, dataset, timer)
    grid, experiments = tasks.experiments_by_head(experiment, grid, config, reporter, timer)
    experiment = experiments[kind]
    task, _ = tasks.as_task(experiment)
    with timer.stage("search"), reporter.progress("Searching") as on_fit:
        nested = search.nested_search(
            grid.heads,
            task,
            experiment.splits,
            fitting.fit_options(experiment, grid, jobs),
            as_rows=lambda splits: tasks.as_task(experiment, splits)[1],
            on_message=reporter.message,
            on_fit=on_fit,
        )
    head = nested.heads[0]
    with timer.stage("train"):
        estimator, fit = fitting.fit_one(experiment, head, reporter)
    # Without the options of the network, which fine-tuned heads got above.
    chosen = [settings[grid.heads.index(head)] for head in nested.heads]
    result = search.summarize_search(replace(nested, heads=chosen), settings, experiment.splits)
    scores = rank_heads([head], [nested.tuned], experiment.splits)
    outcome = Outcome(scores, {kind: fit}, estimator, search=result)
    return TunedRun(write_run(experiment, f"tune-{kind}", outcome, reporter, timer), result)


def _check_cleaning(workspace: Workspace, config: EmbeddingConfig, kinds: list[str], reporter: Reporter) -> None:
    """Raises: InputError where the effect of the verdicts cannot be measured."""
    if config.rows_per_image > 1 or "finetune" in kinds:
        raise InputError("the effect of cleaning is measured on plain vectors", remedy="cleaning-vectors")
    if not current_verdicts(Journal(workspace.folder, on_message=reporter.message).lines()):
        raise InputError("nothing is decided yet", remedy="decide")
