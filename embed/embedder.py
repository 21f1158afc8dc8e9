"""The Python interface to embeddings: images in, vectors out, as a scikit-learn transformer."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

from winnow.common.errors import InputError
from winnow.embed import images
from winnow.embed.backbone import PARITY_IMAGES, load_backbone, load_or_export
from winnow.embed.backends import BACKENDS, BATCH_SIZES, Session
from winnow.embed.images import PictureError
from winnow.embed.pipeline import decode_and_infer, read_square
from winnow.embed.recipe import Recipe


class Embedder(TransformerMixin, BaseEstimator):
    """MobileNetV2 vectors of images. Nothing is learned from them, so `fit` only checks the parameters.

    The parameters are those of `embed.recipe.Recipe`, and `backend` ("onnx" or "tensorflow"), `backbone` (an exported
    ONNX file to use instead of `weights`) and `batch_size` (images per inference call; None for the backend's fastest).

    >>> Embedder().transform(["tulip.jpg", "rose.png"]).shape  # doctest: +SKIP
    (2, 1280)
    """

    def __init__(
        self,
        *,
        weights: str = "imagenet",
        alpha: float = 1.0,
        pool: str = "avg",
        size: int = 224,
        scale: str = "symmetric",
        resize: str = "crop",
        backend: str = "onnx",
        backbone: str | Path | None = None,
        batch_size: int | None = None,
    ) -> None:
        self.weights = weights
        self.alpha = alpha
        self.pool = pool
        self.size = size
        self.scale = scale
        self.resize = resize
        self.backend = backend
        self.backbone = backbone
        self.batch_size = batch_size

    def fit(self, X: Any = None, y: Any = None) -> Embedder:
        """Check the parameters; `X` and `y` are ignored. Raises: InputError."""
        self._recipe()
        return self

    def transform(self, X: Iterable[Any]) -> np.ndarray:
        """Embed images: float32 ndarray of shape (len(X), D), rows in the order of `X`.

        With `pool="none"` a row is the flattened map of shape (H, W, D).

        Parameters: `X`, paths, Pillow images or uint8 RGB arrays of shape (H, W, 3), in any mixture.
        Raises: InputError naming the first image that cannot be read.
        """
        if not isinstance(X, Iterable) or isinstance(X, str):
            raise InputError("transform takes a list of pictures, not one: put it in [ ]")
        recipe = self._recipe()
        inputs = list(X)
        if not inputs:
            return np.empty((0, 0), dtype=np.float32)
        session = self._session(recipe, inputs)

        def read(row: int) -> np.ndarray:
            return _to_square(inputs[row], row, recipe)

        batch_size = self.batch_size or BATCH_SIZES[self.backend]
        batches = decode_and_infer(range(len(inputs)), read, session, batch_size=batch_size)
        return np.concatenate([batch.outputs[0].reshape(len(batch.items), -1) for batch in batches])

    def __sklearn_is_fitted__(self) -> bool:
        """Always True: there is nothing to learn."""
        return True

    def _recipe(self) -> Recipe:
        if self.backend not in BACKENDS:
            raise InputError(
                f"The 'backend' option must be one of {', '.join(BACKENDS)}. Got {self.backend!r} instead."
            )
        if self.batch_size is not None and self.batch_size < 1:
            raise InputError(f"The 'batch_size' option must be at least 1. Got {self.batch_size!r} instead.")
        names = ("weights", "alpha", "pool", "size", "scale", "resize")
        recipe = Recipe(**{name: getattr(self, name) for name in names})
        return load_backbone(Path(self.backbone), recipe).recipe if self.backbone else recipe

    def _session(self, recipe: Recipe, inputs: list[Any]) -> Session:
        def parity_squares() -> np.ndarray:
            return np.stack([_to_square(image, row, recipe) for row, image in enumerate(inputs[:PARITY_IMAGES])])

        if self.backbone:
            backbone = load_backbone(Path(self.backbone), recipe)
        else:
            backbone = load_or_export(recipe, parity_squares)
        return BACKENDS[self.backend](backbone)


def _to_square(image: Any, row: int, recipe: Recipe) -> np.ndarray:
    """Read or convert one element of `X` to uint8 RGB (S, S, 3). Raises: InputError naming it."""
    from PIL.Image import Image

    try:
        if isinstance(image, str | Path):
            return read_square(Path(image), recipe)
        pixels = np.asarray(images.to_upright_rgb(image)) if isinstance(image, Image) else np.asarray(image)
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
            raise InputError(
                f"picture {row} must be a path, a Pillow image or a uint8 RGB array (H, W, 3). "
                f"Got {pixels.dtype} {pixels.shape} instead."
            )
        return images.resize_to_square(pixels, recipe.size, recipe.resize)
    except PictureError as error:
        name = image if isinstance(image, str | Path) else f"picture {row}"
        raise InputError(f"{name}: {error}") from None
