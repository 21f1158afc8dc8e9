"""Parity: the checks that an exported ONNX file must pass before it is written.

`deploy.export` gives the test pictures of the run to three predictors and hands their outputs to this module:

- the run itself: the probabilities in its `predictions.csv`, computed when the head was trained;
- Python: today's decoder, the backbone and the head, each as a separate ONNX session;
- the file: the one fused graph that a user will deploy.

Three checks raise `InputError`, and then nothing is written:

1. `require_finite`: the file returns numbers, no NaN and no infinity.
2. `require_labels_of_run`: Python still predicts the labels that the run was evaluated by.
3. `require_parity`: the file predicts Python's labels, and probabilities within 1e-4 (`head.TOLERANCE`). Files with
   approximate arithmetic (fp16, int8) or another resize (any input size) skip this check; for these `measure` states
   the change in weighted F1.

The head alone is checked earlier, when `head.onnx` is written: `deploy.onnx.head.check_parity` compares it with the
scikit-learn or Keras estimator that was trained.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from winnow.common.errors import InputError
from winnow.deploy.onnx.head import TOLERANCE
from winnow.heads.evaluation import metrics

# A label of the run counts as changed when its probability led by more than this: the run used vectors stored as
# float16, which may swap two classes that are closer to each other.
STORAGE_TOLERANCE = 0.1


@dataclass(frozen=True)
class Predictions:
    """Labels, object (n,), and probabilities, float32 (n, C)."""

    labels: np.ndarray
    probabilities: np.ndarray


@dataclass(frozen=True)
class Comparison:
    """Predictions for the same n test pictures, rows in one order.

    pictures : paths, as a person knows them.
    y : int64 (n,), true class indexes.
    run : float32 (n, C), the probabilities that the run stored, computed from vectors stored as float16.
    baseline : by Python in float32, with the test-time augmentation of the run.
    expected : by Python in float32, with the test-time augmentation of the file.
    file : by the file.
    familiarity : float32 (n,), by the file.
    """

    pictures: list[str]
    y: np.ndarray
    run: np.ndarray
    baseline: Predictions
    expected: Predictions
    file: Predictions
    familiarity: np.ndarray


@dataclass(frozen=True)
class F1Change:
    """Weighted F1 (0–1) of the baseline (`ordinary`) and of the file, and their difference with its 95% interval.

    The interval is the percentile bootstrap over the pictures (Efron, 1979).
    """

    ordinary: float
    file: float
    change: float
    low: float
    high: float


@dataclass(frozen=True)
class ParityReport:
    """How far the file is from Python on the test pictures.

    pictures : number of test pictures.
    largest_difference : of a probability, between the file and Python with the same test-time augmentation.
    labels_differ : pictures with another label than Python's.
    largest_from_run : largest difference of a probability between the baseline and what the run stored.
    weighted_f1 : from the baseline to the file.
    """

    pictures: int
    largest_difference: float
    labels_differ: int
    largest_from_run: float
    weighted_f1: F1Change

    def to_json(self) -> dict[str, Any]:
        """The key `parity` of the model's metadata and of `export --json`."""
        return asdict(self)


def measure(comparison: Comparison) -> ParityReport:
    """Measure the differences, without judging them."""
    baseline, file = comparison.baseline.probabilities, comparison.file.probabilities
    f1_baseline, f1_file = (metrics.metrics(comparison.y, proba)["weighted_f1"] for proba in (baseline, file))
    resampled_baseline, resampled_file = (metrics.bootstrap_f1(comparison.y, proba) for proba in (baseline, file))
    low, high = metrics.bootstrap_interval(resampled_file - resampled_baseline)
    return ParityReport(
        pictures=len(comparison.pictures),
        largest_difference=float(_largest_differences(comparison).max(initial=0)),
        labels_differ=int((comparison.file.labels != comparison.expected.labels).sum()),
        largest_from_run=float(np.abs(baseline - comparison.run).max(initial=0)),
        weighted_f1=F1Change(f1_baseline, f1_file, f1_file - f1_baseline, low, high),
    )


def require_finite(comparison: Comparison) -> None:
    """Raises: InputError that names a picture whose probabilities or familiarity from the file are not finite."""
    finite = np.isfinite(comparison.file.probabilities).all(axis=1) & np.isfinite(comparison.familiarity)
    if not finite.all():
        picture = comparison.pictures[int((~finite).argmax())]
        raise InputError(f"not written: the probabilities or the familiarity of {picture} from the file are not finite")


def require_labels_of_run(comparison: Comparison) -> None:
    """Raises: InputError when Python predicts other labels than the run did.

    Then the decoder, the backbone or the head has changed, and the scores of the run do not hold for the file. A label
    that led by no more than `STORAGE_TOLERANCE` in the run may differ.
    """
    predicted = comparison.baseline.probabilities.argmax(axis=1)
    lead = comparison.run.max(axis=1) - comparison.run[np.arange(len(predicted)), predicted]
    changed = lead > STORAGE_TOLERANCE
    if changed.any():
        raise InputError(
            f"not written: {int(changed.sum())} of {len(predicted)} test pictures get another label than in the run, "
            f"as {comparison.pictures[int(changed.argmax())]}; the backbone, the head or the decoder has changed",
            remedy="train-again",
        )


def require_parity(comparison: Comparison) -> None:
    """Raises: InputError that names the picture on which the file and Python differ most.

    They differ where a probability differs by more than `TOLERANCE`, or a label differs, except where the two largest
    probabilities of a picture are closer to each other than twice that.
    """
    differences = _largest_differences(comparison)
    worst = int(differences.argmax()) if len(differences) else 0
    other_label = np.flatnonzero((comparison.file.labels != comparison.expected.labels) & ~_ties(comparison))
    if not (differences <= TOLERANCE).all():  # written so that NaN is refused
        difference = f"by {differences[worst]:.2g} in a probability, more than {TOLERANCE:g}"
    elif len(other_label):
        worst = int(other_label[0])
        difference = f"in the label of {len(other_label)} of {len(comparison.pictures)} pictures"
    else:
        return
    file, python = (
        f"{predictions.labels[worst]} {predictions.probabilities[worst].max():.4f}"
        for predictions in (comparison.file, comparison.expected)
    )
    raise InputError(
        f"not written: the file differs from Python {difference}; most on {comparison.pictures[worst]}, where the file "
        f"predicts {file} and Python {python}"
    )


def format_upper_bound(value: float) -> str:
    """A number in two digits, rounded up, so that "at most" holds."""
    if not value:
        return "0"
    step = 10.0 ** (math.floor(math.log10(value)) - 1)
    return f"{math.ceil(value / step) * step:.2g}"


def _largest_differences(comparison: Comparison) -> np.ndarray:
    """The largest difference of a probability between the file and Python, for each picture, (n,)."""
    return np.abs(comparison.file.probabilities - comparison.expected.probabilities).max(axis=1, initial=0)


def _ties(comparison: Comparison) -> np.ndarray:
    """Whether the two largest probabilities of a picture are within twice the tolerance, bool (n,)."""
    ordered = np.sort(comparison.expected.probabilities, axis=1)
    return ordered[:, -1] - ordered[:, -2] < 2 * TOLERANCE
