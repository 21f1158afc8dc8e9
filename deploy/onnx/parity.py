"""A fused file beside Python's own path on the same pictures: how far apart they are, and when that is refused."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from winnow.common.errors import InputError
from winnow.deploy.onnx.head import TOLERANCE
from winnow.heads.evaluation import metrics

STORED = 0.1  # two classes further apart than this do not change places because vectors were stored as float16
Said = tuple[np.ndarray, np.ndarray]  # labels, object (n,), and their probabilities, float32 (n, C)


class Seen(NamedTuple):
    """What was said of n test pictures, rows in one order."""

    pictures: list[str]  # as a person knows them
    truth: np.ndarray  # int64 (n,), indexes into the classes
    judged: np.ndarray  # float32 (n, C): by the run, of vectors as they were stored
    plain: Said  # by Python's path in float32, decoder, backbone and head, on the views that the run looked at
    expected: Said  # by Python's path on the views that the file looks at
    found: Said  # by the file
    familiarity: np.ndarray  # float32 (n,), by the file


def compared(seen: Seen) -> dict[str, Any]:
    """{pictures, largest_difference, labels_differ, largest_from_run, weighted_f1}.

    The largest difference is of probabilities, from `expected`; `largest_from_run` is that of `plain` from `judged`.
    weighted_f1: {ordinary, file, change, low, high}, the change from `plain` to the file with the central 95% of a
    bootstrap over the pictures (Efron, 1979).
    """
    ordinary, file = seen.plain[1], seen.found[1]
    scores = [metrics.metrics(seen.truth, proba)["weighted_f1"] for proba in (ordinary, file)]
    draws = [metrics.bootstrap_f1(seen.truth, proba) for proba in (ordinary, file)]
    low, high = metrics.bootstrap_interval(draws[1] - draws[0])
    return {
        "pictures": len(seen.pictures),
        "largest_difference": float(_differences(seen).max(initial=0)),
        "labels_differ": int((seen.found[0] != seen.expected[0]).sum()),
        "largest_from_run": float(np.abs(ordinary - seen.judged).max(initial=0)),
        "weighted_f1": {
            "ordinary": scores[0],
            "file": scores[1],
            "change": scores[1] - scores[0],
            "low": low,
            "high": high,
        },
    }


def refuse_if_not_the_run(seen: Seen) -> None:
    """Raises: InputError when Python's path gives test pictures other labels than the run did: the decoder, backbone or
    head of today are others than those whose scores the run tells. Labels that the run was unsure of may differ."""
    best = seen.judged.argmax(axis=1)
    now = seen.plain[1]
    other = seen.judged.max(axis=1) - seen.judged[np.arange(len(now)), now.argmax(axis=1)] > STORED
    if other.any():
        worst = int(other.argmax())
        raise InputError(
            f"not written: {int(other.sum())} of {len(best)} test pictures get another label than in the run, as "
            f"{seen.pictures[worst]}; the backbone, the head or the decoder is another by now: train again"
        )


def refuse_if_apart(seen: Seen) -> None:
    """Raises: InputError that names the picture where file and Python part most, when they do.

    They part where a probability differs by more than 1e-4, or a label differs, save where the two best of a picture
    are closer to each other than twice that.
    """
    differences = _differences(seen)
    worst = int(differences.argmax()) if len(differences) else 0
    parted = np.flatnonzero((seen.found[0] != seen.expected[0]) & ~_tied(seen))
    if not (differences <= TOLERANCE).all():  # NaN is refused too
        by = f"by {differences[worst]:.2g} in a probability, more than {TOLERANCE:g}"
    elif len(parted):
        worst, by = int(parted[0]), f"in the label of {len(parted)} of {len(seen.pictures)} pictures"
    else:
        return
    said = [f"{labels[worst]} {proba[worst].max():.4f}" for labels, proba in (seen.found, seen.expected)]
    raise InputError(
        f"not written: the file differs from Python's path {by}; most on {seen.pictures[worst]}, where it says "
        f"{said[0]} and Python {said[1]}"
    )


def refuse_if_no_numbers(seen: Seen) -> None:
    """Raises: InputError that names a picture whose probabilities or familiarity are no numbers."""
    bad = ~(np.isfinite(seen.found[1]).all(axis=1) & np.isfinite(seen.familiarity))
    if bad.any():
        raise InputError(f"not written: of {seen.pictures[int(bad.argmax())]} the file says what is no number")


def at_most(value: float) -> str:
    """A number in two digits, rounded up."""
    if not value:
        return "0"
    step = 10.0 ** (math.floor(math.log10(value)) - 1)
    return f"{math.ceil(value / step) * step:.2g}"


def _differences(seen: Seen) -> np.ndarray:
    """The largest difference of a probability in each picture, (n,)."""
    return np.abs(seen.found[1] - seen.expected[1]).max(axis=1, initial=0)


def _tied(seen: Seen) -> np.ndarray:
    best = np.sort(seen.expected[1], axis=1)
    return best[:, -1] - best[:, -2] < 2 * TOLERANCE
