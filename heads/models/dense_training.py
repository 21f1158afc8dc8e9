"""Trains dense heads epoch by epoch: schedules, history, the best epoch, early stopping, and the validation part."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.utils.class_weight import compute_class_weight

from winnow.embed.keras_import import import_keras
from winnow.heads.evaluation.metrics import log_loss, metrics
from winnow.heads.models import schedules
from winnow.heads.models.batched_sgd import BatchedNetworks

MONITORED = {"loss": 1, "accuracy": -1, "weighted_f1": -1}  # the factor makes lower better
RATES = ("lr", "momentum")


class TrainingHistory:
    """The epochs of one head, a `DenseHead` with its classes_, trained on (n,) class indexes.

    class_weight: float64 (C,), weight of a row of each class in the loss; history: as `DenseHead.history_`;
    best_epoch: from 0, or -1 before the first.
    """

    def __init__(self, settings: Any, codes: np.ndarray) -> None:
        self.settings, classes = settings, settings.classes_
        weight = compute_class_weight(settings.class_weight, classes=classes, y=classes[codes])
        self.class_weight = weight / weight[codes].mean()
        names = [prefix + name for name in MONITORED for prefix in ("", "val_")]
        self.history: dict[str, list[float]] = {name: [] for name in (*names, *RATES)}
        self.scores: list[float] = []  # the monitored quantity, lower is better
        self.best_epoch = -1

    def next_rates(self, steps: int) -> np.ndarray:
        """(2, steps): learning rate and momentum at each step of the next epoch."""
        t = len(self.scores) + np.arange(steps) / steps
        lr, momentum = schedules.learning_rate(t, self.settings, self.scores), schedules.momentum(t, self.settings)
        return np.stack([lr, momentum])

    def add_epoch(
        self, rates: np.ndarray, codes: np.ndarray, proba: np.ndarray, val_codes: np.ndarray, val_proba: np.ndarray
    ) -> bool:
        """Record an epoch; return whether it is better than all before.

        rates: as returned by `next_rates`; codes and proba: (n,) class indexes and (n, C) probabilities of both parts.
        """
        for name, values in zip(RATES, rates, strict=True):
            self.history[name].append(float(values[-1]))
        for prefix, truth, p in (("", codes, proba), ("val_", val_codes, val_proba)):
            scores = metrics(truth, p)
            scores["loss"] = scores["log_loss"]
            for name in MONITORED:
                self.history[prefix + name].append(scores[name])
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
    def should_stop(self) -> bool:
        """Whether the last `patience` epochs were not better than the best."""
        patience = self.settings.patience
        return patience is not None and len(self.scores) - 1 - self.best_epoch >= patience


def train_batch(
    heads: list[Any],
    X: np.ndarray,
    codes: np.ndarray,
    rows: np.ndarray,
    val_X: np.ndarray,
    val_codes: np.ndarray,
    *,
    on_epoch: Callable[[int, int], None] | None = None,
) -> None:
    """Train dense heads as one batch: set their model_, history_, best_epoch_ and class_weight_.

    X: float32 (N, D), codes: (N,) class indexes, rows: rows of X to train on; val_X, val_codes: the validation part.
    Heads whose steps update all weights (`batched_sgd.updates_all_weights`) come first. on_epoch(done, total): called
    after every epoch; `done` is `total` when all heads have stopped.
    """
    from threadpoolctl import threadpool_limits

    keras, _ = import_keras("the dense head", "other-heads")
    n, codes, first = len(rows), codes[rows], heads[0]
    histories = [TrainingHistory(head, codes) for head in heads]
    for head, history in zip(heads, histories, strict=True):
        head.model_, head.history_, head.class_weight_ = head._build(keras), history.history, history.class_weight
    initial: list[np.ndarray] = first.model_.get_weights()
    best_weights: list[Callable[[], list[np.ndarray]]] = [lambda: initial] * len(heads)
    weighted = any(head.class_weight for head in heads)
    class_weights = np.stack([history.class_weight for history in histories]) if weighted else None
    rng, running = np.random.default_rng(first.seed), list(range(len(heads)))
    with np.errstate(all="ignore"), threadpool_limits(1, user_api="blas"):  # two threads are slower on these products
        networks = BatchedNetworks(initial, np.concatenate([X[rows], val_X]), n, heads, first.seed, class_weights)
        for epoch in range(first.epochs):
            order = rng.permutation(n)
            rates = np.stack([histories[h].next_rates(-(-n // first.batch_size)) for h in running], axis=1)
            proba = networks.run_epoch(order, codes, first.batch_size, rates)
            val_proba = networks.predict(range(n, n + len(val_X)))
            finite = np.isfinite(proba).all(axis=(1, 2)) & np.isfinite(val_proba).all(axis=(1, 2))
            for g in np.flatnonzero(finite).tolist():
                if histories[running[g]].add_epoch(rates[:, g], codes[order], proba[g], val_codes, val_proba[g]):
                    best_weights[running[g]] = networks.snapshot(g)
            going = [g for g, h in enumerate(running) if finite[g] and not histories[h].should_stop]
            if on_epoch:
                on_epoch(epoch + 1 if going else first.epochs, first.epochs)
            if not going:
                break
            if len(going) < len(running):
                networks.select(going)
                running = [running[g] for g in going]
    for head, history, weights in zip(heads, histories, best_weights, strict=True):
        head.best_epoch_ = history.best_epoch
        head.model_.set_weights(weights())


def validation_rows(codes: np.ndarray, groups: np.ndarray | None, seed: int) -> np.ndarray:
    """Rows of a validation part, int64, sorted: a tenth of every class, rounded up, but none of a class of one row.

    codes: (N,) class indexes; groups: (N,), rows that stay together, or None: every row is its own group. Groups are
    taken in a seeded random order as long as no class exceeds its tenth, so the part may be empty. Where every group
    has several rows, such as the augmented versions of an image, the size of the smallest group counts as one row.
    A fold of scikit-learn's StratifiedGroupKFold leaves out most classes of fewer than ten groups.
    """
    members: list[np.ndarray]
    if groups is None:
        members = list(np.arange(len(codes))[:, None])
    else:
        _, group = np.unique(np.asarray(groups), return_inverse=True)
        members = np.split(np.argsort(group, kind="stable"), np.cumsum(np.bincount(group))[:-1])
    counts, unit = np.bincount(codes), min(map(len, members))
    quota = np.where(counts > unit, np.maximum(unit, -(-counts // 10)), 0)
    taken: list[np.ndarray] = []
    for g in np.random.default_rng(seed).permutation(len(members)):
        remaining = quota - np.bincount(codes[members[g]], minlength=len(counts))
        if (remaining >= 0).all():
            quota = remaining
            taken.append(members[g])
    return np.sort(np.concatenate(taken)) if taken else np.empty(0, np.int64)
