"""The configuration of embeddings checks its test-time augmentation and survives a round trip through JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from winnow.common.errors import InputError
from winnow.embed.config import EmbeddingConfig
from winnow.embed.recipe import Recipe


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"augment": 1, "tta": "flip"}, "tta 'flip' needs at least 2 augmentations per image, not 1"),
        ({"tta": "all"}, "The 'tta' option must be one of none, flip, mean. Got 'all' instead."),
    ],
)
def test_options_that_contradict_each_other_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        EmbeddingConfig(**options)


def test_rows_per_image_are_as_few_as_tta_needs_unless_more_are_requested():
    assert [EmbeddingConfig(tta=tta).rows_per_image for tta in ("none", "flip", "mean")] == [1, 2, 2]
    assert EmbeddingConfig(augment=5, tta="flip").rows_per_image == 5


def test_a_configuration_survives_json():
    config = EmbeddingConfig(Recipe(size=288), Path("/exports/a.onnx"), "tensorflow", augment=4, tta="flip")
    assert EmbeddingConfig.from_json(json.loads(json.dumps(config.to_json()))) == config
    assert EmbeddingConfig().to_json()["augment"] == 1
    assert EmbeddingConfig.from_json(None) == EmbeddingConfig()


def test_documents_of_version_0_1_0_are_read():
    before_augmentations = {"recipe": {"size": 288}, "backbone": None, "backend": "onnx"}
    assert EmbeddingConfig.from_json(before_augmentations) == EmbeddingConfig(Recipe(size=288))
    for old, new in {"one": "none", "mirror": "flip", "mean": "mean"}.items():
        document = before_augmentations | {"views": 3, "test_views": old}
        assert EmbeddingConfig.from_json(document) == EmbeddingConfig(Recipe(size=288), augment=3, tta=new)
