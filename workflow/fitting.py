"""Fitting heads on a prepared dataset: all of them on every split, what the verdicts bought, what more would buy."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from winnow.common.digests import digest
from winnow.common.progress import Reporter
from winnow.common.threads import processors
from winnow.curate.dataset import Dataset
from winnow.curate.splits import SPLITS
from winnow.workflow.experiment import Experiment
from winnow.workflow.scoring import timed
from winnow.workflow.tasks import divided

if TYPE_CHECKING:
    from winnow.heads.evaluation.cleaning_effect import CleaningEffect, DatasetChanges
    from winnow.heads.evaluation.fit import Fit, Grid, HeadSpec, Split, Task
    from winnow.heads.evaluation.head_scores import HeadScores
    from winnow.heads.evaluation.learning_curve import LearningCurve

QUADRATIC = ("knn", "svm-linear", "svm-rbf")  # heads whose time grows with the square of the training pictures
QUADRATIC_LIMIT = 20_000  # training pictures above which they are left out unless they are named


def named(heads: str | None) -> Grid:
    """The heads of comma-separated kinds, None: DEFAULT_HEADS. Raises: InputError for an unknown or doubled one."""
    from winnow.heads.evaluation.fit import Grid
    from winnow.heads.evaluation.grid_file import heads_from_names
    from winnow.heads.kinds import DEFAULT_HEADS

    names = list(DEFAULT_HEADS) if heads is None else [name.strip() for name in heads.split(",")]
    return Grid(heads_from_names(names))


def affordable(grid: Grid, experiment: Experiment, reporter: Reporter) -> Grid:
    """The heads without those whose time grows with the square of a large training part; they can still be named."""
    pictures = len(experiment.splits[0].train)
    if pictures <= QUADRATIC_LIMIT:
        return grid
    reporter.message(
        f"note: {', '.join(QUADRATIC)} are left out, slow on {pictures:,} pictures; name them with --heads"
    )
    return replace(grid, heads=[head for head in grid.heads if head.kind not in QUADRATIC])


def fit_all(
    experiment: Experiment,
    grid: Grid,
    jobs: int | None,
    fresh: bool,
    reporter: Reporter,
    experiments: dict[str, Experiment] | None = None,
) -> tuple[list[HeadScores], dict[str, Fit]]:
    """The scores of the heads, the chosen one first, and of every head the fit on the first split.

    Parameters: `works`, of `rows.for_heads`, head name -> the work whose rows it learns from (None: all from `work`).
    """
    from winnow.heads.evaluation.head_scores import rank_heads

    experiments = experiments or {head.name: experiment for head in grid.heads}
    found: dict[str, list[Fit]] = {}
    with timed(experiment.seconds, "compare"):
        for own in {id(own): own for own in experiments.values()}.values():
            heads = [head for head in grid.heads if experiments[head.name] is own]
            task, splits = divided(own)
            fits = _fit(task, splits, own, replace(grid, heads=heads), jobs, fresh, reporter)
            found |= {head.name: of for head, of in zip(heads, fits, strict=True)}
    ordered = [found[head.name] for head in grid.heads]
    return rank_heads(grid.heads, ordered, experiment.splits), _first(grid, ordered)


def fit_one(experiment: Experiment, head: HeadSpec, reporter: Reporter) -> tuple[Any, Fit]:
    """A head fitted on the first split, and how well it does there."""
    from winnow.heads.evaluation.fit import FitOptions, fit_head

    task, splits = divided(experiment)
    with reporter.progress("Training") as told:
        return fit_head(head, task, splits[0], FitOptions(experiment.seed), told)


def fit_cleaning(
    experiment: Experiment,
    found: Dataset,
    X_found: np.ndarray,
    grid: Grid,
    jobs: int | None,
    fresh: bool,
    reporter: Reporter,
) -> tuple[list[HeadScores], dict[str, Fit], CleaningEffect]:
    """As `fit_all`, and what the verdicts bought: every head is trained on the pictures as found and as decided.

    Both are judged on the same test pictures: those as found, and beside them those as decided.
    Parameters: `found`, the dataset as found, with as many splits as that of `work`; `X_found` (N, D) its vectors.
    """
    from winnow.heads.evaluation.cleaning_effect import measure_cleaning
    from winnow.heads.evaluation.head_scores import rank_heads

    task, of_found = _with_found(experiment, found, X_found)
    groups = np.zeros(len(task.X), dtype=np.int64)
    groups[: len(experiment.X)], groups[of_found] = experiment.data.groups, found.groups
    before, after = [], []
    for split, parts in zip(experiment.splits, found.splits, strict=True):
        as_found = {part: of_found[parts == part] for part in SPLITS}
        before.append(replace(split, groups=groups, second_test=split.test, **as_found))
        after.append(replace(split, groups=groups, second_test=as_found["test"]))
    with timed(experiment.seconds, "compare"):
        fits_before, fits = (_fit(task, of, experiment, grid, jobs, fresh, reporter) for of in (before, after))
    effect = measure_cleaning(grid.heads, fits_before, fits, before, after, _changed(experiment.data, found))
    first = {name: fit.first_classes(len(experiment.data.classes)) for name, fit in _first(grid, fits).items()}
    return rank_heads(grid.heads, fits, after), first, effect


def fit_curve(
    experiment: Experiment, head: HeadSpec, validation: str, jobs: int | None, fresh: bool, reporter: Reporter
) -> LearningCurve:
    """The learning curve of a head over all splits.

    Fits on all of it are those of `fit_all`; parts that small classes make no larger than the one before are left out.
    """
    from winnow.heads.evaluation import learning_curve
    from winnow.heads.evaluation.fit import Grid
    from winnow.heads.evaluation.head_scores import f1_interval, mean_sizes

    parts = [
        learning_curve.nested_subsets(split, experiment.data.y, experiment.seed + r)
        for r, split in enumerate(experiment.splits)
    ]
    of_size = {
        sum(len(split.train) for split in splits): (share, list(splits))
        for share, splits in zip(learning_curve.SHARES, zip(*parts, strict=True), strict=True)
    }
    points, scores = [], []
    with timed(experiment.seconds, "learning_curve"):
        for total, (share, splits) in of_size.items():
            pictures, again = total / len(splits), fresh and share < 1
            what = f"Fitting on {pictures:,.0f} pictures"
            task, of_rows = divided(experiment, splits)
            fits = _fit(task, of_rows, experiment, Grid([head], validation), jobs, again, reporter, what)
            f1 = f1_interval(fits[0], mean_sizes(splits))
            points.append(learning_curve.CurvePoint(round(pictures), share, f1))
            scores.append([fit.metrics["test"]["weighted_f1"] for fit in fits[0]])
        n_test = float(np.mean([len(split.test) for split in experiment.splits]))
        sizes = np.array(list(of_size)) / len(parts)
        return learning_curve.extrapolate(head.name, points, sizes, np.array(scores), n_test)


def _with_found(experiment: Experiment, found: Dataset, X_found: np.ndarray) -> tuple[Task, np.ndarray]:
    """The task of the experiment with further rows, and the row of each picture as found, int64 (n,).

    The further rows are those pictures that had another label as found or are dropped. Classes that no picture has as
    decided come last.
    """
    from winnow.heads.evaluation.fit import Task

    data = experiment.data
    row_of = {pair: row for row, pair in enumerate(zip(data.ids, data.labels, strict=True))}
    pairs = list(zip(found.ids, found.labels, strict=True))
    only = [row for row, pair in enumerate(pairs) if pair not in row_of]
    row_of |= {pairs[row]: len(data.ids) + number for number, row in enumerate(only)}
    classes = [*data.classes, *sorted(set(found.labels) - set(data.classes))]
    index = {label: number for number, label in enumerate(classes)}
    y = [*data.y.tolist(), *(index[found.labels[row]] for row in only)]
    key = digest([experiment.made["key"], data.ids, [found.ids[row] for row in only]])
    task = Task(np.concatenate([experiment.X, X_found[only]]), np.array(y, dtype=np.int64), classes, key)
    return task, np.array([row_of[pair] for pair in pairs], dtype=np.int64)


def _changed(decided: Dataset, found: Dataset) -> DatasetChanges:
    """How many pictures the verdicts took away, brought in, and gave another label; whether classes came or went."""
    from winnow.heads.evaluation.cleaning_effect import DatasetChanges

    now, then = (dict(zip(data.ids, data.labels, strict=True)) for data in (decided, found))
    return DatasetChanges(
        dropped=len(then.keys() - now.keys()),
        added=len(now.keys() - then.keys()),
        relabelled=sum(then[id] != label for id, label in now.items() if id in then),
        classes_changed=decided.classes != found.classes,
    )


def _fit(
    task: Task,
    splits: list[Split],
    experiment: Experiment,
    grid: Grid,
    jobs: int | None,
    fresh: bool,
    reporter: Reporter,
    what: str = "Fitting",
) -> list[list[Fit]]:
    from winnow.heads.evaluation.compare import compare
    from winnow.heads.evaluation.fit import FitOptions

    options = FitOptions(experiment.seed, jobs or processors(), experiment.workspace.fits, fresh, grid.validation)
    with reporter.progress(what) as on_fit:
        return compare(grid.heads, task, splits, options, on_fit)


def _first(grid: Grid, fits: list[list[Fit]]) -> dict[str, Fit]:
    return {head.name: of[0] for head, of in zip(grid.heads, fits, strict=True)}
