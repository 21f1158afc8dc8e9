"""Settings for a head: where they are looked for, how, and what they are worth on pictures that no search saw.

The search is successive halving over the number of training pictures (K. Jamieson, A. Talwalkar, Non-stochastic Best
Arm Identification and Hyperparameter Optimization, AISTATS 2016), as scikit-learn's HalvingRandomSearchCV does it: all
candidates are fitted on a ninth of the pictures, the better third of them on a third, the better third of these on
all. Unlike there the default settings stay to the end, folds and parts keep groups whole and every class in them, and
dense heads are trained together, since `heads.compare` does the fits. What is divided are pictures: all rows of one,
its views, lie on the same side.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from winnow.common.errors import InputError
from winnow.heads.evaluation import learning_curve
from winnow.heads.evaluation.cleaning_effect import in_points
from winnow.heads.evaluation.compare import compare, table, versus
from winnow.heads.evaluation.fit import SEEDS, Fit, FitOptions, HeadSpec, Split, Task
from winnow.heads.evaluation.search_spaces import SLOW, WHOLE

FOLDS = 5  # of the train part, by which settings are judged
FEW_FOLDS = 3  # those of heads that are slow to fit
FACTOR = 3  # so much fewer candidates, and more pictures, in every round
ROUNDS = 3
LEAST = 10  # pictures a class, on average, below which a part of them says too little


@dataclass(frozen=True)
class Found:
    """On each split: the head that the search found on its train part, and the fits of that one and of the default."""

    heads: list[HeadSpec]
    tuned: list[Fit]
    default: list[Fit]


def nested(
    heads: list[HeadSpec],
    task: Task,
    splits: list[Split],
    options: FitOptions = FitOptions(),
    *,
    as_rows: Callable[[list[Split]], list[Split]] = lambda splits: splits,
    on_message: Callable[[str], None] | None = None,
    on_fit: Callable[[int, int], None] | None = None,
) -> Found:
    """Nested search: choose settings on the train part of every split, then evaluate them and the default on test.

    Neither test nor val takes part in a search, so test scores are unbiased and val can still choose among kinds.

    Parameters: `heads`, as `search_spaces.candidates` returns them, the default first; `splits` of pictures, which are
    the first rows of the task; `as_rows` turns these, or others of the same pictures, into splits of all rows of the
    task; `options`, as of `compare`: only fits on whole splits are stored, not the many of a search; on_message(text):
    called once with the number of fits; on_fit(done, total): called after each fit.
    Raises: InputError for a train part that cannot be divided.
    """
    plans = [_rounds(heads, task.y, split, options.seed + r) for r, split in enumerate(splits)]
    total = sum(left * len(inner) for plan in plans for left, inner in plan) + 2 * len(splits)
    if on_message:
        on_message(f"Searching among {len(heads):,} settings of {heads[0].kind}: {total:,} fits")
    done = 0

    def arrived(*_: Any) -> None:
        nonlocal done
        done += 1
        if on_fit:
            on_fit(done, total)

    def fit(options: FitOptions, some: list[HeadSpec], on: list[Split]) -> list[list[Fit]]:
        return compare(some, task, as_rows(on), options, arrived)

    found, default, tuned = [], [], []
    for r, (plan, split) in enumerate(zip(plans, splits, strict=True)):
        of_split = replace(options, seed=options.seed + r)
        found.append(_best(heads, plan, partial(fit, replace(of_split, cache=None))))
        (of_default,), (of_found,) = fit(of_split, [heads[0], found[-1]], [split])
        default.append(of_default)
        tuned.append(of_found)
    return Found(found, tuned, default)


def summary(found: Found, heads: list[HeadSpec], splits: list[Split]) -> dict[str, Any]:
    """What a search among these heads is worth.

    {head, params, weighted_f1 and default {mean, low, high}, difference {difference, low, high, p}, searched (number of
    candidates), chosen_on_each_split [{params, weighted_f1, default}]}; params: those found on the first split; all
    scores are weighted F1 on test, difference is tuned minus default on the same splits, with the interval and test of
    `heads.compare.table`.
    """
    n_train, n_test = (float(np.mean([len(getattr(split, part)) for split in splits])) for part in ("train", "test"))
    tuned, default = (table([heads[0]], [fits], splits)[0]["weighted_f1"] for fits in (found.tuned, found.default))
    return {
        "head": heads[0].kind,
        "params": found.heads[0].params,
        "weighted_f1": tuned,
        "default": default,
        "difference": versus(found.tuned, found.default, n_train, n_test),
        "searched": len(heads),
        "chosen_on_each_split": [
            {"params": head.params, "weighted_f1": _f1(fit, "test"), "default": _f1(before, "test")}
            for head, fit, before in zip(found.heads, found.tuned, found.default, strict=True)
        ],
    }


def in_words(said: dict[str, Any]) -> str:
    """One sentence of what `summary` found."""
    f1, default, row = said["weighted_f1"], said["default"], said["difference"]
    tuned = f"tuned {f1['mean']:.3f} [{f1['low']:.3f}, {f1['high']:.3f}], default {default['mean']:.3f}"
    clear = "" if row["low"] > 0 else ": it made it worse" if row["high"] < 0 else ": no clear gain"
    return f"{tuned}: {in_points(row)} of weighted F1{clear}"


def _f1(fit: Fit, part: str) -> float:
    return fit.metrics[part]["weighted_f1"]


def _best(
    heads: list[HeadSpec],
    plan: list[tuple[int, list[Split]]],
    fit: Callable[[list[HeadSpec], list[Split]], list[list[Fit]]],
) -> HeadSpec:
    """The head with the best mean weighted F1 over the folds of the last round; of equal ones the first."""
    left = heads
    for count, inner in plan:
        left = left[:count]
        scores = [np.mean([_f1(of, "val") for of in fits]) for fits in fit(left, inner)]
        order = np.argsort(-np.array(scores), kind="stable").tolist()
        best = left[order[0]]
        left = [heads[0], *(left[h] for h in order if h)]
    return best


def _rounds(heads: list[HeadSpec], y: np.ndarray, split: Split, seed: int) -> list[tuple[int, list[Split]]]:
    """How many heads each round fits, the default among them, and on what."""
    n, classes = len(split.train), len(np.unique(y[split.train]))
    many = [FACTOR**i for i in range(1, ROUNDS) if n >= LEAST * classes * FACTOR**i and len(heads) > FACTOR**i]
    rounds = 1 if heads[0].kind in WHOLE else 1 + len(many)
    n_folds = FEW_FOLDS if heads[0].kind in SLOW else FOLDS
    return [
        (1 + math.ceil((len(heads) - 1) / FACTOR**i), inner_splits(y, split, FACTOR ** (i + 1 - rounds), seed, n_folds))
        for i in range(rounds)
    ]


def inner_splits(y: np.ndarray, split: Split, share: float = 1.0, seed: int = 0, n_folds: int = FOLDS) -> list[Split]:
    """The train part of a split, in n_folds or fewer: each fold is val once, and a share of the others train.

    Parameters: `y` int (N,), class indexes; `share`, 0 < share <= 1. Test is val again: nothing else is to be seen.
    Raises: InputError when no fold can be judged by a head that learns from the others.
    """
    rows = split.train
    fold = folds(y[rows], split.groups[rows], seed, n_folds)
    made = []
    for k in range(fold.max() + 1):
        train, held = rows[fold != k], rows[fold == k]
        if len(np.unique(y[train])) > 1:
            made += learning_curve.nested(Split(train, held, held, split.groups), y, seed, (share,))
    if not made:
        raise InputError("a search needs two classes of at least two different pictures in train: add pictures")
    return made


def folds(codes: np.ndarray, groups: np.ndarray, seed: int = 0, n_folds: int = FOLDS) -> np.ndarray:
    """The fold of each row, int64 (N,): groups are whole, and each class is spread over as many folds as it has groups.

    The larger groups first, each goes to the fold that has fewest of its class (that of most of its rows), among these
    to the smallest. Rows of a class that is all in one group get −1: they can be learnt from, but not be judged.

    Parameters: `codes` int (N,), class indexes; `groups` (N,).
    """
    _, group = np.unique(groups, return_inverse=True)
    counts = np.zeros((group.max() + 1, codes.max() + 1), dtype=np.int64)  # (groups, classes)
    np.add.at(counts, (group, codes), 1)
    lonely = ((counts > 0) & ((counts > 0).sum(axis=0) == 1)).any(axis=1)
    fold, filled = np.full(len(counts), -1), np.zeros((n_folds, counts.shape[1]), dtype=np.int64)
    order = np.random.default_rng(seed % SEEDS).permutation(np.flatnonzero(~lonely))
    for g in order[np.argsort(-counts[order].sum(axis=1), kind="stable")].tolist():
        fold[g] = np.lexsort((filled.sum(axis=1), filled[:, counts[g].argmax()]))[0]
        filled[fold[g]] += counts[g]
    return fold[group]
