"""The last blocks of the network, trained further on stored maps, as a scikit-learn classifier.

What lies before them is frozen, so it runs once for each view of a picture, and its map is stored.
"""

from __future__ import annotations

from collections.abc import Callable
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils._param_validation import Interval
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_consistent_length, check_is_fitted, column_or_1d, validate_data

from winnow.embed.backbone import build_network
from winnow.embed.keras_import import import_keras
from winnow.embed.recipe import Recipe
from winnow.embed.weights import find_weights

WARM_UP = 0.05  # share of the steps in which the learning rate rises
CLIP = 1.0  # the longest gradient, of all weights together
PROBED = 2000  # rows that the last layer is fitted on before anything moves
BATCH = 64  # maps that are predicted together


class FineTunedHead(ClassifierMixin, BaseEstimator):
    """The end of MobileNetV2 from a map on, and a softmax behind it, fine-tuned by SGD with momentum.

    First the softmax alone is fitted on what the pretrained end gives (a logistic regression), then all of it is
    trained (linear probing, then fine-tuning: Kumar et al., 2022). The learning rate rises, then falls as half a
    cosine; labels are smoothed (Szegedy et al., 2016); gradients are clipped. The batch norms keep the statistics that
    they were trained with, and are folded into the convolutions, whose kernels and biases move: v ← m v − lr g and
    w ← w + m v − lr g (Nesterov's momentum). The last weights stay.

    Parameters
    ----------
    unfreeze : blocks of the network that are trained, from its end, 1 to 16; its last convolution is, too.
    epochs : passes over the pictures: of the rows of one group (views of a picture) one is taken in each, in the mean.
    lr, momentum, label_smoothing, batch_size : of the training.
    alpha, weights, size : of the network whose maps are given, as in `embed.recipe.Recipe`.
    seed : of the order of rows. No global seed is read or changed, but with untrained weights Keras' own is set.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,), sorted.
    n_features_in_ : int, H W C of a map.
    history_ : dict of "loss" (cross-entropy in nats against smoothed labels), "accuracy" and "lr" to a float an epoch.
    best_epoch_ : int, the last.
    model_ : keras.Model; float32 (n, H, W, C) -> (n, n_classes) probabilities.

    References
    ----------
    A. Kumar et al., Fine-Tuning can Distort Pretrained Features and Underperform Out-of-Distribution, ICLR 2022.
    C. Szegedy et al., Rethinking the Inception Architecture for Computer Vision, CVPR 2016, section 7.
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "unfreeze": [Interval(Integral, 1, 16, closed="both")],
        "epochs": [Interval(Integral, 1, None, closed="left")],
        "lr": [Interval(Real, 0, None, closed="neither")],
        "momentum": [Interval(Real, 0, 1, closed="left")],
        "label_smoothing": [Interval(Real, 0, 1, closed="left")],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "alpha": [Real],
        "weights": [str],
        "size": [Integral],
        "seed": [Interval(Integral, 0, 2**31, closed="left")],
    }

    def __init__(
        self,
        unfreeze: int = 6,
        epochs: int = 16,
        lr: float = 0.01,
        momentum: float = 0.9,
        label_smoothing: float = 0.1,
        batch_size: int = 32,
        alpha: float = 1.0,
        weights: str = "imagenet",
        size: int = 224,
        seed: int = 0,
    ) -> None:
        self.unfreeze = unfreeze
        self.epochs = epochs
        self.lr = lr
        self.momentum = momentum
        self.label_smoothing = label_smoothing
        self.batch_size = batch_size
        self.alpha = alpha
        self.weights = weights
        self.size = size
        self.seed = seed

    def fit(
        self,
        X: np.ndarray,
        y: np.ndarray,
        groups: np.ndarray | None = None,
        rows: np.ndarray | None = None,
        on_epoch: Callable[[int, int], None] | None = None,
    ) -> FineTunedHead:
        """Train on maps X, float (N, H W C), and labels y (N,); groups (N,): rows of one picture, None: each its own.

        Parameters: `rows`, int64 (m,): only these rows of X, whose y and groups are (m,); X is not copied for it;
        `on_epoch`, told (done, total) epochs.
        Raises: ValueError for bad parameters or data, InputError when TensorFlow or the weights are missing.
        """
        self._validate_params()
        X = validate_data(self, X, dtype=[np.float16, np.float32], ensure_all_finite=False)  # `_maps` looks at that
        if rows is not None:
            X = _Rows(X, rows)  # type: ignore[assignment]  # all that is asked of it is its length and some rows
        y = column_or_1d(y)
        check_consistent_length(X, y, groups)
        check_classification_targets(y)
        self.classes_, codes = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError("FineTunedHead needs at least two classes in y, got one class")
        keras, tf = import_keras("the tail head", remedy="other-heads")
        recipe = Recipe(alpha=self.alpha, weights=self.weights, size=self.size)
        self.model_ = _end(
            keras, build_network(keras, recipe, find_weights(recipe)), self.unfreeze, X.shape[1], len(self.classes_)
        )
        self._probe(X, codes)
        self._train(tf, X, codes, len(X) if groups is None else len(np.unique(groups)), on_epoch)
        return self

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """(n, H W C) float -> (n, n_classes) float32 probabilities, columns in the order of classes_."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=[np.float16, np.float32], reset=False, ensure_all_finite=False)
        return self._batches(self.model_, X)

    def predict(self, X: np.ndarray) -> np.ndarray:
        """(n, H W C) float -> (n,) labels: the class with the largest probability."""
        proba = self.predict_proba(X)  # this also says so when the head is not fitted
        return self.classes_[proba.argmax(axis=1)]

    def _maps(self, X: np.ndarray) -> np.ndarray:
        maps = X.reshape(-1, *self.model_.input_shape[1:]).astype(np.float32)
        if not np.isfinite(maps).all():
            raise ValueError("maps hold NaN or infinity")
        return maps

    def _batches(self, model: Any, X: np.ndarray) -> np.ndarray:
        parts = [self._maps(X[start : start + BATCH]) for start in range(0, len(X), BATCH)]
        return np.concatenate([np.asarray(model(part, training=False)) for part in parts])

    def _probe(self, X: np.ndarray, codes: np.ndarray) -> None:
        """Set the last layer to a logistic regression on what comes into it, of rows spread over X."""
        from sklearn.linear_model import LogisticRegression

        rows = np.unique(np.linspace(0, len(X) - 1, min(PROBED, len(X))).astype(np.int64))
        rows = np.union1d(rows, np.unique(codes, return_index=True)[1])  # every class is there
        import keras

        features = self._batches(keras.Model(self.model_.input, self.model_.layers[-1].input), X[rows])
        length = np.linalg.norm(features, axis=1).mean()
        probe = LogisticRegression(C=3, max_iter=200).fit(features / length, codes[rows])
        coef, bias = probe.coef_, probe.intercept_
        if len(self.classes_) == 2:  # of which scikit-learn keeps the difference
            coef, bias = np.concatenate([-coef, coef]) / 2, np.concatenate([-bias, bias]) / 2
        self.model_.layers[-1].set_weights([coef.T / length, bias])

    def _train(
        self,
        tf: Any,
        X: np.ndarray,
        codes: np.ndarray,
        pictures: int,
        on_epoch: Callable[[int, int], None] | None = None,
    ) -> None:
        """Sets history_ and best_epoch_."""
        rng, size = np.random.default_rng(self.seed), self.batch_size
        targets = np.eye(len(self.classes_), dtype=np.float32) * (1 - self.label_smoothing)
        targets += self.label_smoothing / len(self.classes_)
        an_epoch = -(-pictures // size)  # steps
        rates = _rates(self.lr, an_epoch * self.epochs)
        order = np.concatenate([rng.permutation(len(X)) for _ in range(-(-self.epochs * an_epoch * size // len(X)))])
        step = _step(tf, self.model_, self.momentum)
        self.history_: dict[str, list[float]] = {"loss": [], "accuracy": [], "lr": []}
        for epoch in range(self.epochs):
            losses, right = [], 0
            for k in range(epoch * an_epoch, (epoch + 1) * an_epoch):
                rows = np.sort(order[k * size : (k + 1) * size])
                loss, proba = step(self._maps(X[rows]), targets[codes[rows]], np.float32(rates[k]))
                losses.append(float(loss))
                right += int((np.asarray(proba).argmax(axis=1) == codes[rows]).sum())
            if not all(np.isfinite(weights).all() for weights in (losses, *self.model_.get_weights())):
                raise ValueError(f"the tail diverged in epoch {epoch + 1}: a smaller lr than {self.lr:g} helps")
            said = float(np.mean(losses)), right / (an_epoch * size), float(rates[k])
            for name, value in zip(self.history_, said, strict=True):
                self.history_[name].append(value)
            if on_epoch:
                on_epoch(epoch + 1, self.epochs)
        self.best_epoch_ = self.epochs - 1


def _rates(lr: float, steps: int) -> np.ndarray:
    """Learning rate of each step: up in a straight line for a while, over all of it half a cosine down to 0."""
    part = np.arange(steps) / steps
    return lr * np.minimum(1, (part + 1 / steps) / WARM_UP) * (1 + np.cos(np.pi * part)) / 2


class _Rows:
    """Some rows of X (N, D), int64 (m,), each of them copied only when it is asked for."""

    def __init__(self, X: np.ndarray, rows: np.ndarray) -> None:
        self._X, self._rows = X, np.asarray(rows)
        self.shape = len(self._rows), X.shape[1]

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, some: Any) -> np.ndarray:
        return self._X[self._rows[some]]


def _step(tf: Any, model: Any, momentum: float) -> Any:
    """(maps, target probabilities, learning rate) -> loss and probabilities before the step."""
    weights = [weight.value for weight in model.trainable_weights]
    velocities = [tf.Variable(tf.zeros_like(weight)) for weight in weights]

    @tf.function(reduce_retracing=True)
    def step(maps: Any, targets: Any, lr: Any) -> tuple[Any, Any]:
        with tf.GradientTape() as tape:
            proba = model(maps, training=False)
            loss = -tf.reduce_mean(tf.reduce_sum(targets * tf.math.log(proba + 1e-7), axis=1))
        gradients, _ = tf.clip_by_global_norm(tape.gradient(loss, weights), CLIP)
        for weight, velocity, gradient in zip(weights, velocities, gradients, strict=True):
            velocity.assign(momentum * velocity - lr * gradient)
            weight.assign_add(momentum * velocity - lr * gradient)
        return loss, proba

    return step


def _end(keras: Any, net: Any, unfreeze: int, numbers: int, classes: int) -> Any:
    """The last blocks of MobileNetV2, from a map of so many numbers on, their batch norms folded, and a softmax."""
    layers = keras.layers
    first = 17 - unfreeze
    channels = net.get_layer(f"block_{first}_expand").kernel.shape[2]
    side = round((numbers / channels) ** 0.5)
    if side * side * channels != numbers:
        raise ValueError(f"maps of the last {unfreeze} blocks have {channels} channels, {numbers} numbers do not fit")
    x = inputs = keras.Input((side, side, channels), name="embedding")
    for block in range(first, 17):
        x = _block(layers, net, block, x)
    x = _pointwise(layers, net, "Conv_1", "Conv_1_bn")(x)
    x = layers.GlobalAveragePooling2D()(layers.ReLU(6.0)(x))
    return keras.Model(inputs, layers.Dense(classes, activation="softmax", name="probabilities")(x))


def _block(layers: Any, net: Any, block: int, x: Any) -> Any:
    """An inverted residual block (Sandler et al., 2018, table 1)."""
    names = [(f"block_{block}_{part}", f"block_{block}_{part}_BN") for part in ("expand", "depthwise", "project")]
    y = layers.ReLU(6.0)(_pointwise(layers, net, *names[0])(x))
    stride = net.get_layer(names[1][0]).strides[0]
    if stride == 2:  # as Keras pads there: (0, 1) where the side is even
        y = layers.ZeroPadding2D(((x.shape[1] % 2, 1), (x.shape[2] % 2, 1)))(y)
    kernel, bias = _folded(net, *names[1])
    spatial = layers.DepthwiseConv2D(3, strides=stride, padding="valid" if stride == 2 else "same", name=names[1][0])
    spatial.build(y.shape)
    spatial.set_weights([kernel, bias])
    y = _pointwise(layers, net, *names[2])(layers.ReLU(6.0)(spatial(y)))
    return layers.Add()([x, y]) if stride == 1 and x.shape[-1] == y.shape[-1] else y


def _pointwise(layers: Any, net: Any, convolution: str, norm: str) -> Any:
    """A 1 x 1 convolution as a dense layer of each position, which is quicker."""
    kernel, bias = _folded(net, convolution, norm)
    layer = layers.Dense(kernel.shape[-1], name=convolution)
    layer.build((None, None, None, kernel.shape[2]))
    layer.set_weights([kernel[0, 0], bias])
    return layer


def _folded(net: Any, convolution: str, norm: str) -> tuple[np.ndarray, np.ndarray]:
    """Kernel and bias of a convolution with the batch norm behind it: k γ / √(σ² + ε) and β − μ γ / √(σ² + ε)."""
    (kernel,), layer = net.get_layer(convolution).get_weights(), net.get_layer(norm)
    gamma, beta, mean, variance = layer.get_weights()
    scale = gamma / np.sqrt(variance + layer.epsilon)
    by_channel = scale[:, None] if kernel.shape[-1] == 1 else scale  # depthwise: (3, 3, C, 1)
    return (kernel * by_channel).astype(np.float32), (beta - mean * scale).astype(np.float32)
