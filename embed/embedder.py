"""The Python face of the room: pictures in, vectors out, as a scikit-learn transformer."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

from winnow.common.errors import InputError
from winnow.embed import images
from winnow.embed.backbone import PARITY_PICTURES, load, obtain
from winnow.embed.backends import BACKENDS, BATCHES, Session
from winnow.embed.images import PictureError
from winnow.embed.pipeline import pixels_of, run
from winnow.embed.recipe import Recipe


class Embedder(TransformerMixin, BaseEstimator):
    """MobileNetV2 vectors of pictures; nothing is learned from them, so `fit` only checks the options.

    Parameters are those of `embed.recipe.Recipe`, and `backend` ("onnx" or "tensorflow"), `backbone` (an exported ONNX
    file, instead of `weights`) and `batch_size` (pictures an inference; None: what the backend is fastest with).

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
        """Check the options; `X` and `y` are not looked at. Raises: InputError."""
        self._recipe()
        return self

    def transform(self, X: Iterable[Any]) -> np.ndarray:
        """Float32 ndarray of shape (len(X), D), rows in the order of `X`; with `pool="none"` the map, flattened.

        Parameters: `X`, paths, Pillow images or uint8 RGB arrays (H, W, 3), mixed as you like.
        Raises: InputError naming the first picture that cannot be read.
        """
        if not isinstance(X, Iterable) or isinstance(X, str):
            raise InputError("transform takes a list of pictures, not one: put it in [ ]")
        recipe = self._recipe()
        pictures = list(X)
        if not pictures:
            return np.empty((0, 0), dtype=np.float32)
        session = self._session(recipe, pictures)

        def read(row: int) -> np.ndarray:
            return _square(pictures[row], row, recipe)

        made = run(range(len(pictures)), read, session, batch=self.batch_size or BATCHES[self.backend])
        return np.concatenate([done.outputs[0].reshape(len(done.items), -1) for done in made])

    def __sklearn_is_fitted__(self) -> bool:
        """Always: there is nothing to learn."""
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
        return load(Path(self.backbone), recipe).recipe if self.backbone else recipe

    def _session(self, recipe: Recipe, pictures: list[Any]) -> Session:
        def some() -> np.ndarray:
            return np.stack([_square(picture, row, recipe) for row, picture in enumerate(pictures[:PARITY_PICTURES])])

        backbone = load(Path(self.backbone), recipe) if self.backbone else obtain(recipe, some)
        return BACKENDS[self.backend](backbone)


def _square(picture: Any, number: int, recipe: Recipe) -> np.ndarray:
    from PIL.Image import Image

    try:
        if isinstance(picture, str | Path):
            return pixels_of(Path(picture), recipe)
        pixels = np.asarray(images.upright(picture)) if isinstance(picture, Image) else np.asarray(picture)
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
            raise InputError(
                f"picture {number} must be a path, a Pillow image or a uint8 RGB array (H, W, 3). "
                f"Got {pixels.dtype} {pixels.shape} instead."
            )
        return images.fit(pixels, recipe.size, recipe.resize)
    except PictureError as error:
        name = picture if isinstance(picture, str | Path) else f"picture {number}"
        raise InputError(f"{name}: {error}") from None
