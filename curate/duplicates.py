"""Which pictures are the same picture: groups that no split may separate."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np


def connected(*keys: Sequence[Hashable | None]) -> np.ndarray:
    """Groups of items that share a key, directly or through others: int64 (N,), numbered from 0 in order of appearance.

    Parameters: `keys`, any number of sequences of length N (pixels' digest, perceptual hash, burst, …); two items with
    the same key in one of them belong together; None shares with nobody.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    count = len(keys[0])
    nodes: dict[tuple[int, Hashable], int] = {}  # every key becomes a node that its items are tied to
    ties = [
        (item, nodes.setdefault((kind, key), count + len(nodes)))
        for kind, column in enumerate(keys)
        for item, key in enumerate(column)
        if key is not None
    ]
    rows, columns = np.array(ties, dtype=np.int64).reshape(-1, 2).T
    size = count + len(nodes)
    graph = coo_matrix((np.ones(len(ties), dtype=bool), (rows, columns)), shape=(size, size))
    return connected_components(graph, directed=False)[1][:count].astype(np.int64)
