"""The arrays that heads learn from: rows of images and augmentations, and which of them are evaluated."""

from __future__ import annotations

import pytest
from support.vectors import AugmentedStore

from winnow.embed.config import EmbeddingConfig
from winnow.embed.recipe import Recipe
from winnow.workflow import features


@pytest.mark.parametrize(
    ("augment", "tta", "rows", "evaluated"),
    [
        (1, "none", [0, 1, 2], [[0], [1], [2]]),
        (2, "none", [0, 1, 2, 10, 11, 12], [[0], [1], [2]]),
        (2, "flip", [0, 1, 2, 10, 11, 12, 5, 6, 7], [[6], [7], [8]]),
        (3, "mean", [0, 1, 2, 10, 11, 12, 20, 21, 22], [[0, 3, 6], [1, 4, 7], [2, 5, 8]]),
    ],
)
def test_rows_are_augmentations_in_order_and_tta_decides_the_evaluated_rows(augment, tta, rows, evaluated):
    result = features.read_features(AugmentedStore(), "abc", EmbeddingConfig(augment=augment, tta=tta))
    assert result.rows[:, 0].tolist() == rows
    assert result.evaluated.tolist() == evaluated


def test_maps_are_not_averaged():
    config = EmbeddingConfig(Recipe(pool="none"), augment=3, tta="flip")
    result = features.read_features(AugmentedStore(), "abc", config)
    assert result.rows[:, 0].tolist() == [0, 1, 2, 10, 11, 12, 20, 21, 22]
    assert result.evaluated.tolist() == [[0, 3], [1, 4], [2, 5]]
