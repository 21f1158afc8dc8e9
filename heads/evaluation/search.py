"""Hyperparameter search for a head: candidates, folds, and a nested evaluation on images that no search used.

The search is successive halving over the number of training images (K. Jamieson, A. Talwalkar, Non-stochastic Best Arm
Identification and Hyperparameter Optimization, AISTATS 2016), as in scikit-learn's HalvingRandomSearchCV: all
candidates are fitted on a ninth of the images, the better third of them on a third, the better third of these on all.
Unlike there the default settings always stay, folds and subsets keep groups whole and contain every class, and dense
heads are trained in batches, because `compare` runs the fits. Folds divide images: all rows of an image, its augmented
versions, are on the same side.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from winnow.common.errors import InputError
from winnow.heads.evaluation.compare import compare
from winnow.heads.evaluation.fit import SEEDS, Fit, FitOptions, HeadSpec, Split, Task
from winnow.heads.evaluation.head_scores import f1_difference, f1_interval, mean_sizes
from winnow.heads.evaluation.learning_curve import nested_subsets
from winnow.heads.evaluation.metrics import Interval, PairedDifference
from winnow.heads.evaluation.search_spaces import SLOW, WHOLE

FOLDS = 5  # of the train part, on which settings are evaluated
FEW_FOLDS = 3  # for heads that are slow to fit
FACTOR = 3  # each round has so many times fewer candidates and more images
ROUNDS = 3
LEAST = 10  # mean number of images per class below which a subset is too small to rank settings


@dataclass(frozen=True)
class NestedSearch:
    """On each split: the settings chosen on its train part, and the fits of these and of the default settings."""

    heads: list[HeadSpec]
    tuned: list[Fit]
    default: list[Fit]


@dataclass(frozen=True)
class SplitChoice:
    """The settings chosen on one split, and the test weighted F1 of these and of the default settings."""

    params: dict[str, Any]
    weighted_f1: float
    default: float


@dataclass(frozen=True)
class SearchResult:
    """The settings found for one kind of head and what they gain.

    params: those chosen on the first split. weighted_f1, default: on test, of settings chosen anew on each split and
    of the default settings. difference: tuned minus default. searched: number of candidates.
    """

    head: str
    params: dict[str, Any]
    weighted_f1: Interval
    default: Interval
    difference: PairedDifference
    searched: int
    choices: list[SplitChoice]

    def to_json(self) -> dict[str, Any]:
        """The fields; `choices` as `chosen_on_each_split`."""
        return {
            "head": self.head,
            "params": self.params,
            "weighted_f1": self.weighted_f1.to_json(),
            "default": self.default.to_json(),
            "difference": self.difference.to_json(),
            "searched": self.searched,
            "chosen_on_each_split": [
                {"params": choice.params, "weighted_f1": choice.weighted_f1, "default": choice.default}
                for choice in self.choices
            ],
        }

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> SearchResult:
        """The inverse of `to_json`; further keys of the document are ignored."""
        return cls(
            document["head"],
            document["params"],
            Interval(**document["weighted_f1"]),
            Interval(**document["default"]),
            PairedDifference(**document["difference"]),
            document["searched"],
            [SplitChoice(**choice) for choice in document["chosen_on_each_split"]],
        )

    def describe(self) -> str:
        """One sentence about the gain, in points of weighted F1."""
        f1 = self.weighted_f1
        tuned = f"tuned {f1.mean:.3f} [{f1.low:.3f}, {f1.high:.3f}], default {self.default.mean:.3f}"
        gain = f"{self.difference.describe_points()} of weighted F1{self.difference.describe_conclusion()}"
        return f"{tuned}: {gain}"


def nested_search(
    heads: list[HeadSpec],
    task: Task,
    splits: list[Split],
    options: FitOptions = FitOptions(),
    *,
    as_rows: Callable[[list[Split]], list[Split]] = lambda splits: splits,
    on_message: Callable[[str], None] | None = None,
    on_fit: Callable[[int, int], None] | None = None,
) -> NestedSearch:
    """Nested search: choose settings on the train part of every split, then evaluate them and the default on test.

    Neither test nor val takes part in a search, so test scores are unbiased and val can still choose among kinds.

    Parameters: `heads`, as `search_spaces.candidates` returns them, the default first; `splits` of images, which are
    the first rows of the task; `as_rows` turns these, or others of the same images, into splits of all rows of the
    task; `options`, as in `compare`: only fits on whole splits are stored, not the many of a search; on_message(text):
    called once with the number of fits; on_fit(done, total): called after each fit.
    Raises: InputError for a train part that cannot be divided.
    """
    plans = [_rounds(heads, task.y, split, options.seed + r) for r, split in enumerate(splits)]
    total = sum(left * len(inner) for plan in plans for left, inner in plan) + 2 * len(splits)
    if on_message:
        on_message(f"Searching among {len(heads):,} settings of {heads[0].kind}: {total:,} fits")
    done = 0

    def count_fit(*_: int) -> None:
        nonlocal done
        done += 1
        if on_fit:
            on_fit(done, total)

    def fit(options: FitOptions, heads: list[HeadSpec], splits: list[Split]) -> list[list[Fit]]:
        return compare(heads, task, as_rows(splits), options, count_fit)

    result = NestedSearch([], [], [])
    for r, (plan, split) in enumerate(zip(plans, splits, strict=True)):
        split_options = replace(options, seed=options.seed + r)
        chosen = _best(heads, plan, partial(fit, replace(split_options, cache=None)))
        (default,), (tuned,) = fit(split_options, [heads[0], chosen], [split])
        result.heads.append(chosen)
        result.tuned.append(tuned)
        result.default.append(default)
    return result


def summarize_search(search: NestedSearch, heads: list[HeadSpec], splits: list[Split]) -> SearchResult:
    """What a search among these heads gained, with intervals and a test as in `head_scores.rank_heads`."""
    sizes = mean_sizes(splits)
    return SearchResult(
        head=heads[0].kind,
        params=search.heads[0].params,
        weighted_f1=f1_interval(search.tuned, sizes),
        default=f1_interval(search.default, sizes),
        difference=f1_difference(search.tuned, search.default, sizes),
        searched=len(heads),
        choices=[
            SplitChoice(head.params, _f1(tuned, "test"), _f1(default, "test"))
            for head, tuned, default in zip(search.heads, search.tuned, search.default, strict=True)
        ],
    )


def _f1(fit: Fit, part: str) -> float:
    return fit.metrics[part]["weighted_f1"]


def _best(
    heads: list[HeadSpec],
    plan: list[tuple[int, list[Split]]],
    fit: Callable[[list[HeadSpec], list[Split]], list[list[Fit]]],
) -> HeadSpec:
    """The head with the best mean weighted F1 over the folds of the last round; the first one of equals."""
    remaining = heads
    for count, inner in plan:
        remaining = remaining[:count]
        scores = [np.mean([_f1(fold, "val") for fold in fits]) for fits in fit(remaining, inner)]
        order = np.argsort(-np.array(scores), kind="stable").tolist()
        best = remaining[order[0]]
        remaining = [heads[0], *(remaining[h] for h in order if h)]
    return best


def _rounds(heads: list[HeadSpec], y: np.ndarray, split: Split, seed: int) -> list[tuple[int, list[Split]]]:
    """The number of heads that each round fits, the default included, and the splits that it fits them on."""
    n, classes = len(split.train), len(np.unique(y[split.train]))
    later = [FACTOR**i for i in range(1, ROUNDS) if n >= LEAST * classes * FACTOR**i and len(heads) > FACTOR**i]
    rounds = 1 if heads[0].kind in WHOLE else 1 + len(later)
    n_folds = FEW_FOLDS if heads[0].kind in SLOW else FOLDS
    return [
        (1 + math.ceil((len(heads) - 1) / FACTOR**i), inner_splits(y, split, FACTOR ** (i + 1 - rounds), seed, n_folds))
        for i in range(rounds)
    ]


def inner_splits(y: np.ndarray, split: Split, share: float = 1.0, seed: int = 0, n_folds: int = FOLDS) -> list[Split]:
    """Cross-validation splits of the train part: each of at most n_folds folds is val once, a share of the rest train.

    Parameters: `y` int (N,), class indexes; `share`, 0 < share <= 1. Test is the same as val.
    Raises: InputError when no fold can be predicted by a head that is trained on the others.
    """
    rows = split.train
    fold = folds(y[rows], split.groups[rows], seed, n_folds)
    splits = []
    for k in range(fold.max() + 1):
        train, val = rows[fold != k], rows[fold == k]
        if len(np.unique(y[train])) > 1:
            splits += nested_subsets(Split(train, val, val, split.groups), y, seed, (share,))
    if not splits:
        raise InputError("a search needs two classes of at least two different pictures in train: add pictures")
    return splits


def folds(codes: np.ndarray, groups: np.ndarray, seed: int = 0, n_folds: int = FOLDS) -> np.ndarray:
    """The fold of each row, int64 (N,): groups are whole, and each class is spread over as many folds as it has groups.

    Larger groups first, each goes to the fold with the fewest rows of its class (that of most of its rows), the
    smallest of equals. Rows of a class that has only one group get −1: they are always trained on.
    scikit-learn's StratifiedGroupKFold takes 17 s instead of 0.8 s for 20,000 groups, and refuses classes of fewer
    groups than folds when they are all so small.

    Parameters: `codes` int (N,), class indexes; `groups` (N,).
    """
    _, group = np.unique(groups, return_inverse=True)
    counts = np.zeros((group.max() + 1, codes.max() + 1), dtype=np.int64)  # (groups, classes)
    np.add.at(counts, (group, codes), 1)
    single = ((counts > 0) & ((counts > 0).sum(axis=0) == 1)).any(axis=1)
    fold, filled = np.full(len(counts), -1), np.zeros((n_folds, counts.shape[1]), dtype=np.int64)
    order = np.random.default_rng(seed % SEEDS).permutation(np.flatnonzero(~single))
    for g in order[np.argsort(-counts[order].sum(axis=1), kind="stable")].tolist():
        fold[g] = np.lexsort((filled.sum(axis=1), filled[:, counts[g].argmax()]))[0]
        filled[fold[g]] += counts[g]
    return fold[group]
