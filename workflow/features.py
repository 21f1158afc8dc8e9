"""The arrays that heads learn from and are evaluated on: stored vectors of images and of their augmentations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from winnow.embed.config import EmbeddingConfig
from winnow.embed.store import Store


@dataclass(frozen=True)
class Features:
    """The arrays that heads learn from and are evaluated on.

    rows: (R, D), the N rows of the images themselves first, then N rows of each augmentation, and with test-time
    augmentation by the mirror image N means of both; float32, float16 for maps.
    evaluated: int64 (N, V), the rows that each image is evaluated on; the probabilities of several are averaged.
    """

    rows: np.ndarray
    evaluated: np.ndarray


def read_features(store: Store, ids: Sequence[str], config: EmbeddingConfig) -> Features:
    """Read the stored vectors of N images in the order of ids.

    Maps with their mirror image are evaluated on both of their rows, since the mean of two maps would show things in
    places where they never were.
    """
    is_map, count = config.recipe.pool == "none", config.rows_per_image
    averaged = config.tta == "flip" and not is_map
    dtype = np.float16 if is_map else np.float32
    plain = store.read(ids, augmentation=0).astype(dtype, copy=False)
    blocks = count + averaged
    rows: np.ndarray = plain[None] if blocks == 1 else np.empty((blocks, *plain.shape), dtype)  # once: maps are large
    rows[0] = plain
    for number in range(1, count):
        rows[number] = store.read(ids, augmentation=number)
    if averaged:
        np.mean(rows[:2], axis=0, out=rows[-1])
    used = [count] if averaged else range({"none": 1, "flip": 2, "mean": count}[config.tta])
    evaluated = np.arange(len(ids))[:, None] + len(ids) * np.array(used)
    return Features(rows.reshape(-1, plain.shape[1]), evaluated)
