"""A dense network on stored vectors, trained with SGD and momentum, as a scikit-learn classifier."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from scipy.special import softmax
from sklearn.utils.validation import check_is_fitted, validate_data

from winnow.heads.kinds import MONITORS, SCHEDULES
from winnow.heads.models.base import Constraints, HeadClassifier, check_layer_sizes, integer, one_of, real
from winnow.heads.models.batched_sgd import updates_all_weights
from winnow.heads.models.dense_training import train_batch, validation_rows
from winnow.heads.models.temperature import temperature


class DenseHead(HeadClassifier):
    """A Keras network of hidden ReLU layers and a softmax, trained by stochastic gradient descent, best epoch restored.

    Training minimises the cross-entropy over shuffled batches; with momentum m, velocity v ← m v − lr g and w ← w +
    v, or w ← w + m v − lr g with Nesterov momentum (Sutskever et al., 2013, equations 1–4). The validation part is
    evaluated after every epoch, and the weights of the epoch with the best `monitor` (the first of equals) are
    restored, as by Keras' ModelCheckpoint(save_best_only=True). Training ends early after `patience` epochs without an
    improvement, as with Keras' EarlyStopping, or when a value is no longer finite; then the best finite epoch is
    restored, or the initial weights without any. Keras creates the network and its initial weights; the steps are those
    of its `fit`, computed by `batched_sgd` in a fraction of its time.

    Parameters
    ----------
    hidden : units of each hidden layer; () gives a linear softmax.
    dropout : share of each hidden layer's outputs that is dropped in training, 0 <= dropout < 1.
    l2 : factor of the sum of squared kernel entries in the loss, >= 0.
    lr, momentum, nesterov : parameters of SGD; lr > 0, 0 <= momentum <= 1.
    epochs, batch_size : passes over the data; rows per step.
    monitor : "loss", "accuracy" or "weighted_f1" of the validation part.
    schedule : how the learning rate changes from lr: "constant"; "step", times `factor` every `step_size` epochs;
        "exponential", the same without steps; "cosine", down to 0 (SGDR's, without restarts); "plateau", times factor
        when `monitor` did not improve for step_size epochs; "one-cycle", up to lr and down to 0 while the momentum goes
        down and up. See `models.schedules` for the equations and their sources.
    warmup : number of first epochs in which the learning rate rises linearly to lr, 0 <= warmup < epochs.
    factor : 0 < factor < 1.
    step_size : epochs >= 1; None: a third of those after the warm-up, or a tenth of all for "plateau".
    momentum_end : the final momentum, as in Demon, or with "one-cycle" its lowest value, 0 <= momentum_end < 1;
        None: constant, or 0.1 lower with "one-cycle".
    patience : epochs without an improvement after which training ends, >= 1; None: never.
    class_weight : "balanced": a row has the weight n / (C n_c) in the loss, with n_c rows of its class among the n
        training rows, so that all classes have the same weight (King & Zeng, 2001); None: all rows have weight 1; or a
        dict from label to weight. Weights are scaled to a mean of 1 over these rows.
    calibration : "none", or "temperature": the logits of the restored network are divided by the temperature of the
        validation part (`models.temperature`). That part chose the epoch, so it is predicted slightly too well, and the
        temperature is slightly too small; five fits for out-of-fold logits would not be worth it. The rows of that part
        are not weighted, also with class weights: otherwise one image of a small class would decide.
    seed : random seed of initial weights, order of rows, dropout and validation part. The same seed gives the same head
        on the same machine; no global seed is read or changed. BLAS has one thread during training.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,), sorted.
    n_features_in_ : int, D.
    class_weight_ : float64 (n_classes,), weight of a row of each class in the loss.
    history_ : dict of "loss", "val_loss", "accuracy", "val_accuracy", "weighted_f1", "val_weighted_f1", "lr" and
        "momentum" to a list of floats, one per trained epoch.
        As in Keras the training figures are means over the batches while the weights change, with dropout; all are
        finite. Both losses are the cross-entropy in nats, without the l2 term; that of training is weighted by
        class_weight_, that of validation is not, as in Keras: otherwise one or two validation images of a small class
        would choose the epoch. lr and momentum are those of the last step of the epoch.
    best_epoch_ : int from 0, or −1 when no epoch was finite.
    temperature_ : float, 1 without calibration. The last layer of model_ is divided by it; history_ is before that.
    model_ : keras.Sequential; float32 (n, D) -> (n, n_classes) probabilities in the order of classes_.

    References
    ----------
    I. Sutskever, J. Martens, G. Dahl, G. Hinton, On the importance of initialization and momentum in deep learning,
    ICML 2013.
    G. King, L. Zeng, Logistic regression in rare events data, Political Analysis 9 (2001) 137-163.
    """

    _parameter_constraints: ClassVar[Constraints] = {
        "hidden": [tuple, list],
        "dropout": [real(0, 1)],
        "l2": [real(0)],
        "lr": [real(0, closed="neither")],
        "momentum": [real(0, 1, closed="both")],
        "nesterov": ["boolean"],
        "epochs": [integer(1)],
        "batch_size": [integer(1)],
        "monitor": [one_of(*MONITORS)],
        "schedule": [one_of(*SCHEDULES)],
        "warmup": [integer(0)],
        "factor": [real(0, 1, closed="neither")],
        "step_size": [integer(1), None],
        "momentum_end": [real(0, 1), None],
        "patience": [integer(1), None],
        "class_weight": [one_of("balanced"), dict, None],
        "calibration": [one_of("none", "temperature")],
        "seed": [integer(0, 2**31)],
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

        groups: (N,), rows of one group are on the same side when the validation part is drawn; validation_data: (X, y)
        to choose the epoch. Without it a seeded tenth of each class is held out (`dense_training.validation_rows`);
        data too small for that are validated on themselves.

        Raises: ValueError for bad parameters or data, InputError when TensorFlow is missing.
        """
        fit_batch([self], X, y, groups, validation_data)
        return self

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """(n, D) float -> (n, n_classes) float32 probabilities, columns in the order of classes_.

        Summed in float64, so that the probabilities of a row do not depend on the other rows of a call.
        """
        check_is_fitted(self)
        logits = self._logits(validate_data(self, X, dtype=np.float32, reset=False))
        return softmax(logits, axis=1).astype(np.float32)

    def _logits(self, X: np.ndarray) -> np.ndarray:
        """(n, D) float32 -> (n, n_classes) float64."""
        activations = X.astype(np.float64)
        *hidden, (kernel, bias) = [layer.get_weights() for layer in self.model_.layers if hasattr(layer, "kernel")]
        for weights, biases in hidden:
            activations = np.maximum(activations @ weights + biases, 0)
        return activations @ kernel + bias

    def _validate_params(self) -> None:
        super()._validate_params()
        check_layer_sizes(self, self.hidden)
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
        """Set classes_ and n_features_in_. Returns X, class indexes, training rows, validation X and class indexes."""
        self._validate_params()
        X, y = validate_data(self, X, y, dtype=np.float32)
        codes = self._encode_labels(y)
        rows = np.arange(len(codes))
        if validation_data is not None:
            return X, codes, rows, *self._validation(*validation_data)
        val = validation_rows(codes, groups, self.seed)
        rows = np.setdiff1d(rows, val)
        val = val if len(val) else rows
        return X, codes, rows, X[val], codes[val]

    def _validation(self, X: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        unknown = np.setdiff1d(y, self.classes_)
        if len(unknown):
            raise ValueError(f"validation_data holds labels that y does not: {unknown.tolist()}")
        X = validate_data(self, X, dtype=np.float32, reset=False)
        return X, np.searchsorted(self.classes_, y)

    def _calibrate(self, X: np.ndarray, codes: np.ndarray) -> None:
        """Set temperature_ and divide the last layer by it."""
        self.temperature_ = 1.0
        if self.calibration == "none":
            return
        self.temperature_ = temperature(self._logits(X), codes)
        *others, kernel, bias = self.model_.get_weights()
        self.model_.set_weights([*others, kernel / self.temperature_, bias / self.temperature_])

    def _build(self, keras: Any) -> Any:
        """The untrained network; each layer has its own seed."""
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
    """Fit heads with equal hidden, epochs, batch_size and seed as one batch, much faster than one by one.

    The results are those of their own `fit`. X, y, groups, validation_data: as there; on_epoch(done, total): called
    after every epoch.

    Raises: as `fit`; ValueError for heads that differ in one of the four.
    """
    for head in heads:
        parts = head._parts(X, y, groups, validation_data)
    if len({head.batch_key() for head in heads}) != 1:
        raise ValueError("heads that are trained as one batch need the same hidden, epochs, batch_size and seed")
    train_batch(sorted(heads, key=updates_all_weights, reverse=True), *parts, on_epoch=on_epoch)
    for head in heads:
        head._calibrate(*parts[-2:])
