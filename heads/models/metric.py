"""A projection in which pictures of a class lie close together, and a classifier on it."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin
from sklearn.utils._param_validation import Interval, StrOptions

from winnow.heads.models.estimators import CosineNeighbours, _check_fit, _check_predict, _unit
from winnow.heads.models.metric_losses import batch, semi_hard_triplets, supervised_contrastive

PER_CLASS = 4  # pictures of a class in a batch, at least, where it has so many
Layers = list[tuple[np.ndarray, np.ndarray]]  # W (n_in, n_out) and b (n_out,) of each


class MetricHead(ClassifierMixin, TransformerMixin, BaseEstimator):
    """z = g(x) / |g(x)| for x of length 1, g trained so that classes are close together, then a classifier on z.

    g is linear or has hidden layers of ReLUs. It is trained by stochastic gradient descent with momentum, on batches
    that hold several pictures of each class (`heads.losses.batch`), for a fixed number of epochs. The input is centred
    and divided by its mean deviation first, which is then folded into the first layer. A class of one picture is only a
    negative of the others.

    The defaults are by weighted F1 on the validation parts of ten splits of 1,000 flower photographs, "supcon" with
    "linear": 0.890 with 128 hidden units, 0.880 with none; 0.892 at temperature 0.02, 0.893 at 0.03, 0.890 at 0.05,
    0.884 at 0.1 and 0.2. From 32 to 128 numbers, 64 to 512 units and 10 to 40 epochs it is 0.882 to 0.890. "knn" has
    nearly the same F1, but is far too sure: a log loss of 1.42 where "linear" has 0.36.

    Parameters
    ----------
    loss : "supcon", supervised contrastive (Khosla et al., 2020), or "triplet", semi-hard (Schroff et al., 2015).
    then : "knn", the neighbours by cosine of `CosineNeighbours`, or "linear", logistic regression, on z.
    dim : numbers of z.
    hidden : units of each hidden layer; () for none.
    temperature, margin : of "supcon", and of "triplet" (in squared distance), > 0; the other loss has none.
    lr, momentum, l2 : of SGD; l2 times the weights is added to the gradient.
    epochs, batch_size : passes over the data; pictures in a step.
    n_neighbors, C : of "knn", and of "linear".
    random_state : seed of initial weights and batches. The same seed gives the same head on the same machine.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,), sorted.
    n_features_in_ : int, D.
    layers_ : pairs of float64 weights (n_in, n_out) and biases (n_out,), of g; the last n_out is dim.
    classifier_ : fitted on z and the indexes of classes_.
    loss_curve_ : list of floats, the mean loss over the batches of each epoch.

    References
    ----------
    F. Schroff, D. Kalenichenko, J. Philbin, FaceNet, CVPR 2015.
    P. Khosla et al., Supervised Contrastive Learning, NeurIPS 2020.
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "loss": [StrOptions({"supcon", "triplet"})],
        "then": [StrOptions({"knn", "linear"})],
        "dim": [Interval(Integral, 1, None, closed="left")],
        "hidden": [tuple, list],
        "temperature": [Interval(Real, 0, None, closed="neither")],
        "margin": [Interval(Real, 0, None, closed="neither")],
        "lr": [Interval(Real, 0, None, closed="neither")],
        "momentum": [Interval(Real, 0, 1, closed="left")],
        "l2": [Interval(Real, 0, None, closed="left")],
        "epochs": [Interval(Integral, 1, None, closed="left")],
        "batch_size": [Interval(Integral, 4, None, closed="left")],
        "n_neighbors": [Interval(Integral, 1, None, closed="left")],
        "C": [Interval(Real, 0, None, closed="neither")],
        "random_state": [Interval(Integral, 0, 2**32, closed="left")],
    }

    def __init__(
        self,
        loss: str = "supcon",
        then: str = "linear",
        dim: int = 64,
        hidden: tuple[int, ...] = (128,),
        temperature: float = 0.05,
        margin: float = 0.2,
        lr: float = 0.03,
        momentum: float = 0.9,
        l2: float = 1e-3,
        epochs: int = 20,
        batch_size: int = 128,
        n_neighbors: int = 20,
        C: float = 1.0,
        random_state: int = 0,
    ) -> None:
        self.loss = loss
        self.then = then
        self.dim = dim
        self.hidden = hidden
        self.temperature = temperature
        self.margin = margin
        self.lr = lr
        self.momentum = momentum
        self.l2 = l2
        self.epochs = epochs
        self.batch_size = batch_size
        self.n_neighbors = n_neighbors
        self.C = C
        self.random_state = random_state

    def fit(self, X: np.ndarray, y: np.ndarray) -> MetricHead:
        """X float (N, D), y (N,) labels of at least two classes, one of them of two pictures or more.

        Raises: ValueError for bad parameters or data, or when training diverges.
        """
        X, codes = _check_fit(self, X, y)
        if len(codes) == len(self.classes_):
            raise ValueError("MetricHead needs a class of two pictures or more: there is no pair to draw together")
        self._train(X, codes)
        self.classifier_ = self._classifier().fit(self._project(X), codes)
        return self

    def transform(self, X: np.ndarray) -> np.ndarray:
        """(n, D) float -> (n, dim) float64 of length 1, rounded to float32 as they leave the exported graph."""
        return self._project(_check_predict(self, X))

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """(n, D) float -> (n, C) float64 probabilities."""
        z = self.transform(X)  # this also says so when the head is not fitted
        return self.classifier_.predict_proba(z)

    def predict(self, X: np.ndarray) -> np.ndarray:
        """(n, D) float -> (n,) labels: the class with the largest probability."""
        proba = self.predict_proba(X)
        return self.classes_[proba.argmax(axis=1)]

    def _validate_params(self) -> None:
        super()._validate_params()
        if not all(isinstance(units, Integral) and units >= 1 for units in self.hidden):
            raise ValueError(
                "The 'hidden' parameter of MetricHead must be a tuple of ints that are at least 1. "
                f"Got {self.hidden!r} instead."
            )

    def _classifier(self) -> Any:
        if self.then == "knn":
            return CosineNeighbours(self.n_neighbors)
        from sklearn.linear_model import LogisticRegression

        return LogisticRegression(C=self.C, max_iter=1000, random_state=self.random_state)

    def _project(self, X: np.ndarray) -> np.ndarray:
        """(n, D) rows of length 1 -> (n, dim)."""
        return forward(self.layers_, X)[-1].astype(np.float32).astype(np.float64)

    def _loss(self, z: np.ndarray, codes: np.ndarray) -> tuple[float, np.ndarray]:
        if self.loss == "triplet":
            return semi_hard_triplets(z, codes, self.margin)
        return supervised_contrastive(z, codes, self.temperature)

    def _train(self, X: np.ndarray, codes: np.ndarray) -> None:
        """Sets layers_ and loss_curve_. X: (N, D) rows of length 1; codes: (N,) class indexes."""
        from threadpoolctl import threadpool_limits

        rng = np.random.default_rng(self.random_state)
        mean, scale = X.mean(axis=0), max(float(X.std(axis=0).mean()), 1e-12)
        layers = _initial([X.shape[1], *self.hidden, self.dim], rng)
        members = [np.flatnonzero(codes == c) for c in range(len(self.classes_))]
        rows = ((X - mean) / scale).astype(np.float32)
        with np.errstate(all="ignore"), threadpool_limits(1, user_api="blas"):
            self.loss_curve_ = self._descend(layers, rows, codes, members, rng)
        (first, bias), *rest = [(weights.astype(np.float64), bias.astype(np.float64)) for weights, bias in layers]
        first = first / scale
        self.layers_ = [(first, bias - mean @ first), *rest]
        if not all(np.isfinite(array).all() for layer in self.layers_ for array in layer):
            raise ValueError(f"MetricHead: training diverged: take a smaller lr than {self.lr:g}")

    def _descend(
        self, layers: Layers, X: np.ndarray, codes: np.ndarray, members: list[np.ndarray], rng: np.random.Generator
    ) -> list[float]:
        """Trains the layers in place; the mean loss of each epoch."""
        velocity = [(np.zeros_like(weights), np.zeros_like(bias)) for weights, bias in layers]
        curve = []
        for _ in range(self.epochs):
            losses = []
            for _ in range(-(-len(codes) // self.batch_size)):
                rows = batch(members, self.batch_size, PER_CLASS, rng)
                outputs = forward(layers, X[rows])
                loss, by_z = self._loss(outputs[-1], codes[rows])
                losses.append(loss)
                for layer, moving, gradient in zip(layers, velocity, backward(layers, outputs, by_z), strict=True):
                    for array, v, g in zip(layer, moving, gradient, strict=True):
                        v *= self.momentum
                        v -= self.lr * (g + self.l2 * array)
                        array += v
            curve.append(float(np.mean(losses)))
        return curve


def forward(layers: Layers, X: np.ndarray) -> list[np.ndarray]:
    """X (B, D), the outputs of hidden layers, the last layer's (B, d) as it is, and the same with rows of length 1."""
    outputs = [X]
    for weights, bias in layers:
        X = (np.maximum(X, 0) if len(outputs) > 1 else X) @ weights + bias
        outputs.append(X)
    return [*outputs, _unit(X)]


def backward(layers: Layers, outputs: list[np.ndarray], by_z: np.ndarray) -> Layers:
    """The gradient by every weight and bias, from `forward`'s outputs and the gradient by z (B, d)."""
    *inputs, last, z = outputs
    length = np.maximum(np.linalg.norm(last, axis=1, keepdims=True), 1e-12)
    by_output = (by_z - z * (z * by_z).sum(axis=1, keepdims=True)) / length  # z = v / |v|: what is across z remains
    gradients = []
    for (weights, _), given in zip(reversed(layers), reversed(inputs), strict=True):
        seen = given if given is outputs[0] else np.maximum(given, 0)
        gradients.append((seen.T @ by_output, by_output.sum(axis=0)))
        if given is not outputs[0]:
            by_output = (by_output @ weights.T) * (given > 0)
    return gradients[::-1]


def _initial(sizes: list[int], rng: np.random.Generator) -> Layers:
    """Float32 weights as Glorot and Bengio draw them (AISTATS 2010, equation 16), no bias."""
    layers = []
    for n_in, n_out in zip(sizes[:-1], sizes[1:], strict=True):
        most = np.sqrt(6 / (n_in + n_out))
        weights = rng.uniform(-most, most, (n_in, n_out)).astype(np.float32)
        layers.append((weights, np.zeros(n_out, np.float32)))
    return layers
