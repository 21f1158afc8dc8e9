"""How vectors are chosen on the command line, and how a run remembers it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from winnow.common.errors import InputError
from winnow.embed.recipe import Recipe

LEAST_AUGMENT = {"none": 1, "flip": 2, "mean": 2}  # rows of a picture that judging it by these takes
TTA = tuple(LEAST_AUGMENT)
OLD_TTA = {"one": "none", "mirror": "flip", "mean": "mean"}  # names of version 0.1.0, in runs and models


@dataclass(frozen=True)
class EmbeddingConfig:
    """How vectors are chosen on the command line: the recipe, an exported backbone instead of weights, the engine."""

    recipe: Recipe = Recipe()
    backbone: Path | None = None
    backend: str = "onnx"
    workers: int | None = None
    batch: int | None = None  # that of the backend
    augment: int | None = None  # as asked for; see `rows_per_image` and `embed.augment`
    tta: str = "none"  # what a picture is judged by, one of `TTA`
    ask: Callable[[str], bool] = field(default=lambda question: False, compare=False)  # before much is stored

    def __post_init__(self) -> None:
        """Raises: InputError for views that do not go together."""
        if self.tta not in TTA:
            raise InputError(f"--tta is one of {', '.join(TTA)}, not {self.tta!r}")
        if self.rows_per_image < LEAST_AUGMENT[self.tta]:
            least = LEAST_AUGMENT[self.tta]
            raise InputError(f"--tta {self.tta} takes --augment {least} or more, not {self.rows_per_image}")

    @property
    def rows_per_image(self) -> int:
        """Rows of each picture, the plain one among them: as many as judging it takes, unless more were asked for."""
        return LEAST_AUGMENT[self.tta] if self.augment is None else self.augment

    def document(self) -> dict[str, Any]:
        """As JSON can hold it, with as many views as there are; `of` is the way back."""
        backbone = None if self.backbone is None else str(self.backbone.resolve())
        said: dict[str, Any] = {"recipe": asdict(self.recipe), "backbone": backbone, "backend": self.backend}
        return said | {"augment": self.rows_per_image, "tta": self.tta}

    @classmethod
    def of(cls, said: dict[str, Any] | None) -> EmbeddingConfig:
        """From `document`; the default for None."""
        if said is None:
            return cls()
        backbone = said.get("backbone") and Path(said["backbone"])
        augmentation = {name: said[name] for name in ("augment", "tta") if name in said}
        if "views" in said:  # as version 0.1.0 wrote it
            augmentation = {"augment": said["views"], "tta": OLD_TTA[said["test_views"]]}
        return cls(Recipe(**said["recipe"]), backbone, said["backend"], **augmentation)
