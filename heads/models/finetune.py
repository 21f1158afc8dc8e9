"""Fine-tuning: the last blocks of MobileNetV2, trained on stored feature maps, as a scikit-learn classifier.

The blocks before them are frozen, so they run once for each augmented version of an image, and their output is stored.
"""

from __future__ import annotations

from collections.abc import Callable
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from sklearn.utils.validation import check_consistent_length, check_is_fitted, column_or_1d, validate_data

from winnow.embed.backbone import build_network
from winnow.embed.keras_import import import_keras
from winnow.embed.recipe import Recipe
from winnow.embed.weights import find_weights
from winnow.heads.models.base import Constraints, HeadClassifier, integer, real

WARM_UP = 0.05  # share of the steps in which the learning rate rises
CLIP = 1.0  # largest global norm of the gradients
PROBED = 2000  # rows that the last layer is fitted on before fine-tuning
BATCH = 64  # feature maps per prediction call


class FineTunedHead(HeadClassifier):
    """The last blocks of MobileNetV2 and a softmax, fine-tuned by SGD with Nesterov momentum.

    First the softmax alone is fitted to the output of the pretrained blocks (a logistic regression), then everything is
    trained (linear probing, then fine-tuning: Kumar et al., 2022). The learning rate rises linearly, then decays as a
    half cosine; labels are smoothed (Szegedy et al., 2016); gradients are clipped. Batch normalisation keeps its
    pretrained statistics and is folded into the convolutions, whose kernels and biases are trained. The weights of the
    last epoch are used.

    Parameters
    ----------
    unfreeze : number of blocks that are trained, counted from the end, 1 to 16; the last convolution is always trained.
    epochs : passes over the images: each takes, on average, one row of every group (augmented versions of an image).
    lr, momentum, label_smoothing, batch_size : of the training.
    alpha, weights, size : the network that computed the feature maps, as in `embed.recipe.Recipe`.
    seed : random seed of the order of rows. No global seed is read or changed, except Keras' own with untrained
        weights.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,), sorted.
    n_features_in_ : int, H W C of a feature map.
    history_ : dict of "loss" (cross-entropy in nats against smoothed labels), "accuracy" and "lr" to a list of floats,
        one per epoch.
    best_epoch_ : int, the last epoch.
    model_ : keras.Model; float32 (n, H, W, C) -> (n, n_classes) probabilities.

    References
    ----------
    A. Kumar et al., Fine-Tuning can Distort Pretrained Features and Underperform Out-of-Distribution, ICLR 2022.
    C. Szegedy et al., Rethinking the Inception Architecture for Computer Vision, CVPR 2016, section 7.
    """

    _parameter_constraints: ClassVar[Constraints] = {
        "unfreeze": [integer(1, 16, closed="both")],
        "epochs": [integer(1)],
        "lr": [real(0, closed="neither")],
        "momentum": [real(0, 1)],
        "label_smoothing": [real(0, 1)],
        "batch_size": [integer(1)],
        "alpha": [Real],
        "weights": [str],
        "size": [Integral],
        "seed": [integer(0, 2**31)],
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
        """Train on feature maps X, float (N, H W C), and labels y (N,).

        groups: (N,), rows of one image have the same group; None: every row is an image. rows: int64 (m,), train on
        these rows of X only, with y and groups (m,); X is not copied. on_epoch(done, total): called after every epoch.

        Raises: ValueError for bad parameters or data, InputError when TensorFlow or the weights are missing.
        """
        self._validate_params()
        X = validate_data(self, X, dtype=[np.float16, np.float32], ensure_all_finite=False)  # `_maps` checks it
        if rows is not None:
            X = _RowSubset(X, rows)  # type: ignore[assignment]  # only its length and some of its rows are used
        y = column_or_1d(y)
        check_consistent_length(X, y, groups)
        codes = self._encode_labels(y)
        keras, _ = import_keras("the finetune head", remedy="other-heads")
        recipe = Recipe(alpha=self.alpha, weights=self.weights, size=self.size)
        self.model_ = _trainable_end(
            keras, build_network(keras, recipe, find_weights(recipe)), self.unfreeze, X.shape[1], len(self.classes_)
        )
        self._probe(X, codes)
        self._train(keras, X, codes, len(X) if groups is None else len(np.unique(groups)), on_epoch)
        return self

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """(n, H W C) float -> (n, n_classes) float32 probabilities, columns in the order of classes_."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=[np.float16, np.float32], reset=False, ensure_all_finite=False)
        return self._predict(self.model_, X)

    def _maps(self, X: np.ndarray) -> np.ndarray:
        """(n, H W C) -> float32 (n, H, W, C). Raises: ValueError for NaN or infinity."""
        maps = X.reshape(-1, *self.model_.input_shape[1:]).astype(np.float32)
        if not np.isfinite(maps).all():
            raise ValueError("feature maps contain NaN or infinity")
        return maps

    def _predict(self, model: Any, X: np.ndarray) -> np.ndarray:
        parts = [self._maps(X[start : start + BATCH]) for start in range(0, len(X), BATCH)]
        return np.concatenate([np.asarray(model(part, training=False)) for part in parts])

    def _probe(self, X: np.ndarray, codes: np.ndarray) -> None:
        """Set the last layer to a logistic regression on its input, for rows spread evenly over X."""
        import keras
        from sklearn.linear_model import LogisticRegression

        rows = np.unique(np.linspace(0, len(X) - 1, min(PROBED, len(X))).astype(np.int64))
        rows = np.union1d(rows, np.unique(codes, return_index=True)[1])  # at least one of each class
        features = self._predict(keras.Model(self.model_.input, self.model_.layers[-1].input), X[rows])
        length = np.linalg.norm(features, axis=1).mean()
        probe = LogisticRegression(C=3, max_iter=200).fit(features / length, codes[rows])
        coef, bias = probe.coef_, probe.intercept_
        if len(self.classes_) == 2:  # scikit-learn stores the difference only
            coef, bias = np.concatenate([-coef, coef]) / 2, np.concatenate([-bias, bias]) / 2
        self.model_.layers[-1].set_weights([coef.T / length, bias])

    def _train(
        self,
        keras: Any,
        X: np.ndarray,
        codes: np.ndarray,
        images: int,
        on_epoch: Callable[[int, int], None] | None = None,
    ) -> None:
        """Set history_ and best_epoch_; images: number of groups, which is the number of rows in an epoch."""
        size, model, targets = self.batch_size, self.model_, np.eye(len(self.classes_), dtype=np.float32)
        steps = -(-images // size)  # per epoch
        order = _row_order(len(X), steps * size * self.epochs, self.seed)
        schedule = _schedule(keras, self.lr, steps * self.epochs)
        sgd = keras.optimizers.SGD(schedule, momentum=self.momentum, nesterov=True, global_clipnorm=CLIP)
        loss = keras.losses.CategoricalCrossentropy(label_smoothing=self.label_smoothing)
        model.compile(sgd, loss, metrics=["accuracy"], jit_compile=False)
        self.history_: dict[str, list[float]] = {"loss": [], "accuracy": [], "lr": []}
        for epoch in range(self.epochs):
            batches = []  # of one size; Keras resets its own means before each
            for k in range(epoch * steps, (epoch + 1) * steps):
                rows = np.sort(order[k * size : (k + 1) * size])
                batches.append(model.train_on_batch(self._maps(X[rows]), targets[codes[rows]], return_dict=True))
            means = {name: np.mean([batch[name] for batch in batches]) for name in ("loss", "accuracy")}
            if not all(np.isfinite(weights).all() for weights in (means["loss"], *model.get_weights())):
                raise ValueError(f"training diverged in epoch {epoch + 1}: a smaller lr than {self.lr:g} helps")
            for name, value in (means | {"lr": schedule(k)}).items():
                self.history_[name].append(float(value))
            if on_epoch:
                on_epoch(epoch + 1, self.epochs)
        self.best_epoch_ = self.epochs - 1


def _row_order(n: int, count: int, seed: int) -> np.ndarray:
    """`count` row numbers: seeded permutations of n rows, one after the other."""
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.permutation(n) for _ in range(-(-count // n))])[:count]


def _schedule(keras: Any, lr: float, steps: int) -> Any:
    """Learning rate of each step: a linear rise in the first `WARM_UP` of the steps, then half a cosine down to 0."""
    warm_up = max(1, round(WARM_UP * steps))
    return keras.optimizers.schedules.CosineDecay(
        lr / warm_up, decay_steps=max(1, steps - warm_up), warmup_target=lr, warmup_steps=warm_up
    )


class _RowSubset:
    """Rows of X (N, D), int64 (m,), that are copied only when they are indexed."""

    def __init__(self, X: np.ndarray, rows: np.ndarray) -> None:
        self._X, self._rows = X, np.asarray(rows)
        self.shape = len(self._rows), X.shape[1]

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: Any) -> np.ndarray:
        return self._X[self._rows[index]]


def _trainable_end(keras: Any, net: Any, unfreeze: int, n_features: int, classes: int) -> Any:
    """The last `unfreeze` blocks of MobileNetV2 with folded batch norms, and a softmax.

    n_features: H W C of the feature maps. Raises: ValueError when these blocks have another input.
    """
    layers = keras.layers
    first = 17 - unfreeze
    channels = net.get_layer(f"block_{first}_expand").kernel.shape[2]
    side = round((n_features / channels) ** 0.5)
    if side * side * channels != n_features:
        raise ValueError(
            f"the input of the last {unfreeze} blocks has {channels} channels, which {n_features} features do not fit"
        )
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
    if stride == 2:  # Keras' padding there: (0, 1) for an even side
        y = layers.ZeroPadding2D(((x.shape[1] % 2, 1), (x.shape[2] % 2, 1)))(y)
    kernel, bias = _folded(net, *names[1])
    spatial = layers.DepthwiseConv2D(3, strides=stride, padding="valid" if stride == 2 else "same", name=names[1][0])
    spatial.build(y.shape)
    spatial.set_weights([kernel, bias])
    y = _pointwise(layers, net, *names[2])(layers.ReLU(6.0)(spatial(y)))
    return layers.Add()([x, y]) if stride == 1 and x.shape[-1] == y.shape[-1] else y


def _pointwise(layers: Any, net: Any, convolution: str, norm: str) -> Any:
    """A 1 x 1 convolution as a dense layer at each position, which is faster."""
    kernel, bias = _folded(net, convolution, norm)
    layer = layers.Dense(kernel.shape[-1], name=convolution)
    layer.build((None, None, None, kernel.shape[2]))
    layer.set_weights([kernel[0, 0], bias])
    return layer


def _folded(net: Any, convolution: str, norm: str) -> tuple[np.ndarray, np.ndarray]:
    """Kernel and bias of a convolution followed by a batch norm: k γ / √(σ² + ε) and β − μ γ / √(σ² + ε)."""
    (kernel,), layer = net.get_layer(convolution).get_weights(), net.get_layer(norm)
    gamma, beta, mean, variance = layer.get_weights()
    scale = gamma / np.sqrt(variance + layer.epsilon)
    by_channel = scale[:, None] if kernel.shape[-1] == 1 else scale  # depthwise: (3, 3, C, 1)
    return (kernel * by_channel).astype(np.float32), (beta - mean * scale).astype(np.float32)
