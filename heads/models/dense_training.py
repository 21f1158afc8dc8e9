"""The training of dense heads, epoch by epoch: how each is after it, which was its best, when it is over."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.utils.class_weight import compute_class_weight

from winnow.embed.keras_import import import_keras
from winnow.heads.evaluation.metrics import log_loss, metrics
from winnow.heads.models import schedules
from winnow.heads.models.batched_sgd import Networks

MONITORED = {"loss": 1, "accuracy": -1, "weighted_f1": -1}  # times -1, lower is better
RATES = ("lr", "momentum")


class Course:
    """Of one head, a `heads.dense.DenseHead` with its classes_, and the (n,) class indexes that it is trained on.

    class_weight: float64 (C,), what a row of a class counts in the loss; history: as `DenseHead.history_`; best_epoch:
    from 0, -1 before there is one.
    """

    def __init__(self, settings: Any, codes: np.ndarray) -> None:
        self.settings, classes = settings, settings.classes_
        weight = compute_class_weight(settings.class_weight, classes=classes, y=classes[codes])
        self.class_weight = weight / weight[codes].mean()
        names = [prefix + name for name in MONITORED for prefix in ("", "val_")]
        self.history: dict[str, list[float]] = {name: [] for name in (*names, *RATES)}
        self.scores: list[float] = []  # what is monitored, lower is better
        self.best_epoch = -1

    def rates(self, steps: int) -> np.ndarray:
        """(2, steps): learning rate and momentum at each step of the next epoch, which has so many."""
        t = len(self.scores) + np.arange(steps) / steps
        lr, momentum = schedules.learning_rate(t, self.settings, self.scores), schedules.momentum(t, self.settings)
        return np.stack([lr, momentum])

    def note(
        self, rates: np.ndarray, codes: np.ndarray, proba: np.ndarray, val_codes: np.ndarray, val_proba: np.ndarray
    ) -> bool:
        """Add an epoch; whether it is the best so far, of equal ones the first.

        rates: as `rates` gave them; codes and proba: (n,) class indexes and (n, C) probabilities of the two parts.
        """
        for name, values in zip(RATES, rates, strict=True):
            self.history[name].append(float(values[-1]))
        for prefix, truth, p in (("", codes, proba), ("val_", val_codes, val_proba)):
            found = metrics(truth, p)
            found["loss"] = found["log_loss"]
            for name in MONITORED:
                self.history[prefix + name].append(found[name])
        if self.settings.class_weight is not None:
            self.history["loss"][-1] = log_loss(codes, proba, self.class_weight)
        monitor = self.settings.monitor
        score = MONITORED[monitor] * self.history[f"val_{monitor}"][-1]
        is_best = score < min(self.scores, default=np.inf)
        self.scores.append(score)
        if is_best:
            self.best_epoch = len(self.scores) - 1
        return is_best

    @property
    def is_over(self) -> bool:
        """Whether there was no better epoch for as many as `patience`."""
        patience = self.settings.patience
        return patience is not None and len(self.scores) - 1 - self.best_epoch >= patience


def train(
    heads: list[Any],
    X: np.ndarray,
    codes: np.ndarray,
    rows: np.ndarray,
    val_X: np.ndarray,
    val_codes: np.ndarray,
    *,
    on_epoch: Callable[[int, int], None] | None = None,
) -> None:
    """Train dense heads together: sets their model_, history_, best_epoch_ and class_weight_.

    X: float32 (N, D), codes: (N,) class indexes, rows: those of X that are trained on; val_X, val_codes: of the
    validation part. The heads that move weights by themselves (`heads.together.moves`) come first.
    """
    from threadpoolctl import threadpool_limits

    keras, _ = import_keras("the dense head", remedy="other-heads")
    n, codes, first = len(rows), codes[rows], heads[0]
    courses = [Course(head, codes) for head in heads]
    for head, course in zip(heads, courses, strict=True):
        head.model_, head.history_, head.class_weight_ = head._build(keras), course.history, course.class_weight
    begun: list[np.ndarray] = first.model_.get_weights()
    weights: list[Callable[[], list[np.ndarray]]] = [lambda: begun] * len(heads)
    counted = np.stack([course.class_weight for course in courses]) if any(h.class_weight for h in heads) else None
    rng, running = np.random.default_rng(first.seed), list(range(len(heads)))
    with np.errstate(all="ignore"), threadpool_limits(1, user_api="blas"):  # two threads are slower on these products
        networks = Networks(begun, np.concatenate([X[rows], val_X]), n, heads, first.seed, counted)
        for epoch in range(first.epochs):
            order = rng.permutation(n)
            rates = np.stack([courses[h].rates(-(-n // first.batch_size)) for h in running], axis=1)
            proba = networks.epoch(order, codes, first.batch_size, rates)
            val_proba = networks.predict(range(n, n + len(val_X)))
            finite = np.isfinite(proba).all(axis=(1, 2)) & np.isfinite(val_proba).all(axis=(1, 2))
            for g in np.flatnonzero(finite).tolist():
                if courses[running[g]].note(rates[:, g], codes[order], proba[g], val_codes, val_proba[g]):
                    weights[running[g]] = networks.weights(g)
            going = [g for g, h in enumerate(running) if finite[g] and not courses[h].is_over]
            if on_epoch:
                on_epoch(epoch + 1 if going else first.epochs, first.epochs)
            if not going:
                break
            if len(going) < len(running):
                networks.keep(going)
                running = [running[g] for g in going]
    for head, course, kept in zip(heads, courses, weights, strict=True):
        head.best_epoch_ = course.best_epoch
        head.model_.set_weights(kept())
