"""Label errors: how likely each given label is wrong, and which label is more probable. Arrays in, arrays out.

No matrix is of size N x N: the discriminant needs sums over pictures only, and a bounded number of neighbours vote, so
100,000 pictures take less than a minute.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from winnow.curate.noise.vector_rows import first_rows, row_blocks, unit_rows

FOLDS = 5
SHRINKAGE = 0.5  # of the covariance within classes, to a multiple of the identity
NEIGHBOURS = 20  # nearest neighbours that vote
VOTERS = 16384  # pictures that neighbours are chosen from, at most
CALIBRATION = 20000  # pictures that the temperature is fitted on, at most
CENTRE_SAMPLE = 10000  # at least this many pictures give the mean that is subtracted, to reduce rounding errors
UNKNOWN = -1e9  # log prior of a class that no other fold holds


@dataclass(frozen=True)
class LabelErrors:
    """How likely each label is wrong, and what it would be instead.

    score : float64 ndarray of shape (N,), 0 to 1, higher is worse; nan without a label.
    suggested : int64 ndarray of shape (N,), the most probable class where it is not the given one, else -1.
    """

    score: np.ndarray
    suggested: np.ndarray


def score_label_errors(
    pooled: np.ndarray, bottleneck: np.ndarray, labels: np.ndarray, groups: np.ndarray, seed: int = 0
) -> LabelErrors:
    """Score how likely each label is wrong, and suggest the label that the picture would have instead.

    p, (N, C), is the mean of two estimates that do not use the picture's own label: the out-of-fold probabilities of a
    linear discriminant, fitted twice, the second time with every picture weighted by p(label) / max p of the first
    (wrong labels count less); and the share of each label among its `NEIGHBOURS` nearest neighbours. With
    q = p(label) and r = the largest of the rest, score = mean of 1 - q (self-confidence) and (1 - q + r) / 2
    (normalised margin): equations in Northcutt et al., 2021, JAIR, "Confident learning". A label with one group only
    cannot be checked: its score is 0, as all scores are when there is one label. Pictures without a label get the most
    probable one as `suggested`.

    Measured on 1,000 flower photographs, a tenth of the labels flipped, five seeds: AUROC 0.988 and average precision
    0.93 when flipped to any class, 0.969 and 0.82 when each class is flipped to one other.

    Parameters
    ----------
    pooled : float ndarray of shape (N, D)
    bottleneck : float ndarray of shape (N, B)
    labels : int ndarray of shape (N,)
        -1 for pictures without a label.
    groups : int ndarray of shape (N,)
        Duplicates have the same number. They count once, share a fold, and do not vote for each other.
    seed : int
        Decides the folds.
    """
    score, suggested = np.where(labels < 0, np.nan, 0.0), np.full(len(labels), -1, dtype=np.int64)
    classes, y = np.unique(labels[labels >= 0], return_inverse=True)
    if len(classes) < 2:
        return LabelErrors(score, suggested)
    codes = np.full(len(labels), -1, dtype=np.int64)
    codes[labels >= 0] = y
    p = _discriminant_probabilities(pooled, codes, groups, seed)
    p += _neighbour_votes(bottleneck, codes, groups)
    p /= 2
    best = p.argmax(axis=1)
    suggested[:] = np.where(best == codes, -1, classes[best])
    labelled = np.flatnonzero(codes >= 0)
    given = p[labelled, codes[labelled]].astype(np.float64)
    p[labelled, codes[labelled]] = -1
    score[labelled] = ((1 - given) + (1 - given + p[labelled].max(axis=1)) / 2) / 2
    groups_per_class = np.bincount(np.unique(np.stack([codes[labelled], groups[labelled]]), axis=1)[0])
    score[labelled[groups_per_class[codes[labelled]] < 2]] = 0
    return LabelErrors(np.clip(score, 0, 1), suggested)


def _discriminant_probabilities(x: np.ndarray, codes: np.ndarray, groups: np.ndarray, seed: int) -> np.ndarray:
    """Compute out-of-fold class probabilities, float32 (N, C), by linear discriminant analysis with shrinkage.

    A fold only needs sums over the others (Hastie et al., 2009, Elements of Statistical Learning, section 4.3).
    """
    folds = _deal_folds(codes, groups, seed)
    labelled = np.flatnonzero(codes >= 0)
    _, group, size = np.unique(groups, return_inverse=True, return_counts=True)
    once = (codes >= 0) / size[group]  # duplicates count once
    weights = once.copy()
    for _ in range(2):
        p = _calibrated_softmax(_discriminant_scores(x, codes, folds, weights), codes)
        trust = p[labelled, codes[labelled]] / np.maximum(p[labelled].max(axis=1), 1e-12)
        weights[labelled] = once[labelled] * trust
    return p


def _discriminant_scores(x: np.ndarray, codes: np.ndarray, folds: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Compute x.S^-1.m_c - m_c.S^-1.m_c / 2 + log prior of c, with S and m of the other folds: float32 (N, C)."""
    centre = unit_rows(x[:: max(1, len(x) // CENTRE_SAMPLE)]).mean(axis=0)  # any point near the middle will do
    gram, sums, counts = _fold_sums(x, codes, folds, weights, centre)
    scores = np.zeros((len(x), counts.shape[1]), dtype=np.float32)
    for fold in range(FOLDS):
        rest = np.arange(FOLDS) != fold
        n = counts.sum(axis=0) - counts[fold]
        slopes, offsets = _fit_discriminant(gram[rest].sum(axis=0), sums[rest].sum(axis=0), n)
        for block in row_blocks(np.flatnonzero(folds == fold)):
            scores[block] = (unit_rows(x[block]) - centre) @ slopes + offsets
    return scores


def _fold_sums(
    x: np.ndarray, codes: np.ndarray, folds: np.ndarray, weights: np.ndarray, centre: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sum over each fold: outer products (FOLDS, D, D), vectors (FOLDS, C, D) and weights (FOLDS, C) per class."""
    from scipy.sparse import csr_array

    classes, width = int(codes.max()) + 1, x.shape[1]
    gram, sums, counts = np.zeros((FOLDS, width, width)), np.zeros((FOLDS, classes, width)), np.zeros((FOLDS, classes))
    for fold in range(FOLDS):
        for block in row_blocks(np.flatnonzero((folds == fold) & (codes >= 0))):
            z, w = unit_rows(x[block]) - centre, weights[block].astype(np.float32)
            gram[fold] += z.T @ (z * w[:, None])
            sums[fold] += csr_array((w, (codes[block], np.arange(len(block)))), shape=(classes, len(block))) @ z
            counts[fold] += np.bincount(codes[block], w, classes)
    return gram, sums, counts


def _fit_discriminant(gram: np.ndarray, sums: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fit slopes (D, C) and offsets (C,) from the sums (D, D) and (C, D) and the weights (C,) of the classes."""
    from scipy.linalg import solve

    width, total = len(gram), max(counts.sum(), 1e-9)
    means = sums / np.maximum(counts, 1e-9)[:, None]  # (C, D)
    within = (gram - (means * counts[:, None]).T @ means) / total
    level = np.trace(within) / width
    within *= 1 - SHRINKAGE
    within[np.diag_indices(width)] += SHRINKAGE * level + 1e-6
    slopes = solve(within, means.T, assume_a="pos")
    log_priors = np.where(counts > 1e-9, np.log(np.maximum(counts, 1e-9) / total), UNKNOWN)
    return slopes, log_priors - np.einsum("cd,dc->c", means, slopes) / 2


def _calibrated_softmax(scores: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Replace scores (N, C), in place, by softmax(t scores), with the t that makes the labels most likely.

    Temperature scaling: Guo et al., 2017, ICML, "On calibration of modern neural networks", section 4.2.
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import logsumexp, softmax

    labelled = np.flatnonzero(codes >= 0)
    labelled = labelled[:: max(1, len(labelled) // CALIBRATION)]
    sample = scores[labelled].astype(np.float64)
    given = sample[np.arange(len(labelled)), codes[labelled]]
    learnable = given > UNKNOWN / 10  # a label that is in one fold only cannot be learnt without it
    given, sample = given[learnable], sample[learnable]

    def loss(log_t: float) -> float:
        return float(np.mean(logsumexp(np.exp(log_t) * sample, axis=1) - np.exp(log_t) * given))

    t = np.exp(minimize_scalar(loss, bounds=(-7, 4), method="bounded").x) if len(given) else 1.0
    for block in row_blocks(np.arange(len(scores))):
        scores[block] = softmax(t * scores[block], axis=1)
    return scores


def _neighbour_votes(x: np.ndarray, codes: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Compute (votes + 1 / C) / (neighbours + 1) over the nearest pictures of other groups: float32 (N, C)."""
    classes = int(codes.max()) + 1
    voters = np.flatnonzero(codes >= 0)
    voters = voters[first_rows(groups[voters])]
    if len(voters) > VOTERS:
        voters = np.sort(np.random.default_rng(0).choice(voters, VOTERS, replace=False))
    centre = unit_rows(x[voters]).mean(axis=0)
    z, k = unit_rows(unit_rows(x[voters]) - centre), min(NEIGHBOURS, len(voters))
    shares = np.empty((len(x), classes), dtype=np.float32)
    for block in row_blocks(np.arange(len(x))):
        cosines = unit_rows(unit_rows(x[block]) - centre) @ z.T  # (block, voters)
        cosines[groups[block][:, None] == groups[voters]] = -np.inf
        nearest = np.argpartition(cosines, len(voters) - k, axis=1)[:, len(voters) - k :]
        counts = np.isfinite(np.take_along_axis(cosines, nearest, axis=1)).astype(np.float64)
        cells = np.arange(len(block))[:, None] * classes + codes[voters][nearest]
        votes = np.bincount(cells.ravel(), counts.ravel(), len(block) * classes).reshape(len(block), classes)
        shares[block] = (votes + 1 / classes) / (counts.sum(axis=1, keepdims=True) + 1)
    return shares


def _deal_folds(codes: np.ndarray, groups: np.ndarray, seed: int) -> np.ndarray:
    """Deal groups, whole and label by label, into folds in a seeded order: the fold of each picture, int64 (N,).

    scikit-learn's StratifiedGroupKFold gives the same average precision (0.93), but rejects folders whose labels have
    fewer than five pictures each, and takes 3 s for 20,000 pictures where this takes 1 ms.
    """
    _, first, group = np.unique(groups, return_index=True, return_inverse=True)
    shuffled = np.random.default_rng(seed).permutation(len(first))
    order = shuffled[np.argsort(codes[first][shuffled], kind="stable")]
    folds = np.empty(len(first), dtype=np.int64)
    folds[order] = np.arange(len(first)) % FOLDS
    return folds[group]
