"""How much more pictures would help: test scores over the size of the train part, and a guess at twice as many.

Arrays in, numbers out. Sizes n are numbers of training pictures, scores weighted F1 on the same test pictures.
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from winnow.heads.evaluation.fit import SEEDS, Split

SHARES = (0.1, 0.2, 0.35, 0.5, 0.7, 1.0)  # of the train part
LEAST = 2  # pictures of a class, and groups, in the smallest part; as many as there are where there are fewer
LEAST_SIZES = 4  # a law of three numbers goes through three points whatever they are
RESAMPLES = 200
_EXPONENTS = (0.02, 3.0)  # outside of these it is a straight line or a step, and says nothing of what lies beyond
_MISFIT = 3.0  # errors by which the law misses the scores, on the root mean square, above which there is no guess
_UNSURE = 0.002  # standard error of a score that every mean has at least: some splits agree by chance


class Law(NamedTuple):
    """1 − F1 = a + b n^−c: a, what is wrong with any number of pictures; c, how fast the rest falls.

    C. Cortes, L. Jackel, S. Solla, V. Vapnik, J. Denker, Learning Curves: Asymptotic Values and Rate of Convergence,
    NeurIPS 1993, equation 1.
    """

    a: float
    b: float
    c: float

    def __call__(self, n: Any) -> Any:
        """Weighted F1 at n pictures, a number or an array."""
        return 1 - self.a - self.b * np.asarray(n, dtype=np.float64) ** -self.c


def nested(split: Split, y: np.ndarray, seed: int, shares: tuple[float, ...] = SHARES) -> list[Split]:
    """The split with smaller and smaller train parts, one for each share: each is part of those of larger shares.

    Of every class its share of pictures, at least two of two groups where it has them. Groups are whole, in a seeded
    order, and count for the class that most of their rows have. All of it gives the split as it is. y: int (N,).
    """
    rows = split.train
    _, first, group = np.unique(split.groups[rows], return_index=True, return_inverse=True)
    codes, sizes = y[rows], np.bincount(group)
    votes = np.zeros((len(first), int(codes.max()) + 1), dtype=np.int64)
    np.add.at(votes, (group, codes), 1)
    of_class, order = votes.argmax(axis=1), np.random.default_rng(seed % SEEDS).permutation(len(first))
    parts = []
    for share in shares:
        taken = np.zeros(len(first), dtype=bool)
        for c in np.unique(of_class):
            members = order[of_class[order] == c]
            before = np.cumsum(sizes[members]) - sizes[members]
            wanted = max(LEAST, round(share * int(sizes[members].sum())))
            taken[members[(before < wanted) | (np.arange(len(members)) < LEAST)]] = True
        parts.append(replace(split, train=rows[taken[group]]))
    return parts


def summary(
    sizes: np.ndarray, scores: np.ndarray, n_test: float, rng: np.random.Generator | None = None
) -> dict[str, Any]:
    """{guess {pictures, weighted_f1 {mean, low, high}} or None, reason, exponent, law {a, b, c} or None}.

    sizes: (S,) growing, scores: (S, J) of J splits, n_test: pictures in their test parts. The guess is what `fitted`
    says of twice the largest size. Its 95% interval is that of `evaluate.corrected_interval`, ± t(J − 1) · sqrt(1 + J
    n_test / n_train) · error, with the error of a bootstrap over the splits; wider by how much more than by chance the
    law misses the scores it was fitted to (sqrt of χ² / (S − 3), R. Birge, The Calculation of Errors by the Method of
    Least Squares, Physical Review 40, 1932), and clipped to [0, 1]. It says how sure the law is where there are
    scores, not whether the law goes on: a guess. reason: why there is none, else None.
    """
    from scipy import stats

    nothing: dict[str, Any] = {"guess": None, "exponent": None, "law": None}
    repeats = scores.shape[1]
    if len(sizes) < LEAST_SIZES:
        return nothing | {"reason": f"it takes {LEAST_SIZES} sizes of the train part, and there are {len(sizes)}"}
    if repeats < 2:
        return nothing | {"reason": "it takes two splits or more"}
    errors = np.maximum(scores.std(axis=1, ddof=1) / np.sqrt(repeats), _UNSURE)
    means, rng = scores.mean(axis=1), rng or np.random.default_rng(0)
    law = fitted(sizes, means, errors)
    if law is None or not np.isfinite(law).all():
        return nothing | {"reason": "no power law fits these scores"}
    if not _EXPONENTS[0] * 1.01 < law.c < _EXPONENTS[1] * 0.99:
        return nothing | {"reason": f"the scores do not fall into a power law (its exponent would be {law.c:.2g})"}
    misfit = float(np.sqrt((((law(sizes) - means) / errors) ** 2).sum() / (len(sizes) - 3)))
    if misfit > _MISFIT:
        return nothing | {"reason": f"the scores do not fall into a power law (it misses them by {misfit:.1f} errors)"}
    drawn = (scores[:, rng.integers(repeats, size=repeats)].mean(axis=1) for _ in range(RESAMPLES))
    laws = [again for means in drawn if (again := fitted(sizes, means, errors, law))]
    if len(laws) < 0.9 * RESAMPLES:
        return nothing | {"reason": "no power law fits the scores of some of the splits"}
    twice = 2 * sizes[-1]
    error = np.std([again(twice) for again in laws]) * np.sqrt(repeats / (repeats - 1)) * max(1.0, misfit)
    margin = stats.t.ppf(0.975, repeats - 1) * np.sqrt(1 + repeats * n_test / sizes[-1]) * error
    mean = float(law(twice))
    low, high = np.clip([mean - margin, mean + margin], 0, 1).tolist()
    guess = {"pictures": int(round(twice)), "weighted_f1": {"mean": mean, "low": low, "high": high}}
    return {"guess": guess, "reason": None, "exponent": law.c, "law": law._asdict()}


def fitted(sizes: np.ndarray, means: np.ndarray, errors: np.ndarray, start: Law | None = None) -> Law | None:
    """The law with the least Σ ((law(n) − mean) / error)²; sizes, mean scores and their standard errors are (S,).

    a and b n^−c at the largest n lie in [0, 1]. None when the search does not end.
    """
    from scipy.optimize import OptimizeWarning, curve_fit

    n = np.asarray(sizes, dtype=np.float64)
    largest = n[-1]  # b there, so that all three numbers are of one order

    def wrong(n: np.ndarray, a: float, b: float, c: float) -> np.ndarray:
        return a + b * (n / largest) ** -c

    last = 1 - means[-1]
    begin = (last / 2, last / 2 + 1e-6, 0.5) if start is None else (start.a, start.b * largest**-start.c, start.c)
    low, high = (0.0, 0.0, _EXPONENTS[0]), (1.0, 1.0, _EXPONENTS[1])
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore", OptimizeWarning)  # of the covariance, which is not used
        try:
            (a, b, c), _ = curve_fit(wrong, n, 1 - means, np.clip(begin, low, high), errors, bounds=(low, high))
        except (RuntimeError, ValueError):
            return None
    return Law(float(a), float(b * largest**c), float(c))


def in_words(said: dict[str, Any]) -> str:
    """One sentence of what twice the pictures would bring, in points of weighted F1."""
    last, guess = said["sizes"][-1], said["guess"]
    pictures, now = last["pictures"], last["weighted_f1"]["mean"]
    if guess is None:
        return (
            f"{said['head']} on {pictures:,} training pictures: {now:.3f}; no guess at twice as many: {said['reason']}"
        )
    then = guess["weighted_f1"]
    gain = then["mean"] - float(Law(**said["law"])(pictures))
    helps = "little" if gain < 0.01 else "somewhat" if gain < 0.03 else "much"
    return (
        f"{said['head']} on {guess['pictures']:,} training pictures instead of {pictures:,}: {now:.3f} → about "
        f"{then['mean']:.3f} [{then['low']:.3f}, {then['high']:.3f}], a guess: more pictures help {helps}"
    )
