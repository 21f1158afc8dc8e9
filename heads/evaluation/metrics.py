"""Probabilities and labels to metrics, and metrics of repeated splits to intervals and paired tests.

Arrays in, numbers out: y is (N,) int of class indexes 0 … C − 1, proba is (N, C) float, confusion matrices are (C, C)
int with the true class in the rows. A sum over nothing counts as 0, as in scikit-learn with zero_division=0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

METRICS = ("weighted_f1", "macro_f1", "accuracy", "log_loss", "ece")
BINS = 15  # of probabilities, as Guo et al. have them
_EPS = float(np.finfo(np.float32).eps)  # a probability of 0 costs log_loss -ln(1.2e-7) = 15.9, as in scikit-learn


def confusion(y: np.ndarray, predicted: np.ndarray, n_classes: int) -> np.ndarray:
    """(N,) true and (N,) predicted class indexes -> (C, C) int64 counts; row: true class, column: predicted."""
    cells = np.bincount(np.asarray(y) * n_classes + np.asarray(predicted), minlength=n_classes**2)
    return cells.reshape(n_classes, n_classes)


def metrics(y: np.ndarray, proba: np.ndarray) -> dict[str, float]:
    """Weighted F1, macro F1, accuracy, log loss (nats) and ECE of (N, C) probabilities against (N,) class indexes.

    All but the log loss are 0–1. F1 of class c is 2 TP / (2 TP + FP + FN); weighted: mean by the class's count in y;
    macro: plain mean over the classes that occur in y or in the predictions. The prediction is the largest
    probability, the first of equal ones. ECE: see `ece`.
    """
    matrix = confusion(y, proba.argmax(axis=1), proba.shape[1])
    per_class = _per_class(matrix)
    support, occurs = per_class["support"], matrix.sum(axis=0) + matrix.sum(axis=1) > 0
    return {
        "weighted_f1": float(per_class["f1-score"] @ support / support.sum()),
        "macro_f1": float(per_class["f1-score"][occurs].mean()),
        "accuracy": float(np.trace(matrix) / matrix.sum()),
        "log_loss": log_loss(y, proba),
        "ece": ece(reliability(y, proba)),
    }


def log_loss(y: np.ndarray, proba: np.ndarray, class_weight: np.ndarray | None = None) -> float:
    """Mean of -ln p(true class) in nats, p not below float32's epsilon; proba (N, C), y (N,) class indexes.

    class_weight: (C,), what a row of a class counts in the mean; None: 1.
    """
    losses = -np.log(np.maximum(proba[np.arange(len(y)), y], _EPS), dtype=np.float64)
    return float(losses.mean() if class_weight is None else np.average(losses, weights=class_weight[y]))


def reliability(y: np.ndarray, proba: np.ndarray, bins: int = BINS) -> dict[str, np.ndarray]:
    """Predictions by their probability in B bins of equal width from 0 to 1: {confidence, accuracy, count}, (B,) each.

    confidence: mean probability of the predicted class; accuracy: share of right predictions; both 0 in an empty bin.
    Bin b holds the predictions with b/B < p <= (b + 1)/B. y (N,) class indexes, proba (N, C). C. Guo, G. Pleiss,
    Y. Sun, K. Weinberger, On Calibration of Modern Neural Networks, ICML 2017, section 2.
    """
    predicted = proba.argmax(axis=1)
    largest = proba[np.arange(len(y)), predicted].astype(np.float64)
    bin_of = np.digitize(largest, np.arange(1, bins) / bins, right=True)
    count = np.bincount(bin_of, minlength=bins)
    confidence, accuracy = (_ratio(np.bincount(bin_of, of, bins), count) for of in (largest, predicted == y))
    return {"confidence": confidence, "accuracy": accuracy, "count": count}


def pooled(parts: Sequence[dict[str, Any]]) -> dict[str, np.ndarray]:
    """The bins of `reliability` of several sets of predictions as those of one."""
    columns = {name: np.array([part[name] for part in parts]) for name in parts[0]}
    count = columns.pop("count")
    means = {name: _ratio((column * count).sum(axis=0), count.sum(axis=0)) for name, column in columns.items()}
    return means | {"count": count.sum(axis=0)}


def ece(bins: dict[str, np.ndarray]) -> float:
    """Expected calibration error, 0–1, of bins of `reliability`: Σ count |accuracy − confidence| / N (Guo, eq. 3).

    Chance alone makes it larger the fewer the predictions are.
    """
    return float(np.abs(bins["accuracy"] - bins["confidence"]) @ bins["count"] / bins["count"].sum())


def classification_report(confusion: np.ndarray, labels: list[str]) -> dict[str, Any]:
    """(C, C) confusion matrix -> {classes, macro avg, weighted avg, accuracy}.

    classes: C rows {label, precision, recall, f1-score, support}; the averages are such rows without a label. The same
    numbers as scikit-learn's `classification_report(output_dict=True)` over all C labels, where a class called
    "accuracy" would be lost.
    """
    matrix = np.asarray(confusion)
    columns = _per_class(matrix)
    names = ("precision", "recall", "f1-score")
    total = int(matrix.sum())
    rows = [
        {"label": label} | {name: float(columns[name][c]) for name in names} | {"support": int(columns["support"][c])}
        for c, label in enumerate(labels)
    ]
    report: dict[str, Any] = {"classes": rows}
    for name, weights in (("macro avg", np.ones(len(matrix))), ("weighted avg", columns["support"])):
        report[name] = {n: float(_ratio(columns[n] @ weights, weights.sum())) for n in names} | {"support": total}
    return report | {"accuracy": float(_ratio(np.trace(matrix), total))}


def corrected_interval(
    scores: np.ndarray, n_train: float, n_test: float, confidence: float = 0.95
) -> tuple[float, float, float]:
    """Mean and confidence interval (mean, low, high) of J >= 2 scores of random splits, clipped to [0, 1].

    Splits overlap, so their scores are correlated and the plain variance S²/J is too small. The corrected resampled t
    interval is mean ± t(J − 1) · sqrt((1/J + n_test/n_train) · S²), S² the sample variance with J − 1 in the
    denominator: C. Nadeau, Y. Bengio, Inference for the Generalization Error, Machine Learning 52 (2003) 239–281.

    n_train, n_test: pictures in the two parts. Raises: ValueError for fewer than two scores.
    """
    mean, margin, _ = _corrected_t(scores, n_train, n_test, confidence)
    low, high = np.clip([mean - margin, mean + margin], 0, 1)
    return mean, float(low), float(high)


def paired(a: np.ndarray, b: np.ndarray, n_train: float, n_test: float, confidence: float = 0.95) -> dict[str, float]:
    """Are the (J,) scores a larger than the (J,) scores b of the same J >= 2 splits? {difference, low, high, p}.

    difference: mean of a − b with its interval; p: two-sided, of the corrected resampled t-test (Nadeau & Bengio,
    2003; the variance is that of `corrected_interval`). No variance at all gives p = 1 for equal scores and p = 0
    otherwise.
    """
    mean, margin, p = _corrected_t(np.asarray(a) - np.asarray(b), n_train, n_test, confidence)
    return {"difference": mean, "low": mean - margin, "high": mean + margin, "p": p}


def bootstrap_f1(y: np.ndarray, proba: np.ndarray, resamples: int = 2000, seed: int = 0) -> np.ndarray:
    """(R,) float64 weighted F1 of R test sets drawn from the N pictures with replacement (Efron, 1979).

    The same N and seed draw the same pictures, so that two heads' results can be subtracted.
    """
    predicted, n_classes = proba.argmax(axis=1), proba.shape[1]
    rng = np.random.default_rng(seed)
    scores = np.empty(resamples)
    for r in range(resamples):
        rows = rng.integers(len(y), size=len(y))
        columns = _per_class(confusion(y[rows], predicted[rows], n_classes))
        scores[r] = columns["f1-score"] @ columns["support"] / len(y)
    return scores


def bootstrap_interval(scores: np.ndarray, confidence: float = 0.95) -> tuple[float, float]:
    """(low, high): the central percentiles of (R,) bootstrap scores, for when there is only one split."""
    low, high = np.quantile(scores, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def bootstrap_p(differences: np.ndarray) -> float:
    """Two-sided p that (R,) bootstrap differences are centred on 0: twice the smaller tail, between 1/R and 1."""
    tail = min(np.mean(differences <= 0), np.mean(differences >= 0))
    return float(np.clip(2 * tail, 1 / len(differences), 1))


def _corrected_t(values: np.ndarray, n_train: float, n_test: float, confidence: float) -> tuple[float, float, float]:
    """(mean, half width of the interval, two-sided p of mean = 0)."""
    from scipy import stats

    values = np.asarray(values, dtype=np.float64)
    if len(values) < 2:
        raise ValueError(f"an interval over splits needs at least two of them, got {len(values)}")
    freedom = len(values) - 1
    mean = float(values.mean())
    error = float(np.sqrt((1 / len(values) + n_test / n_train) * values.var(ddof=1)))
    margin = float(stats.t.ppf((1 + confidence) / 2, freedom)) * error
    if error == 0:
        return mean, 0.0, float(mean == 0)
    return mean, margin, float(2 * stats.t.sf(abs(mean) / error, freedom))


def _per_class(matrix: np.ndarray) -> dict[str, np.ndarray]:
    """(C, C) -> (C,) precision, recall, f1 and support."""
    hits, predicted, support = np.diag(matrix), matrix.sum(axis=0), matrix.sum(axis=1)
    return {
        "precision": _ratio(hits, predicted),
        "recall": _ratio(hits, support),
        "f1-score": _ratio(2 * hits, predicted + support),
        "support": support,
    }


def _ratio(above: Any, below: Any) -> np.ndarray:
    return np.divide(above, below, out=np.zeros(np.shape(above)), where=np.asarray(below) > 0)
