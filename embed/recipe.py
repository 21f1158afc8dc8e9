"""The options that decide a vector, the string that describes them, and the key of the table that holds the vectors."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from winnow.common.digests import digest
from winnow.common.errors import InputError

ALPHAS = (0.35, 0.5, 0.75, 1.0, 1.3, 1.4)  # the widths for which Keras has weights
SCALES = ("symmetric", "none")
POOLS = ("avg", "none")
RESIZES = ("crop", "squash", "pad")
PRECISIONS = ("fp32", "int8")
SIZES = (96, 448)


@dataclass(frozen=True)
class Recipe:
    """How pixels become a vector. Vectors are comparable only if all fields and the digest of the weights are equal.

    weights: "imagenet", "random" (seeded) or a Keras weights file (`.h5`, `.weights.h5`).
    alpha: width multiplier of MobileNetV2, one of `ALPHAS`.
    layer: the Keras layer whose output is stored; `out_relu` is the last one, after its ReLU6. Several names, separated
        by commas, give the concatenated means of their maps.
    pool: "avg" for the spatial mean, shape (D,), or "none" for the map, shape (H, W, D).
    size: side of the square input in pixels, 96 to 448.
    scale: "symmetric" maps 0-255 to [-1, 1] inside the graph, as the network was trained; "none" leaves the pixels
        as they are, which is only useful to reproduce results obtained without scaling.
    resize: how an image becomes square, one of `RESIZES`, see `embed.images.RESIZE_FUNCTIONS`.
    precision: arithmetic of the network, one of `PRECISIONS`; "int8" is calibrated on images, see
        `embed.quantize.quantize_to_int8`.
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
        """Raises: InputError for a value out of range. Numbers are normalised: alpha 1 and 1.0 have one key."""
        checks: tuple[tuple[str, bool, str], ...] = (
            ("alpha", self.alpha in ALPHAS, f"one of {', '.join(map(str, ALPHAS))}"),
            ("layer", all(self.layers), "the name of a layer, or several separated by commas"),
            ("layer", self.pool == "avg" or len(self.layers) == 1, "one layer if pool is none"),
            ("pool", self.pool in POOLS, f"one of {', '.join(POOLS)}"),
            ("size", self.size in range(SIZES[0], SIZES[1] + 1), f"a whole number, {SIZES[0]} to {SIZES[1]}"),
            ("scale", self.scale in SCALES, f"one of {', '.join(SCALES)}"),
            ("resize", self.resize in RESIZES, f"one of {', '.join(RESIZES)}"),
            ("precision", self.precision in PRECISIONS, f"one of {', '.join(PRECISIONS)}"),
        )
        for name, is_valid, allowed in checks:
            if not is_valid:
                raise InputError(f"The {name!r} option must be {allowed}. Got {getattr(self, name)!r} instead.")
        object.__setattr__(self, "alpha", float(self.alpha))
        object.__setattr__(self, "size", int(self.size))

    def __str__(self) -> str:
        """The preprocessing and the network as one line, in the order of application."""
        scale = "scale(-1,1)" if self.scale == "symmetric" else "scale(none)"
        resize = f"{self.resize}({self.size})"
        if self.resize == "crop":
            resize = f"resize({round(self.size * 8 / 7)})|{resize}"
        line = f"{resize}|{scale}|mobilenet_v2({self.alpha})|{self.layer}|pool({self.pool})"
        return line if self.precision == "fp32" else f"{line}|{self.precision}"

    @property
    def layers(self) -> tuple[str, ...]:
        """The layer names in `layer`."""
        return tuple(name.strip() for name in self.layer.split(","))

    def graph_options(self) -> dict[str, Any]:
        """The fields that change the ONNX graph (the other ones act before it)."""
        return {name: getattr(self, name) for name in ("alpha", "layer", "pool", "size", "scale", "precision")}

    def key(self, weights_digest: str) -> str:
        """Twelve hex digits that name the table of vectors.

        They are the digest of all fields, with `weights` replaced by the digest of the weights themselves.
        """
        fields = asdict(self) | {"weights": weights_digest}
        return digest(fields)[:12]
