from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from winnow.common.errors import InputError
from winnow.heads.evaluation import search
from winnow.heads.evaluation.fit import FitOptions, HeadSpec, Split, Task, build
from winnow.heads.evaluation.metrics import Interval, PairedDifference
from winnow.heads.evaluation.search import (
    SearchResult,
    SplitChoice,
    folds,
    inner_splits,
    nested_search,
    summarize_search,
)
from winnow.heads.evaluation.search_spaces import SPACES, candidates
from winnow.heads.kinds import HEADS


def blobs(counts=(40, 40, 40), d=20, seed=0, scale=0.35):
    """Class c lies around the c-th unit vector: X float32 (N, D), y int64 (N,), of rows in a random order."""
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    return (np.eye(d)[y] + rng.normal(scale=scale, size=(len(y), d))).astype(np.float32), y


def divided(y, repeats=2, groups=None):
    rng = np.random.default_rng(1)
    parts = [np.split(rng.permutation(len(y)), [int(0.7 * len(y)), int(0.85 * len(y))]) for _ in range(repeats)]
    return [Split(*map(np.sort, part), np.arange(len(y)) if groups is None else groups) for part in parts]


ABC = ["a", "b", "c"]
FEW = {"dense": {"epochs": 3}, "forest": {"n_estimators": 10}}


def logistic(*Cs):
    return [HeadSpec("logistic", "logistic"), *(HeadSpec("logistic", "logistic", {"C": C}) for C in Cs)]


class TestSpaces:
    @pytest.mark.parametrize("kind", SPACES)
    def test_every_candidate_can_be_built(self, kind):
        assert kind in HEADS
        heads = candidates(kind, 40)
        assert heads[0] == HeadSpec(kind, kind)
        assert all(set(head.params) == set(SPACES[kind]) for head in heads[1:])
        for head in heads:
            build(head, 0)

    def test_a_larger_count_adds_candidates(self):
        assert candidates("svm-rbf", 20, seed=3)[:5] == candidates("svm-rbf", 5, seed=3)
        assert candidates("svm-rbf", 5, seed=3) != candidates("svm-rbf", 5, seed=4)

    def test_numbers_are_log_uniform_and_rounded(self):
        Cs = np.array([head.params["C"] for head in candidates("logistic", 401)[1:]])
        assert 0.1 <= Cs.min() < 0.2
        assert 500 < Cs.max() <= 1000
        np.testing.assert_allclose(np.quantile(np.log10(Cs), [0.25, 0.5, 0.75]), [0, 1, 2], atol=0.25)
        assert all(len(f"{C:.10g}".lstrip("0.").replace(".", "")) <= 4 for C in Cs)

    @pytest.mark.parametrize(("kind", "expected"), [("logistic", 30), ("finetune", 6)])
    def test_slow_heads_have_fewer_candidates_by_default(self, kind, expected):
        assert len(candidates(kind)) == expected
        assert candidates(kind)[:3] == candidates(kind, 3)

    def test_no_parameter_of_fine_tuning_that_changes_the_stored_maps_is_searched(self):
        assert not {"unfreeze", "alpha", "weights", "size"} & set(SPACES["finetune"])
        heads = candidates("finetune", 200)[1:]
        assert {head.params["epochs"] for head in heads} == {8, 16, 24}
        lrs = [head.params["lr"] for head in heads]
        assert 0.002 <= min(lrs) < 0.003
        assert 0.04 < max(lrs) <= 0.05

    @pytest.mark.parametrize("kind", ["dummy", "centroid"])
    def test_a_head_without_a_search_space_is_refused_with_those_that_have_one(self, kind):
        with pytest.raises(InputError, match=f"the {kind} head has no settings worth a search; .*dense, knn, log"):
            candidates(kind, 5)

    def test_an_unknown_head_is_refused(self):
        with pytest.raises(InputError, match="no head is called 'svm'"):
            candidates("svm", 5)


class TestFolds:
    def test_each_class_is_spread_evenly(self):
        codes = np.repeat([0, 1, 2], [50, 13, 5])
        fold = folds(codes, np.arange(68))
        counts = np.array([np.bincount(fold[codes == c], minlength=5) for c in range(3)])
        assert (counts.max(axis=1) - counts.min(axis=1)).tolist() == [0, 1, 0]
        assert np.ptp(counts.sum(axis=0)) <= 1

    def test_groups_are_whole(self):
        rng = np.random.default_rng(0)
        codes = rng.integers(3, size=200)
        groups = rng.integers(60, size=200) * 7
        fold = folds(codes, groups, seed=5)
        assert fold.min() == 0
        assert all(len(set(fold[groups == g].tolist())) == 1 for g in set(groups.tolist()))

    def test_a_class_smaller_than_the_number_of_folds_is_in_as_many_as_it_has_groups(self):
        codes = np.array([0] * 20 + [1, 1, 1])
        assert len(set(folds(codes, np.arange(23))[20:].tolist())) == 3

    def test_a_class_of_one_group_is_always_trained_on(self):
        codes = np.array([0] * 10 + [1] * 10 + [2, 2])
        groups = np.array([*range(20), 20, 20])
        assert folds(codes, groups)[20:].tolist() == [-1, -1]
        for split in inner_splits(codes, Split(np.arange(22), np.array([]), np.array([]), groups)):
            assert {20, 21} <= set(split.train.tolist())
            assert not {20, 21} & set(split.val.tolist())

    def test_few_groups_make_fewer_folds(self):
        y = np.array([0, 0, 1, 1])
        inner = inner_splits(y, Split(np.arange(4), np.array([]), np.array([]), np.arange(4)))
        assert [len(split.val) for split in inner] == [1, 1, 1, 1]

    @pytest.mark.filterwarnings("ignore:The least populated class")
    def test_scikit_learn_refuses_more_folds_than_a_class_has_rows(self):
        from sklearn.model_selection import StratifiedGroupKFold

        y = np.array([0, 0, 0, 1, 1, 1])
        with pytest.raises(ValueError, match="n_splits=5 cannot be greater"):
            next(StratifiedGroupKFold(5).split(y, y, np.arange(6)))
        assert folds(y, np.arange(6)).max() == 4

    def test_the_number_of_folds_can_be_chosen(self):
        _, y = blobs()
        (split,) = divided(y, 1)
        assert [len(inner_splits(y, split, n_folds=count)) for count in (2, 3, 5)] == [2, 3, 5]

    def test_without_any_fold_there_is_an_error(self):
        split = Split(np.arange(4), np.array([]), np.array([]), np.array([0, 0, 1, 1]))
        with pytest.raises(InputError, match="two classes of at least two different pictures in train: add pictures"):
            inner_splits(np.array([0, 0, 1, 1]), split)

    def test_each_row_of_train_is_validated_once(self):
        _, y = blobs()
        (split,) = divided(y, 1)
        inner = inner_splits(y, split, seed=2)
        np.testing.assert_array_equal(np.sort(np.concatenate([fold.val for fold in inner])), split.train)
        for fold in inner:
            np.testing.assert_array_equal(np.sort(np.concatenate([fold.train, fold.val])), split.train)
            assert fold.test is fold.val


class TestRounds:
    """The default and 29 other settings, in rounds as those of HalvingGridSearchCV for 29 settings."""

    @pytest.mark.parametrize(
        ("kind", "pictures", "count", "expected"),
        [
            ("logistic", 270, 30, [(30, 24), (11, 72), (5, 216)]),
            ("logistic", 90, 30, [(30, 24), (11, 72)]),
            ("logistic", 60, 30, [(30, 48)]),
            ("logistic", 270, 3, [(3, 216)]),
            ("dense", 270, 30, [(30, 216)]),
            ("knn", 270, 30, [(30, 216)]),
        ],
    )
    def test_each_has_a_third_of_the_settings_and_three_times_the_images(self, kind, pictures, count, expected):
        y = np.arange(pictures) % 3
        split = Split(np.arange(pictures), np.array([]), np.array([]), np.arange(pictures))
        rounds = search._rounds([HeadSpec(kind, kind)] * count, y, split, seed=0)
        assert [(left, len(inner[0].train)) for left, inner in rounds] == expected
        assert all(len(inner) == 5 for _, inner in rounds)

    def test_fine_tuning_is_searched_on_all_images_with_three_folds(self):
        y = np.arange(270) % 3
        split = Split(np.arange(270), np.array([]), np.array([]), np.arange(270))
        ((left, inner),) = search._rounds([HeadSpec("finetune", "finetune")] * 30, y, split, seed=0)
        assert left == 30
        assert [(len(fold.train), len(fold.val)) for fold in inner] == [(180, 90)] * 3

    def test_the_rounds_are_those_of_scikit_learn(self):
        from sklearn.dummy import DummyClassifier
        from sklearn.experimental import enable_halving_search_cv  # noqa: F401
        from sklearn.model_selection import HalvingGridSearchCV

        expected = HalvingGridSearchCV(DummyClassifier(), {"random_state": list(range(29))}, min_resources=30, cv=3)
        y = np.arange(270) % 3
        expected.fit(np.zeros((270, 1)), y)
        split = Split(np.arange(270), np.array([]), np.array([]), np.arange(270))
        rounds = search._rounds([HeadSpec("lda", "lda")] * 30, y, split, seed=0)
        assert [left - 1 for left, _ in rounds] == expected.n_candidates_
        assert [round(len(inner[0].train) / 0.8) for _, inner in rounds] == expected.n_resources_


class TestNested:
    def test_the_best_setting_is_chosen(self):
        """With C far too small nothing is learned; the default, which would be good, is replaced by a worse one."""
        X, y = blobs(counts=(60, 20, 10))
        heads = [HeadSpec("logistic", "logistic", {"C": C}) for C in (1e-4, 1e-3, 30.0, 1e-5)]
        search_fits = nested_search(heads, Task(X, y, ABC), divided(y))
        assert [head.params for head in search_fits.heads] == [{"C": 30.0}, {"C": 30.0}]
        result = summarize_search(search_fits, heads, divided(y))
        assert result.weighted_f1.mean > result.default.mean + 0.2
        assert result.difference.difference == pytest.approx(result.weighted_f1.mean - result.default.mean)

    def test_of_equal_settings_the_default_is_chosen(self):
        X, y = blobs(scale=0.01)
        search_fits = nested_search(logistic(5, 20, 50), Task(X, y, ABC), divided(y))
        assert [head.params for head in search_fits.heads] == [{}, {}]
        assert summarize_search(search_fits, logistic(5, 20, 50), divided(y)).difference.difference == 0

    @pytest.mark.parametrize("part", ["test", "val"])
    def test_val_and_test_do_not_influence_the_search(self, part):
        X, y = blobs(scale=0.6)
        (split,) = divided(y, 1)
        heads = candidates("logistic", 6)
        search_fits = nested_search(heads, Task(X, y, ABC), [split])
        rng = np.random.default_rng(9)
        X, y = X.copy(), y.copy()
        X[getattr(split, part)] = rng.normal(scale=50, size=X[getattr(split, part)].shape)
        y[getattr(split, part)] = rng.integers(3, size=len(getattr(split, part)))
        again = nested_search(heads, Task(X, y, ABC), [split])
        assert again.heads == search_fits.heads
        assert again.tuned[0].metrics["train"] == search_fits.tuned[0].metrics["train"]
        assert again.tuned[0].metrics[part] != search_fits.tuned[0].metrics[part]

    def test_the_chosen_settings_are_fitted_and_evaluated_as_by_compare(self):
        from winnow.heads.evaluation.compare import compare

        X, y = blobs(scale=0.6)
        splits = divided(y)
        search_fits = nested_search(candidates("logistic", 6), Task(X, y, ABC), splits, FitOptions(7))
        (default,) = compare([HeadSpec("logistic", "logistic")], Task(X, y, ABC), splits, FitOptions(7))
        assert [fit.metrics for fit in search_fits.default] == [fit.metrics for fit in default]
        for r, head in enumerate(search_fits.heads):
            ((tuned,),) = compare([head], Task(X, y, ABC), splits[r : r + 1], FitOptions(7 + r))
            assert search_fits.tuned[r].metrics == tuned.metrics

    def test_the_seed_decides_the_result_and_every_fit_is_reported(self):
        X, y = blobs(counts=(50, 50), scale=0.8)
        progress, messages = [], []
        callbacks = {"on_fit": lambda *counts: progress.append(counts), "on_message": messages.append}
        task, splits = Task(X, y, ["a", "b"]), divided(y)
        one, two = (
            nested_search(candidates("logistic", 6), task, splits, FitOptions(3), **callbacks) for _ in range(2)
        )
        assert one.heads == two.heads
        assert [fit.metrics for fit in one.tuned] == [fit.metrics for fit in two.tuned]
        total = 2 * (5 * (6 + 3) + 2)
        assert progress == [(done, total) for done in range(1, total + 1)] * 2
        assert messages == [f"Searching among 6 settings of logistic: {total} fits"] * 2

    def test_only_fits_on_whole_splits_are_stored_and_compare_reads_them(self, tmp_path, monkeypatch):
        from winnow.heads.evaluation.compare import compare

        X, y = blobs()
        task, options = Task(X, y, ABC, "X"), FitOptions(cache=tmp_path)
        search_fits = nested_search(logistic(1e-4, 1e-3), task, divided(y), options)
        assert len(list(tmp_path.iterdir())) == 2
        monkeypatch.setattr("winnow.heads.evaluation.fit_pool.fit_heads", None)
        (again,) = compare(logistic(), task, divided(y), options)
        assert [fit.metrics for fit in again] == [fit.metrics for fit in search_fits.default]

    def test_a_search_uses_all_rows_of_its_images(self):
        """The first rows of 120 images have no information; the second ones, used for evaluation, have."""
        X, y = blobs(scale=0.1)
        X, y = np.concatenate([np.zeros_like(X), X]), np.tile(y, 2)
        splits, image_splits = divided(y[:120]), []

        def as_rows(some):
            image_splits.extend(some)
            return [
                replace(split, groups=np.tile(split.groups, 2), augmented=split.train + 120, val=split.val + 120)
                for split in some
            ]

        heads = [HeadSpec("logistic", "logistic", {"C": C}) for C in (1e-4, 30.0, 1e-5)]
        search_fits = nested_search(heads, Task(X, y, ABC), splits, as_rows=as_rows)
        assert [head.params for head in search_fits.heads] == [{"C": 30.0}, {"C": 30.0}]
        assert search_fits.tuned[0].metrics["val"]["weighted_f1"] > 0.9
        assert nested_search(heads, Task(X, y, ABC), splits).heads == heads[:1] * 2
        assert len(image_splits) == 2 * (5 + 1)
        for split in image_splits:
            assert max(split.train.max(), split.val.max(), split.test.max()) < 120

    @pytest.mark.slow
    def test_the_number_of_jobs_changes_nothing(self):
        X, y = blobs(scale=0.6)
        runs = [
            nested_search(candidates("mlp", 2), Task(X, y, ABC), divided(y, 1), FitOptions(jobs=jobs))
            for jobs in (1, 2)
        ]
        assert runs[0].heads == runs[1].heads
        assert [fit.metrics for fit in runs[0].tuned] == [fit.metrics for fit in runs[1].tuned]

    @pytest.mark.slow
    @pytest.mark.parametrize("kind", [kind for kind in SPACES if kind != "finetune"])
    def test_every_kind_can_be_tuned_on_small_classes_with_duplicates(self, kind):
        X, y = blobs(counts=(30, 10, 5), scale=0.2)
        groups = np.where(np.arange(45) % 9 == 8, np.arange(45) - 1, np.arange(45))
        (split,) = divided(y, 1, groups)
        heads = [replace(head, params=head.params | FEW.get(kind, {})) for head in candidates(kind, 3)]
        search_fits = nested_search(heads, Task(X, y, ABC), [split])
        assert search_fits.heads[0] in heads
        assert search_fits.tuned[0].metrics["test"]["weighted_f1"] > 0.2


RESULT = SearchResult(
    head="knn",
    params={"n_neighbors": 7},
    weighted_f1=Interval(0.897, 0.871, 0.9233),
    default=Interval(0.893, 0.87, 0.92),
    difference=PairedDifference(0.004, -0.005, 0.013, 0.3),
    searched=30,
    choices=[SplitChoice({"n_neighbors": 7}, 0.9, 0.89), SplitChoice({}, 0.89, 0.89)],
)


def test_a_result_is_described_in_a_sentence():
    words = "tuned 0.897 [0.871, 0.923], default 0.893: +0.4 points [−0.5, +1.3] of weighted F1"
    assert RESULT.describe() == f"{words}: no clear gain"
    worse = replace(RESULT, difference=PairedDifference(-0.015, -0.02, -0.01, 0.01))
    assert worse.describe().endswith("of weighted F1: it made it worse")


def test_the_document_has_all_fields_and_is_read_back():
    document = RESULT.to_json()
    assert document == {
        "head": "knn",
        "params": {"n_neighbors": 7},
        "weighted_f1": {"mean": 0.897, "low": 0.871, "high": 0.9233},
        "default": {"mean": 0.893, "low": 0.87, "high": 0.92},
        "difference": {"difference": 0.004, "low": -0.005, "high": 0.013, "p": 0.3},
        "searched": 30,
        "chosen_on_each_split": [
            {"params": {"n_neighbors": 7}, "weighted_f1": 0.9, "default": 0.89},
            {"params": {}, "weighted_f1": 0.89, "default": 0.89},
        ],
    }
    assert SearchResult.from_json(document | {"run": "elsewhere"}) == RESULT
