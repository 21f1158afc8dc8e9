from __future__ import annotations

import numpy as np
import pytest

from winnow.common.errors import InputError
from winnow.deploy.onnx.parity import (
    Seen,
    at_most,
    compared,
    refuse_if_apart,
    refuse_if_no_numbers,
    refuse_if_not_the_run,
)

CLASSES = np.array(["daisy", "rose", "tulip"], dtype=object)


def seen(expected, found, plain=None, found_labels=None, judged=None) -> Seen:
    """Three pictures, a daisy, a rose and a tulip."""

    def said(proba):
        proba = np.array(proba, dtype=np.float32)
        return CLASSES[proba.argmax(axis=1)], proba

    by_file = said(found) if found_labels is None else (np.array(found_labels, dtype=object), said(found)[1])
    familiarity = np.array([0.5, 0.2, 0.01], dtype=np.float32)
    names, ordinary = ["a.jpg", "b.jpg", "c.jpg"], said(plain or expected)
    judged = ordinary[1] if judged is None else np.array(judged, dtype=np.float32)
    return Seen(names, np.arange(3), judged, ordinary, said(expected), by_file, familiarity)


GOOD = [[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.3, 0.3, 0.4]]
NEAR = [[0.80005, 0.09995, 0.1], [0.2, 0.7, 0.1], [0.3, 0.3, 0.4]]
FAR = [[0.8, 0.1, 0.1], [0.2, 0.69, 0.11], [0.3, 0.3, 0.4]]
OTHER = [[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.4, 0.3, 0.3]]


def test_it_counts_what_differs():
    said = compared(seen(GOOD, FAR))
    assert said["pictures"] == 3
    assert said["largest_difference"] == pytest.approx(0.01, abs=1e-6)
    assert said["labels_differ"] == 0
    assert said["weighted_f1"]["change"] == 0


def test_the_change_of_weighted_f1_is_from_the_plain_path():
    said = compared(seen(OTHER, OTHER, plain=GOOD))
    assert said["labels_differ"] == 0
    f1 = said["weighted_f1"]
    assert f1["ordinary"] == 1
    assert f1["file"] == pytest.approx((2 / 3 + 1) / 3)
    assert f1["change"] == pytest.approx(f1["file"] - 1)
    assert f1["low"] <= f1["change"] <= f1["high"] <= 0


def test_the_same_is_not_refused():
    assert refuse_if_apart(seen(GOOD, GOOD)) is None
    assert refuse_if_apart(seen(GOOD, NEAR)) is None


def test_other_probabilities_are_refused_by_the_name_of_the_picture():
    with pytest.raises(InputError, match=r"by 0.01 in a probability, more than 0.0001; most on b.jpg") as said:
        refuse_if_apart(seen(GOOD, FAR))
    assert "it says rose 0.6900 and Python rose 0.7000" in str(said.value)


def test_another_label_is_refused():
    with pytest.raises(InputError, match=r"in the label of 1 of 3 pictures; most on a.jpg, where it says tulip"):
        refuse_if_apart(seen(GOOD, GOOD, found_labels=["tulip", "rose", "tulip"]))


def test_two_classes_as_likely_may_change_places():
    tied = [[0.45, 0.45, 0.1], [0.2, 0.7, 0.1], [0.3, 0.3, 0.4]]
    assert refuse_if_apart(seen(tied, tied, found_labels=["rose", "rose", "tulip"])) is None


def test_other_labels_than_those_of_the_run_are_refused_unless_it_was_unsure():
    refuse_if_not_the_run(seen(GOOD, GOOD, judged=NEAR))
    refuse_if_not_the_run(seen(OTHER, OTHER, judged=[*GOOD[:2], [0.33, 0.3, 0.37]]))
    with pytest.raises(InputError, match=r"1 of 3 test pictures get another label than in the run, as c.jpg"):
        refuse_if_not_the_run(seen(OTHER, OTHER, judged=[*GOOD[:2], [0.1, 0.1, 0.8]]))
    assert compared(seen(GOOD, GOOD, judged=FAR))["largest_from_run"] == pytest.approx(0.01, abs=1e-6)


def test_a_bound_is_rounded_up():
    assert [at_most(value) for value in (0.0, 0.00539, 1e-6, 0.1)] == ["0", "0.0054", "1e-06", "0.1"]


def test_what_is_no_number_is_refused():
    broken = [[np.nan, 0.1, 0.1], *GOOD[1:]]
    with pytest.raises(InputError, match="by nan in a probability"):
        refuse_if_apart(seen(GOOD, broken))
    with pytest.raises(InputError, match=r"of a.jpg the file says what is no number"):
        refuse_if_no_numbers(seen(GOOD, broken))
