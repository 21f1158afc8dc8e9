"""How learning rate and momentum change while a head is trained: pure functions of the time and the head's settings.

Time t is in epochs since training began, step / steps an epoch, (n,) float. Settings are an object with lr, momentum,
epochs, schedule, warmup, factor, step_size and momentum_end, as `heads.dense.DenseHead` has them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

_CYCLE_BEGIN, _CYCLE_RISE, _CYCLE_MOMENTUM = 1 / 25, 0.3, 0.1  # of one-cycle; the first two are PyTorch's


def constant(t: np.ndarray, span: float, settings: Any) -> np.ndarray:
    """The learning rate as it is."""
    return np.ones_like(t)


def step(t: np.ndarray, span: float, settings: Any) -> np.ndarray:
    """factor ** floor(t / step_size), as PyTorch's StepLR; without a step_size three equal parts."""
    return settings.factor ** (t // (settings.step_size or -(-span // 3)))


def exponential(t: np.ndarray, span: float, settings: Any) -> np.ndarray:
    """factor ** (t / step_size), as Keras' ExponentialDecay: `step` without its steps."""
    return settings.factor ** (t / (settings.step_size or -(-span // 3)))


def cosine(t: np.ndarray, span: float, settings: Any) -> np.ndarray:
    """(1 + cos(pi t / span)) / 2: I. Loshchilov, F. Hutter, SGDR, ICLR 2017, equation 5, to 0 and without restarts."""
    return (1 + np.cos(np.pi * t / span)) / 2


def one_cycle(t: np.ndarray, span: float, settings: Any) -> np.ndarray:
    """Straight down to 0: L. Smith, A disciplined approach to neural network hyper-parameters, 2018, section 4.

    The straight way up before it is in `learning_rate`.
    """
    return 1 - t / span


# name -> (t since the end of the warm-up, what is left of the epochs then, settings) -> parts of lr
SCHEDULES: dict[str, Callable[[np.ndarray, float, Any], np.ndarray]] = {
    "constant": constant,
    "step": step,
    "exponential": exponential,
    "cosine": cosine,
    "plateau": constant,  # times the reductions
    "one-cycle": one_cycle,
}


def learning_rate(t: np.ndarray, settings: Any, scores: Sequence[float] = ()) -> np.ndarray:
    """(n,) times t -> (n,) float64 learning rates.

    During the first `warmup` epochs it rises in a straight line from 0 (P. Goyal et al., Accurate, large minibatch SGD,
    2017, section 2.2), with "one-cycle" from lr / 25, and by itself for 30% of the epochs. The schedule begins then.
    scores: what was monitored after each epoch so far, lower is better; "plateau" multiplies by factor whenever there
    was no improvement in step_size of them (None: a tenth of the epochs), as Keras' ReduceLROnPlateau(min_delta=0).
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

    From `momentum` to `momentum_end` so that m / (1 - m), the weight of a gradient in all steps to come, changes in a
    straight line: Demon, J. Chen et al., Demon: Improved Neural Network Training with Momentum Decay, 2019, section 3,
    whose end is 0. With "one-cycle" it goes down in a straight line to momentum_end (None: 0.1 less than momentum) as
    the learning rate goes up, and up again (Smith, 2018).
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
    """How often `wait` scores in a row were no better than the lowest before them; then the count begins anew."""
    best, waited, reduced = np.inf, 0, 0
    for score in scores:
        waited = 0 if score < best else waited + 1
        best = min(best, score)
        if waited == wait:
            waited, reduced = 0, reduced + 1
    return reduced


def _rise(settings: Any) -> float:
    """Epochs of warm-up."""
    if settings.schedule == "one-cycle" and not settings.warmup:
        return _CYCLE_RISE * settings.epochs
    return settings.warmup
