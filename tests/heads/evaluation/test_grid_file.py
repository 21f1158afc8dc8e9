"""Heads by name and by grid file, and mistakes in both."""

from __future__ import annotations

import pytest

from winnow.common.errors import InputError
from winnow.heads.evaluation.fit import HeadSpec
from winnow.heads.evaluation.grid_file import heads_from_names, read_grid


class TestNames:
    def test_heads_from_names(self):
        assert heads_from_names(["knn", "dense"]) == [HeadSpec("knn", "knn", {}), HeadSpec("dense", "dense", {})]

    def test_unknown(self):
        with pytest.raises(InputError, match="no head is called 'svm'; there are dense, dummy, .*svm-linear"):
            heads_from_names(["svm"])

    def test_repeated(self):
        with pytest.raises(InputError, match="two heads are called 'knn'"):
            heads_from_names(["knn", "knn"])


class TestGrid:
    def test_the_report_ships_with_its_seven_settings(self):
        grid = read_grid("report")
        assert grid.validation == "val"
        assert {head.kind for head in grid.heads} == {"dense"}
        assert [(head.params["lr"], head.params.get("momentum", 0)) for head in grid.heads] == [
            (0.01, 0),
            (0.0001, 0),
            (0.001, 0),
            (0.1, 0),
            (0.001, 0.01),
            (0.001, 0.1),
            (0.01, 1),
        ]

    def test_a_file_of_the_user(self, tmp_path):
        file = tmp_path / "mine.toml"
        file.write_text(
            '[[head]]\nkind = "dense"\nhidden = [64, 32]\nbatch-size = 8\n[[head]]\nname = "k"\nkind = "knn"\n'
            '[[head]]\nname = "c"\nkind = "dense"\nschedule = "one-cycle"\nstep-size = 5\nclass-weight = "balanced"\n'
        )
        grid = read_grid(file)
        assert grid.validation == "own"
        cycle = {"schedule": "one-cycle", "step_size": 5, "class_weight": "balanced"}
        assert grid.heads == [
            HeadSpec("dense", "dense", {"hidden": (64, 32), "batch_size": 8}),
            HeadSpec("k", "knn", {}),
            HeadSpec("c", "dense", cycle),
        ]

    @pytest.mark.parametrize("kind", ["tail", "finetune"])
    def test_kinds_of_version_0_1_0_are_read(self, tmp_path, kind):
        file = tmp_path / "mine.toml"
        file.write_text(f'[[head]]\nkind = "{kind}"\nunfreeze = 2')
        (head,) = read_grid(file).heads
        assert (head.kind, head.params) == ("finetune", {"unfreeze": 2})

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("[[head", "mine.toml: "),
            ("", r"mine.toml: a grid has tables \[\[head\]\]"),
            ('validation = "test"\n[[head]]\nkind = "knn"', 'at most validation = "own" or "val"'),
            ("[[head]]\nlr = 0.1", r"every \[\[head\]\] needs a kind, one of dense, dummy"),
            ('[[head]]\nkind = "svm"', "no head is called 'svm'"),
            ('[[head]]\nkind = "dense"\nlearning = 1', "the dense head has no parameter 'learning'; it has .*lr"),
            ('[[head]]\nkind = "dense"\nlr = "a"', "head 'dense': The 'lr' parameter of DenseHead must be a float"),
            ('[[head]]\nkind = "dense"\nhidden = [0]', "head 'dense': The 'hidden' parameter of DenseHead"),
            (
                '[[head]]\nkind = "dense"\nschedule = "x"',
                "The 'schedule' parameter of DenseHead must be a str among",
            ),
            (
                '[[head]]\nkind = "dense"\nwarmup = 100',
                "The 'warmup' parameter of DenseHead must be less than",
            ),
            ('[[head]]\nkind = "knn"\nclass_weight = "balanced"', "CosineNeighbours takes no class_weight; heads that"),
            ('[[head]]\nkind = "lda"\nclass_weight = "even"', "head 'lda': The 'class_weight' parameter of Weighted"),
            ('[[head]]\nkind = "svm-rbf"\nC = -1', "head 'svm-rbf': The 'C' parameter of SVC must be a float"),
            ('[[head]]\nkind = "dummy"\nstrategy = "constant"', "one of prior, most_frequent, uniform"),
            (
                '[[head]]\nkind = "knn"\ncalibration = "beta"',
                "calibration of a head is one of none, sigmoid, isotonic, ",
            ),
            (
                '[[head]]\nkind = "dense"\ncalibration = "sigmoid"',
                "head 'dense': The 'calibration' parameter of DenseHead",
            ),
            ('[[head]]\nkind = "knn"\nk = 1', "CosineNeighbours has no parameter 'k'; it has n_neighbors"),
            ('[[head]]\nkind = "knn"\n[[head]]\nkind = "knn"', "two heads are called 'knn'"),
        ],
    )
    def test_mistakes_are_errors_with_the_file(self, tmp_path, text, message):
        file = tmp_path / "mine.toml"
        file.write_text(text)
        with pytest.raises(InputError, match=message) as raised:
            read_grid(file)
        assert str(raised.value).startswith(str(file))

    def test_a_missing_file_names_the_shipped_ones(self):
        with pytest.raises(InputError, match="nowhere.toml: no such grid file; shipped with Winnow: report"):
            read_grid("nowhere.toml")
