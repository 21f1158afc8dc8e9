from __future__ import annotations

import numpy as np
import pytest

from winnow.heads.evaluation.fit import Split
from winnow.heads.evaluation.learning_curve import SHARES, Law, fitted, in_words, nested, summary

SIZES = np.array([70.0, 140, 245, 350, 490, 700])


def split_of(y, groups=None):
    """Every row but the last of each class is in train, in a mixed order."""
    rows = np.random.default_rng(3).permutation(len(y))
    nothing = np.empty(0, np.int64)
    return Split(rows, nothing, nothing, np.arange(len(y)) if groups is None else groups)


class TestNested:
    def test_each_part_holds_its_share_of_every_class(self):
        y = np.repeat([0, 1, 2], [100, 40, 20])
        parts = nested(split_of(y), y, seed=0)
        counts = [np.bincount(y[part.train]).tolist() for part in parts]
        assert counts == [[10, 4, 2], [20, 8, 4], [35, 14, 7], [50, 20, 10], [70, 28, 14], [100, 40, 20]]

    def test_a_smaller_part_is_part_of_the_larger_and_all_of_it_is_the_split_as_it_is(self):
        y = np.repeat([0, 1, 2], [100, 40, 20])
        split = split_of(y)
        parts = nested(split, y, seed=0)
        for smaller, larger in zip(parts, parts[1:], strict=False):
            assert set(smaller.train) < set(larger.train)
        np.testing.assert_array_equal(parts[-1].train, split.train)
        assert parts[0].test is split.test

    def test_the_seed_draws_the_parts(self):
        y = np.repeat([0, 1], 50)
        a, b, c, d = (nested(split_of(y), y, seed)[0].train.tolist() for seed in (0, 0, 1, -1))
        assert a == b
        assert len({*map(tuple, (a, c, d))}) == 3

    def test_a_class_keeps_two_pictures_where_it_has_them(self):
        y = np.repeat([0, 1, 2], [40, 5, 1])
        first = nested(split_of(y), y, seed=0)[0]
        assert np.bincount(y[first.train]).tolist() == [4, 2, 1]

    def test_groups_are_whole_and_two_of_a_class_stay(self):
        groups = np.repeat(np.arange(30), 4)  # four views of thirty pictures
        y = np.repeat(np.arange(30) % 3, 4)
        for part, share in zip(nested(split_of(y, groups), y, seed=0), SHARES, strict=True):
            taken = np.bincount(groups[part.train], minlength=30)
            assert set(taken) <= {0, 4}
            of_class = np.bincount(y[part.train]) / 4
            assert (of_class == max(2, np.ceil(round(share * 40) / 4))).all()

    def test_a_group_of_several_labels_counts_for_the_one_that_most_have(self):
        y = np.array([0, 0, 1, 1, 1, 1, 0, 0])
        groups = np.array([0, 0, 0, 1, 2, 3, 4, 5])
        first = nested(split_of(y, groups), y, seed=0, shares=(0.01,))[0]
        taken = set(groups[first.train])
        assert len(taken & {1, 2, 3}) == 2
        assert len(taken & {0, 4, 5}) == 2


class TestLaw:
    def test_it_is_found_again(self):
        law = Law(a=0.05, b=1.2, c=0.5)
        found = fitted(SIZES, law(SIZES), np.full(6, 0.01))
        assert found == pytest.approx(law, rel=1e-3)

    def test_by_hand(self):
        # 1 − 0.1 − 0.8 / sqrt(16) = 0.7
        assert Law(0.1, 0.8, 0.5)(16) == pytest.approx(0.7)
        assert Law(0.1, 0.8, 0.5)(np.array([4, 64])) == pytest.approx([0.5, 0.8])

    def test_points_that_are_less_sure_count_less(self):
        law = Law(a=0.05, b=1.2, c=0.5)
        means = law(SIZES)
        means[0] -= 0.1
        even = fitted(SIZES, means, np.full(6, 0.01))
        weighted = fitted(SIZES, means, np.array([1.0, *[0.01] * 5]))
        truth = law(1400)
        assert abs(weighted(1400) - truth) < 0.001 < abs(even(1400) - truth)


def scores(law, noise=0.01, repeats=10, seed=0):
    return law(SIZES)[:, None] + np.random.default_rng(seed).normal(scale=noise, size=(6, repeats))


class TestSummary:
    def test_the_guess_is_near_what_the_law_says_and_its_interval_holds_it(self):
        law = Law(a=0.05, b=1.2, c=0.5)
        said = summary(SIZES, scores(law), n_test=150)
        guess = said["guess"]["weighted_f1"]
        assert said["guess"]["pictures"] == 1400
        assert said["reason"] is None
        assert said["exponent"] == said["law"]["c"]
        assert guess["low"] < law(1400) < guess["high"]
        assert guess["mean"] == pytest.approx(law(1400), abs=0.01)
        assert Law(**said["law"])(1400) == pytest.approx(guess["mean"])

    def test_the_interval_is_wider_where_splits_overlap_more(self):
        law = Law(a=0.05, b=1.2, c=0.5)
        apart, overlapping = (summary(SIZES, scores(law), n_test)["guess"]["weighted_f1"] for n_test in (0, 210))
        wider = (overlapping["high"] - overlapping["mean"]) / (apart["high"] - apart["mean"])
        assert wider == pytest.approx(np.sqrt(1 + 10 * 210 / 700))

    def test_where_the_guess_is_the_mean_itself_its_interval_is_that_of_the_mean(self, monkeypatch):
        from winnow.heads.evaluation import learning_curve
        from winnow.heads.evaluation.metrics import corrected_interval

        monkeypatch.setattr(
            learning_curve, "fitted", lambda sizes, means, *_: Law(1 - means[-1] - 0.07, 0.07 * 700, 1.0)
        )
        monkeypatch.setattr(learning_curve, "_MISFIT", np.inf)
        values = scores(Law(a=0.05, b=1.2, c=0.5))
        sure = np.full((6, 10), values[-1])  # no size is missed by the law by more than chance
        guess = summary(np.full(6, 700.0) + np.arange(6) * 1e-6, sure, n_test=150)["guess"]["weighted_f1"]
        mean, _, high = corrected_interval(values[-1], n_train=700, n_test=150)
        assert guess["mean"] == pytest.approx(mean + 0.035, abs=1e-6)
        assert guess["high"] - guess["mean"] == pytest.approx(high - mean, rel=0.15)  # 200 draws

    def test_the_interval_stays_below_one(self):
        said = summary(SIZES, scores(Law(a=0.0, b=0.3, c=0.6), noise=0.02), n_test=150)
        assert said["guess"]["weighted_f1"]["high"] <= 1

    @pytest.mark.parametrize(
        ("sizes", "values", "reason"),
        [
            (SIZES[:3], scores(Law(0.05, 1.2, 0.5))[:3], "it takes 4 sizes of the train part, and there are 3"),
            (SIZES, scores(Law(0.05, 1.2, 0.5))[:, :1], "it takes two splits or more"),
            (SIZES, np.full((6, 4), np.nan), "no power law fits these scores"),
            (SIZES, scores(Law(0.05, 1.2, 0.5))[::-1], "the scores do not fall into a power law"),
            (
                SIZES,
                scores(Law(0.05, 1.2, 0.5)) - [[0], [0], [0.1], [0.1], [0], [0]],
                "the scores do not fall into a power",
            ),
            (SIZES, np.array([[0.1] * 4, *[[0.9] * 4] * 5]), "the scores do not fall into a power law"),
        ],
    )
    def test_where_there_is_no_guess_it_says_why(self, sizes, values, reason):
        said = summary(sizes, values, n_test=150)
        assert said["guess"] is said["exponent"] is said["law"] is None
        assert said["reason"].startswith(reason)


def said(mean, now=0.9, **changes):
    """A law that goes through `now` at 700 pictures and through `mean` at 1,400."""
    a = 1 - now - 2 * (mean - now)
    law = {"a": a, "b": 700 * 2 * (mean - now), "c": 1.0}
    f1 = {"mean": mean, "low": mean - 0.01, "high": mean + 0.02}
    sizes = [{"pictures": 700, "share": 1.0, "weighted_f1": {"mean": now}}]
    guess = {"pictures": 1400, "weighted_f1": f1}
    return {"head": "lda", "sizes": sizes, "guess": guess, "law": law, "reason": None} | changes


@pytest.mark.parametrize(("mean", "words"), [(0.905, "little"), (0.92, "somewhat"), (0.94, "much")])
def test_the_sentence_says_how_much_more_pictures_help(mean, words):
    assert in_words(said(mean)) == (
        f"lda on 1,400 training pictures instead of 700: 0.900 → about {mean:.3f} "
        f"[{mean - 0.01:.3f}, {mean + 0.02:.3f}], a guess: more pictures help {words}"
    )


def test_without_a_guess_the_sentence_says_why():
    assert in_words(said(0.9, guess=None, law=None, reason="it takes two splits or more")) == (
        "lda on 700 training pictures: 0.900; no guess at twice as many: it takes two splits or more"
    )
