"""Fits a head on the train part of a split and evaluates it on all parts."""

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
from winnow.heads.evaluation import metrics
from winnow.heads.evaluation.metrics import ReliabilityBins
from winnow.heads.kinds import HEADS
from winnow.heads.models.baselines import BASELINES

PREDICTED_AT_ONCE = 2**25  # numbers of X in one prediction call: 128 MiB of float32
OnEpoch = Callable[[int, int], None]  # called with (done, total) epochs
SEEDS = 2**31  # seeds are taken modulo this


@dataclass(frozen=True)
class HeadSpec:
    """A head to fit: its name, its kind (one of `kinds.HEADS`) and the parameters of that kind's class."""

    name: str
    kind: str
    params: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Grid:
    """Heads to compare, as read by `grid_file`.

    validation: "own": a dense head holds out a tenth of train to choose its best epoch; "val": it uses the val part.
    """

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
    """Rows of X and y in the three parts, int64 (n,) each.

    val and test may be int64 (n, V): V rows of each image, whose probabilities are averaged. groups: int (N,), rows of
    one group stay on one side of any further division of train. second_test: rows of another test part, or None.
    augmented: rows of augmented versions of the images in train, in whole blocks of len(train), or None.
    """

    train: np.ndarray
    val: np.ndarray
    test: np.ndarray
    groups: np.ndarray
    second_test: np.ndarray | None = None
    augmented: np.ndarray | None = None

    @property
    def training_rows(self) -> np.ndarray:
        """The rows that heads are fitted on, int64 (m,): train and augmented."""
        return self.train if self.augmented is None else np.concatenate([self.train, self.augmented])

    def evaluation_rows(self, part: str) -> np.ndarray:
        """The rows by which the images of a part are evaluated, int64 (n, V); those of train are not augmented."""
        return getattr(self, part).reshape(len(getattr(self, part)), -1)


@dataclass
class Fit:
    """The result of one head on one split; C classes, n images in a part.

    metrics: {part: {weighted_f1, macro_f1, accuracy, log_loss, ece}}; confusion: {part: C lists of C counts}, true
    classes in the rows; both for train, val, test, and for second_test where the split has it. proba {part: (n, C)
    float32} and y {part: (n,) int64}, for all of them but train. history: of heads trained in epochs, {quantity: one
    float per epoch}, else None; best_epoch: from 0, or None. fit_seconds; predict_seconds: of test. reliability: of
    the test predictions.
    """

    metrics: dict[str, dict[str, float]]
    confusion: dict[str, list[list[int]]]
    proba: dict[str, np.ndarray]
    y: dict[str, np.ndarray]
    history: dict[str, list[float]] | None
    best_epoch: int | None
    fit_seconds: float
    predict_seconds: float
    reliability: ReliabilityBins

    def first_classes(self, count: int) -> Fit:
        """The fit with the first `count` classes only; the others must occur neither in train nor in test."""
        return replace(
            self,
            confusion={part: [row[:count] for row in rows[:count]] for part, rows in self.confusion.items()},
            proba={part: proba[:, :count] for part, proba in self.proba.items()},
        )


def build(head: HeadSpec, seed: int) -> Any:
    """The unfitted estimator; params may hold a seed of their own, else it is `seed` modulo 2**31.

    Raises: InputError for an unknown kind or parameter, or for a value that is invalid for any data.
    """
    if head.kind not in HEADS:
        raise InputError(f"no head is called {head.kind!r}; there are {', '.join(HEADS)}")
    params = {"seed": seed % SEEDS, **head.params}
    if head.kind in ("dense", "finetune"):
        estimator = _network(head.kind, params)
    else:
        estimator = BASELINES[head.kind](**{"random_state": params.pop("seed"), **params})
    with _errors_of(head):
        for part in (estimator, *estimator.get_params().values()):  # the steps of a pipeline
            if hasattr(part, "_validate_params"):
                part._validate_params()
    return estimator


def fit_estimator(head: HeadSpec, task: Task, split: Split, options: FitOptions = FitOptions()) -> Any:
    """Fit one head on the train part. classes_ of the estimator are the class indexes that occur there.

    Raises: InputError for an invalid parameter value, or when TensorFlow is missing.
    """
    return _fit_estimators([head], task, split, options)[0]


def batch_key(head: HeadSpec, seed: int) -> tuple[Any, ...] | None:
    """Dense heads with equal keys can be trained as one batch, see `fit_heads`; None for other heads."""
    return build(head, seed).batch_key() if head.kind == "dense" else None


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
    """`fit_head` for heads that can be trained as one batch, see `batch_key`; the seconds are divided equally."""
    if heads[0].kind in ("dense", "finetune"):
        from winnow.embed.keras_import import import_keras

        import_keras(f"the {heads[0].kind} head", remedy="other-heads")
    for head in heads:
        build(head, options.seed)  # imports here, like TensorFlow above, do not count as fitting time
    start = time.perf_counter()
    estimators = _fit_estimators(heads, task, split, options, on_epoch)
    seconds = (time.perf_counter() - start) / len(heads)
    return [
        (estimator, _evaluate(head, estimator, task, split, seconds))
        for head, estimator in zip(heads, estimators, strict=True)
    ]


def _fit_estimators(
    heads: list[HeadSpec], task: Task, split: Split, options: FitOptions, on_epoch: OnEpoch | None = None
) -> list[Any]:
    from sklearn.exceptions import ConvergenceWarning

    estimators = [build(head, options.seed) for head in heads]
    X, y, rows = task.X, task.y, split.training_rows
    with warnings.catch_warnings(), _errors_of(heads[0]):
        warnings.simplefilter("ignore", ConvergenceWarning)  # scores show how good a head is, converged or not
        warnings.filterwarnings("ignore", "Only one sample available")  # LDA, for a class with one row in a fold
        if heads[0].kind == "finetune":
            groups = np.arange(len(rows)) % len(split.train)  # `augmented` repeats train in whole blocks
            estimators[0].fit(
                X, y[rows], groups=groups, rows=rows, on_epoch=on_epoch
            )  # feature maps are too large to copy
            return estimators
        train = X[rows].astype(np.float32, copy=False), y[rows]
        if heads[0].kind == "dense":
            from winnow.heads.models.dense import fit_batch

            val = split.evaluation_rows("val").ravel()
            fit_batch(
                estimators,
                *train,
                groups=split.groups[rows],
                validation_data=(X[val], y[val]) if options.validation == "val" else None,
                on_epoch=on_epoch,
            )
        else:
            _set_calibration_groups(estimators[0], split.groups[rows])
            estimators[0].fit(*train)
    return estimators


def _set_calibration_groups(estimator: Any, groups: np.ndarray) -> None:
    """Let the folds of a calibration, of the estimator or of a step of it, keep rows of one group, int (n,), whole."""
    from winnow.heads.models.calibration import SpreadFolds

    for part in (estimator, *estimator.get_params().values()):
        if isinstance(getattr(part, "cv", None), SpreadFolds):
            part.set_params(cv=replace(part.cv, groups=groups))


def _evaluate(head: HeadSpec, estimator: Any, task: Task, split: Split, fit_seconds: float) -> Fit:
    n_classes = len(task.classes)
    start = time.perf_counter()
    with _errors_of(head):
        proba = {"test": _predict(estimator, task.X, split.evaluation_rows("test"), n_classes)}
        predict_seconds = time.perf_counter() - start
        others = ("train", "val") if split.second_test is None else ("train", "val", "second_test")
        proba |= {part: _predict(estimator, task.X, split.evaluation_rows(part), n_classes) for part in others}
    y = {part: task.y[split.evaluation_rows(part)[:, 0]] for part in proba}
    history = getattr(estimator, "history_", None)
    return Fit(
        metrics={part: metrics.metrics(y[part], proba[part]) for part in proba},
        confusion={part: metrics.confusion(y[part], proba[part].argmax(axis=1), n_classes).tolist() for part in proba},
        proba={part: proba[part] for part in proba if part != "train"},
        y={part: y[part] for part in proba if part != "train"},
        history=history if history and history["loss"] else None,
        best_epoch=estimator.best_epoch_ if history and history["loss"] else None,
        fit_seconds=fit_seconds,
        predict_seconds=predict_seconds,
        reliability=metrics.reliability(y["test"], proba["test"]),
    )


@contextmanager
def _errors_of(head: HeadSpec) -> Iterator[None]:
    """Turn an estimator's errors about its parameters or data into an InputError of one line with the head's name."""
    try:
        yield
    except (ValueError, TypeError, NotImplementedError) as error:
        message = str(error).strip() or type(error).__name__
        raise InputError(f"head {head.name!r}: {message.splitlines()[0]}") from None


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


def _predict(estimator: Any, X: np.ndarray, rows: np.ndarray, n_classes: int) -> np.ndarray:
    """(n, C) float32 probabilities of all classes, from an estimator that was fitted on class indexes.

    rows: rows of X, int64 (n, V), over whose probabilities the mean is taken.
    """
    proba = np.zeros((len(rows), n_classes), np.float32)
    flat, step = rows.ravel(), max(1, PREDICTED_AT_ONCE // X.shape[1])
    parts = [flat[start : start + step] for start in range(0, len(flat), step)]
    predicted = np.concatenate([estimator.predict_proba(X[part].astype(np.float32, copy=False)) for part in parts])
    proba[:, estimator.classes_] = predicted.reshape(*rows.shape, -1).mean(axis=1)
    return proba
