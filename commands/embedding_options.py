"""The options that choose the embedding: which network, which vectors, and how they are computed."""

from __future__ import annotations

from typing import Any

import click

from winnow.commands.console import confirm
from winnow.commands.options import FILE, option, passed_as, workers
from winnow.embed.config import TTA, EmbeddingConfig
from winnow.embed.recipe import ALPHAS, POOLS, PRECISIONS, RESIZES, SCALES, SIZES, Recipe

BACKENDS = ("onnx", "tensorflow")  # those of embed.backends, which a test compares: importing it takes time
_OUTSIDE_RECIPE = ("backbone", "backend", "workers", "augment", "tta")


def _config(alpha: str, batch: int | None, yes: bool, **values: Any) -> EmbeddingConfig:
    """Raises: InputError for options that contradict each other."""
    others = {name: values.pop(name) for name in _OUTSIDE_RECIPE if name in values}
    recipe = Recipe(alpha=float(alpha), **values)
    confirm_storage = (lambda _: True) if yes else confirm
    return EmbeddingConfig(recipe, batch_size=batch, confirm_storage=confirm_storage, **others)


_OPTIONS = (
    option(
        "Embedding",
        "--backend",
        type=click.Choice(BACKENDS),
        default="onnx",
        help="Library that runs the network.",
    ),
    option(
        "Embedding",
        "--size",
        type=click.IntRange(*SIZES),
        default=224,
        help="Side of the network's square input, in pixels.",
    ),
    option(
        "Embedding",
        "--resize",
        type=click.Choice(RESIZES),
        default="crop",
        help="How an image becomes square: its centre is cut out, it is squashed, or it is padded.",
    ),
    option(
        "Embedding",
        "--scale",
        type=click.Choice(SCALES),
        default="symmetric",
        help="Range of the pixels that the network gets. symmetric: [-1, 1], as in its training. none: 0 to 255, which "
        "gives much worse vectors and serves only to reproduce results that were made so.",
    ),
    option(
        "Embedding",
        "--alpha",
        type=click.Choice([str(alpha) for alpha in ALPHAS]),
        default="1.0",
        help="Width multiplier of MobileNetV2.",
    ),
    option(
        "Embedding",
        "--layer",
        default="out_relu",
        metavar="NAME[,NAME]",
        help="Keras layer whose output is stored. Of several layers, the spatial means are stored side by side.",
    ),
    option(
        "Embedding",
        "--pool",
        type=click.Choice(POOLS),
        default="avg",
        help="avg: store the spatial mean of the feature map. none: store the whole map.",
    ),
    option(
        "Embedding",
        "--precision",
        type=click.Choice(PRECISIONS),
        default="fp32",
        help="int8: 8-bit weights and arithmetic, calibrated once on your images; the loss in quality is measured and "
        "printed.",
    ),
    option(
        "Embedding",
        "--weights",
        metavar="NAME|FILE",
        default="imagenet",
        help="imagenet, random (untrained), or a Keras file of weights (FILE.h5 or FILE.weights.h5).",
    ),
    option(
        "Embedding",
        "--backbone",
        type=FILE,
        help="An exported FILE.onnx, instead of --weights. It needs no TensorFlow.",
    ),
    option(
        "Embedding",
        "--augment",
        metavar="K",
        type=click.IntRange(min=1),
        default_text="1, or as many as --tta needs; finetune: 8",
        help="Rows per image for heads to learn from: the image, its mirror image, and K - 2 seeded random variations "
        "of crop, rotation, brightness, contrast and colour.",
    ),
    option("Embedding", "--yes", is_flag=True, help="Store more than 5 GB of vectors without asking."),
    workers,
    option(
        "Embedding",
        "--batch",
        type=click.IntRange(min=1),
        default_text="1; tensorflow: 8",
        help="Number of images per inference call.",
    ),
)
embedding = passed_as("config", _config, *_OPTIONS)
# The same for commands that train heads.
embedding_and_tta = passed_as(
    "config",
    _config,
    *_OPTIONS,
    option(
        "Embedding",
        "--tta",
        type=click.Choice(TTA),
        default="none",
        help="Test-time augmentation. none: predict from the image alone. flip: from the image and its mirror image, "
        "averaged. mean: from all rows of --augment, averaged.",
    ),
)
