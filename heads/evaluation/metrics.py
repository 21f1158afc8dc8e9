"""Probabilities and labels to metrics, and metrics of repeated splits to intervals and paired tests.

Arrays in, numbers out: y is (N,) int of class indexes 0 … C − 1, proba is (N, C) float, confusion matrices are (C, C)
int with the true class in the rows. A sum over nothing counts as 0, as in scikit-learn with zero_division=0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

BINS = 15  # of probabilities, as in Guo et al.
_EPS = float(np.finfo(np.float32).eps)  # a probability of 0 costs log_loss -ln(1.2e-7) = 15.9, as in scikit-learn


@dataclass(frozen=True)
class Interval:
    """A mean and its 95% confidence interval."""

    mean: float
    low: float
    high: float

    def to_json(self) -> dict[str, float]:
        """{mean, low, high}."""
        return asdict(self)


@dataclass(frozen=True)
class WrongPrediction:
    """A picture that is classified wrong: the probability of the predicted class, and of the true one (its label)."""

    path: str
    label: str
    predicted: str
    probability: float
    label_probability: float

    def to_json(self) -> dict[str, Any]:
        """{path, label, predicted, probability, label_probability}."""
        return asdict(self)


@dataclass(frozen=True)
class PairedDifference:
    """The mean difference of two scores measured on the same splits, its 95% confidence interval, and a two-sided p."""

    difference: float
    low: float
    high: float
    p: float

    def to_json(self) -> dict[str, float]:
        """{difference, low, high, p}."""
        return asdict(self)

    def describe_points(self) -> str:
        """The difference and its interval in hundredths: `+0.4 points [−0.5, +1.3]`."""
        mean, low, high = (f"{100 * x:+.1f}".replace("-", "−") for x in (self.difference, self.low, self.high))
        return f"{mean} points [{low}, {high}]"

    def describe_conclusion(self) -> str:
        """What follows from the interval, to be appended to a sentence; empty for a clear gain."""
        if self.low > 0:
            return ""
        return ": it made it worse" if self.high < 0 else ": no clear gain"


@dataclass(frozen=True)
class ReliabilityBins:
    """Predictions sorted into B bins of equal width by their probability, B numbers each.

    confidence: mean probability of the predicted class; accuracy: share of correct predictions; both 0 in an empty
    bin. count: number of predictions.
    """

    confidence: list[float]
    accuracy: list[float]
    count: list[int]

    def to_json(self) -> dict[str, list[float]]:
        """{confidence, accuracy, count}."""
        return asdict(self)


def confusion(y: np.ndarray, predicted: np.ndarray, n_classes: int) -> np.ndarray:
    """(N,) true and (N,) predicted class indexes -> (C, C) int64 counts; row: true class, column: predicted."""
    cells = np.bincount(np.asarray(y) * n_classes + np.asarray(predicted), minlength=n_classes**2)
    return cells.reshape(n_classes, n_classes)


def metrics(y: np.ndarray, proba: np.ndarray) -> dict[str, float]:
    """Weighted F1, macro F1, accuracy, log loss (nats) and ECE of (N, C) probabilities against (N,) class indexes.

    All but the log loss are in 0–1. F1 of class c is 2 TP / (2 TP + FP + FN); weighted: the mean weighted by the class
    counts in y; macro: the plain mean over the classes that occur in y or in the predictions. The prediction is the
    class with the largest probability, the first of equals. ECE: see `ece`.
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

    class_weight: (C,), weight of a row of each class in the mean; None: 1.
    """
    losses = -np.log(np.maximum(proba[np.arange(len(y)), y], _EPS), dtype=np.float64)
    return float(losses.mean() if class_weight is None else np.average(losses, weights=class_weight[y]))


def reliability(y: np.ndarray, proba: np.ndarray, bins: int = BINS) -> ReliabilityBins:
    """Sort predictions by the probability of the predicted class into bins from 0 to 1.

    Bin b holds the predictions with b/B < p <= (b + 1)/B. y (N,) class indexes, proba (N, C). C. Guo, G. Pleiss,
    Y. Sun, K. Weinberger, On Calibration of Modern Neural Networks, ICML 2017, section 2.
    """
    predicted = proba.argmax(axis=1)
    largest = proba[np.arange(len(y)), predicted].astype(np.float64)
    bin_index = np.digitize(largest, np.arange(1, bins) / bins, right=True)
    count = np.bincount(bin_index, minlength=bins)
    confidence, accuracy = (
        _ratio(np.bincount(bin_index, values, bins), count).tolist() for values in (largest, predicted == y)
    )
    return ReliabilityBins(confidence, accuracy, count.tolist())


def pool_bins(parts: Sequence[ReliabilityBins]) -> ReliabilityBins:
    """Merge the bins of several sets of predictions, as if all predictions were in one set."""
    count = np.array([part.count for part in parts])
    confidence, accuracy = (
        _ratio((np.array(rows) * count).sum(axis=0), count.sum(axis=0)).tolist()
        for rows in ([part.confidence for part in parts], [part.accuracy for part in parts])
    )
    return ReliabilityBins(confidence, accuracy, count.sum(axis=0).tolist())


def ece(bins: ReliabilityBins) -> float:
    """Expected calibration error, 0–1: Σ count |accuracy − confidence| / N (Guo et al., 2017, equation 3).

    By chance alone it is larger for fewer predictions.
    """
    gap, count = np.abs(np.subtract(bins.accuracy, bins.confidence)), np.array(bins.count)
    return float(gap @ count / count.sum())


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


def most_wrong(
    classes: Sequence[str], paths: Sequence[str], y: np.ndarray, proba: np.ndarray, limit: int = 24
) -> list[WrongPrediction]:
    """The wrong predictions with the lowest probability of the true class, lowest first.

    Parameters: paths (N,), y (N,) class indexes, proba (N, C), rows in one order.
    """
    predicted = proba.argmax(axis=1)
    label_proba = proba[np.arange(len(y)), y]
    wrong = np.flatnonzero(predicted != y)
    return [
        WrongPrediction(
            path=paths[row],
            label=classes[y[row]],
            predicted=classes[predicted[row]],
            probability=float(proba[row, predicted[row]]),
            label_probability=float(label_proba[row]),
        )
        for row in wrong[np.argsort(label_proba[wrong], kind="stable")][:limit].tolist()
    ]


def corrected_interval(scores: np.ndarray, n_train: float, n_test: float, confidence: float = 0.95) -> Interval:
    """Mean and confidence interval of the J >= 2 scores of random splits, clipped to [0, 1].

    Splits overlap, so their scores are correlated and the plain variance S²/J is too small. The corrected resampled t
    interval is mean ± t(J − 1) · sqrt((1/J + n_test/n_train) · S²), S² the sample variance with J − 1 in the
    denominator: C. Nadeau, Y. Bengio, Inference for the Generalization Error, Machine Learning 52 (2003) 239–281.

    n_train, n_test: number of images in the two parts. Raises: ValueError for fewer than two scores.
    """
    mean, margin, _ = _corrected_t(scores, n_train, n_test, confidence)
    low, high = np.clip([mean - margin, mean + margin], 0, 1)
    return Interval(mean, float(low), float(high))


def paired(a: np.ndarray, b: np.ndarray, n_train: float, n_test: float, confidence: float = 0.95) -> PairedDifference:
    """Test whether the (J,) scores a are larger than the (J,) scores b on the same J >= 2 splits.

    The difference is the mean of a − b, its interval that of `corrected_interval`, p two-sided by the corrected
    resampled t-test (Nadeau & Bengio, 2003). Without any variance p is 1 for equal scores and 0 otherwise.
    """
    mean, margin, p = _corrected_t(np.asarray(a) - np.asarray(b), n_train, n_test, confidence)
    return PairedDifference(mean, mean - margin, mean + margin, p)


def bootstrap_f1(y: np.ndarray, proba: np.ndarray, resamples: int = 2000, seed: int = 0) -> np.ndarray:
    """(R,) float64 weighted F1 of R test sets sampled from the N images with replacement (Efron, 1979).

    The same N and seed sample the same images, so that the results of two heads can be subtracted.
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
