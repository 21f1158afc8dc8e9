"""What a stored vector was made by: the options that change it, the string that names them, the key of its table."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from winnow.common.digests import digest
from winnow.common.errors import InputError

ALPHAS = (0.35, 0.5, 0.75, 1.0, 1.3, 1.4)  # the widths that Keras has weights for
SCALES = {"symmetric": "[-1, 1], as the network was trained", "none": "0-255 as they are, only to reproduce a mistake"}
POOLS = ("avg", "none")
RESIZES = ("crop", "squash", "pad")
PRECISIONS = ("fp32", "int8")
SIZES = (96, 448)


@dataclass(frozen=True)
class Recipe:
    """How pixels become a vector. Two vectors are comparable only when every field (and the weights' digest) agrees.

    weights: "imagenet", "random" (seeded) or a Keras weights file (`.h5`, `.weights.h5`).
    alpha: width multiplier of MobileNetV2, one of `ALPHAS`.
    layer: the Keras layer whose output is stored; `out_relu` is the last one, after its ReLU6. Several, with commas
        between them: the means of each, side by side.
    pool: "avg" for the spatial mean, shape (D,), or "none" for the map, shape (H, W, D).
    size: side of the square input in pixels, 96 to 448.
    scale: "symmetric" maps 0-255 to [-1, 1] inside the graph; "none" leaves the pixels as they are.
    resize: how a picture becomes square, one of `RESIZES`.
    precision: arithmetic of the network; "int8" is calibrated on pictures, see `embed.quantize.int8`.
    """

    weights: str = "imagenet"
    alpha: float = 1.0
    layer: str = "out_relu"
    pool: str = "avg"
    size: int = 224
    scale: str = "symmetric"
    resize: str = "crop"
    precision: str = "fp32"

    def __post_init__(self) -> None:
        """Raise InputError for a value out of range, naming what is allowed; 1 and 1.0 are one alpha, and one key."""
        checks: tuple[tuple[str, bool, str], ...] = (
            ("alpha", self.alpha in ALPHAS, f"one of {', '.join(map(str, ALPHAS))}"),
            ("layer", all(self.layers), "a layer's name, or some with commas between them"),
            ("layer", self.pool == "avg" or len(self.layers) == 1, "one layer where pool is none"),
            ("pool", self.pool in POOLS, f"one of {', '.join(POOLS)}"),
            ("size", self.size in range(SIZES[0], SIZES[1] + 1), f"a whole number, {SIZES[0]} to {SIZES[1]}"),
            ("scale", self.scale in SCALES, f"one of {', '.join(SCALES)}"),
            ("resize", self.resize in RESIZES, f"one of {', '.join(RESIZES)}"),
            ("precision", self.precision in PRECISIONS, f"one of {', '.join(PRECISIONS)}"),
        )
        for name, holds, allowed in checks:
            if not holds:
                raise InputError(f"The {name!r} option must be {allowed}. Got {getattr(self, name)!r} instead.")
        object.__setattr__(self, "alpha", float(self.alpha))
        object.__setattr__(self, "size", int(self.size))

    def __str__(self) -> str:
        """The preprocessing and the network as one line, in the order in which they are applied."""
        scale = "scale(-1,1)" if self.scale == "symmetric" else "scale(none)"
        resize = f"{self.resize}({self.size})"
        if self.resize == "crop":
            resize = f"resize({round(self.size * 8 / 7)})|{resize}"
        line = f"{resize}|{scale}|mobilenet_v2({self.alpha})|{self.layer}|pool({self.pool})"
        return line if self.precision == "fp32" else f"{line}|{self.precision}"

    @property
    def layers(self) -> tuple[str, ...]:
        """The names in `layer`."""
        return tuple(name.strip() for name in self.layer.split(","))

    def graph(self) -> dict[str, Any]:
        """The fields that change the ONNX graph (the rest happens before it)."""
        return {name: getattr(self, name) for name in ("alpha", "layer", "pool", "size", "scale", "precision")}

    def key(self, weights_digest: str) -> str:
        """Twelve hex digits that name the table: digest of the weights' digest and of every field but their name."""
        fields = asdict(self) | {"weights": weights_digest}
        return digest(fields)[:12]
