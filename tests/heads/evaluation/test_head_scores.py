from __future__ import annotations

import numpy as np
import pytest

from winnow.heads.evaluation.fit import Fit, HeadSpec, Split
from winnow.heads.evaluation.head_scores import rank_heads
from winnow.heads.evaluation.metrics import Interval, corrected_interval, metrics, reliability


def fit_of(val: float, right: list[int]) -> Fit:
    """A fit on a test set of four, two classes; right: 1 where the prediction is correct, else 0."""
    y = np.array([0, 0, 1, 1])
    proba = np.eye(2, dtype=np.float32)[np.where(right, y, 1 - y)] * 0.8 + 0.1
    scores = metrics(y, proba)
    return Fit(
        {"train": scores, "val": scores | {"weighted_f1": val}, "test": scores},
        {},
        {"val": proba, "test": proba},
        {"val": y, "test": y},
        None,
        None,
        fit_seconds=2.0,
        predict_seconds=0.5,
        reliability=reliability(y, proba),
    )


SPLIT = Split(np.arange(8), np.arange(8, 10), np.arange(10, 14), np.arange(14))


class TestRankHeads:
    HEADS = (HeadSpec("bad", "knn"), HeadSpec("good", "logistic", {"C": 2.0}), HeadSpec("middle", "lda"))

    def test_the_best_on_val_is_chosen_and_first(self):
        fits = [
            [fit_of(0.1, [1, 1, 1, 1]), fit_of(0.1, [1, 1, 1, 1])],  # best on test: that must not count
            [fit_of(0.9, [1, 1, 1, 1]), fit_of(0.7, [1, 0, 1, 0])],
            [fit_of(0.5, [1, 0, 1, 0]), fit_of(0.6, [0, 0, 0, 0])],
        ]
        ranked = rank_heads(list(self.HEADS), fits, [SPLIT, SPLIT])
        assert [scores.name for scores in ranked] == ["good", "middle", "bad"]
        good, middle, _ = ranked
        assert (good.kind, good.params) == ("logistic", {"C": 2.0})
        assert good.val_weighted_f1 == pytest.approx(0.8)
        assert good.weighted_f1.mean == pytest.approx(0.75)
        assert (good.accuracy, good.macro_f1) == pytest.approx((0.75, 0.75))
        assert good.log_loss == pytest.approx(-(6 * np.log(0.9) + 2 * np.log(0.1)) / 8)
        assert sum(good.reliability.count) == 8
        assert good.ece == pytest.approx(0.9 - 6 / 8)
        assert (good.fit_seconds, good.predict_seconds, good.seconds) == (2.0, 0.5, 2.5)
        assert good.versus_chosen is None
        assert middle.versus_chosen.difference == pytest.approx(-0.5)
        assert middle.versus_chosen.p == 0

    def test_intervals_are_corrected_for_overlapping_splits(self):
        fits = [[fit_of(0.5, [1, 1, 1, 1]), fit_of(0.5, [1, 0, 1, 0])]]
        (scores,) = rank_heads([HeadSpec("one", "knn")], fits, [SPLIT, SPLIT])
        assert scores.weighted_f1 == corrected_interval(np.array([1.0, 0.5]), n_train=8, n_test=4)

    def test_one_split_has_an_interval_by_bootstrap(self):
        ranked = rank_heads(
            [HeadSpec("a", "knn"), HeadSpec("b", "lda")],
            [[fit_of(0.5, [1, 1, 1, 1])], [fit_of(0.4, [1, 0, 1, 1])]],
            [SPLIT],
        )
        assert ranked[0].weighted_f1 == Interval(1.0, 1.0, 1.0)
        b, versus = ranked[1].weighted_f1, ranked[1].versus_chosen
        assert 0 <= b.low < b.mean < b.high <= 1
        assert versus.difference == pytest.approx(b.mean - 1)
        assert versus.high == 0  # the one picture that differs is not drawn in a third of the resamples
        assert versus.p == pytest.approx(2 * (3 / 4) ** 4, abs=0.05)

    def test_the_document_has_all_fields(self):
        fits = [[fit_of(0.9, [1, 1, 1, 1])] * 2, [fit_of(0.8, [1, 0, 1, 0])] * 2]
        good, middle = (scores.to_json() for scores in rank_heads(list(self.HEADS[1:]), fits, [SPLIT, SPLIT]))
        assert list(good) == [
            *("name", "kind", "params", "weighted_f1", "val_weighted_f1", "macro_f1", "accuracy", "log_loss", "ece"),
            *("reliability", "fit_seconds", "predict_seconds", "seconds", "versus_chosen"),
        ]
        assert (good["name"], good["params"], good["seconds"]) == ("good", {"C": 2.0}, 2.5)
        assert good["weighted_f1"] == {"mean": 1.0, "low": 1.0, "high": 1.0}
        assert good["versus_chosen"] is None
        assert middle["versus_chosen"] == {"difference": -0.5, "low": -0.5, "high": -0.5, "p": 0.0}
        assert list(middle["reliability"]) == ["confidence", "accuracy", "count"]
