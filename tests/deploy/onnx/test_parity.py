from __future__ import annotations

import numpy as np
import pytest

from winnow.common.errors import InputError
from winnow.deploy.onnx.parity import (
    Comparison,
    Predictions,
    format_upper_bound,
    measure,
    require_finite,
    require_labels_of_run,
    require_parity,
)

CLASSES = np.array(["daisy", "rose", "tulip"], dtype=object)


def comparison(expected, file, baseline=None, file_labels=None, run=None) -> Comparison:
    """Three pictures: a daisy, a rose and a tulip. Arguments are probabilities."""

    def predictions(proba, labels=None):
        proba = np.array(proba, dtype=np.float32)
        labels = CLASSES[proba.argmax(axis=1)] if labels is None else np.array(labels, dtype=object)
        return Predictions(labels, proba)

    baseline = predictions(baseline or expected)
    return Comparison(
        pictures=["a.jpg", "b.jpg", "c.jpg"],
        y=np.arange(3),
        run=baseline.probabilities if run is None else np.array(run, dtype=np.float32),
        baseline=baseline,
        expected=predictions(expected),
        file=predictions(file, file_labels),
        familiarity=np.array([0.5, 0.2, 0.01], dtype=np.float32),
    )


GOOD = [[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.3, 0.3, 0.4]]
NEAR = [[0.80005, 0.09995, 0.1], [0.2, 0.7, 0.1], [0.3, 0.3, 0.4]]
FAR = [[0.8, 0.1, 0.1], [0.2, 0.69, 0.11], [0.3, 0.3, 0.4]]
OTHER = [[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.4, 0.3, 0.3]]


def test_it_counts_what_differs():
    report = measure(comparison(GOOD, FAR))
    assert report.pictures == 3
    assert report.largest_difference == pytest.approx(0.01, abs=1e-6)
    assert report.labels_differ == 0
    assert report.weighted_f1.change == 0
    assert list(report.to_json()) == [
        "pictures",
        "largest_difference",
        "labels_differ",
        "largest_from_run",
        "weighted_f1",
    ]
    assert list(report.to_json()["weighted_f1"]) == ["ordinary", "file", "change", "low", "high"]


def test_the_change_of_weighted_f1_is_from_the_baseline():
    report = measure(comparison(OTHER, OTHER, baseline=GOOD))
    assert report.labels_differ == 0
    f1 = report.weighted_f1
    assert f1.ordinary == 1
    assert f1.file == pytest.approx((2 / 3 + 1) / 3)
    assert f1.change == pytest.approx(f1.file - 1)
    assert f1.low <= f1.change <= f1.high <= 0


def test_equal_predictions_pass():
    require_parity(comparison(GOOD, GOOD))
    require_parity(comparison(GOOD, NEAR))
    require_finite(comparison(GOOD, GOOD))


def test_other_probabilities_are_refused_with_the_name_of_the_picture():
    with pytest.raises(InputError, match=r"by 0.01 in a probability, more than 0.0001; most on b.jpg") as caught:
        require_parity(comparison(GOOD, FAR))
    assert "the file predicts rose 0.6900 and Python rose 0.7000" in str(caught.value)


def test_another_label_is_refused():
    with pytest.raises(
        InputError, match=r"in the label of 1 of 3 pictures; most on a.jpg, where the file predicts tulip"
    ):
        require_parity(comparison(GOOD, GOOD, file_labels=["tulip", "rose", "tulip"]))


def test_two_classes_of_equal_probability_may_swap():
    tied = [[0.45, 0.45, 0.1], [0.2, 0.7, 0.1], [0.3, 0.3, 0.4]]
    require_parity(comparison(tied, tied, file_labels=["rose", "rose", "tulip"]))


def test_other_labels_than_in_the_run_are_refused_unless_the_lead_was_small():
    require_labels_of_run(comparison(GOOD, GOOD, run=NEAR))
    require_labels_of_run(comparison(OTHER, OTHER, run=[*GOOD[:2], [0.33, 0.3, 0.37]]))
    with pytest.raises(InputError, match=r"1 of 3 test pictures get another label than in the run, as c.jpg") as caught:
        require_labels_of_run(comparison(OTHER, OTHER, run=[*GOOD[:2], [0.1, 0.1, 0.8]]))
    assert caught.value.remedy == "train-again"
    assert measure(comparison(GOOD, GOOD, run=FAR)).largest_from_run == pytest.approx(0.01, abs=1e-6)


def test_an_upper_bound_is_rounded_up():
    assert [format_upper_bound(value) for value in (0.0, 0.00539, 1e-6, 0.1)] == ["0", "0.0054", "1e-06", "0.1"]


def test_values_that_are_not_finite_are_refused():
    broken = [[np.nan, 0.1, 0.1], *GOOD[1:]]
    with pytest.raises(InputError, match="by nan in a probability"):
        require_parity(comparison(GOOD, broken))
    with pytest.raises(InputError, match=r"the familiarity of a.jpg from the file are not finite"):
        require_finite(comparison(GOOD, broken))
