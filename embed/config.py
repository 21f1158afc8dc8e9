"""The options that choose which vectors to use, and their JSON form in runs and models."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from winnow.common.errors import InputError
from winnow.embed.recipe import Recipe

# Test-time augmentation -> the least number of augmentations per image that it needs.
MIN_AUGMENT = {"none": 1, "flip": 2, "mean": 2}
TTA = tuple(MIN_AUGMENT)
TTA_OF_0_1_0 = {"one": "none", "mirror": "flip", "mean": "mean"}  # version 0.1.0 wrote these names to runs and models


@dataclass(frozen=True)
class EmbeddingConfig:
    """Which vectors to use: built from the options of a command, or directly in Python.

    recipe: preprocessing and network.
    backbone: an exported ONNX file to use instead of `recipe.weights`; it needs no TensorFlow.
    backend: the engine that runs the network, a key of `embed.backends.BACKENDS`.
    workers: threads that decode images and run the network; None for one per processor.
    batch_size: images per inference call; None for the backend's own, `embed.backends.BATCH_SIZES`.
    augment: augmentations per image, the image itself included, see `embed.augment`; None for as few as `tta` needs.
    tta: test-time augmentation, one of `TTA`: predict from the image alone ("none"), from the mean of it and its mirror
        image ("flip"), or from the mean over all its augmentations ("mean").
    confirm_storage: called with a question before several gigabytes of vectors are stored; they are stored only if it
        returns True.
    """

    recipe: Recipe = Recipe()
    backbone: Path | None = None
    backend: str = "onnx"
    workers: int | None = None
    batch_size: int | None = None
    augment: int | None = None
    tta: str = "none"
    confirm_storage: Callable[[str], bool] = field(default=lambda question: False, compare=False)

    def __post_init__(self) -> None:
        """Raises: InputError for an unknown `tta`, or for fewer augmentations than it needs."""
        if self.tta not in TTA:
            raise InputError(f"The 'tta' option must be one of {', '.join(TTA)}. Got {self.tta!r} instead.")
        least = MIN_AUGMENT[self.tta]
        if self.rows_per_image < least:
            message = f"tta {self.tta!r} needs at least {least} augmentations per image, not {self.rows_per_image}"
            raise InputError(message, remedy="augment", least=least)

    @property
    def rows_per_image(self) -> int:
        """Rows that each image has in the table, one per augmentation: `augment`, or the least that `tta` needs."""
        return MIN_AUGMENT[self.tta] if self.augment is None else self.augment

    def to_json(self) -> dict[str, Any]:
        """The fields that decide the vectors, as a JSON object; `from_json` is the inverse."""
        return {
            "recipe": asdict(self.recipe),
            "backbone": None if self.backbone is None else str(self.backbone.resolve()),
            "backend": self.backend,
            "augment": self.rows_per_image,
            "tta": self.tta,
        }

    @classmethod
    def from_json(cls, document: dict[str, Any] | None) -> EmbeddingConfig:
        """Build it from a result of `to_json`, also of version 0.1.0; None gives the default."""
        if document is None:
            return cls()
        backbone = document.get("backbone") and Path(document["backbone"])
        augmentation = {name: document[name] for name in ("augment", "tta") if name in document}
        if "views" in document:  # as version 0.1.0 wrote it
            augmentation = {"augment": document["views"], "tta": TTA_OF_0_1_0[document["test_views"]]}
        return cls(Recipe(**document["recipe"]), backbone, document["backend"], **augmentation)
