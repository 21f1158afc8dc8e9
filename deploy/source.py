"""What a fused file is made of: a trained head, the backbone of its vectors, the pictures of its splits."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from winnow.common.errors import InputError
from winnow.common.progress import Reporter
from winnow.common.threads import map_ahead, processors
from winnow.curate import manifest
from winnow.curate.workspace import Workspace, open_workspace
from winnow.deploy import trained_head as trained
from winnow.deploy.onnx.fuse import VIEWS, fuse
from winnow.deploy.trained_head import Trained
from winnow.embed import images
from winnow.embed.backbone import Backbone
from winnow.embed.config import EmbeddingConfig
from winnow.embed.images import PictureError
from winnow.embed.pipeline import read_augmented_squares
from winnow.embed.store import read_vectors
from winnow.workflow import features

if TYPE_CHECKING:
    from winnow.deploy.novelty import Calibration, Reference

MOST = 2_000  # val and test pictures that are looked at
MOST_TRAIN = 20_000  # training vectors that familiarity learns from
MOST_MAPS = 2_000  # the same where vectors are maps
CALIBRATION = 100  # training pictures that int8 is calibrated on


@dataclass(frozen=True)
class Variant:
    """Which of the files that a trained head can become.

    any_size: it takes one picture of any size and resizes it inside. precision: fp32, fp16 (weights only) or int8.
    tta: "none", or "flip": the mean of a picture and its mirror image, see `fuse`; "": as in the run.
    """

    any_size: bool = False
    precision: str = "fp32"
    tta: str = ""

    @property
    def is_exact(self) -> bool:
        """Whether the file has to say the same as Python's path."""
        return not self.any_size and self.precision == "fp32"

    @property
    def suffix(self) -> str:
        """What tells its file from the plain one: `-any-int8-mirror`, or nothing."""
        parts = ["any" if self.any_size else "", self.precision, self.tta]
        return "".join(f"-{part}" for part in parts if part not in ("", "fp32"))


class Pixels(NamedTuple):
    """A picture as it is embedded, uint8 (1, S, S, 3), and as the file takes it: the same, or uint8 (H, W, 3).

    others: the views besides that the run judged it by, uint8 (V - 1, S, S, 3); none unless it took the mean of all.
    """

    square: np.ndarray
    given: np.ndarray
    others: np.ndarray


@dataclass(frozen=True)
class Source:
    """The head and the backbone of a run, and its pictures as they lie on the disk now."""

    trained: Trained
    workspace: Workspace
    backbone: Backbone
    files: dict[str, Path]  # id -> a file with that content
    kind: Variant
    choice: EmbeddingConfig  # how the vectors of the run were made
    reporter: Reporter

    @classmethod
    def of(cls, run: Path, kind: Variant, reporter: Reporter, workspace: Path | None = None) -> Source:
        """Read a run and find what it was made of.

        Parameters: `workspace`, that of the run (None: it lies in it). Raises: InputError for what is missing.
        """
        read = trained.read(run)
        place = open_workspace(workspace or run.resolve().parent.parent)
        files = manifest.files_by_id(place)
        try:
            choice = EmbeddingConfig.from_json(read.run["embedding"])
        except (KeyError, TypeError, AttributeError):
            raise InputError(f"{run} is damaged: its run.json does not say how its vectors were made") from None
        backbone = features.resolve_backbone(place, choice, files, reporter.message)
        if backbone.key != read.run["vectors"]:
            raise InputError(f"the weights that the vectors of {run.name} were made with are gone: train again")
        if backbone.recipe.precision == "int8":
            if kind.precision == "fp16":
                raise InputError(f"the head of {run.name} learned from int8 vectors: leave --precision out")
            kind = replace(kind, precision="int8")
        if not kind.tta and choice.tta not in VIEWS:
            line = shlex.join(["winnow", "export", str(run), "--tta", VIEWS[0]])
            raise InputError(
                f"{run.name} judged pictures by --tta {choice.tta}, which cannot be inside one file: "
                f"`{line}` or {VIEWS[1]} makes one, and measures what that costs"
            )
        kind = replace(kind, tta=kind.tta or choice.tta)
        return cls(read, place, backbone, files, kind, choice, reporter)

    @property
    def judged_by(self) -> str:
        """Which views of a picture the run judged it by, one of `choice.TTA`."""
        return self.choice.tta

    def some(self, part: str, most: int = MOST) -> list[str]:
        """Ids of a part; they are hashes, so the first ones are a random choice."""
        return sorted(self.trained.parts[part])[:most]

    def truth(self, part: str, ids: Sequence[str]) -> np.ndarray:
        """Indexes of the labels that the head was trained on or judged by, int64 (n,)."""
        index = {label: number for number, label in enumerate(self.trained.classes)}
        return np.array([index[self.trained.parts[part][id]] for id in ids], dtype=np.int64)

    @cached_property
    def reference(self) -> Reference:
        """What familiarity knows of the training pictures."""
        from winnow.deploy.novelty import fit

        table = self.workspace.embeddings / f"{self.backbone.key}.lance"
        is_map = len(self.backbone.dimension) > 1
        ids = self.some("train", MOST_MAPS if is_map else MOST_TRAIN)
        pooled, bottleneck = (read_vectors(table, ids, column) for column in ("vector", "bottleneck"))
        pooled = pooled.reshape(len(ids), -1, self.backbone.dimension[-1]).mean(axis=1)
        return fit(pooled, bottleneck, self.truth("train", ids))

    @cached_property
    def proto(self) -> Any:
        """The onnx.ModelProto of the backbone in the precision of the file."""
        import onnx

        from winnow.embed import quantize

        proto = onnx.load(self.backbone.file)
        if self.backbone.recipe.precision == "int8":
            return proto
        if self.kind.precision == "int8":
            self.reporter.message("Quantising to int8, calibrated on training pictures")
            return quantize.quantize_to_int8(proto, self.squares(CALIBRATION))
        return quantize.to_float16_weights(proto) if self.kind.precision == "fp16" else proto

    def fused(self, calibration: Calibration | None) -> Any:
        """The onnx.ModelProto of the file; without a calibration its last output is `strangeness`."""
        made = self.proto, self.trained.head, self.backbone.recipe, self.reference, calibration
        return fuse(*made, views=self.kind.tta, any_size=self.kind.any_size)

    def squares(self, most: int) -> np.ndarray:
        """Training pictures as they are embedded, uint8 (n, S, S, 3), n at most `most`; those that are gone are not."""
        size = self.backbone.recipe.size
        workers, found = processors(), [np.empty((0, size, size, 3), dtype=np.uint8)]
        for _, future in map_ahead(self.pixels, self.some("train", most), workers, window=2 * workers):
            found += [pixels.square] if (pixels := future.result()) else []
        return np.concatenate(found)

    def pixels(self, id: str, views: Sequence[int] = ()) -> Pixels | None:
        """A picture, with other views of it on request; None when its file is gone, changed or cannot be read."""
        recipe = self.backbone.recipe
        try:
            data = images.read_bytes(self.files[id])
            if hashlib.sha256(data).hexdigest() != id:
                return None
            square = images.decode_square(data, recipe.size, recipe.resize)[None]
            others = read_augmented_squares(self.files[id], recipe, id, views) if views else square[:0]
            return Pixels(square, images.decode(data)[0] if self.kind.any_size else square, others)
        except (KeyError, PictureError):
            return None
