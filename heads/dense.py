"""A dense network on stored vectors, trained with SGD and momentum, as a scikit-learn classifier."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from embed.quiet_keras import import_keras
from heads.evaluate import metrics
from heads.temperature import temperature
from heads.together import Networks, moves

_LOWER_IS_BETTER = {"loss": True, "accuracy": False, "weighted_f1": False}


class DenseHead(ClassifierMixin, BaseEstimator):
    """A Keras network, hidden ReLU layers and a softmax, trained by stochastic gradient descent; the best epoch stays.

    Training minimises the cross-entropy over shuffled batches; with momentum m, velocity v ← m v − lr g and w ← w +
    v, or w ← w + m v − lr g with Nesterov's (Sutskever et al., 2013, equations 1–4). After every epoch the validation
    part is looked at, and the weights of the epoch with the best `monitor` are the ones that stay (of equal epochs
    the first), as Keras' ModelCheckpoint(save_best_only=True) does. Training ends early only when the numbers are no
    longer finite; the best finite epoch stays, and the initial weights when there was none. Keras makes the network and
    its initial weights; the steps are those of its `fit`, taken by `heads.together` in a fraction of its time.

    Parameters
    ----------
    hidden : units of each hidden layer; () gives a linear softmax.
    dropout : share of each hidden layer's outputs that is dropped in training, 0 <= dropout < 1.
    l2 : weight of the sum of squared kernel entries in what is minimised, >= 0.
    lr, momentum, nesterov : of SGD; lr > 0, 0 <= momentum <= 1.
    epochs, batch_size : passes over the data; rows in a step.
    monitor : "loss", "accuracy" or "weighted_f1" of the validation part.
    calibration : "none", or "temperature": the kept network's logits are divided by the number that `heads.temperature`
        finds on the validation part. That part chose the epoch, so it is predicted slightly too well, and the number
        comes out slightly too small; five fits for out-of-fold logits would not be worth it.
    seed : of initial weights, order of rows, dropout and validation part. The same seed gives the same head on the same
        machine; no global seed is read or changed. BLAS has one thread while it trains.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,), sorted.
    n_features_in_ : int, D.
    history_ : dict of "loss", "val_loss", "accuracy", "val_accuracy", "weighted_f1", "val_weighted_f1" to a list of
        floats, one an epoch.
        As in Keras the training figures are taken batch by batch while the weights move, with dropout; all are finite.
        The loss is the cross-entropy in nats, without the l2 term.
    best_epoch_ : int from 0, or −1 when no epoch was finite.
    temperature_ : float, 1 without calibration. The last layer of model_ is divided by it; history_ is from before.
    model_ : keras.Sequential; float32 (n, D) -> (n, n_classes) probabilities in the order of classes_.

    References
    ----------
    I. Sutskever, J. Martens, G. Dahl, G. Hinton, On the importance of initialization and momentum in deep learning,
    ICML 2013.
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "hidden": [tuple, list],
        "dropout": [Interval(Real, 0, 1, closed="left")],
        "l2": [Interval(Real, 0, None, closed="left")],
        "lr": [Interval(Real, 0, None, closed="neither")],
        "momentum": [Interval(Real, 0, 1, closed="both")],
        "nesterov": ["boolean"],
        "epochs": [Interval(Integral, 1, None, closed="left")],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "monitor": [StrOptions(set(_LOWER_IS_BETTER))],
        "calibration": [StrOptions({"none", "temperature"})],
        "seed": [Interval(Integral, 0, 2**31, closed="left")],
    }

    def __init__(
        self,
        hidden: tuple[int, ...] = (128,),
        dropout: float = 0.0,
        l2: float = 0.0,
        lr: float = 0.01,
        momentum: float = 0.0,
        nesterov: bool = False,
        epochs: int = 100,
        batch_size: int = 32,
        monitor: str = "loss",
        calibration: str = "none",
        seed: int = 0,
    ) -> None:
        self.hidden = hidden
        self.dropout = dropout
        self.l2 = l2
        self.lr = lr
        self.momentum = momentum
        self.nesterov = nesterov
        self.epochs = epochs
        self.batch_size = batch_size
        self.monitor = monitor
        self.calibration = calibration
        self.seed = seed

    def fit(
        self,
        X: np.ndarray,
        y: np.ndarray,
        groups: np.ndarray | None = None,
        validation_data: tuple[np.ndarray, np.ndarray] | None = None,
    ) -> DenseHead:
        """Train on X, float (N, D), and y, (N,) labels of at least two classes.

        groups: (N,), rows that stay together when the validation part is drawn; validation_data: (X, y) to choose the
        epoch by. Without it a seeded tenth of each class is held out (see `held_out`); data too small for that is
        validated on itself.

        Raises: ValueError for bad parameters or data, InputError when TensorFlow is missing.
        """
        fit_together([self], X, y, groups, validation_data)
        return self

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """(n, D) float -> (n, n_classes) float32 probabilities, columns in the order of classes_.

        Summed in float64, so that the probabilities of a row do not depend on the rows beside it.
        """
        check_is_fitted(self)
        logits = self._logits(validate_data(self, X, dtype=np.float32, reset=False))
        e = np.exp(logits - logits.max(axis=1, keepdims=True))
        return (e / e.sum(axis=1, keepdims=True)).astype(np.float32)

    def _logits(self, X: np.ndarray) -> np.ndarray:
        """(n, D) float32 -> (n, n_classes) float64."""
        activations = X.astype(np.float64)
        *hidden, (kernel, bias) = [layer.get_weights() for layer in self.model_.layers if hasattr(layer, "kernel")]
        for weights, biases in hidden:
            activations = np.maximum(activations @ weights + biases, 0)
        return activations @ kernel + bias

    def predict(self, X: np.ndarray) -> np.ndarray:
        """(n, D) float -> (n,) labels: the class with the largest probability."""
        proba = self.predict_proba(X)  # this also says so when the head is not fitted
        return self.classes_[proba.argmax(axis=1)]

    def _validate_params(self) -> None:
        super()._validate_params()
        if not all(isinstance(units, Integral) and units >= 1 for units in self.hidden):
            raise ValueError(
                "The 'hidden' parameter of DenseHead must be a tuple of ints that are at least 1. "
                f"Got {self.hidden!r} instead."
            )

    def shape(self) -> tuple[Any, ...]:
        """What heads have to have in common to be fitted together."""
        return (*self.hidden, self.epochs, self.batch_size, self.seed)

    def _parts(
        self,
        X: np.ndarray,
        y: np.ndarray,
        groups: np.ndarray | None,
        validation_data: tuple[np.ndarray, np.ndarray] | None,
    ) -> tuple[np.ndarray, ...]:
        """Sets classes_ and n_features_in_. -> X, its class indexes, the rows to train on, validation X and indexes."""
        self._validate_params()
        X, y = validate_data(self, X, y, dtype=np.float32)
        check_classification_targets(y)
        self.classes_, codes = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError("DenseHead needs at least two classes in y, got one class")
        rows = np.arange(len(codes))
        if validation_data is not None:
            return X, codes, rows, *self._validation(*validation_data)
        held = held_out(codes, groups, self.seed)
        rows = np.setdiff1d(rows, held)
        held = held if len(held) else rows
        return X, codes, rows, X[held], codes[held]

    def _noted(self, codes: np.ndarray, proba: np.ndarray, val_codes: np.ndarray, val_proba: np.ndarray) -> float:
        """Adds an epoch to history_; how good it was, lower is better."""
        for prefix, truth, p in (("", codes, proba), ("val_", val_codes, val_proba)):
            values = metrics(truth, p)
            values["loss"] = values["log_loss"]
            for name in _LOWER_IS_BETTER:
                self.history_[prefix + name].append(values[name])
        score = self.history_[f"val_{self.monitor}"][-1]
        return score if _LOWER_IS_BETTER[self.monitor] else -score

    def _validation(self, X: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        unknown = np.setdiff1d(y, self.classes_)
        if len(unknown):
            raise ValueError(f"validation_data holds labels that y does not: {unknown.tolist()}")
        X = validate_data(self, X, dtype=np.float32, reset=False)
        return X, np.searchsorted(self.classes_, y)

    def _calibrate(self, X: np.ndarray, codes: np.ndarray) -> None:
        """Divides the last layer by the temperature."""
        self.temperature_ = temperature(self._logits(X), codes)
        *others, kernel, bias = self.model_.get_weights()
        self.model_.set_weights([*others, kernel / self.temperature_, bias / self.temperature_])

    def _build(self, keras: Any) -> Any:
        """The untrained network: every layer has a seed of its own."""
        model = keras.Sequential([keras.Input((self.n_features_in_,), name="embedding")])
        sizes = [*(int(units) for units in self.hidden), len(self.classes_)]
        for i, units in enumerate(sizes):
            last = i == len(self.hidden)
            model.add(
                keras.layers.Dense(
                    units,
                    activation="softmax" if last else "relu",
                    kernel_initializer=keras.initializers.GlorotUniform(seed=self.seed + i),
                    kernel_regularizer=keras.regularizers.L2(self.l2) if self.l2 else None,
                    name="probabilities" if last else f"hidden_{i}",
                )
            )
            if self.dropout and not last:
                model.add(keras.layers.Dropout(self.dropout, seed=self.seed + i))
        return model


def fit_together(
    heads: list[DenseHead],
    X: np.ndarray,
    y: np.ndarray,
    groups: np.ndarray | None = None,
    validation_data: tuple[np.ndarray, np.ndarray] | None = None,
) -> None:
    """Fit heads that differ only in lr, momentum, nesterov, l2, dropout, monitor and calibration: the quick way.

    Each becomes what its own `fit` makes of it. X, y, groups, validation_data: as there.

    Raises: as `fit`; ValueError for heads that differ in something else.
    """
    for head in heads:
        parts = head._parts(X, y, groups, validation_data)
    if len({head.shape() for head in heads}) != 1:
        raise ValueError("heads that are fitted together need the same hidden, epochs, batch_size and seed")
    _train(sorted(heads, key=moves, reverse=True), *parts)


def _train(
    heads: list[DenseHead], X: np.ndarray, codes: np.ndarray, rows: np.ndarray, val_X: np.ndarray, val_codes: np.ndarray
) -> None:
    """Sets model_, history_ and best_epoch_. rows: those of X that are trained on."""
    from threadpoolctl import threadpool_limits

    keras, _ = import_keras("the dense head", "choose other heads")
    for head in heads:
        head.model_ = head._build(keras)
        head.best_epoch_ = -1
        head.history_ = {prefix + name: [] for name in _LOWER_IS_BETTER for prefix in ("", "val_")}
    n, first = len(rows), heads[0]
    best = [np.inf] * len(heads)
    begun: list[np.ndarray] = first.model_.get_weights()
    weights: list[Callable[[], list[np.ndarray]]] = [lambda: begun] * len(heads)
    codes, rng = codes[rows], np.random.default_rng(first.seed)
    with np.errstate(all="ignore"), threadpool_limits(1, user_api="blas"):  # two threads are slower on these products
        networks = Networks(begun, np.concatenate([X[rows], val_X]), n, heads, first.seed)
        for epoch in range(first.epochs):
            order = rng.permutation(n)
            proba = networks.epoch(order, codes, first.batch_size)
            val_proba = networks.predict(range(n, n + len(val_X)))
            finite = np.isfinite(proba).all(axis=(1, 2)) & np.isfinite(val_proba).all(axis=(1, 2))
            if not finite.any():
                break
            for g in np.flatnonzero(finite).tolist():
                score = heads[g]._noted(codes[order], proba[g], val_codes, val_proba[g])
                if score < best[g]:
                    best[g], weights[g], heads[g].best_epoch_ = score, networks.weights(g), epoch
    for head, kept in zip(heads, weights, strict=True):
        head.model_.set_weights(kept())
        head.temperature_ = 1.0
        if head.calibration == "temperature":
            head._calibrate(val_X, val_codes)


def held_out(codes: np.ndarray, groups: np.ndarray | None, seed: int) -> np.ndarray:
    """Rows of a validation part, int64, sorted: a tenth of every class, rounded up, but none of a class of one.

    codes: (N,) class indexes; groups: (N,) anything, rows that stay together, or None for every row by itself. Groups
    are gone through in a seeded random order, and one is taken when no class gets more than its tenth by it; so the
    part may be empty.
    """
    counts = np.bincount(codes)
    quota = np.where(counts > 1, -(-counts // 10), 0)
    members: list[np.ndarray]
    if groups is None:
        members = list(np.arange(len(codes))[:, None])
    else:
        _, group = np.unique(np.asarray(groups), return_inverse=True)
        members = np.split(np.argsort(group, kind="stable"), np.cumsum(np.bincount(group))[:-1])
    taken: list[np.ndarray] = []
    for g in np.random.default_rng(seed).permutation(len(members)):
        left = quota - np.bincount(codes[members[g]], minlength=len(counts))
        if (left >= 0).all():
            quota = left
            taken.append(members[g])
    return np.sort(np.concatenate(taken)) if taken else np.empty(0, np.int64)
