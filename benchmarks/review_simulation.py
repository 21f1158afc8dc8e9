"""Simulation of a review: the feedback loop with verdicts read from the known noise."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from winnow.curate.noise.active_learning import next_batch, rerank


def simulate_review(
    ids: Sequence[str],
    pooled: np.ndarray,
    bottleneck: np.ndarray,
    groups: np.ndarray,
    prior: np.ndarray,
    noise: np.ndarray,
    reviewable: np.ndarray,
    budget: int,
) -> tuple[int, int]:
    """Count the noisy pictures among `budget` reviewed ones: with feedback in batches of ten, and by the prior alone.

    Every picture is scored; only those that are `reviewable` (bool (N,)) are reviewed, the others stay undecided.
    """
    verdicts = np.full(len(ids), -1, dtype=np.int8)
    rows = np.flatnonzero(reviewable)
    known = [ids[row] for row in rows.tolist()]
    while (left := budget - int((verdicts >= 0).sum())) > 0:
        score = rerank(pooled, bottleneck, prior, verdicts, groups)
        batch = rows[next_batch(known, score[rows], verdicts[rows])][:left]
        verdicts[batch] = noise[batch]
    fixed = rows[np.argsort(-prior[rows], kind="stable")][:budget]
    return int((verdicts == 1).sum()), int(noise[fixed].sum())
