"""Rows of vectors: scaled to unit length, one per group, per key, in blocks."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

BLOCK = 1024  # rows per matrix product: with 16,384 references, 64 MiB of float32


def unit_rows(x: np.ndarray) -> np.ndarray:
    """Scale each row of (N, D) to length 1: float32. A row of zeros stays as it is."""
    x = x.astype(np.float32, copy=False)
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)


def first_rows(keys: np.ndarray) -> np.ndarray:
    """Return the first row of each distinct key, in the order of the keys: int64."""
    return np.unique(keys, return_index=True)[1]


def rows_by_key(keys: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the ascending row numbers of each distinct key, in the order of the keys."""
    order = np.argsort(keys, kind="stable")
    yield from (rows for rows in np.split(order, np.flatnonzero(np.diff(keys[order])) + 1) if len(rows))


def row_blocks(rows: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the rows, `BLOCK` at a time."""
    yield from (rows[start : start + BLOCK] for start in range(0, len(rows), BLOCK))
