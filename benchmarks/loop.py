"""The feedback loop as a person would run it, the verdicts read from what is known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from winnow.curate.noise.active_learning import next_batch, rerank


def simulate(
    ids: Sequence[str],
    pooled: np.ndarray,
    bottleneck: np.ndarray,
    groups: np.ndarray,
    prior: np.ndarray,
    noise: np.ndarray,
    judged: np.ndarray,
    looks: int,
) -> tuple[int, int]:
    """How many noisy pictures are found in `looks` looks: with feedback in batches of ten, and by the prior alone.

    Every picture is scored; only those that are `judged` (bool (N,)) are looked at, the others stay undecided.
    """
    verdicts = np.full(len(ids), -1, dtype=np.int8)
    rows = np.flatnonzero(judged)
    known = [ids[row] for row in rows.tolist()]
    while (left := looks - int((verdicts >= 0).sum())) > 0:
        score = rerank(pooled, bottleneck, prior, verdicts, groups)
        batch = rows[next_batch(known, score[rows], verdicts[rows])][:left]
        verdicts[batch] = noise[batch]
    fixed = rows[np.argsort(-prior[rows], kind="stable")][:looks]
    return int((verdicts == 1).sum()), int(noise[fixed].sum())
