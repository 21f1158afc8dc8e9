"""Stochastic gradient descent for a batch of dense networks of the same shape, in NumPy.

G networks start from the same weights and see the same rows in the same order; learning rate, momentum, l2, dropout and
class weights differ. Their weights are stacked in arrays with G as the first axis, and each step updates all of them.
Nothing is summed over G, so the result for a network does not depend on the others. The steps are those of Keras' SGD:
on networks this small Keras spends nearly all its time between the steps (seven fits take 36 times longer there).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

_PREDICTED_AT_ONCE = 1024  # rows


class SGD:
    """The optimizer of G networks: lr, momentum, nesterov, l2 and dropout at this step, float32 (G, 1, 1) each.

    settings: objects that have these attributes. Those of the first `n_full` networks update all weights at each step,
    see `updates_all_weights`; the others have neither momentum nor l2 and need no velocity.
    """

    def __init__(self, settings: list[Any]) -> None:
        self.lr, self.momentum, self.nesterov, self.l2, self.dropout = (
            np.array([[[getattr(one, name)]] for one in settings]).astype(np.float32)
            for name in ("lr", "momentum", "nesterov", "l2", "dropout")
        )
        self.n_full = sum(map(updates_all_weights, settings))

    def select(self, networks: np.ndarray) -> None:
        """Continue with these networks only, int64 indexes in ascending order."""
        self.nesterov, self.l2, self.dropout = (a[networks] for a in (self.nesterov, self.l2, self.dropout))
        self.lr, self.momentum = self.lr[networks], self.momentum[networks]
        self.n_full = int((networks < self.n_full).sum())

    def velocity(self, weights: np.ndarray) -> np.ndarray:
        """The initial velocity for weights (G, ...): zeros, for the networks that need one."""
        return np.zeros_like(weights[: self.n_full])

    def step(self, weights: np.ndarray, velocity: np.ndarray, gradient: np.ndarray, rows: Any = slice(None)) -> None:
        """v ← m v − lr g and w ← w + v, or w ← w + m v − lr g with Nesterov momentum; arrays (G, ...), in place.

        rows: rows of the weights that the gradient belongs to; it is 0 for the others.
        """
        k = self.n_full
        change = self.lr * gradient
        weights[k:, rows] -= change[k:]
        for g in range(k):  # one at a time, so that the arrays stay in the processor's cache
            velocity[g] *= self.momentum[g]
            velocity[g, rows] -= change[g]
            if self.nesterov[g]:
                weights[g] += self.momentum[g] * velocity[g]
                weights[g, rows] -= change[g]
            else:
                weights[g] += velocity[g]


class StackedLayer:
    """G kernels (inputs, units) that start equal; the input is (n, inputs), or (G, n, inputs), one for each network."""

    def __init__(self, kernel: np.ndarray, sgd: SGD) -> None:
        self.sgd = sgd
        self.kernels = np.repeat(kernel[None], len(sgd.lr), axis=0)
        self.velocity = sgd.velocity(self.kernels)

    def __call__(self, inputs: np.ndarray) -> np.ndarray:
        """The products (G, n, units)."""
        return inputs @ self.kernels

    def step(self, inputs: np.ndarray, delta: np.ndarray) -> None:
        """Update the kernels. delta (G, n, units): derivative of the loss by the output for these inputs."""
        gradient = inputs.swapaxes(-1, -2) @ delta
        if self.sgd.l2.any():
            gradient += 2 * self.sgd.l2 * self.kernels
        self.sgd.step(self.kernels, self.velocity, gradient)

    def snapshot(self, g: int) -> Callable[[], np.ndarray]:
        """A function that returns the present kernel of network g, also after further steps."""
        kernel = self.kernels[g].copy()
        return lambda: kernel

    def select(self, networks: np.ndarray) -> None:
        """Continue with these networks only."""
        self.kernels, self.velocity = self.kernels[networks], _select_velocity(self.velocity, networks)


class InputLayer:
    """A first layer on a table X (N, D): its input is row numbers of X. Methods as in `StackedLayer`."""

    def __init__(self, kernel: np.ndarray, X: np.ndarray, sgd: SGD) -> None:
        self.X, self.layer = X, StackedLayer(kernel, sgd)
        self.snapshot, self.select = self.layer.snapshot, self.layer.select

    def __call__(self, rows: np.ndarray | slice) -> np.ndarray:
        """The products (G, n, units) of these rows of X."""
        return self.layer(self.X[rows])

    def step(self, rows: np.ndarray, delta: np.ndarray) -> None:
        """Update the kernels, for these rows of X."""
        self.layer.step(self.X[rows], delta)


class DualInputLayer:
    """`InputLayer` in dual form: the same updates with n instead of 2 D multiplications per row and unit.

    The first n rows of X (N, D) are trained on. A step changes a kernel by a combination of the rows of its batch, so
    W = s W₀ + Xₙᵀ A with A (n, units), and X W = s X W₀ + (X Xₙᵀ) A. The products of rows are computed once; a step
    changes the rows of A that are in the batch, and l2 shrinks A and s. (M. Aizerman, E. Braverman, L. Rozonoer,
    Theoretical foundations of the potential function method in pattern recognition learning, 1964.)
    """

    def __init__(self, kernel: np.ndarray, X: np.ndarray, n: int, sgd: SGD) -> None:
        self.sgd, self.X, self.start = sgd, X[:n], kernel
        self.initial_output, self.products = X @ kernel, X @ X[:n].T
        self.s, self.A = np.ones_like(sgd.lr), np.zeros((len(sgd.lr), n, kernel.shape[1]), np.float32)
        self.s_velocity, self.A_velocity = sgd.velocity(self.s), sgd.velocity(self.A)

    def __call__(self, rows: np.ndarray | slice) -> np.ndarray:
        """The products (G, n, units) of these rows of X."""
        out = self.products[rows] @ self.A
        out += self.s * self.initial_output[rows]
        return out

    def step(self, rows: np.ndarray, delta: np.ndarray) -> None:
        """Update A, and s with l2, for these rows of X."""
        if not self.sgd.l2.any():
            self.sgd.step(self.A, self.A_velocity, delta, rows)
            return
        gradient = 2 * self.sgd.l2 * self.A
        gradient[:, rows] += delta
        self.sgd.step(self.A, self.A_velocity, gradient)
        self.sgd.step(self.s, self.s_velocity, 2 * self.sgd.l2 * self.s)

    def snapshot(self, g: int) -> Callable[[], np.ndarray]:
        """A function that returns the present kernel of network g, also after further steps."""
        s, A = self.s[g].copy(), self.A[g].copy()
        return lambda: s * self.start + self.X.T @ A

    def select(self, networks: np.ndarray) -> None:
        """Continue with these networks only."""
        self.s, self.A = self.s[networks], self.A[networks]
        self.s_velocity, self.A_velocity = (_select_velocity(v, networks) for v in (self.s_velocity, self.A_velocity))


class BatchedNetworks:
    """G networks of dense layers with ReLU between them and a softmax at the end, on a table X float32 (N, D).

    weights: the initial kernel, bias, kernel, bias, ... in Keras' order; the first n rows of X are trained on.
    class_weights: (G, C), weights of rows in the loss by class; None: 1.
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
        self.layers: list[Any] = [DualInputLayer(first, X, n, sgd) if dual else InputLayer(first, X, sgd)]
        self.layers += [StackedLayer(kernel, sgd) for kernel in others]
        self.biases = [np.repeat(bias[None, None], len(settings), axis=0) for bias in weights[1::2]]
        self.velocities = [sgd.velocity(bias) for bias in self.biases]
        self.rngs = [np.random.default_rng([seed, i]) for i in range(len(others))]  # for dropout

    def forward(self, rows: np.ndarray | slice, training: bool = False) -> tuple[np.ndarray, list[Any], list[Any]]:
        """Probabilities (G, n, C), the input of each layer, and the derivative (G, n, units) of each hidden ReLU."""
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
        out -= out.max(axis=2, keepdims=True)  # softmax in place: scipy's would allocate in the innermost loop
        np.exp(out, out=out)
        out /= out.sum(axis=2, keepdims=True)
        return out, inputs, slopes

    def step(self, rows: np.ndarray, codes: np.ndarray) -> np.ndarray:
        """One step on a batch with (n,) class indexes; returns the probabilities (G, n, C) before the step."""
        proba, inputs, slopes = self.forward(rows, training=True)
        delta = proba / np.float32(len(rows))  # derivative of the mean cross-entropy by the logits: (p − 1[c]) / n
        delta[:, np.arange(len(rows)), codes] -= np.float32(1 / len(rows))
        if self.class_weights is not None:
            delta *= self.class_weights[:, codes, None]
        for i in reversed(range(len(self.layers))):
            below = (delta @ self.layers[i].kernels.swapaxes(1, 2)) * slopes[i - 1] if i else delta
            self.layers[i].step(inputs[i], delta)
            self.sgd.step(self.biases[i], self.velocities[i], delta.sum(axis=1, keepdims=True))
            delta = below
        return proba

    def run_epoch(self, order: np.ndarray, codes: np.ndarray, size: int, rates: np.ndarray) -> np.ndarray:
        """Steps on batches of `size` rows in this order; returns the probabilities (G, n, C) before each step.

        codes: (N,) class indexes; rates: (2, G, steps), lr and momentum at each step.
        """
        proba = []
        for start, now in zip(range(0, len(order), size), rates.T.astype(np.float32), strict=True):
            rows = order[start : start + size]
            self.sgd.lr, self.sgd.momentum = now.T[:, :, None, None]
            proba.append(self.step(rows, codes[rows]))
        return np.concatenate(proba, axis=1)

    def predict(self, rows: range) -> np.ndarray:
        """Probabilities (G, len(rows), C)."""
        parts = [slice(start, min(start + _PREDICTED_AT_ONCE, rows.stop)) for start in rows[::_PREDICTED_AT_ONCE]]
        return np.concatenate([self.forward(part)[0] for part in parts], axis=1)

    def snapshot(self, g: int) -> Callable[[], list[np.ndarray]]:
        """A function that returns the present weights of network g in Keras' order, also after further steps."""
        pairs = [(layer.snapshot(g), bias[g, 0].copy()) for layer, bias in zip(self.layers, self.biases, strict=True)]
        return lambda: [array for kernel, bias in pairs for array in (kernel(), bias)]

    def select(self, networks: list[int]) -> None:
        """Continue with these networks only, indexes in ascending order; their results do not change."""
        indexes = np.array(networks)
        for part in (*self.layers, self.sgd):
            part.select(indexes)
        self.biases = [bias[indexes] for bias in self.biases]
        self.velocities = [_select_velocity(velocity, indexes) for velocity in self.velocities]
        if self.class_weights is not None:
            self.class_weights = self.class_weights[indexes]


def updates_all_weights(setting: Any) -> bool:
    """Whether a step also changes weights whose gradient is 0, because of momentum or l2."""
    return bool(setting.momentum > 0 or (setting.momentum_end or 0) > 0 or setting.l2 > 0)


def _select_velocity(velocity: np.ndarray, networks: np.ndarray) -> np.ndarray:
    """The velocities of these networks, as far as they have one."""
    return velocity[networks[networks < len(velocity)]]
