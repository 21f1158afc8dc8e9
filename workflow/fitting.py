"""Fits of heads to an experiment: on every split, before and after the verdicts, on fewer and fewer pictures."""

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
from winnow.workflow.tasks import as_task

if TYPE_CHECKING:
    from winnow.heads.evaluation.cleaning_effect import CleaningEffect, DatasetChanges
    from winnow.heads.evaluation.fit import Fit, FitOptions, Grid, HeadSpec, Split, Task
    from winnow.heads.evaluation.head_scores import HeadScores
    from winnow.heads.evaluation.learning_curve import LearningCurve

QUADRATIC = ("knn", "svm-linear", "svm-rbf")  # heads whose time grows with the square of the training pictures
QUADRATIC_LIMIT = 20_000  # training pictures above which they are left out unless they are named


def grid_of_kinds(kinds: str | None) -> Grid:
    """Heads with their default parameters.

    Parameters: `kinds`, comma-separated; None: DEFAULT_HEADS. Raises: InputError for an unknown or repeated kind.
    """
    from winnow.heads.evaluation.fit import Grid
    from winnow.heads.evaluation.grid_file import heads_from_names
    from winnow.heads.kinds import DEFAULT_HEADS

    names = list(DEFAULT_HEADS) if kinds is None else [name.strip() for name in kinds.split(",")]
    return Grid(heads_from_names(names))


def without_quadratic(grid: Grid, experiment: Experiment, reporter: Reporter) -> Grid:
    """The heads without those whose time grows with the square of a large training split."""
    pictures = len(experiment.splits[0].train)
    if pictures <= QUADRATIC_LIMIT:
        return grid
    reporter.message(
        f"note: {', '.join(QUADRATIC)} are left out, because they are slow on {pictures:,} training pictures; "
        "a comparison that names them includes them"
    )
    return replace(grid, heads=[head for head in grid.heads if head.kind not in QUADRATIC])


def fit_options(experiment: Experiment, grid: Grid, jobs: int | None, fresh: bool = False) -> FitOptions:
    """How the heads of a grid are fitted. Parameters: `jobs`, fits at a time (None: one per processor)."""
    from winnow.heads.evaluation.fit import FitOptions

    seed, cache = experiment.options.seed, experiment.workspace.fits
    return FitOptions(seed, jobs or processors(), cache, fresh, grid.validation)


def fit_all(
    grid: Grid, experiments: dict[str, Experiment], options: FitOptions, reporter: Reporter
) -> tuple[list[HeadScores], dict[str, Fit]]:
    """Fit every head on every split.

    Parameters: `experiments`, head name -> the experiment with its features, see `tasks.experiments_by_head`.
    Returns: the scores of the heads, the chosen one first, and of every head the fit on the first split.
    """
    from winnow.heads.evaluation.head_scores import rank_heads

    fits: dict[str, list[Fit]] = {}
    for experiment in {id(experiment): experiment for experiment in experiments.values()}.values():
        heads = [head for head in grid.heads if experiments[head.name] is experiment]
        task, splits = as_task(experiment)
        fits |= dict(zip([head.name for head in heads], _fit(heads, task, splits, options, reporter), strict=True))
    in_order = [fits[head.name] for head in grid.heads]
    splits = next(iter(experiments.values())).splits
    return rank_heads(grid.heads, in_order, splits), _first_fits(grid.heads, in_order)


def fit_one(experiment: Experiment, head: HeadSpec, reporter: Reporter) -> tuple[Any, Fit]:
    """Fit a head on the first split. Returns: the estimator, and its scores there."""
    from winnow.heads.evaluation.fit import FitOptions, fit_head

    task, splits = as_task(experiment)
    with reporter.progress("Training") as on_epoch:
        return fit_head(head, task, splits[0], FitOptions(experiment.options.seed), on_epoch)


def fit_cleaning(
    experiment: Experiment, dataset_as_found: Dataset, grid: Grid, options: FitOptions, reporter: Reporter
) -> tuple[list[HeadScores], dict[str, Fit], CleaningEffect]:
    """As `fit_all`, and the effect of the verdicts: every head is trained on the pictures as found and as decided.

    Both are evaluated on the same test pictures: those as found, and beside them those as decided.
    Parameters: `dataset_as_found`, with as many splits as the dataset of the experiment.
    """
    from winnow.heads.evaluation.cleaning_effect import measure_cleaning
    from winnow.heads.evaluation.head_scores import rank_heads

    decided = experiment.dataset
    task, found_rows = _task_with_found(experiment, dataset_as_found)
    groups = np.zeros(len(task.X), dtype=np.int64)
    groups[: len(experiment.X)], groups[found_rows] = decided.groups, dataset_as_found.groups
    before, after = [], []
    for split, parts in zip(experiment.splits, dataset_as_found.splits, strict=True):
        as_found = {part: found_rows[parts == part] for part in SPLITS}
        before.append(replace(split, groups=groups, second_test=split.test, **as_found))
        after.append(replace(split, groups=groups, second_test=as_found["test"]))
    fits_before, fits = (_fit(grid.heads, task, splits, options, reporter) for splits in (before, after))
    changes = _changes(decided, dataset_as_found)
    effect = measure_cleaning(grid.heads, fits_before, fits, before, after, changes)
    first = {name: fit.first_classes(len(decided.classes)) for name, fit in _first_fits(grid.heads, fits).items()}
    return rank_heads(grid.heads, fits, after), first, effect


def fit_curve(experiment: Experiment, head: HeadSpec, options: FitOptions, reporter: Reporter) -> LearningCurve:
    """The learning curve of a head over all splits.

    Fits on the whole train split are those of `fit_all`. Subsets that small classes make no larger than the one before
    are left out.
    """
    from winnow.heads.evaluation import learning_curve
    from winnow.heads.evaluation.head_scores import f1_interval, mean_sizes

    subsets = [
        learning_curve.nested_subsets(split, experiment.dataset.y, options.seed + repeat)
        for repeat, split in enumerate(experiment.splits)
    ]
    by_size = {
        sum(len(split.train) for split in splits): (share, list(splits))
        for share, splits in zip(learning_curve.SHARES, zip(*subsets, strict=True), strict=True)
    }
    points, scores = [], []
    for total, (share, splits) in by_size.items():
        pictures = total / len(splits)
        task, row_splits = as_task(experiment, splits)
        refit = replace(options, fresh=options.fresh and share < 1)
        (fits,) = _fit([head], task, row_splits, refit, reporter, f"Fitting on {pictures:,.0f} pictures")
        points.append(learning_curve.CurvePoint(round(pictures), share, f1_interval(fits, mean_sizes(splits))))
        scores.append([fit.metrics["test"]["weighted_f1"] for fit in fits])
    n_test = float(np.mean([len(split.test) for split in experiment.splits]))
    sizes = np.array(list(by_size)) / len(subsets)
    return learning_curve.extrapolate(head.name, points, sizes, np.array(scores), n_test)


def _task_with_found(experiment: Experiment, as_found: Dataset) -> tuple[Task, np.ndarray]:
    """The task of the experiment with further rows, and the row of each picture as found, int64 (n,).

    The further rows are those pictures that had another label as found or are dropped. Classes that no picture has as
    decided come last.
    """
    from winnow.heads.evaluation.fit import Task

    decided = experiment.dataset
    rows = {pair: row for row, pair in enumerate(zip(decided.ids, decided.labels, strict=True))}
    pairs = list(zip(as_found.ids, as_found.labels, strict=True))
    changed = [row for row, pair in enumerate(pairs) if pair not in rows]
    rows |= {pairs[row]: len(decided.ids) + number for number, row in enumerate(changed)}
    classes = [*decided.classes, *sorted(set(as_found.labels) - set(decided.classes))]
    index = {label: number for number, label in enumerate(classes)}
    y = [*decided.y.tolist(), *(index[as_found.labels[row]] for row in changed)]
    key = digest([experiment.folder.embedding.key, decided.ids, [as_found.ids[row] for row in changed]])
    X = np.concatenate([experiment.X, experiment.folder.store.read(as_found.ids)[changed]])
    return Task(X, np.array(y, dtype=np.int64), classes, key), np.array([rows[pair] for pair in pairs], dtype=np.int64)


def _changes(decided: Dataset, as_found: Dataset) -> DatasetChanges:
    """How many pictures the verdicts removed, added and relabelled; whether classes came or went."""
    from winnow.heads.evaluation.cleaning_effect import DatasetChanges

    after, before = (dict(zip(dataset.ids, dataset.labels, strict=True)) for dataset in (decided, as_found))
    return DatasetChanges(
        dropped=len(before.keys() - after.keys()),
        added=len(after.keys() - before.keys()),
        relabelled=sum(before[id] != label for id, label in after.items() if id in before),
        classes_changed=decided.classes != as_found.classes,
    )


def _fit(
    heads: list[HeadSpec],
    task: Task,
    splits: list[Split],
    options: FitOptions,
    reporter: Reporter,
    what: str = "Fitting",
) -> list[list[Fit]]:
    """fits[head][repeat], with progress under the title `what`."""
    from winnow.heads.evaluation.compare import compare

    with reporter.progress(what) as on_fit:
        return compare(heads, task, splits, options, on_fit)


def _first_fits(heads: list[HeadSpec], fits: list[list[Fit]]) -> dict[str, Fit]:
    return {head.name: repeats[0] for head, repeats in zip(heads, fits, strict=True)}
