"""How much more images would help: test scores over the size of the train part, extrapolated to twice as many.

Arrays in, numbers out. Sizes n are numbers of training images, scores are weighted F1 on the same test images.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from winnow.heads.evaluation.fit import SEEDS, Split
from winnow.heads.evaluation.metrics import Interval

SHARES = (0.1, 0.2, 0.35, 0.5, 0.7, 1.0)  # of the train part
LEAST = 2  # images of a class, and groups, in the smallest part, or as many as the class has
LEAST_SIZES = 4  # a law with three parameters fits any three points
RESAMPLES = 200
_EXPONENTS = (0.02, 3.0)  # outside of these the law is nearly a straight line or a step and predicts nothing
_MISFIT = 3.0  # root mean square of (law − score) / error above which there is no extrapolation
_LEAST_ERROR = 0.002  # smallest standard error of a mean score: splits agree by chance


class PowerLaw(NamedTuple):
    """1 − F1 = a + b n^−c: a is the error that remains with any number of images, c how fast the rest decreases.

    C. Cortes, L. Jackel, S. Solla, V. Vapnik, J. Denker, Learning Curves: Asymptotic Values and Rate of Convergence,
    NeurIPS 1993, equation 1.
    """

    a: float
    b: float
    c: float

    def __call__(self, n: Any) -> Any:
        """Weighted F1 at n images, a number or an array."""
        return 1 - self.a - self.b * np.asarray(n, dtype=np.float64) ** -self.c


@dataclass(frozen=True)
class CurvePoint:
    """The score of a head trained on this number of images, a share of the train part."""

    pictures: int
    share: float
    weighted_f1: Interval

    def to_json(self) -> dict[str, Any]:
        """{pictures, share, weighted_f1 {mean, low, high}}."""
        return {"pictures": self.pictures, "share": self.share, "weighted_f1": self.weighted_f1.to_json()}


@dataclass(frozen=True)
class Forecast:
    """The score predicted by a power law for this number of training images."""

    pictures: int
    weighted_f1: Interval
    law: PowerLaw


@dataclass(frozen=True)
class LearningCurve:
    """The learning curve of a head and its extrapolation; forecast: None when there is none, for this reason."""

    head: str
    points: list[CurvePoint]
    forecast: Forecast | None
    reason: str | None = None

    def to_json(self) -> dict[str, Any]:
        """{head, sizes, guess {pictures, weighted_f1} or None, reason, exponent, law {a, b, c} or None}."""
        forecast = self.forecast
        return {
            "head": self.head,
            "sizes": [point.to_json() for point in self.points],
            "guess": forecast and {"pictures": forecast.pictures, "weighted_f1": forecast.weighted_f1.to_json()},
            "reason": self.reason,
            "exponent": forecast and forecast.law.c,
            "law": forecast and forecast.law._asdict(),
        }

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> LearningCurve:
        """The inverse of `to_json`."""
        points = [
            CurvePoint(size["pictures"], size["share"], Interval(**size["weighted_f1"])) for size in document["sizes"]
        ]
        guess, forecast = document["guess"], None
        if guess:
            forecast = Forecast(guess["pictures"], Interval(**guess["weighted_f1"]), PowerLaw(**document["law"]))
        return cls(document["head"], points, forecast, document["reason"])

    def describe(self) -> str:
        """One sentence about what twice as many images would bring, in points of weighted F1."""
        pictures, now = self.points[-1].pictures, self.points[-1].weighted_f1.mean
        if self.forecast is None:
            sentence = f"{self.head} on {pictures:,} training pictures: {now:.3f}"
            return f"{sentence}; no guess at twice as many: {self.reason}"
        f1 = self.forecast.weighted_f1
        gain = f1.mean - float(self.forecast.law(pictures))
        helps = "little" if gain < 0.01 else "somewhat" if gain < 0.03 else "much"
        return (
            f"{self.head} on {self.forecast.pictures:,} training pictures instead of {pictures:,}: {now:.3f} → about "
            f"{f1.mean:.3f} [{f1.low:.3f}, {f1.high:.3f}], a guess: more pictures help {helps}"
        )


def nested_subsets(split: Split, y: np.ndarray, seed: int, shares: Sequence[float] = SHARES) -> list[Split]:
    """The split with a smaller train part for each share; each train part contains those of smaller shares.

    Every class keeps its share of images, at least two of two groups where it has them. Groups are kept whole, are
    taken in a seeded order, and belong to the class of most of their rows. A share of 1 gives the split unchanged.
    No splitter of scikit-learn returns nested parts. y: int (N,).
    """
    rows = split.train
    _, first, group = np.unique(split.groups[rows], return_index=True, return_inverse=True)
    codes, sizes = y[rows], np.bincount(group)
    votes = np.zeros((len(first), int(codes.max()) + 1), dtype=np.int64)
    np.add.at(votes, (group, codes), 1)
    group_class, order = votes.argmax(axis=1), np.random.default_rng(seed % SEEDS).permutation(len(first))
    parts = []
    for share in shares:
        taken = np.zeros(len(first), dtype=bool)
        for c in np.unique(group_class):
            members = order[group_class[order] == c]
            before = np.cumsum(sizes[members]) - sizes[members]
            wanted = max(LEAST, round(share * int(sizes[members].sum())))
            taken[members[(before < wanted) | (np.arange(len(members)) < LEAST)]] = True
        parts.append(replace(split, train=rows[taken[group]]))
    return parts


def extrapolate(
    head: str, points: list[CurvePoint], sizes: np.ndarray, scores: np.ndarray, n_test: float
) -> LearningCurve:
    """Fit a power law to the scores and predict the score at twice the largest size.

    head, points: kept in the result. sizes: (S,) mean number of training images, increasing. scores: (S, J), of J
    splits. n_test: number of images in their test parts.

    The 95% interval is that of `metrics.corrected_interval`, ± t(J − 1) · sqrt(1 + J n_test / n_train) · error, with
    the error of a bootstrap over the splits. It is widened where the law misses the scores by more than chance (by the
    square root of χ² / (S − 3): R. Birge, The Calculation of Errors by the Method of Least Squares, Physical Review 40,
    1932), and clipped to [0, 1]. It covers the uncertainty of the law where there are scores, not whether the law
    continues beyond them.
    """
    forecast = _forecast(sizes, scores, n_test)
    if isinstance(forecast, str):
        return LearningCurve(head, points, None, forecast)
    return LearningCurve(head, points, forecast)


def _forecast(sizes: np.ndarray, scores: np.ndarray, n_test: float) -> Forecast | str:
    """The forecast, or the reason why there is none."""
    from scipy import stats

    repeats = scores.shape[1]
    if len(sizes) < LEAST_SIZES:
        return f"it takes {LEAST_SIZES} sizes of the train part, and there are {len(sizes)}"
    if repeats < 2:
        return "it takes two splits or more"
    errors = np.maximum(scores.std(axis=1, ddof=1) / np.sqrt(repeats), _LEAST_ERROR)
    means, rng = scores.mean(axis=1), np.random.default_rng(0)
    law = fit_power_law(sizes, means, errors)
    if law is None or not np.isfinite(law).all():
        return "no power law fits these scores"
    if not _EXPONENTS[0] * 1.01 < law.c < _EXPONENTS[1] * 0.99:
        return f"the scores do not fall into a power law (its exponent would be {law.c:.2g})"
    misfit = float(np.sqrt((((law(sizes) - means) / errors) ** 2).sum() / (len(sizes) - 3)))
    if misfit > _MISFIT:
        return f"the scores do not fall into a power law (it misses them by {misfit:.1f} errors)"
    resampled = (scores[:, rng.integers(repeats, size=repeats)].mean(axis=1) for _ in range(RESAMPLES))
    laws = [refitted for means in resampled if (refitted := fit_power_law(sizes, means, errors, law))]
    if len(laws) < 0.9 * RESAMPLES:
        return "no power law fits the scores of some of the splits"
    twice = 2 * sizes[-1]
    error = np.std([refitted(twice) for refitted in laws]) * np.sqrt(repeats / (repeats - 1)) * max(1.0, misfit)
    margin = stats.t.ppf(0.975, repeats - 1) * np.sqrt(1 + repeats * n_test / sizes[-1]) * error
    mean = float(law(twice))
    low, high = np.clip([mean - margin, mean + margin], 0, 1).tolist()
    return Forecast(int(round(twice)), Interval(mean, low, high), law)


def fit_power_law(
    sizes: np.ndarray, means: np.ndarray, errors: np.ndarray, start: PowerLaw | None = None
) -> PowerLaw | None:
    """The law with the least Σ ((law(n) − mean) / error)²; sizes, mean scores and their standard errors are (S,).

    a and b n^−c at the largest n lie in [0, 1]. None when the optimisation does not converge.
    """
    from scipy.optimize import OptimizeWarning, curve_fit

    n = np.asarray(sizes, dtype=np.float64)
    largest = n[-1]  # b is fitted in units of it, so that all three parameters are of one order of magnitude

    def error_rate(n: np.ndarray, a: float, b: float, c: float) -> np.ndarray:
        return a + b * (n / largest) ** -c

    last = 1 - means[-1]
    initial = (last / 2, last / 2 + 1e-6, 0.5) if start is None else (start.a, start.b * largest**-start.c, start.c)
    low, high = (0.0, 0.0, _EXPONENTS[0]), (1.0, 1.0, _EXPONENTS[1])
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore", OptimizeWarning)  # about the covariance, which is not used
        try:
            (a, b, c), _ = curve_fit(error_rate, n, 1 - means, np.clip(initial, low, high), errors, bounds=(low, high))
        except (RuntimeError, ValueError):
            return None
    return PowerLaw(float(a), float(b * largest**c), float(c))
