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

from winnow.heads.models.batched_sgd import moves
from winnow.heads.models.dense_training import MONITORED, train
from winnow.heads.models.estimators import held_out
from winnow.heads.models.schedules import SCHEDULES
from winnow.heads.models.temperature import temperature


class DenseHead(ClassifierMixin, BaseEstimator):
    """A Keras network, hidden ReLU layers and a softmax, trained by stochastic gradient descent; the best epoch stays.

    Training minimises the cross-entropy over shuffled batches; with momentum m, velocity v ← m v − lr g and w ← w +
    v, or w ← w + m v − lr g with Nesterov's (Sutskever et al., 2013, equations 1–4). After every epoch the validation
    part is looked at, and the weights of the epoch with the best `monitor` are the ones that stay (of equal epochs
    the first), as Keras' ModelCheckpoint(save_best_only=True) does. Training ends before the last epoch when there was
    no better one for `patience` epochs, as with Keras' EarlyStopping, or when the numbers are no longer finite; the
    best finite epoch stays, and the initial weights when there was none. Keras makes the network and its initial
    weights; the steps are those of its `fit`, taken by `heads.together` in a fraction of its time.

    Parameters
    ----------
    hidden : units of each hidden layer; () gives a linear softmax.
    dropout : share of each hidden layer's outputs that is dropped in training, 0 <= dropout < 1.
    l2 : weight of the sum of squared kernel entries in what is minimised, >= 0.
    lr, momentum, nesterov : of SGD; lr > 0, 0 <= momentum <= 1.
    epochs, batch_size : passes over the data; rows in a step.
    monitor : "loss", "accuracy" or "weighted_f1" of the validation part.
    schedule : how the learning rate goes on from lr: "constant"; "step", times `factor` every `step_size` epochs;
        "exponential", the same without steps; "cosine", down to 0 (SGDR's, without restarts); "plateau", times factor
        when `monitor` was not better for step_size epochs; "one-cycle", up to lr and down to 0 while the momentum goes
        down and up. See `heads.schedules` for the equations and their sources.
    warmup : first epochs, in which the learning rate rises in a straight line to lr, 0 <= warmup < epochs.
    factor : 0 < factor < 1.
    step_size : epochs >= 1; None: a third of those after the warm-up, or a tenth of all for "plateau".
    momentum_end : where the momentum goes, as in Demon, or with "one-cycle" its lowest value, 0 <= momentum_end < 1;
        None: it stays, or goes down by 0.1 with "one-cycle".
    patience : epochs without a better one after which training ends, >= 1; None: never.
    class_weight : "balanced": in the loss a row counts n / (C n_c), with n_c rows of its class among the n that are
        trained on, so that all classes count alike (King & Zeng, 2001); None: rows count alike; or a dict from label
        to weight. Weights are scaled to a mean of 1 over these rows.
    calibration : "none", or "temperature": the kept network's logits are divided by the number that `heads.temperature`
        finds on the validation part. That part chose the epoch, so it is predicted slightly too well, and the number
        comes out slightly too small; five fits for out-of-fold logits would not be worth it. The rows of that part
        count alike, also with class weights: one picture of a small class would else decide on the number.
    seed : of initial weights, order of rows, dropout and validation part. The same seed gives the same head on the same
        machine; no global seed is read or changed. BLAS has one thread while it trains.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,), sorted.
    n_features_in_ : int, D.
    class_weight_ : float64 (n_classes,), what a row of a class counts in the loss.
    history_ : dict of "loss", "val_loss", "accuracy", "val_accuracy", "weighted_f1", "val_weighted_f1", "lr" and
        "momentum" to a list of floats, one an epoch that was trained.
        As in Keras the training figures are taken batch by batch while the weights move, with dropout; all are finite.
        Both losses are the cross-entropy in nats, without the l2 term; that of training is weighted by class_weight_,
        that of validation is not, as in Keras: the one or two validation pictures of a small class would else choose
        the epoch. lr and momentum are those of the last step of the epoch.
    best_epoch_ : int from 0, or −1 when no epoch was finite.
    temperature_ : float, 1 without calibration. The last layer of model_ is divided by it; history_ is from before.
    model_ : keras.Sequential; float32 (n, D) -> (n, n_classes) probabilities in the order of classes_.

    References
    ----------
    I. Sutskever, J. Martens, G. Dahl, G. Hinton, On the importance of initialization and momentum in deep learning,
    ICML 2013.
    G. King, L. Zeng, Logistic regression in rare events data, Political Analysis 9 (2001) 137-163.
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
        "monitor": [StrOptions(set(MONITORED))],
        "schedule": [StrOptions(set(SCHEDULES))],
        "warmup": [Interval(Integral, 0, None, closed="left")],
        "factor": [Interval(Real, 0, 1, closed="neither")],
        "step_size": [Interval(Integral, 1, None, closed="left"), None],
        "momentum_end": [Interval(Real, 0, 1, closed="left"), None],
        "patience": [Interval(Integral, 1, None, closed="left"), None],
        "class_weight": [StrOptions({"balanced"}), dict, None],
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
        schedule: str = "constant",
        warmup: int = 0,
        factor: float = 0.1,
        step_size: int | None = None,
        momentum_end: float | None = None,
        patience: int | None = None,
        class_weight: str | dict[Any, float] | None = None,
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
        self.schedule = schedule
        self.warmup = warmup
        self.factor = factor
        self.step_size = step_size
        self.momentum_end = momentum_end
        self.patience = patience
        self.class_weight = class_weight
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
        fit_batch([self], X, y, groups, validation_data)
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
        if self.warmup >= self.epochs:
            raise ValueError(
                f"The 'warmup' parameter of DenseHead must be less than 'epochs', {self.epochs}. "
                f"Got {self.warmup} instead."
            )
        if self.momentum == 1 and self.momentum_end is not None and self.schedule != "one-cycle":
            raise ValueError(
                "The 'momentum' parameter of DenseHead must be less than 1 with a 'momentum_end'. Got 1 instead."
            )

    def batch_key(self) -> tuple[Any, ...]:
        """Parameters that heads must have in common to be trained as one batch."""
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

    def _validation(self, X: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        unknown = np.setdiff1d(y, self.classes_)
        if len(unknown):
            raise ValueError(f"validation_data holds labels that y does not: {unknown.tolist()}")
        X = validate_data(self, X, dtype=np.float32, reset=False)
        return X, np.searchsorted(self.classes_, y)

    def _calibrate(self, X: np.ndarray, codes: np.ndarray) -> None:
        """Sets temperature_ and divides the last layer by it."""
        self.temperature_ = 1.0
        if self.calibration == "none":
            return
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


def fit_batch(
    heads: list[DenseHead],
    X: np.ndarray,
    y: np.ndarray,
    groups: np.ndarray | None = None,
    validation_data: tuple[np.ndarray, np.ndarray] | None = None,
    on_epoch: Callable[[int, int], None] | None = None,
) -> None:
    """Fit heads that are alike in hidden, epochs, batch_size and seed, in much less time than one by one.

    Each becomes what its own `fit` makes of it; one that ends early goes on no more. X, y, groups, validation_data: as
    there; on_epoch is told (done, total) epochs.

    Raises: as `fit`; ValueError for heads that differ in something else.
    """
    for head in heads:
        parts = head._parts(X, y, groups, validation_data)
    if len({head.batch_key() for head in heads}) != 1:
        raise ValueError("heads that are fitted together need the same hidden, epochs, batch_size and seed")
    train(sorted(heads, key=moves, reverse=True), *parts, on_epoch=on_epoch)
    for head in heads:
        head._calibrate(*parts[-2:])
