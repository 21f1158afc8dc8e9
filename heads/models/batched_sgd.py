"""Dense networks that differ only in how they are trained, trained as one: the same rows, order and start.

The weights of G networks stand in one array with G in front, and every step moves all of them. Nothing is summed over
G, so what becomes of a network does not depend on those beside it. The steps are those of Keras' SGD, in NumPy: on
networks this small Keras spends nearly all its time between the steps.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

_AT_ONCE = 1024  # rows that are predicted together


class SGD:
    """Of G networks: lr, momentum, nesterov, l2 and dropout, float32 (G, 1, 1) each, as they are at this step.

    settings: objects that have these; the first `moving` of them have momentum or l2, the others neither.
    """

    def __init__(self, settings: list[Any]) -> None:
        self.lr, self.momentum, self.nesterov, self.l2, self.dropout = (
            np.array([[[getattr(one, name)]] for one in settings]).astype(np.float32)
            for name in ("lr", "momentum", "nesterov", "l2", "dropout")
        )
        self.moving = sum(map(moves, settings))

    def keep(self, networks: np.ndarray) -> None:
        """Go on with these of the networks, int64 in rising order."""
        self.nesterov, self.l2, self.dropout = (a[networks] for a in (self.nesterov, self.l2, self.dropout))
        self.lr, self.momentum = self.lr[networks], self.momentum[networks]
        self.moving = int((networks < self.moving).sum())

    def velocity(self, weights: np.ndarray) -> np.ndarray:
        """Zeros as the weights (G, ...), of the networks that move."""
        return np.zeros_like(weights[: self.moving])

    def step(self, weights: np.ndarray, velocity: np.ndarray, gradient: np.ndarray, rows: Any = slice(None)) -> None:
        """v ← m v − lr g and w ← w + v, or w ← w + m v − lr g with Nesterov's; arrays (G, ...), in place.

        rows: of the weights, those that the gradient is of; it is 0 for the others.
        """
        k = self.moving
        change = self.lr * gradient
        weights[k:, rows] -= change[k:]
        for g in range(k):  # one by one they stay in the cache
            velocity[g] *= self.momentum[g]
            velocity[g, rows] -= change[g]
            if self.nesterov[g]:
                weights[g] += self.momentum[g] * velocity[g]
                weights[g, rows] -= change[g]
            else:
                weights[g] += velocity[g]


class Layer:
    """G kernels (inputs, units) that begin alike; what goes in is (n, inputs), or (G, n, inputs), one of each."""

    def __init__(self, kernel: np.ndarray, sgd: SGD) -> None:
        self.sgd = sgd
        self.kernels = np.repeat(kernel[None], len(sgd.lr), axis=0)
        self.velocity = sgd.velocity(self.kernels)

    def __call__(self, inputs: np.ndarray) -> np.ndarray:
        """-> (G, n, units)."""
        return inputs @ self.kernels

    def step(self, inputs: np.ndarray, delta: np.ndarray) -> None:
        """delta (G, n, units): derivative of the loss by what came out of these inputs."""
        gradient = inputs.swapaxes(-1, -2) @ delta
        if self.sgd.l2.any():
            gradient += 2 * self.sgd.l2 * self.kernels
        self.sgd.step(self.kernels, self.velocity, gradient)

    def kernel(self, g: int) -> Callable[[], np.ndarray]:
        """What gives the kernel of one network as it is now."""
        kernel = self.kernels[g].copy()
        return lambda: kernel

    def keep(self, networks: np.ndarray) -> None:
        """Go on with these of the networks."""
        self.kernels, self.velocity = self.kernels[networks], _moving(self.velocity, networks)


class Rows:
    """A first layer on a table X (N, D): what goes in are numbers of rows."""

    def __init__(self, kernel: np.ndarray, X: np.ndarray, sgd: SGD) -> None:
        self.X, self.layer = X, Layer(kernel, sgd)
        self.kernel, self.keep = self.layer.kernel, self.layer.keep

    def __call__(self, rows: np.ndarray | slice) -> np.ndarray:
        """As of `Layer`, for these rows of X."""
        return self.layer(self.X[rows])

    def step(self, rows: np.ndarray, delta: np.ndarray) -> None:
        """As of `Layer`, for these rows of X."""
        self.layer.step(self.X[rows], delta)


class DualRows:
    """The same layer, moved by the same steps, with n instead of 2 D multiplications a row and unit.

    Of X (N, D) the first n rows are trained on. A step moves a kernel along the rows of its batch only, so W = s W₀ +
    Xₙᵀ A with A (n, units), and X W = s X W₀ + (X Xₙᵀ) A. The products of rows are computed once; a step changes A in
    the rows of the batch, and l2 lets A and s shrink. (The dual form of M. Aizerman, E. Braverman, L. Rozonoer,
    Theoretical foundations of the potential function method in pattern recognition learning, 1964.)
    """

    def __init__(self, kernel: np.ndarray, X: np.ndarray, n: int, sgd: SGD) -> None:
        self.sgd, self.X, self.start = sgd, X[:n], kernel
        self.begun, self.products = X @ kernel, X @ X[:n].T
        self.s, self.A = np.ones_like(sgd.lr), np.zeros((len(sgd.lr), n, kernel.shape[1]), np.float32)
        self.s_velocity, self.A_velocity = sgd.velocity(self.s), sgd.velocity(self.A)

    def __call__(self, rows: np.ndarray | slice) -> np.ndarray:
        """As of `Layer`, for these rows of X."""
        out = self.products[rows] @ self.A
        out += self.s * self.begun[rows]
        return out

    def step(self, rows: np.ndarray, delta: np.ndarray) -> None:
        """As of `Layer`, for these rows of X."""
        if not self.sgd.l2.any():
            self.sgd.step(self.A, self.A_velocity, delta, rows)
            return
        gradient = 2 * self.sgd.l2 * self.A
        gradient[:, rows] += delta
        self.sgd.step(self.A, self.A_velocity, gradient)
        self.sgd.step(self.s, self.s_velocity, 2 * self.sgd.l2 * self.s)

    def kernel(self, g: int) -> Callable[[], np.ndarray]:
        """As of `Layer`."""
        s, A = self.s[g].copy(), self.A[g].copy()
        return lambda: s * self.start + self.X.T @ A

    def keep(self, networks: np.ndarray) -> None:
        """As of `Layer`."""
        self.s, self.A = self.s[networks], self.A[networks]
        self.s_velocity, self.A_velocity = (_moving(v, networks) for v in (self.s_velocity, self.A_velocity))


class Networks:
    """G networks of dense layers, ReLU between them and a softmax behind, on a table X float32 (N, D).

    weights: kernel, bias, kernel, bias, ... as Keras gives them: where all G begin; the first n rows are trained on.
    class_weights: (G, C), what a row of a class counts in the loss; None: 1 each.
    """

    def __init__(
        self,
        weights: list[np.ndarray],
        X: np.ndarray,
        n: int,
        settings: list[Any],
        seed: int,
        class_weights: np.ndarray | None = None,
    ) -> None:
        self.sgd = sgd = SGD(settings)
        self.class_weights = None if class_weights is None else class_weights.astype(np.float32)
        first, *others = weights[::2]
        dual = n < 2 * X.shape[1]
        self.layers: list[Any] = [DualRows(first, X, n, sgd) if dual else Rows(first, X, sgd)]
        self.layers += [Layer(kernel, sgd) for kernel in others]
        self.biases = [np.repeat(bias[None, None], len(settings), axis=0) for bias in weights[1::2]]
        self.velocities = [sgd.velocity(bias) for bias in self.biases]
        self.rngs = [np.random.default_rng([seed, i]) for i in range(len(others))]  # of dropout

    def forward(self, rows: np.ndarray | slice, training: bool = False) -> tuple[np.ndarray, list[Any], list[Any]]:
        """-> (G, n, C) probabilities, the inputs of every layer, the slopes (G, n, units) of every hidden one."""
        inputs, slopes = [rows], []
        for i, (layer, bias) in enumerate(zip(self.layers, self.biases, strict=True)):
            out = layer(inputs[-1])
            out += bias
            if i == len(self.rngs):
                break
            slope = (out > 0).astype(np.float32)
            if training and self.sgd.dropout.any():
                kept = self.rngs[i].random(out.shape[1:], np.float32) >= self.sgd.dropout
                slope *= kept / (1 - self.sgd.dropout)
            slopes.append(slope)
            inputs.append(out * slope)
        out -= out.max(axis=2, keepdims=True)
        np.exp(out, out=out)
        out /= out.sum(axis=2, keepdims=True)
        return out, inputs, slopes

    def step(self, rows: np.ndarray, codes: np.ndarray) -> np.ndarray:
        """One step on a batch, with the (n,) classes of its rows -> (G, n, C) probabilities before it."""
        proba, inputs, slopes = self.forward(rows, training=True)
        delta = proba / np.float32(len(rows))  # of the mean cross-entropy by what goes into the softmax: (p − 1[c]) / n
        delta[:, np.arange(len(rows)), codes] -= np.float32(1 / len(rows))
        if self.class_weights is not None:
            delta *= self.class_weights[:, codes, None]
        for i in reversed(range(len(self.layers))):
            below = (delta @ self.layers[i].kernels.swapaxes(1, 2)) * slopes[i - 1] if i else delta
            self.layers[i].step(inputs[i], delta)
            self.sgd.step(self.biases[i], self.velocities[i], delta.sum(axis=1, keepdims=True))
            delta = below
        return proba

    def epoch(self, order: np.ndarray, codes: np.ndarray, size: int, rates: np.ndarray) -> np.ndarray:
        """Steps on batches of `size` rows in this order; codes (N,) -> (G, n, C) probabilities as they were then.

        rates: (2, G, steps), lr and momentum at each step.
        """
        proba = []
        for start, now in zip(range(0, len(order), size), rates.T.astype(np.float32), strict=True):
            rows = order[start : start + size]
            self.sgd.lr, self.sgd.momentum = now.T[:, :, None, None]
            proba.append(self.step(rows, codes[rows]))
        return np.concatenate(proba, axis=1)

    def predict(self, rows: range) -> np.ndarray:
        """-> (G, len(rows), C) probabilities."""
        parts = [slice(start, min(start + _AT_ONCE, rows.stop)) for start in rows[::_AT_ONCE]]
        return np.concatenate([self.forward(part)[0] for part in parts], axis=1)

    def weights(self, g: int) -> Callable[[], list[np.ndarray]]:
        """What gives the weights of one network as they are now, as Keras takes them."""
        pairs = [(layer.kernel(g), bias[g, 0].copy()) for layer, bias in zip(self.layers, self.biases, strict=True)]
        return lambda: [array for kernel, bias in pairs for array in (kernel(), bias)]

    def keep(self, networks: list[int]) -> None:
        """Go on with these of the networks, in rising order; what becomes of them does not change."""
        which = np.array(networks)
        for part in (*self.layers, self.sgd):
            part.keep(which)
        self.biases = [bias[which] for bias in self.biases]
        self.velocities = [_moving(velocity, which) for velocity in self.velocities]
        if self.class_weights is not None:
            self.class_weights = self.class_weights[which]


def moves(setting: Any) -> bool:
    """Whether a setting makes weights move that their batch has nothing to do with."""
    return bool(setting.momentum > 0 or (setting.momentum_end or 0) > 0 or setting.l2 > 0)


def _moving(velocity: np.ndarray, networks: np.ndarray) -> np.ndarray:
    """The velocities of those among `networks` that have one."""
    return velocity[networks[networks < len(velocity)]]
