"""A dense network on stored vectors, trained with SGD and momentum, as a scikit-learn classifier."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from embed.quiet_keras import import_keras
from heads.evaluate import metrics

_LOWER_IS_BETTER = {"loss": True, "accuracy": False, "weighted_f1": False}


class DenseHead(ClassifierMixin, BaseEstimator):
    """Hidden ReLU layers and a softmax, trained in Keras by stochastic gradient descent; the best epoch is kept.

    Training minimises the cross-entropy over shuffled batches; with momentum m, velocity v ← m v − lr g and w ← w +
    v, or w ← w + m v − lr g with Nesterov's (Sutskever et al., 2013, equations 1–4). After every epoch the validation
    part is looked at, and the weights of the epoch with the best `monitor` are the ones that stay (of equal epochs
    the first), as Keras' ModelCheckpoint(save_best_only=True) does. Training ends early only when the numbers are no
    longer finite; the best finite epoch stays, and the initial weights when there was none.

    Parameters
    ----------
    hidden : units of each hidden layer; () gives a linear softmax.
    dropout : share of each hidden layer's outputs that is dropped in training, 0 <= dropout < 1.
    l2 : weight of the sum of squared kernel entries in what is minimised, >= 0.
    lr, momentum, nesterov : of SGD; lr > 0, 0 <= momentum <= 1.
    epochs, batch_size : passes over the data; rows in a step.
    monitor : "loss", "accuracy" or "weighted_f1" of the validation part.
    seed : of initial weights, order of rows, dropout and validation part. The same seed gives the same head on the same
        machine (with another number of threads, but for rounding); no global seed or setting is read or changed.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,), sorted.
    n_features_in_ : int, D.
    history_ : dict of "loss", "val_loss", "accuracy", "val_accuracy", "weighted_f1", "val_weighted_f1" to a list of
        floats, one an epoch.
        As in Keras the training figures are taken batch by batch while the weights move, with dropout; all are finite.
        The loss is the cross-entropy in nats, without the l2 term.
    best_epoch_ : int from 0, or −1 when no epoch was finite.
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
        self._validate_params()
        X, y = validate_data(self, X, y, dtype=np.float32)
        check_classification_targets(y)
        self.classes_, codes = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError("DenseHead needs at least two classes in y, got one class")
        rows = np.arange(len(codes))
        if validation_data is not None:
            val_X, val_codes = self._validation(*validation_data)
        else:
            held = held_out(codes, groups, self.seed)
            rows = np.setdiff1d(rows, held)
            held = held if len(held) else rows
            val_X, val_codes = X[held], codes[held]
        self._train(X, codes, rows, val_X, val_codes)
        return self

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """(n, D) float -> (n, n_classes) float32 probabilities, columns in the order of classes_.

        Summed in float64, so that the probabilities of a row do not depend on the rows beside it.
        """
        check_is_fitted(self)
        activations = validate_data(self, X, dtype=np.float32, reset=False).astype(np.float64)
        *hidden, last = [layer.get_weights() for layer in self.model_.layers if hasattr(layer, "kernel")]
        for kernel, bias in hidden:
            activations = np.maximum(activations @ kernel + bias, 0)
        kernel, bias = last
        logits = activations @ kernel + bias
        e = np.exp(logits - logits.max(axis=1, keepdims=True))
        return (e / e.sum(axis=1, keepdims=True)).astype(np.float32)

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

    def _validation(self, X: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        unknown = np.setdiff1d(y, self.classes_)
        if len(unknown):
            raise ValueError(f"validation_data holds labels that y does not: {unknown.tolist()}")
        X = validate_data(self, X, dtype=np.float32, reset=False)
        return X, np.searchsorted(self.classes_, y)

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

    def _train(
        self, X: np.ndarray, codes: np.ndarray, rows: np.ndarray, val_X: np.ndarray, val_codes: np.ndarray
    ) -> None:
        """Sets model_, history_ and best_epoch_. rows: those of X that are trained on, so that X needs no copy."""
        keras, tf = import_keras("the dense head", "choose other heads")
        self.model_ = model = self._build(keras)
        run_epoch = self._epoch(keras, tf, tf.convert_to_tensor(X), tf.convert_to_tensor(codes))
        evaluate = tf.function(lambda batch: model(batch, training=False))
        val_tensor = tf.convert_to_tensor(val_X)
        best, best_weights = np.inf, model.get_weights()
        sign = 1 if _LOWER_IS_BETTER[self.monitor] else -1
        self.best_epoch_ = -1
        self.history_: dict[str, list[float]] = {
            prefix + name: [] for name in _LOWER_IS_BETTER for prefix in ("", "val_")
        }
        rng = np.random.default_rng(self.seed)
        for epoch in range(self.epochs):
            order = rng.permutation(rows)
            proba = run_epoch(order).numpy()
            val_proba = evaluate(val_tensor).numpy()
            if not (np.isfinite(proba).all() and np.isfinite(val_proba).all()):
                break  # as Keras' TerminateOnNaN: weights that are not finite never become so again
            for prefix, truth, p in (("", codes[order], proba), ("val_", val_codes, val_proba)):
                values = metrics(truth, p)
                values["loss"] = values["log_loss"]
                for name in _LOWER_IS_BETTER:
                    self.history_[prefix + name].append(values[name])
            score = sign * self.history_[f"val_{self.monitor}"][-1]
            if score < best:
                best, best_weights, self.best_epoch_ = score, model.get_weights(), epoch
        model.set_weights(best_weights)

    def _epoch(self, keras: Any, tf: Any, X: Any, codes: Any) -> Any:
        """One epoch as one compiled call: (n,) int64 rows of X, in the order of training -> (n, C) probabilities then.

        Keras' own `fit` takes four times as long for these small networks, nearly all of it between the steps.
        """
        model, size = self.model_, self.batch_size
        loss = keras.losses.SparseCategoricalCrossentropy()
        sgd = keras.optimizers.SGD(float(self.lr), float(self.momentum), bool(self.nesterov))
        sgd.build(model.trainable_variables)

        @tf.function(input_signature=[tf.TensorSpec((None,), tf.int64)])
        def run_epoch(order: Any) -> Any:
            seen = tf.TensorArray(
                tf.float32, 0, dynamic_size=True, infer_shape=False, element_shape=(None, len(self.classes_))
            )
            for start in tf.range(0, tf.size(order), size):
                rows = order[start : start + size]
                with tf.GradientTape() as tape:
                    proba = model(tf.gather(X, rows), training=True)
                    cost = loss(tf.gather(codes, rows), proba) + sum(model.losses)
                sgd.apply(tape.gradient(cost, model.trainable_variables), model.trainable_variables)
                seen = seen.write(start // size, proba)
            return seen.concat()

        return run_epoch


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
