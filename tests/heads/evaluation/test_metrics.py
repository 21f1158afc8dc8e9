from __future__ import annotations

import numpy as np
import pytest

from winnow.heads.evaluation import metrics as evaluate

# Three classes, six images: 0 0 0 1 1 2, predicted as 0 0 1 1 1 0.
Y = np.array([0, 0, 0, 1, 1, 2])
PREDICTED = np.array([0, 0, 1, 1, 1, 0])
PROBA = np.eye(3)[PREDICTED] * 0.7 + 0.1  # 0.8 for the predicted class, 0.1 for the others


def test_confusion_has_the_truth_in_its_rows():
    assert evaluate.confusion(Y, PREDICTED, 3).tolist() == [[2, 1, 0], [0, 2, 0], [1, 0, 0]]


def test_confusion_keeps_classes_that_never_occur():
    assert evaluate.confusion(np.array([0]), np.array([1]), 4).sum() == 1
    assert evaluate.confusion(np.array([], dtype=int), np.array([], dtype=int), 2).tolist() == [[0, 0], [0, 0]]


def test_metrics_by_hand():
    # F1: class 0 2·2/(3+3) = 2/3, class 1 2·2/(3+2) = 4/5, class 2 0
    scores = evaluate.metrics(Y, PROBA)
    assert scores["weighted_f1"] == pytest.approx((3 * 2 / 3 + 2 * 4 / 5) / 6)
    assert scores["macro_f1"] == pytest.approx((2 / 3 + 4 / 5) / 3)
    assert scores["accuracy"] == pytest.approx(4 / 6)
    assert scores["log_loss"] == pytest.approx(-(4 * np.log(0.8) + 2 * np.log(0.1)) / 6)
    assert scores["ece"] == pytest.approx(0.8 - 4 / 6)
    assert tuple(scores) == ("weighted_f1", "macro_f1", "accuracy", "log_loss", "ece")


def test_metrics_are_those_of_scikit_learn():
    from sklearn import metrics

    rng = np.random.default_rng(0)
    y = rng.integers(4, size=200)  # of five classes: the last one never occurs
    proba = rng.dirichlet(np.ones(4), size=200)
    proba = np.hstack([proba, np.zeros((200, 1))])
    predicted = proba.argmax(axis=1)
    scores = evaluate.metrics(y, proba)
    assert scores["weighted_f1"] == pytest.approx(metrics.f1_score(y, predicted, average="weighted"))
    assert scores["macro_f1"] == pytest.approx(metrics.f1_score(y, predicted, average="macro"))
    assert scores["accuracy"] == pytest.approx(metrics.accuracy_score(y, predicted))
    assert scores["log_loss"] == pytest.approx(metrics.log_loss(y, proba, labels=range(5)))


def test_a_probability_of_zero_for_the_truth_costs_a_finite_loss():
    assert evaluate.log_loss(np.array([0]), np.array([[0.0, 1.0]], dtype=np.float32)) == pytest.approx(15.94, abs=0.01)


# Two classes, five predictions: 0.6 right, 0.7 wrong, 0.75 right, 0.95 right, 1.0 right.
PROBA_OF_FIVE = np.array([[0.6, 0.4], [0.7, 0.3], [0.25, 0.75], [0.05, 0.95], [1.0, 0.0]])
TRUE = np.array([0, 1, 1, 1, 0])


def test_reliability_by_hand():
    bins = evaluate.reliability(TRUE, PROBA_OF_FIVE, bins=4)  # 0-0.25, 0.25-0.5, 0.5-0.75, 0.75-1
    assert bins.count == [0, 0, 3, 2]
    assert bins.confidence == pytest.approx([0, 0, (0.6 + 0.7 + 0.75) / 3, 0.975])
    assert bins.accuracy == pytest.approx([0, 0, 2 / 3, 1])


def test_expected_calibration_error_by_hand():
    bins = evaluate.reliability(TRUE, PROBA_OF_FIVE, bins=4)
    assert evaluate.ece(bins) == pytest.approx((abs(2 - 2.05) + abs(2 - 1.95)) / 5)
    assert evaluate.ece(evaluate.reliability(TRUE, np.eye(2)[TRUE])) == 0
    assert evaluate.ece(evaluate.reliability(TRUE, np.eye(2)[1 - TRUE])) == 1


def test_pooled_bins_are_those_of_all_predictions():
    parts = [evaluate.reliability(TRUE[rows], PROBA_OF_FIVE[rows]) for rows in (slice(0, 2), slice(2, 5))]
    pooled, expected = evaluate.pool_bins(parts), evaluate.reliability(TRUE, PROBA_OF_FIVE)
    assert pooled.count == expected.count
    np.testing.assert_allclose(pooled.confidence, expected.confidence)
    np.testing.assert_allclose(pooled.accuracy, expected.accuracy)


def test_correct_probabilities_have_a_small_calibration_error_and_overconfident_ones_a_large_one():
    rng = np.random.default_rng(0)
    proba = rng.dirichlet(np.ones(3), size=20_000)
    y = (rng.random(20_000)[:, None] > proba.cumsum(axis=1)).sum(axis=1)  # sampled with these probabilities
    sharper = proba**3 / (proba**3).sum(axis=1, keepdims=True)
    assert evaluate.ece(evaluate.reliability(y, proba)) < 0.01
    assert evaluate.ece(evaluate.reliability(y, sharper)) > 0.15


def test_classification_report_is_that_of_scikit_learn():
    from sklearn.metrics import classification_report

    matrix = evaluate.confusion(Y, PREDICTED, 3)
    report = evaluate.classification_report(matrix, ["rose", "tulip", "été"])
    expected = classification_report(
        Y, PREDICTED, target_names=["rose", "tulip", "été"], output_dict=True, zero_division=0
    )
    assert list(report) == ["classes", "macro avg", "weighted avg", "accuracy"]
    assert report["accuracy"] == pytest.approx(expected["accuracy"])
    rows = {row["label"]: row for row in report["classes"]} | {n: report[n] for n in ("macro avg", "weighted avg")}
    assert list(rows) == ["rose", "tulip", "été", "macro avg", "weighted avg"]
    for name, row in rows.items():
        mine = [row[key] for key in ("precision", "recall", "f1-score", "support")]
        assert mine == pytest.approx([expected[name][key] for key in ("precision", "recall", "f1-score", "support")])


def test_a_class_may_have_the_name_of_an_average():
    names = ["accuracy", "macro avg", "weighted avg"]
    report = evaluate.classification_report(evaluate.confusion(Y, PREDICTED, 3), names)
    assert [(row["label"], row["support"]) for row in report["classes"]] == list(zip(names, [3, 2, 1], strict=True))
    assert report["accuracy"] == pytest.approx(4 / 6)
    assert report["macro avg"]["support"] == report["weighted avg"]["support"] == 6


def test_classification_report_of_nothing_is_zeros():
    assert evaluate.classification_report(np.zeros((2, 2), int), ["a", "b"])["weighted avg"]["f1-score"] == 0


def test_corrected_interval_by_hand():
    # mean 0.8, S² = 0.01, J = 3, n_test/n_train = 1/4: error = sqrt((1/3 + 1/4)·0.01), t(2, 0.9) = 1.885618
    interval = evaluate.corrected_interval(np.array([0.7, 0.8, 0.9]), n_train=400, n_test=100, confidence=0.8)
    margin = 1.885618 * np.sqrt((1 / 3 + 1 / 4) * 0.01)
    assert interval.to_json() == pytest.approx({"mean": 0.8, "low": 0.8 - margin, "high": 0.8 + margin}, abs=1e-6)


def test_corrected_interval_stays_within_0_and_1():
    assert evaluate.corrected_interval(np.array([0.0, 1.0]), n_train=10, n_test=10) == evaluate.Interval(0.5, 0, 1)


def test_without_overlap_paired_is_scipys_t_test():
    from scipy import stats

    a, b = np.array([0.9, 0.85, 0.8, 0.92]), np.array([0.8, 0.84, 0.82, 0.85])
    difference = evaluate.paired(a, b, n_train=100, n_test=0)
    expected = stats.ttest_rel(a, b)
    interval = expected.confidence_interval()
    assert difference.to_json() == pytest.approx(
        {"difference": 0.04, "low": interval.low, "high": interval.high, "p": expected.pvalue}
    )


def test_overlap_raises_the_p_of_the_paired_test():
    from scipy import stats

    a, b = np.array([0.9, 0.85, 0.8, 0.92]), np.array([0.8, 0.84, 0.82, 0.85])
    difference = evaluate.paired(a, b, n_train=70, n_test=15)
    plain = stats.ttest_rel(a, b).statistic
    assert difference.p == pytest.approx(2 * stats.t.sf(plain * np.sqrt((1 / 4) / (1 / 4 + 15 / 70)), 3))


@pytest.mark.parametrize(("shift", "p"), [(0.0, 1.0), (0.5, 0.0)])
def test_differences_without_variance(shift, p):
    scores = np.array([0.25, 0.5])
    assert evaluate.paired(scores + shift, scores, 70, 15) == evaluate.PairedDifference(shift, shift, shift, p)


@pytest.mark.parametrize(
    ("low", "high", "points", "conclusion"),
    [
        (0.001, 0.013, "+0.4 points [+0.1, +1.3]", ""),
        (-0.005, 0.013, "+0.4 points [−0.5, +1.3]", ": no clear gain"),
        (-0.02, -0.01, "+0.4 points [−2.0, −1.0]", ": it made it worse"),
    ],
)
def test_a_difference_is_described_in_points(low, high, points, conclusion):
    difference = evaluate.PairedDifference(0.004, low, high, 0.3)
    assert difference.describe_points() == points
    assert difference.describe_conclusion() == conclusion


def test_one_split_has_no_interval_over_splits():
    with pytest.raises(ValueError, match="at least two of them, got 1"):
        evaluate.corrected_interval(np.array([0.5]), 70, 15)


def test_bootstrap_is_seeded_and_pairs_two_heads():
    y = np.arange(300) % 3
    right, wrong = np.eye(3)[y], np.eye(3)[(y + (np.arange(300) < 60)) % 3]  # the second is wrong on a fifth
    a, b = (evaluate.bootstrap_f1(y, proba, resamples=400) for proba in (right, wrong))
    assert (a == 1).all()
    np.testing.assert_array_equal(b, evaluate.bootstrap_f1(y, wrong, resamples=400))
    low, high = evaluate.bootstrap_interval(b)
    # a share of 0.8 over 300 pictures has a standard error of 0.023
    assert low == pytest.approx(0.8 - 1.96 * 0.023, abs=0.012)
    assert high == pytest.approx(0.8 + 1.96 * 0.023, abs=0.012)
    assert evaluate.bootstrap_p(a - b) == 1 / 400
    assert evaluate.bootstrap_p(a - a) == 1


def test_bootstrap_needs_little_memory():
    import tracemalloc

    y = np.zeros(10_000, np.int64)
    tracemalloc.start()
    evaluate.bootstrap_f1(y, np.ones((10_000, 2)), resamples=100)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2_000_000  # all 100 draws at once are 8,000,000 bytes
