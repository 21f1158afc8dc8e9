"""From a folder to trained and compared heads: `compare`, `train` and `tune` each leave a run."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from winnow.common.errors import InputError
from winnow.common.progress import Reporter
from winnow.common.threads import processors
from winnow.curate.journal import Journal, current_verdicts
from winnow.curate.workspace import Workspace
from winnow.embed.config import EmbeddingConfig
from winnow.workflow import fitting, tasks
from winnow.workflow.experiment import Division, dataset_as_found, prepare
from winnow.workflow.runs import leave_run
from winnow.workflow.scoring import timed


def compare(
    workspace: Workspace,
    vectors: EmbeddingConfig,
    reporter: Reporter,
    *,
    heads: str | None = None,
    grid: str | None = None,
    repeats: int = 10,
    division: Division | None = None,
    jobs: int | None = None,
    fresh: bool = False,
    cleaning: bool = False,
    learning_curve: bool = False,
) -> dict[str, Any]:
    """Fit every head on every split, and leave a run folder with a report.

    Parameters: `heads`, kinds, comma-separated (None: heads.fit.DEFAULT_HEADS), or `grid`, a TOML file or the name of a
    shipped one; `jobs`, fits at a time (None: one a processor); `fresh`, fit anew what was fitted before; `cleaning`,
    fit them on the pictures as found too, and say what the verdicts bought; `learning_curve`, fit the chosen head on
    parts of the train part too, and guess what more pictures would bring.
    Returns: the document of the run (`metrics.json`), with `run` and `report`, its folder and its page.
    """
    from winnow.heads.evaluation.grid_file import read_grid

    division = division or Division()
    chosen = read_grid(grid) if grid else fitting.named(heads)
    if cleaning and (vectors.rows_per_image > 1 or any(head.kind == "finetune" for head in chosen.heads)):
        raise InputError("--cleaning compares heads on plain vectors: leave out --augment, --tta and tail")
    if cleaning and not current_verdicts(Journal(workspace.folder, on_message=reporter.message).lines()):
        raise InputError("nothing is decided yet: `winnow review`, `winnow decide` or `winnow prune` first")
    experiment = prepare(workspace, tasks.beside_tails(chosen, vectors), reporter, division, repeats)
    if heads is None and grid is None:
        chosen = fitting.affordable(chosen, experiment, reporter)
    found = dataset_as_found(experiment, division, repeats, reporter) if cleaning else None
    if found is None:
        chosen, experiments = tasks.for_heads(experiment, chosen, vectors, reporter)
        compared, fits = fitting.fit_all(experiment, chosen, jobs, fresh, reporter, experiments)
        experiment = experiments[compared[0].name]
    else:
        X_found = experiment.store.read(found.ids)
        compared, fits, bought = fitting.fit_cleaning(experiment, found, X_found, chosen, jobs, fresh, reporter)
        experiment = replace(experiment, cleaning=bought)
    if learning_curve:
        best = next(head for head in chosen.heads if head.name == compared[0].name)
        experiment = replace(
            experiment, learning_curve=fitting.fit_curve(experiment, best, chosen.validation, jobs, fresh, reporter)
        )
    return leave_run(experiment, "compare", compared, fits, reporter)


def train(
    workspace: Workspace,
    vectors: EmbeddingConfig,
    reporter: Reporter,
    *,
    kind: str,
    params: dict[str, Any],
    division: Division | None = None,
) -> dict[str, Any]:
    """Train one head on one split, and leave a run folder with a report and `head.onnx`.

    Returns: as `compare`, with `weighted_f1`, `accuracy` and `model`, the path of `head.onnx`.
    """
    from winnow.heads.evaluation.fit import Grid, HeadSpec, build
    from winnow.heads.evaluation.head_scores import rank_heads

    grid = Grid([HeadSpec(kind, kind, params)])
    build(grid.heads[0], (division or Division()).seed)  # a wrong parameter is told before the work, not after it
    experiment = prepare(workspace, tasks.beside_tails(grid, vectors), reporter, division or Division(), 1)
    grid, experiments = tasks.for_heads(experiment, grid, vectors, reporter)
    with timed(experiment.seconds, "train"):
        estimator, fit = fitting.fit_one(experiments[kind], grid.heads[0], reporter)
    scores = rank_heads(grid.heads, [[fit]], experiment.splits)
    return leave_run(experiments[kind], f"train-{kind}", scores, {kind: fit}, reporter, estimator)


def tune(
    workspace: Workspace,
    vectors: EmbeddingConfig,
    reporter: Reporter,
    *,
    kind: str,
    division: Division,
    candidates: int | None = None,
    repeats: int = 5,
    jobs: int | None = None,
) -> dict[str, Any]:
    """Search settings of one kind of head on every split, and leave a run of the head with those of the first split.

    Parameters: `candidates`, how many settings, the default among them (None: as many as `heads.spaces.candidates` has
    by itself); `jobs`, fits at a time (None: one a processor).
    Returns: as `workflow.train`, with what `heads.search.summary` says; `weighted_f1` is that of settings searched anew
    on each split, on test pictures that the search did not see. Raises: InputError for a head without settings to tune.
    """
    from winnow.heads.evaluation import search, search_spaces
    from winnow.heads.evaluation.fit import FitOptions, Grid
    from winnow.heads.evaluation.head_scores import rank_heads

    heads = search_spaces.candidates(
        kind, candidates, (division or Division()).seed
    )  # a kind that will not do is told before the work
    experiment = prepare(workspace, tasks.beside_tails(Grid(heads), vectors), reporter, division or Division(), repeats)
    grid, experiments = tasks.for_heads(experiment, Grid(heads), vectors, reporter)
    experiment = experiments[kind]
    task, _ = tasks.divided(experiment)
    options = FitOptions(experiment.seed, jobs or processors(), workspace.fits)
    with timed(experiment.seconds, "search"), reporter.progress("Searching") as told:
        nested = search.nested_search(
            grid.heads,
            task,
            experiment.splits,
            options,
            as_rows=lambda splits: tasks.divided(experiment, splits)[1],
            on_message=reporter.message,
            on_fit=told,
        )
    head = nested.heads[0]
    with timed(experiment.seconds, "train"):
        estimator, fit = fitting.fit_one(experiment, head, reporter)
    settings = [
        heads[grid.heads.index(head)] for head in nested.heads
    ]  # without the network of a tail, which was given
    result = search.summarize_search(replace(nested, heads=settings), heads, experiment.splits)
    scores = rank_heads([head], [nested.tuned], experiment.splits)
    experiment = replace(experiment, search=result)
    return leave_run(experiment, f"tune-{kind}", scores, {kind: fit}, reporter, estimator) | result.to_json()
