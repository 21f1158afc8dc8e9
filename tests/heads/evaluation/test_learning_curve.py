from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from winnow.heads.evaluation.fit import Split
from winnow.heads.evaluation.learning_curve import (
    SHARES,
    CurvePoint,
    Forecast,
    LearningCurve,
    PowerLaw,
    extrapolate,
    fit_power_law,
    nested_subsets,
)
from winnow.heads.evaluation.metrics import Interval

SIZES = np.array([70.0, 140, 245, 350, 490, 700])


def split_of(y, groups=None):
    """A split with all rows in train, in random order."""
    rows = np.random.default_rng(3).permutation(len(y))
    nothing = np.empty(0, np.int64)
    return Split(rows, nothing, nothing, np.arange(len(y)) if groups is None else groups)


class TestNested:
    def test_each_part_holds_its_share_of_every_class(self):
        y = np.repeat([0, 1, 2], [100, 40, 20])
        parts = nested_subsets(split_of(y), y, seed=0)
        counts = [np.bincount(y[part.train]).tolist() for part in parts]
        assert counts == [[10, 4, 2], [20, 8, 4], [35, 14, 7], [50, 20, 10], [70, 28, 14], [100, 40, 20]]

    def test_smaller_parts_are_contained_in_larger_ones_and_a_share_of_1_is_the_split(self):
        y = np.repeat([0, 1, 2], [100, 40, 20])
        split = split_of(y)
        parts = nested_subsets(split, y, seed=0)
        for smaller, larger in zip(parts, parts[1:], strict=False):
            assert set(smaller.train) < set(larger.train)
        np.testing.assert_array_equal(parts[-1].train, split.train)
        assert parts[0].test is split.test

    def test_the_seed_decides_the_parts(self):
        y = np.repeat([0, 1], 50)
        a, b, c, d = (nested_subsets(split_of(y), y, seed)[0].train.tolist() for seed in (0, 0, 1, -1))
        assert a == b
        assert len({*map(tuple, (a, c, d))}) == 3

    def test_a_class_keeps_two_images_where_it_has_them(self):
        y = np.repeat([0, 1, 2], [40, 5, 1])
        first = nested_subsets(split_of(y), y, seed=0)[0]
        assert np.bincount(y[first.train]).tolist() == [4, 2, 1]

    def test_groups_are_whole_and_two_of_a_class_stay(self):
        groups = np.repeat(np.arange(30), 4)  # four versions of thirty images
        y = np.repeat(np.arange(30) % 3, 4)
        for part, share in zip(nested_subsets(split_of(y, groups), y, seed=0), SHARES, strict=True):
            taken = np.bincount(groups[part.train], minlength=30)
            assert set(taken) <= {0, 4}
            of_class = np.bincount(y[part.train]) / 4
            assert (of_class == max(2, np.ceil(round(share * 40) / 4))).all()

    def test_a_group_with_several_labels_belongs_to_the_most_frequent_one(self):
        y = np.array([0, 0, 1, 1, 1, 1, 0, 0])
        groups = np.array([0, 0, 0, 1, 2, 3, 4, 5])
        first = nested_subsets(split_of(y, groups), y, seed=0, shares=(0.01,))[0]
        taken = set(groups[first.train])
        assert len(taken & {1, 2, 3}) == 2
        assert len(taken & {0, 4, 5}) == 2


class TestLaw:
    def test_it_is_recovered_from_its_values(self):
        law = PowerLaw(a=0.05, b=1.2, c=0.5)
        fitted = fit_power_law(SIZES, law(SIZES), np.full(6, 0.01))
        assert fitted == pytest.approx(law, rel=1e-3)

    def test_by_hand(self):
        # 1 − 0.1 − 0.8 / sqrt(16) = 0.7
        assert PowerLaw(0.1, 0.8, 0.5)(16) == pytest.approx(0.7)
        assert PowerLaw(0.1, 0.8, 0.5)(np.array([4, 64])) == pytest.approx([0.5, 0.8])

    def test_points_with_larger_errors_have_less_weight(self):
        law = PowerLaw(a=0.05, b=1.2, c=0.5)
        means = law(SIZES)
        means[0] -= 0.1
        even = fit_power_law(SIZES, means, np.full(6, 0.01))
        weighted = fit_power_law(SIZES, means, np.array([1.0, *[0.01] * 5]))
        truth = law(1400)
        assert abs(weighted(1400) - truth) < 0.001 < abs(even(1400) - truth)


def scores(law, noise=0.01, repeats=10, seed=0):
    return law(SIZES)[:, None] + np.random.default_rng(seed).normal(scale=noise, size=(6, repeats))


def forecast(sizes, values, n_test):
    return extrapolate("lda", [], sizes, values, n_test).forecast


class TestExtrapolate:
    def test_the_forecast_is_near_the_law_and_its_interval_contains_it(self):
        law = PowerLaw(a=0.05, b=1.2, c=0.5)
        curve = extrapolate("lda", [], SIZES, scores(law), n_test=150)
        f1 = curve.forecast.weighted_f1
        assert curve.forecast.pictures == 1400
        assert curve.reason is None
        assert f1.low < law(1400) < f1.high
        assert f1.mean == pytest.approx(law(1400), abs=0.01)
        assert curve.forecast.law(1400) == pytest.approx(f1.mean)

    def test_the_interval_is_wider_where_splits_overlap_more(self):
        law = PowerLaw(a=0.05, b=1.2, c=0.5)
        apart, overlapping = (forecast(SIZES, scores(law), n_test).weighted_f1 for n_test in (0, 210))
        wider = (overlapping.high - overlapping.mean) / (apart.high - apart.mean)
        assert wider == pytest.approx(np.sqrt(1 + 10 * 210 / 700))

    def test_where_the_forecast_is_the_mean_itself_its_interval_is_that_of_the_mean(self, monkeypatch):
        from winnow.heads.evaluation import learning_curve
        from winnow.heads.evaluation.metrics import corrected_interval

        monkeypatch.setattr(
            learning_curve, "fit_power_law", lambda sizes, means, *_: PowerLaw(1 - means[-1] - 0.07, 0.07 * 700, 1.0)
        )
        monkeypatch.setattr(learning_curve, "_MISFIT", np.inf)
        values = scores(PowerLaw(a=0.05, b=1.2, c=0.5))
        equal = np.full((6, 10), values[-1])  # the law misses no size by more than chance
        f1 = forecast(np.full(6, 700.0) + np.arange(6) * 1e-6, equal, n_test=150).weighted_f1
        expected = corrected_interval(values[-1], n_train=700, n_test=150)
        assert f1.mean == pytest.approx(expected.mean + 0.035, abs=1e-6)
        assert f1.high - f1.mean == pytest.approx(expected.high - expected.mean, rel=0.15)  # 200 resamples

    def test_the_interval_stays_below_one(self):
        law = PowerLaw(a=0.0, b=0.3, c=0.6)
        assert forecast(SIZES, scores(law, noise=0.02), n_test=150).weighted_f1.high <= 1

    @pytest.mark.parametrize(
        ("sizes", "values", "reason"),
        [
            (SIZES[:3], scores(PowerLaw(0.05, 1.2, 0.5))[:3], "it takes 4 sizes of the train part, and there are 3"),
            (SIZES, scores(PowerLaw(0.05, 1.2, 0.5))[:, :1], "it takes two splits or more"),
            (SIZES, np.full((6, 4), np.nan), "no power law fits these scores"),
            (SIZES, scores(PowerLaw(0.05, 1.2, 0.5))[::-1], "the scores do not fall into a power law"),
            (
                SIZES,
                scores(PowerLaw(0.05, 1.2, 0.5)) - [[0], [0], [0.1], [0.1], [0], [0]],
                "the scores do not fall into a power",
            ),
            (SIZES, np.array([[0.1] * 4, *[[0.9] * 4] * 5]), "the scores do not fall into a power law"),
        ],
    )
    def test_without_a_forecast_there_is_a_reason(self, sizes, values, reason):
        curve = extrapolate("lda", [], sizes, values, n_test=150)
        assert curve.forecast is None
        assert curve.reason.startswith(reason)


def curve_of(mean, now=0.9):
    """A law through `now` at 700 pictures and through `mean` at 1,400."""
    law = PowerLaw(a=1 - now - 2 * (mean - now), b=700 * 2 * (mean - now), c=1.0)
    forecast = Forecast(1400, Interval(mean, mean - 0.01, mean + 0.02), law)
    return LearningCurve("lda", [CurvePoint(700, 1.0, Interval(now, now - 0.01, now + 0.01))], forecast)


def test_the_document_has_all_fields_and_is_read_back():
    document = curve_of(0.92).to_json()
    assert document["sizes"] == [
        {"pictures": 700, "share": 1.0, "weighted_f1": {"mean": 0.9, "low": 0.89, "high": 0.91}}
    ]
    assert document["guess"] == {
        "pictures": 1400,
        "weighted_f1": {"mean": 0.92, "low": 0.91, "high": 0.9400000000000001},
    }
    assert (document["head"], document["reason"], document["exponent"]) == ("lda", None, 1.0)
    assert list(document["law"]) == ["a", "b", "c"]
    assert LearningCurve.from_json(document) == curve_of(0.92)
    without = LearningCurve("lda", [], None, "it takes two splits or more")
    assert without.to_json() == {
        "head": "lda",
        "sizes": [],
        "guess": None,
        "reason": "it takes two splits or more",
        "exponent": None,
        "law": None,
    }
    assert LearningCurve.from_json(without.to_json()) == without


@pytest.mark.parametrize(("mean", "words"), [(0.905, "little"), (0.92, "somewhat"), (0.94, "much")])
def test_the_sentence_says_how_much_more_pictures_help(mean, words):
    assert curve_of(mean).describe() == (
        f"lda on 1,400 training pictures instead of 700: 0.900 → about {mean:.3f} "
        f"[{mean - 0.01:.3f}, {mean + 0.02:.3f}], a guess: more pictures help {words}"
    )


def test_without_a_guess_the_sentence_says_why():
    assert replace(curve_of(0.9), forecast=None, reason="it takes two splits or more").describe() == (
        "lda on 700 training pictures: 0.900; no guess at twice as many: it takes two splits or more"
    )
