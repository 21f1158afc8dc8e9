"""A head — a name, a kind and its parameters — to a fitted estimator, and to how well it does on one split."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from winnow.common.errors import InputError
from winnow.heads.evaluation import metrics as evaluate
from winnow.heads.models.baselines import BASELINES

HEADS = ("dense", *BASELINES, "finetune")
ONLY_NAMED = ("triplet", "supcon", "finetune")  # not among the heads of `run` and `compare` unless they are named
DEFAULT_HEADS = tuple(kind for kind in HEADS if kind not in ONLY_NAMED)
MOST_AT_ONCE = 2**25  # numbers of X that something is predicted from: 128 MiB of them
OnEpoch = Callable[[int, int], None]  # told (done, total)
SEEDS = 2**31  # so many there are: a larger one begins again at 0


@dataclass(frozen=True)
class HeadSpec:
    """A head to fit: kind is one of HEADS, params those of its class (heads.dense, heads.baselines)."""

    name: str
    kind: str
    params: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Grid:
    """Heads to compare, as of `heads.grid`; with validation "val" the val part is the dense heads' validation_data."""

    heads: list[HeadSpec]
    validation: str = "own"


@dataclass(frozen=True, eq=False)
class Task:
    """The classification task that heads are fitted to: features, labels and class names.

    X: float (R, D), one row per image, or several when there are augmented ones. y: int64 (R,), indexes into classes.
    key: identifies X in the digests of cached fits, so it must change whenever X does.
    """

    X: np.ndarray
    y: np.ndarray
    classes: list[str]
    key: str = ""


@dataclass(frozen=True)
class FitOptions:
    """How heads are fitted.

    seed: random seed of the first split; `compare` adds the number of the split. A seed among a head's own parameters
    takes precedence. jobs: number of processes, each with one thread; it does not change the results. cache: folder of
    stored fits, or None. fresh: fit again even if the fit is stored. validation: "own" or "val", see `Grid`.
    """

    seed: int = 0
    jobs: int = 1
    cache: Path | None = None
    fresh: bool = False
    validation: str = "own"


@dataclass
class Split:
    """Rows of X and y in the three parts, int64 (n,) each, and groups int (N,): rows of one group stay together.

    val and test may be int64 (n, V): V rows of each picture, whose probabilities are averaged.
    also: rows of a second test part, when there is one. more: further rows to learn from, other views of train's.
    """

    train: np.ndarray
    val: np.ndarray
    test: np.ndarray
    groups: np.ndarray
    also: np.ndarray | None = None
    more: np.ndarray | None = None

    @property
    def learned(self) -> np.ndarray:
        """The rows that heads are fitted on, int64 (m,): those of train, and more."""
        return self.train if self.more is None else np.concatenate([self.train, self.more])

    def looks(self, part: str) -> np.ndarray:
        """The rows that the pictures of a part are judged by, int64 (n, V); of train the plain ones."""
        return getattr(self, part).reshape(len(getattr(self, part)), -1)


@dataclass
class Fit:
    """What one head did on one split; C classes, n rows in a part.

    metrics: {part: {weighted_f1, macro_f1, accuracy, log_loss, ece}}; confusion: {part: C lists of C counts}, truth in
    the rows, both for train, val and test, and for `also` where the split has it. proba {part: (n, C) float32} and y
    {part: (n,) int64} for all of them but train.
    history: of a dense head, a list of floats a quantity, one an epoch, else None; best_epoch: from 0, or None.
    Seconds: to fit, to predict test. reliability: on test, what `evaluate.reliability` says, as lists.
    """

    metrics: dict[str, dict[str, float]]
    confusion: dict[str, list[list[int]]]
    proba: dict[str, np.ndarray]
    y: dict[str, np.ndarray]
    history: dict[str, list[float]] | None
    best_epoch: int | None
    fit_seconds: float
    predict_seconds: float
    reliability: dict[str, list[float]]

    def of_classes(self, count: int) -> Fit:
        """The same with the first `count` classes only, for a head that never saw, nor was tested on, the others."""
        return replace(
            self,
            confusion={part: [row[:count] for row in rows[:count]] for part, rows in self.confusion.items()},
            proba={part: proba[:, :count] for part, proba in self.proba.items()},
        )


def build(head: HeadSpec, seed: int) -> Any:
    """The unfitted estimator; params may hold a seed of their own, else it is `seed` modulo 2**31.

    Raises: InputError for an unknown kind or parameter, or for a value that no data would make right.
    """
    if head.kind not in HEADS:
        raise InputError(f"no head is called {head.kind!r}; there are {', '.join(HEADS)}")
    params = {"seed": seed % SEEDS, **head.params}
    if head.kind in ("dense", "finetune"):
        estimator = _network(head.kind, params)
    else:
        estimator = BASELINES[head.kind](**{"random_state": params.pop("seed"), **params})
    with _said_of(head):
        for part in (estimator, *estimator.get_params().values()):  # of a pipeline, its steps
            if hasattr(part, "_validate_params"):
                part._validate_params()
    return estimator


def fit_estimator(head: HeadSpec, task: Task, split: Split, options: FitOptions = FitOptions()) -> Any:
    """Fit one head on the train part. classes_ of the estimator are the class indexes that occur there.

    Raises: InputError for an invalid parameter value, or when TensorFlow is missing.
    """
    return _fitted([head], task, split, options)[0]


def together(head: HeadSpec, seed: int) -> tuple[Any, ...] | None:
    """What is equal for dense heads that are fitted together, they differ only in how they are trained; else None."""
    return build(head, seed).shape() if head.kind == "dense" else None


def fit_head(
    head: HeadSpec,
    task: Task,
    split: Split,
    options: FitOptions = FitOptions(),
    on_epoch: OnEpoch | None = None,
) -> tuple[Any, Fit]:
    """Fit one head on train (see `fit_estimator`) and evaluate it on all parts; a class not in train gets p = 0.

    on_epoch(done, total): called after every epoch by heads that are trained in epochs.
    """
    return fit_heads([head], task, split, options, on_epoch)[0]


def fit_heads(
    heads: list[HeadSpec],
    task: Task,
    split: Split,
    options: FitOptions = FitOptions(),
    on_epoch: OnEpoch | None = None,
) -> list[tuple[Any, Fit]]:
    """`fit_head` for heads that can be trained as one batch, see `together`; the seconds are divided equally."""
    if heads[0].kind in ("dense", "finetune"):
        from winnow.embed.keras_import import import_keras

        import_keras(f"the {heads[0].kind} head", remedy="other-heads")
    for head in heads:
        build(head, options.seed)  # imports here, like TensorFlow above, do not count as fitting time
    start = time.perf_counter()
    estimators = _fitted(heads, task, split, options, on_epoch)
    seconds = (time.perf_counter() - start) / len(heads)
    return [
        (estimator, _judged(head, estimator, task, split, seconds))
        for head, estimator in zip(heads, estimators, strict=True)
    ]


def _fitted(
    heads: list[HeadSpec], task: Task, split: Split, options: FitOptions, on_epoch: OnEpoch | None = None
) -> list[Any]:
    from sklearn.exceptions import ConvergenceWarning

    estimators = [build(head, options.seed) for head in heads]
    X, y, rows = task.X, task.y, split.learned
    with warnings.catch_warnings(), _said_of(heads[0]):
        warnings.simplefilter("ignore", ConvergenceWarning)  # the scores say how good a head is, finished or not
        warnings.filterwarnings("ignore", "Only one sample available")  # LDA, on a fold with one of a class
        if heads[0].kind == "finetune":
            groups = np.arange(len(rows)) % len(split.train)  # `more` has whole views of train
            estimators[0].fit(X, y[rows], groups=groups, rows=rows, on_epoch=on_epoch)  # maps are too many to be copied
            return estimators
        train = X[rows].astype(np.float32, copy=False), y[rows]
        if heads[0].kind == "dense":
            from winnow.heads.models.dense import fit_together

            val = split.looks("val").ravel()
            fit_together(
                estimators,
                *train,
                groups=split.groups[rows],
                validation_data=(X[val], y[val]) if options.validation == "val" else None,
                on_epoch=on_epoch,
            )
        else:
            _keep_together(estimators[0], split.groups[rows])
            estimators[0].fit(*train)
    return estimators


def _keep_together(estimator: Any, groups: np.ndarray) -> None:
    """Let the folds that calibrate it, or a step of it, hold rows of one group, int (n,), on one side."""
    from winnow.heads.models.estimators import SpreadFolds

    for part in (estimator, *estimator.get_params().values()):
        if isinstance(getattr(part, "cv", None), SpreadFolds):
            part.set_params(cv=replace(part.cv, groups=groups))


def _judged(head: HeadSpec, estimator: Any, task: Task, split: Split, fit_seconds: float) -> Fit:
    X, y, n_classes = task.X, task.y, len(task.classes)
    start = time.perf_counter()
    with _said_of(head):
        proba = {"test": _proba(estimator, X, split.looks("test"), n_classes)}
        seconds = time.perf_counter() - start
        others = ("train", "val") if split.also is None else ("train", "val", "also")
        proba |= {part: _proba(estimator, X, split.looks(part), n_classes) for part in others}
    truth = {part: y[split.looks(part)[:, 0]] for part in proba}
    history = getattr(estimator, "history_", None)
    return Fit(
        metrics={part: evaluate.metrics(truth[part], proba[part]) for part in proba},
        confusion={
            part: evaluate.confusion(truth[part], proba[part].argmax(axis=1), n_classes).tolist() for part in proba
        },
        proba={part: proba[part] for part in proba if part != "train"},
        y={part: truth[part] for part in proba if part != "train"},
        history=history if history and history["loss"] else None,
        best_epoch=estimator.best_epoch_ if history and history["loss"] else None,
        fit_seconds=fit_seconds,
        predict_seconds=seconds,
        reliability={name: of.tolist() for name, of in evaluate.reliability(truth["test"], proba["test"]).items()},
    )


@contextmanager
def _said_of(head: HeadSpec) -> Iterator[None]:
    """What an estimator says of its parameters or data, as an InputError of one line with the head's name."""
    try:
        yield
    except (ValueError, TypeError, NotImplementedError) as error:
        said = str(error).strip() or type(error).__name__
        raise InputError(f"head {head.name!r}: {said.splitlines()[0]}") from None


def _network(kind: str, params: dict[str, Any]) -> Any:
    if kind == "dense":
        from winnow.heads.models.dense import DenseHead as Network
    else:
        from winnow.heads.models.finetune import FineTunedHead as Network  # type: ignore[assignment]

    known = Network().get_params()
    unknown = sorted(set(params) - set(known))
    if unknown:
        raise InputError(f"the {kind} head has no parameter {unknown[0]!r}; it has {', '.join(known)}")
    return Network(**params)


def _proba(estimator: Any, X: np.ndarray, looks: np.ndarray, n_classes: int) -> np.ndarray:
    """(n, C) float32 in the order of all classes, from an estimator that was fitted on class indexes; looks: rows of X,
    int64 (n, V), over whose probabilities the mean is taken."""
    proba = np.zeros((len(looks), n_classes), np.float32)
    rows, step = looks.ravel(), max(1, MOST_AT_ONCE // X.shape[1])
    parts = [rows[start : start + step] for start in range(0, len(rows), step)]
    said = np.concatenate([estimator.predict_proba(X[part].astype(np.float32, copy=False)) for part in parts])
    proba[:, estimator.classes_] = said.reshape(*looks.shape, -1).mean(axis=1)
    return proba
