"""Schedules of learning rate and momentum: pure functions of time and the parameters of a head.

Time t is in epochs since the start, (step number) / (steps per epoch), (n,) float. `settings` is an object with the
attributes lr, momentum, epochs, schedule, warmup, factor, step_size and momentum_end, such as `dense.DenseHead`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

_CYCLE_BEGIN, _CYCLE_RISE, _CYCLE_MOMENTUM = 1 / 25, 0.3, 0.1  # one-cycle; the first two as in PyTorch


def constant(t: np.ndarray, span: float, settings: Any) -> np.ndarray:
    """A constant 1."""
    return np.ones_like(t)


def step(t: np.ndarray, span: float, settings: Any) -> np.ndarray:
    """factor ** floor(t / step_size), as PyTorch's StepLR; default step_size: a third of the span."""
    return settings.factor ** (t // (settings.step_size or -(-span // 3)))


def exponential(t: np.ndarray, span: float, settings: Any) -> np.ndarray:
    """factor ** (t / step_size), as Keras' ExponentialDecay."""
    return settings.factor ** (t / (settings.step_size or -(-span // 3)))


def cosine(t: np.ndarray, span: float, settings: Any) -> np.ndarray:
    """(1 + cos(pi t / span)) / 2: I. Loshchilov, F. Hutter, SGDR, ICLR 2017, equation 5, to 0 and without restarts."""
    return (1 + np.cos(np.pi * t / span)) / 2


def one_cycle(t: np.ndarray, span: float, settings: Any) -> np.ndarray:
    """Linearly down to 0: L. Smith, A disciplined approach to neural network hyper-parameters, 2018, section 4.

    The linear rise before it is part of `learning_rate`.
    """
    return 1 - t / span


# name -> function of (epochs since the end of the warm-up, epochs after the warm-up, settings), a factor of lr
SCHEDULES: dict[str, Callable[[np.ndarray, float, Any], np.ndarray]] = {
    "constant": constant,
    "step": step,
    "exponential": exponential,
    "cosine": cosine,
    "plateau": constant,  # `learning_rate` applies the reductions
    "one-cycle": one_cycle,
}


def learning_rate(t: np.ndarray, settings: Any, scores: Sequence[float] = ()) -> np.ndarray:
    """(n,) times t -> (n,) float64 learning rates.

    During the first `warmup` epochs it rises linearly from 0 (P. Goyal et al., Accurate, large minibatch SGD, 2017,
    section 2.2), with "one-cycle" from lr / 25 and by default for 30% of the epochs; then the schedule begins.
    scores: the monitored quantity after each epoch so far, lower is better; "plateau" multiplies by factor after
    step_size scores (None: a tenth of the epochs) without improvement, as Keras' ReduceLROnPlateau(min_delta=0).
    """
    rise, begin = _rise(settings), _CYCLE_BEGIN if settings.schedule == "one-cycle" else 0
    parts = SCHEDULES[settings.schedule](np.maximum(t - rise, 0), settings.epochs - rise, settings)
    if rise:
        parts = np.where(t < rise, begin + (1 - begin) * t / rise, parts)
    if settings.schedule == "plateau":
        wait = settings.step_size or -(-settings.epochs // 10)
        parts = parts * settings.factor ** reductions(scores[settings.warmup :], wait)
    return settings.lr * parts


def momentum(t: np.ndarray, settings: Any) -> np.ndarray:
    """(n,) times t -> (n,) float64 momenta.

    From `momentum` to `momentum_end` with m / (1 - m), the total weight of a gradient in all later steps, changing
    linearly: J. Chen et al., Demon: Improved Neural Network Training with Momentum Decay, 2019, section 3, where the
    end is 0. With "one-cycle" it decreases linearly to momentum_end (None: momentum - 0.1) while the learning rate
    rises, and increases again after that (Smith, 2018).
    """
    first, last = settings.momentum, settings.momentum_end
    if settings.schedule == "one-cycle":
        rise, last = _rise(settings), max(first - _CYCLE_MOMENTUM, 0) if last is None else last
        return np.interp(t, [0, rise, settings.epochs], [first, last, first])
    if last is None:
        return np.full_like(t, first)
    left = 1 - t / settings.epochs
    weight = left * first / (1 - first) + (1 - left) * last / (1 - last)
    return weight / (1 + weight)


def reductions(scores: Sequence[float], wait: int) -> int:
    """How often `wait` consecutive scores were not better than the lowest before them; the count then restarts."""
    best, waited, reduced = np.inf, 0, 0
    for score in scores:
        waited = 0 if score < best else waited + 1
        best = min(best, score)
        if waited == wait:
            waited, reduced = 0, reduced + 1
    return reduced


def _rise(settings: Any) -> float:
    """Number of warm-up epochs."""
    if settings.schedule == "one-cycle" and not settings.warmup:
        return _CYCLE_RISE * settings.epochs
    return settings.warmup
