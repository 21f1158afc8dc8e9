"""Off-topic score: how far each picture stands out from the pictures of its label. Arrays in, arrays out.

Pictures are compared by the cosine distance d = 1 - z.z', z = x / |x|. No matrix is of size N x N: distances are
computed in blocks to a bounded number of references, so memory and time grow with N.
"""

from __future__ import annotations

import numpy as np

from winnow.curate.noise.vector_rows import first_rows, row_blocks, rows_by_key, unit_rows

QUANTILE = 0.25  # only a clump of more than a quarter of its label hides its members from each other
LEAST_NEIGHBOURS = 5  # the least k, or half of a smaller label
REFERENCES = 4096  # per label, at most: the distances to a random sample of that size have the same quantile
CENTRED_WEIGHT = 0.75  # of the view that separates classes, beside the view that separates other subjects
MIDPOINT, STEEPNESS = 2.0, 2.0  # the score is 0.5 at two robust standard deviations
LINEAR_LOGITS = 4.0  # larger logits grow as their logarithm, so that very distant pictures still differ in float64


def score_off_topic(pooled: np.ndarray, bottleneck: np.ndarray, labels: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Score how far each picture stands out from those of its label.

    The depth of a picture is the `QUANTILE` of its distances to the pictures of its label: the distance to the k-th
    nearest neighbour (Ramaswamy et al., 2000, SIGMOD, definition 2.1), with a k that grows with the label, so that a
    clump of noise does not hide itself. The larger of two views counts, both on the scale
    z = (depth - median) / (1.4826 MAD) over the folder:

    - the bottleneck vector as it is, which separates people, rooms, streets, drawings and blur;
    - `CENTRED_WEIGHT` times the mean z of both vectors after subtracting the mean of the labels' means. What all
      pictures have in common then no longer hides the difference between classes, so a picture of a neighbouring class
      stands out.

    score = 1 / (1 + exp(-STEEPNESS (z - MIDPOINT))), so 0.5 means the same in every folder: two robust standard
    deviations (beyond `LINEAR_LOGITS` the exponent grows as its logarithm). With fewer than two labels only the first
    view counts. A picture that is alone in its label has z = 0.

    Measured on 1,000 flower photographs: average precision 0.82 for their own off-topic pictures (the half with public
    verdicts); AUROC at 5% injected noise 0.99 for drawn pictures, 0.96 for blurred ones (0.985 among pictures that are
    on topic by eye), 0.84 for a flower class hidden under the others (uncentred: pooled 0.82, bottleneck 0.76).

    Parameters
    ----------
    pooled : float ndarray of shape (N, D)
    bottleneck : float ndarray of shape (N, B)
    labels : int ndarray of shape (N,)
        -1 for pictures without a label, which form one group of their own.
    groups : int ndarray of shape (N,)
        Duplicates have the same number. They count once, and are no neighbours of each other.

    Returns
    -------
    float64 ndarray of shape (N,), 0 to 1, higher is worse.
    """
    once = np.unique(np.stack([labels, groups]), axis=1, return_index=True)[1]
    z = _robust_z(_depths(bottleneck, labels, groups), once)
    centres = [_centre(x, labels, groups) for x in (bottleneck, pooled)]
    labelled = labels >= 0
    if len(np.unique(labels[labelled])) > 1:
        views = zip((bottleneck, pooled), centres, strict=True)
        depths = [np.where(labelled, _depths(x, labels, groups, centre), np.nan) for x, centre in views]
        centred = np.mean([_robust_z(depth, once) for depth in depths], axis=0)
        z = np.where(labelled, np.maximum(z, CENTRED_WEIGHT * centred), z)
    logits = STEEPNESS * (z - MIDPOINT)
    beyond = np.maximum(logits - LINEAR_LOGITS, 0)
    logits = np.where(logits > LINEAR_LOGITS, LINEAR_LOGITS + np.log1p(beyond), logits)
    return 1 / (1 + np.exp(-logits))


def _depths(x: np.ndarray, labels: np.ndarray, groups: np.ndarray, centre: np.ndarray | float = 0.0) -> np.ndarray:
    """Compute the `QUANTILE` of the distances to other groups of the same label: float64 (N,), nan without any."""
    rng = np.random.default_rng(0)
    depths = np.full(len(x), np.nan)
    for rows in rows_by_key(labels):
        references = rows[first_rows(groups[rows])]
        if len(references) > REFERENCES:
            references = np.sort(rng.choice(references, REFERENCES, replace=False))
        others = len(references) - 1
        if others < 1:
            continue
        k = max(int(np.ceil(QUANTILE * others)), min(LEAST_NEIGHBOURS, (others + 1) // 2))
        z = unit_rows(unit_rows(x[references]) - centre)
        for block in row_blocks(rows):
            distances = 1 - unit_rows(unit_rows(x[block]) - centre) @ z.T  # (block, references)
            distances[groups[block][:, None] == groups[references]] = np.inf
            depths[block] = np.partition(distances, k - 1, axis=1)[:, k - 1]
    return depths


def _centre(x: np.ndarray, labels: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Compute the mean of the labels' mean unit vectors, with duplicates counted once: float32 (D,)."""
    total, count = np.zeros(x.shape[1]), 0
    for rows in rows_by_key(labels):
        if labels[rows[0]] >= 0:
            once = rows[first_rows(groups[rows])]
            total += sum(unit_rows(x[block]).sum(axis=0, dtype=np.float64) for block in row_blocks(once)) / len(once)
            count += 1
    return (total / max(count, 1)).astype(np.float32)


def _robust_z(values: np.ndarray, once: np.ndarray) -> np.ndarray:
    """Compute (value - median) / (1.4826 MAD), both over the rows `once`; 0 for nan, and where nothing varies."""
    finite = values[once][np.isfinite(values[once])]
    median = np.median(finite) if len(finite) else 0.0
    deviations = np.abs(finite - median)
    spread = 0.0 if not len(finite) else 1.4826 * np.median(deviations) or deviations.mean()
    if spread < 1e-6:  # rounding in float32
        return np.zeros(len(values))
    return np.where(np.isfinite(values), (values - median) / spread, 0.0)
