"""Which rows heads learn from and are judged by: the views of a picture never part, nor come into another part."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from choice import Vectors
from embed.errors import InputError
from embed.recipe import Recipe
from heads.fit import Grid, Head, Split
from rows import beside_tails, divided, read

IDS = ["a", "b", "c", "d", "e", "f"]


class Table:
    """Vectors of one number: 10 x the picture's place in IDS, and its view."""

    def read(self, ids: list[str], view: int) -> np.ndarray:
        return np.array([[10 * IDS.index(id) + view] for id in ids], dtype=np.float32)


@dataclass
class Work:
    rows: np.ndarray
    looks: np.ndarray
    embedding: dict[str, Any]
    data: Any = field(
        default_factory=lambda: SimpleNamespace(ids=IDS, y=np.array([0, 1, 0, 1, 0, 1]), classes=["x", "y"])
    )
    made: dict[str, Any] = field(default_factory=lambda: {"key": "k"})
    splits: list[Split] = field(
        default_factory=lambda: [
            Split(np.array([0, 1, 4]), np.array([2]), np.array([5, 3]), np.array([7, 1, 2, 3, 7, 5]))
        ]
    )


def work(**choice: Any) -> Work:
    chosen = Vectors(**choice)
    return Work(*read(Table(), IDS, chosen), chosen.document())


def test_without_views_rows_are_pictures():
    rows, (split,) = divided(work())
    assert rows.X.ravel().tolist() == [0, 10, 20, 30, 40, 50]
    assert split.more is None
    assert (split.learned.tolist(), split.val.tolist(), split.test.tolist()) == ([0, 1, 4], [2], [5, 3])


def test_every_view_of_train_is_learned_from_and_pictures_are_judged_by_the_plain_one():
    rows, (split,) = divided(work(views=3))
    assert rows.X[split.learned].ravel().tolist() == [0, 10, 40, 1, 11, 41, 2, 12, 42]
    assert rows.y[split.learned].tolist() == [0, 1, 0] * 3
    assert split.groups[split.learned].tolist() == [7, 1, 7] * 3
    assert rows.X[split.looks("test")].tolist() == [[[50]], [[30]]]


def test_pictures_are_judged_by_the_mean_vector_of_them_and_their_mirror_image():
    rows, (split,) = divided(work(views=3, test_views="mirror"))
    assert rows.X[split.learned].ravel().tolist() == [0, 10, 40, 1, 11, 41, 2, 12, 42]
    assert rows.X[split.looks("test")].ravel().tolist() == [50.5, 30.5]
    assert rows.X[split.looks("val")].ravel().tolist() == [20.5]
    assert rows.y[split.looks("test")].ravel().tolist() == [1, 1]


def test_pictures_are_judged_by_all_their_views():
    rows, (split,) = divided(work(views=2, test_views="mean"))
    assert rows.X[split.looks("test")][..., 0].tolist() == [[50, 51], [30, 31]]
    assert rows.X[split.looks("train")][..., 0].tolist() == [[0], [10], [40]]


def test_what_fits_are_kept_under_depends_on_the_views():
    keys = [divided(work(**of))[0].key for of in ({}, {"views": 2}, {"views": 3}, {"views": 2, "test_views": "mirror"})]
    assert len(set(keys)) == 4


@pytest.mark.parametrize(("pool", "dtype"), [("avg", np.float32), ("none", np.float16)])
def test_maps_stay_half_precision(pool, dtype):
    rows, _ = read(Table(), IDS, Vectors(Recipe(pool=pool), views=2, test_views="mirror"))
    assert rows.dtype == dtype
    assert rows.shape == (18, 1)


def test_a_tail_from_an_exported_backbone_is_refused_before_the_work():
    with pytest.raises(InputError, match="leave out --backbone, or choose other heads"):
        beside_tails(Grid([Head("lda", "lda"), Head("tail", "tail")]), Vectors(backbone=Path("b.onnx")))


def test_views_are_only_of_maps_where_there_are_only_tails():
    chosen = Vectors(views=4, test_views="mirror")
    assert beside_tails(Grid([Head("tail", "tail")]), chosen) == Vectors()
    assert beside_tails(Grid([Head("tail", "tail"), Head("lda", "lda")]), chosen) == chosen
