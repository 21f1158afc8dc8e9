"""Tuning a head: from a folder to settings, what they are worth, and a run with the head that has them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from winnow.common.progress import Reporter
from winnow.common.threads import processors
from winnow.curate.workspace import Workspace
from winnow.embed.config import EmbeddingConfig
from winnow.workflow.pipeline import Division, prepare
from winnow.workflow.record import leave_run, timed
from winnow.workflow.rows import beside_tails, divided, for_heads
from winnow.workflow.training import fit_one


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
    from winnow.heads.evaluation.compare import table
    from winnow.heads.evaluation.fit import Grid

    heads = search_spaces.candidates(kind, candidates, division.seed)  # a kind that will not do is told before the work
    experiment = prepare(workspace, beside_tails(Grid(heads), vectors), reporter, division, repeats)
    grid, experiments = for_heads(experiment, Grid(heads), vectors, reporter)
    experiment = experiments[kind]
    learned, _ = divided(experiment)
    with timed(experiment.seconds, "search"), reporter.progress("Searching") as told:
        found = search.nested(
            grid.heads,
            learned.X,
            learned.y,
            experiment.splits,
            learned.classes,
            as_rows=lambda splits: divided(experiment, splits)[1],
            cache_dir=workspace.fits,
            data_key=learned.key,
            jobs=jobs or processors(),
            seed=experiment.seed,
            on_message=reporter.message,
            on_fit=told,
        )
    head = found.heads[0]
    with timed(experiment.seconds, "train"):
        estimator, fit = fit_one(experiment, head, reporter)
    settings = [heads[grid.heads.index(head)] for head in found.heads]  # without the network of a tail, which was given
    said = search.summary(replace(found, heads=settings), heads, experiment.splits)
    rows = table([head], [found.tuned], experiment.splits)
    return leave_run(replace(experiment, search=said), f"tune-{kind}", rows, {kind: fit}, reporter, estimator) | said
