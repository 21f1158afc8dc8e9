"""Measures of scores and of groups against the known noise: arrays in, numbers out."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

DRAWS = 1000  # bootstrap samples


def ranking(noise: np.ndarray, score: np.ndarray) -> dict[str, float]:
    """AUROC, average precision, and precision among the k highest scores, where k is the number of noisy pictures."""
    from sklearn.metrics import average_precision_score, roc_auc_score

    k = int(noise.sum())
    first = np.argsort(-score, kind="stable")[:k]
    return {
        "AUROC": float(roc_auc_score(noise, score)),
        "AP": float(average_precision_score(noise, score)),
        "P@k": float(noise[first].mean()),
    }


def bootstrap(noise: np.ndarray, score: np.ndarray) -> tuple[float, float]:
    """95% bootstrap interval of the average precision; noisy and other pictures are resampled separately."""
    from sklearn.metrics import average_precision_score

    rng = np.random.default_rng(0)
    parts = [np.flatnonzero(noise), np.flatnonzero(~noise)]
    drawn = [np.concatenate([rng.choice(part, len(part)) for part in parts]) for _ in range(DRAWS)]
    values = [average_precision_score(noise[rows], score[rows]) for rows in drawn]
    return float(np.percentile(values, 2.5)), float(np.percentile(values, 97.5))


Pairs = set[tuple[int, int]]


def pairs(predicted: Pairs, true: Pairs, ignored: Pairs) -> dict[str, float]:
    """Recall and precision of pairs (i, j), i < j; those in `ignored` are not counted."""
    counted = predicted - ignored
    true = true - ignored
    correct = len(counted & true)
    return {"recall": correct / len(true), "precision": correct / max(1, len(counted))}


def mean(rows: list[dict[str, float]]) -> dict[str, float]:
    """The mean of each number over repetitions."""
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def table(title: list[str], rows: Iterable[list[str]]) -> str:
    """A Markdown table; the first column is text, the others are numbers."""
    lines = [title, ["---", *["--:"] * (len(title) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
