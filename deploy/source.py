"""What an exported model is built from: a trained head, the backbone of its vectors, and the pictures of its splits."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from winnow.common.errors import InputError
from winnow.common.progress import Reporter
from winnow.common.threads import map_ahead, processors
from winnow.curate.workspace import Workspace
from winnow.deploy.onnx.fuse import TTA_IN_FILE, fuse
from winnow.deploy.trained_head import TrainedHead
from winnow.embed import images
from winnow.embed.backbone import Backbone
from winnow.embed.images import PictureError
from winnow.embed.pipeline import read_augmented_squares
from winnow.embed.store import read_vectors

if TYPE_CHECKING:
    from winnow.deploy.novelty import ConformalCalibration, OodModel

MAX_COMPARED = 2_000  # val pictures that familiarity is calibrated on, and test pictures that are compared
MAX_TRAIN_VECTORS = 20_000  # training vectors that the OOD score is fitted on
MAX_TRAIN_MAPS = 2_000  # the same where vectors are maps
CALIBRATION_PICTURES = 100  # training pictures that int8 is calibrated on
MAX_UNFAMILIAR = 0.5  # largest share of pictures of known classes that the threshold may reject


@dataclass(frozen=True)
class ExportOptions:
    """Which of the possible files to export from a trained head.

    any_size : the file takes one picture of any size and resizes it inside.
    precision : of the backbone: "fp32", "fp16" (weights only) or "int8" (weights and arithmetic).
    tta : test-time augmentation inside the file: "none", or "flip", the mean of a picture and its mirror image (see
        `fuse`); None: as the run was evaluated.
    unfamiliar : share of pictures of known classes that may lie below the threshold of familiarity, 0 to 0.5.

    Raises: InputError when the share is out of range.
    """

    any_size: bool = False
    precision: str = "fp32"
    tta: str | None = None
    unfamiliar: float = 0.05

    def __post_init__(self) -> None:
        if not 0 <= self.unfamiliar <= MAX_UNFAMILIAR:  # written so that NaN is refused
            raise InputError(f"the share called unfamiliar is from 0 to {MAX_UNFAMILIAR:g}, not {self.unfamiliar!r}")

    @property
    def is_exact(self) -> bool:
        """Whether the file computes the same as Python, so that parity is required."""
        return not self.any_size and self.precision == "fp32"

    @property
    def suffix(self) -> str:
        """What the default file name ends with: such as `-any-int8-flip`, or nothing."""
        parts = ["any" if self.any_size else "", self.precision, self.tta or ""]
        return "".join(f"-{part}" for part in parts if part not in ("", "fp32"))


@dataclass(frozen=True)
class SourcePicture:
    """A picture as the networks take it.

    square : uint8 (1, S, S, 3), as it is embedded.
    model_input : as the file takes it: the square, or uint8 (H, W, 3) with any input size.
    augmented : uint8 (A, S, S, 3), the augmentations that the run was evaluated on; empty unless asked for.
    """

    square: np.ndarray
    model_input: np.ndarray
    augmented: np.ndarray


@dataclass(frozen=True)
class Source:
    """A trained head, its backbone, and the pictures of its splits as they lie on the disk now.

    files : id -> a file with that content.
    options : with precision and tta as the run determines them.
    """

    trained: TrainedHead
    workspace: Workspace
    backbone: Backbone
    files: dict[str, Path]
    options: ExportOptions
    reporter: Reporter

    @classmethod
    def of(
        cls,
        trained: TrainedHead,
        workspace: Workspace,
        backbone: Backbone,
        files: dict[str, Path],
        options: ExportOptions,
        reporter: Reporter,
    ) -> Source:
        """Check that the parts belong together, and complete the options from the run.

        Raises: InputError when the backbone is not the one of the run's vectors, or the options do not fit the run.
        """
        if backbone.key != trained.vectors:
            raise InputError(f"the weights of the vectors of {trained.folder.name} are gone", remedy="train-again")
        if backbone.recipe.precision == "int8":
            if options.precision == "fp16":
                raise InputError(
                    f"the head of {trained.folder.name} learned from int8 vectors, which fp16 does not reproduce",
                    remedy="omit-precision",
                )
            options = replace(options, precision="int8")
        run_tta = trained.embedding.tta
        if not options.tta and run_tta not in TTA_IN_FILE:
            raise InputError(
                f"{trained.folder.name} was evaluated with test-time augmentation {run_tta!r}, which one file cannot "
                "compute",
                remedy="export-tta",
                run=shlex.quote(str(trained.folder)),
            )
        options = replace(options, tta=options.tta or run_tta)
        return cls(trained, workspace, backbone, files, options, reporter)

    def sample_ids(self, split: str, limit: int = MAX_COMPARED) -> list[str]:
        """At most `limit` ids of a split: ids are hashes, so the first ones in order are a random sample."""
        return sorted(self.trained.splits[split])[:limit]

    def class_indexes(self, split: str, ids: Sequence[str]) -> np.ndarray:
        """Class indexes, int64 (n,), of pictures of a split."""
        indexes = {label: index for index, label in enumerate(self.trained.classes)}
        return np.array([indexes[self.trained.splits[split][id]] for id in ids], dtype=np.int64)

    @cached_property
    def ood_model(self) -> OodModel:
        """The OOD score fitted on the training vectors of the run."""
        from winnow.deploy.novelty import fit_ood_model

        table = self.workspace.embeddings / f"{self.backbone.key}.lance"
        is_map = len(self.backbone.dimension) > 1
        ids = self.sample_ids("train", MAX_TRAIN_MAPS if is_map else MAX_TRAIN_VECTORS)
        vectors, bottleneck = (read_vectors(table, ids, column) for column in ("vector", "bottleneck"))
        pooled = vectors.reshape(len(ids), -1, self.backbone.dimension[-1]).mean(axis=1)
        return fit_ood_model(pooled, bottleneck, self.class_indexes("train", ids))

    @cached_property
    def backbone_model(self) -> Any:
        """The onnx.ModelProto of the backbone in the precision of the file."""
        import onnx

        from winnow.embed import quantize

        model = onnx.load(self.backbone.file)
        if self.backbone.recipe.precision == "int8":
            return model
        if self.options.precision == "int8":
            self.reporter.message("Quantising to int8, calibrated on training pictures")
            return quantize.quantize_to_int8(model, self._load_training_squares(CALIBRATION_PICTURES))
        return quantize.to_float16_weights(model) if self.options.precision == "fp16" else model

    def build_model(self, calibration: ConformalCalibration | None) -> Any:
        """The onnx.ModelProto of the file; without a calibration its last output is `ood_score`, see `fuse`."""
        return fuse(
            self.backbone_model,
            self.trained.model,
            self.backbone.recipe,
            self.ood_model,
            calibration,
            tta=self.options.tta or "none",
            any_size=self.options.any_size,
        )

    def load_picture(self, id: str, augmentations: Sequence[int] = ()) -> SourcePicture | None:
        """Decode a picture, with augmentations on request; None when its file is gone, changed or unreadable."""
        recipe = self.backbone.recipe
        try:
            data = images.read_bytes(self.files[id])
            if hashlib.sha256(data).hexdigest() != id:
                return None
            square = images.decode_square(data, recipe.size, recipe.resize)[None]
            augmented = (
                read_augmented_squares(self.files[id], recipe, id, augmentations) if augmentations else square[:0]
            )
            model_input = images.decode(data)[0] if self.options.any_size else square
            return SourcePicture(square, model_input, augmented)
        except (KeyError, PictureError):
            return None

    def _load_training_squares(self, limit: int) -> np.ndarray:
        """Training pictures as they are embedded, uint8 (n, S, S, 3), n at most `limit`, without unreadable ones."""
        size, workers = self.backbone.recipe.size, processors()
        squares = [np.empty((0, size, size, 3), dtype=np.uint8)]
        for _, future in map_ahead(self.load_picture, self.sample_ids("train", limit), workers, window=2 * workers):
            if picture := future.result():
                squares.append(picture.square)
        return np.concatenate(squares)
