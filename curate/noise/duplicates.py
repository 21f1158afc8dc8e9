"""Which pictures are the same picture: exactly, or re-encoded, resized, cropped a little, brightened or mirrored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from functools import cache
from itertools import product
from typing import NamedTuple

import numpy as np

# Thresholds: of 2,500 copies of photographs (JPEG quality 40 to 80, half the size, 10% cropped off, 20% brighter or
# darker, mirrored) CLOSE leaves 99.9% and 34 of 499,500 pairs of other photographs, SAME 2 of these: real duplicates.
MIRRORED = np.uint64(0x5555555555555555)  # bits of odd horizontal frequencies: a mirror image inverts them
BIT = 0.02  # one differing bit of the hash weighs as much as this much cosine
CLOSE = 0.45  # least cosine, less the bits that differ, of a pair worth verifying
ALONE = 0.50  # the same where there are no thumbnails to verify on
NEIGHBOURS = 10  # pairs of one picture that are verified, at most
SIDE = 16  # pixels of a thumbnail's side
HOPELESS = 0.15  # correlation below which, with parts from the middle, no other part is tried
SAME = 0.65  # least correlation of the details of two thumbnails, one laid over a part of the other
FLAT = 2  # grey levels of a thumbnail: with fewer there are no details, and such pictures must have the same vector
FLAT_CLOSE = 0.99
PARTS = ((1.0, 1), (0.95, 3), (0.91, 5))  # a part's size, and how many places it is tried at, on either axis
CELLS = 2**22  # of a block's matrix


class Duplicates(NamedTuple):
    """Rows (N,) in the order of what was given."""

    group: np.ndarray  # int64: number of its group, from 0 in the order of each group's first path; -1: alone
    keep: np.ndarray  # bool: the one to keep of each group, and every picture that is alone


def near(
    bottleneck: np.ndarray,
    phash: np.ndarray,
    pixels: Sequence[str | None],
    area: np.ndarray,
    labels: np.ndarray,
    paths: Sequence[str],
    thumbnails: np.ndarray | None = None,
) -> Duplicates:
    """Groups of pictures that show the same photograph, every one like the one of its group that is kept.

    Pairs whose vectors and perceptual hashes (also of the mirror image) are close are verified on their thumbnails,
    and what hangs together is divided: the largest picture is kept (then one of the majority label, then the first
    path), those that are verified against it join it, and so on with the rest. So no chain leads from one picture
    to another that is not like it.

    Parameters, a row a picture: `bottleneck`, float (N, B), not all zero; `phash`, uint64; `pixels`, digest of the
    decoded pixels, equal for exact copies (None: unknown); `area`, width * height; `labels`, int64 class index, -1
    without; `paths`; `thumbnails`, uint8 (N, 16, 16) by `thumbnail` (None: hash and vector alone decide).
    Time grows with N^2 in blocks of one matrix product, memory with N.
    """
    count = len(paths)
    look = _Look.of(bottleneck, phash, connected(pixels), thumbnails)
    one = np.unique(look.exact, return_index=True)[1]  # exact copies need no search
    first, second = look.search(one)
    together = _components(count, np.append(first, np.arange(count)), np.append(second, one[look.exact]))
    order = _preference(together, area, labels, paths)
    rest = order[np.bincount(together, minlength=1)[together[order]] > 1]
    kept = np.arange(count)
    while len(rest):
        _, start, which = np.unique(together[rest], return_index=True, return_inverse=True)
        best = rest[start][which]
        same = look.alike(best, rest)
        kept[rest[same]] = best[same]
        rest = rest[~same]
    return Duplicates(_numbered(kept, paths), kept == np.arange(count))


class _Look(NamedTuple):
    """What pictures look like, rows (N,): unit vectors, hashes, numbers of exact copies, thumbnails if any."""

    unit: np.ndarray
    phash: np.ndarray
    exact: np.ndarray
    thumbnails: np.ndarray | None

    @staticmethod
    def of(bottleneck: np.ndarray, phash: np.ndarray, exact: np.ndarray, thumbnails: np.ndarray | None) -> _Look:
        """From what `near` is given; `exact`, the same number for exact copies."""
        lengths = np.linalg.norm(bottleneck, axis=1, keepdims=True)
        return _Look((bottleneck / np.maximum(lengths, 1e-12)).astype(np.float32), phash, exact, thumbnails)

    def search(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pairs among `rows` that are alike, each once: at most `NEIGHBOURS` of a picture are looked at."""
        unit, phash = self.unit[rows], self.phash[rows]
        nothing = np.empty(0, dtype=np.int64)
        found = [(nothing, nothing), *(_close(unit, phash, start, stop) for start, stop in _blocks(len(rows)))]
        first, second = (rows[np.concatenate(part)] for part in zip(*found, strict=True))
        same = self.alike(first, second)
        return first[same], second[same]

    def alike(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Whether pairs of rows show the same photograph: bool (n,)."""
        same = self.exact[first] == self.exact[second]
        for start, stop in _blocks(len(first), self.unit.shape[1] + SIDE**2):
            i, j = first[start:stop], second[start:stop]
            cosine = np.einsum("nb,nb->n", self.unit[i], self.unit[j])
            least = ALONE if self.thumbnails is None else CLOSE
            like = cosine - BIT * _bits(self.phash[i], self.phash[j]) >= least
            if self.thumbnails is not None:
                like[like] = _overlap(self.thumbnails[i[like]], self.thumbnails[j[like]], cosine[like])
            same[start:stop] |= like
        return same


def _close(unit: np.ndarray, phash: np.ndarray, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
    """Close pairs of the rows from `start` to `stop` with those after them, the closest `NEIGHBOURS` of each."""
    cosine = unit[start:stop] @ unit[start:].T
    cosine[np.tril_indices(stop - start)] = -1
    flat = np.flatnonzero(cosine >= CLOSE)
    i, j = np.divmod(flat, len(unit) - start)
    value = cosine.ravel()[flat] - BIT * _bits(phash[start + i], phash[start + j])
    close = value >= CLOSE
    i, j, value = i[close], j[close], value[close]
    order = np.lexsort((-value, i))
    best = order[np.arange(len(i)) - np.searchsorted(i, i) < NEIGHBOURS]
    return start + i[best], start + j[best]


def _blocks(count: int, width: int | None = None) -> Iterator[tuple[int, int]]:
    """Bounds of blocks of rows, each of about `CELLS` numbers."""
    step = max(1, CELLS // max(1, width or count))
    return ((start, min(start + step, count)) for start in range(0, count, step))


def _bits(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Hash bits that differ, of a picture or its mirror image, whichever are fewer: uint8."""
    differing = first ^ second
    return np.minimum(np.bitwise_count(differing), np.bitwise_count(differing ^ MIRRORED))


def thumbnail(pixels: np.ndarray) -> np.ndarray:
    """Grey means of a 16 x 16 grid over uint8 RGB (H, W, 3): uint8 (16, 16)."""
    from PIL import Image

    return np.asarray(Image.fromarray(pixels).convert("L").resize((SIDE, SIDE), Image.Resampling.BOX))


def _overlap(first: np.ndarray, second: np.ndarray, cosine: np.ndarray) -> np.ndarray:
    """Whether the details of thumbnails uint8 (n, 16, 16) agree, one or its mirror image laid over a part of the other.

    Those of one colour have no details: their vectors must be the same (`cosine`, (n,)).
    """
    flat = np.maximum(np.ptp(first, axis=(1, 2)), np.ptp(second, axis=(1, 2))) < FLAT
    best = np.full(len(first), -1.0, dtype=np.float32)
    middle, others = _windows()
    for windows in (middle, others):
        for whole, part in ((first, second), (second, first)):
            rows = np.flatnonzero((best < SAME) & ((best >= HOPELESS) | (windows is middle)))
            plain, mirrored = (_details(part[rows][:, :, ::way], middle[0]) for way in (1, -1))
            for window in windows:
                detail = _details(whole[rows], window)
                for other in (plain, mirrored):
                    best[rows] = np.maximum(best[rows], np.einsum("np,np->n", detail, other))
    return np.where(flat, cosine >= FLAT_CLOSE, best >= SAME)


def _details(thumbnails: np.ndarray, window: np.ndarray) -> np.ndarray:
    """What a window's matrix shows of thumbnails, of length 1: float32 (n, 256)."""
    shown = thumbnails.reshape(-1, SIDE**2).astype(np.float32) @ window
    return shown / np.maximum(np.sqrt(np.einsum("np,np->n", shown, shown))[:, None], 1e-6)


@cache
def _windows() -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Matrices (256, 256) that take from a thumbnail the details of a part: the whole and the middles, and the others.

    Details are what a Gaussian blur of one pixel takes away; a part is sampled linearly.
    """
    cells = np.arange(SIDE)
    blur = np.exp(-(np.subtract.outer(cells, cells) ** 2) / 2)
    blur /= blur.sum(axis=1, keepdims=True)
    found: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    for size, places in PARTS:
        starts = [(1 - size) * place / max(1, places - 1) for place in range(places)]
        axes = []
        for start in starts:
            at = np.clip((start + size * (cells + 0.5) / SIDE) * SIDE - 0.5, 0, SIDE - 1)
            axes.append(np.maximum(0, 1 - np.abs(at[:, None] - cells)))
        for (row, down), (column, across) in product(enumerate(axes), repeat=2):
            matrix = np.kron(down, across) - np.kron(blur @ down, blur @ across)
            middle = row == column == places // 2
            found[0 if middle else 1].append(matrix.T.astype(np.float32))
    return found


def _preference(together: np.ndarray, area: np.ndarray, labels: np.ndarray, paths: Sequence[str]) -> np.ndarray:
    """Rows by what hangs together, and therein by area, having the majority's label, and path: int64 (N,)."""
    by_path = np.array(sorted(range(len(paths)), key=paths.__getitem__), dtype=np.int64)
    rank = np.empty(len(paths), dtype=np.int64)
    rank[by_path] = np.arange(len(paths))
    votes = Counter((int(together[row]), int(labels[row])) for row in by_path if labels[row] >= 0)
    majority: dict[int, int] = {}
    for (number, label), _ in votes.most_common():
        majority.setdefault(number, label)
    minority = [majority.get(number) != label for number, label in zip(together.tolist(), labels.tolist(), strict=True)]
    return np.lexsort((rank, minority, -area, together))


def _numbered(kept: np.ndarray, paths: Sequence[str]) -> np.ndarray:
    """Groups numbered by their first path from the row that is kept of each: int64 (N,), -1 for pictures alone."""
    sizes = np.bincount(kept, minlength=len(kept))[kept]
    numbers: dict[int, int] = {}
    group = np.full(len(kept), -1, dtype=np.int64)
    for row in sorted(np.flatnonzero(sizes > 1).tolist(), key=paths.__getitem__):
        group[row] = numbers.setdefault(int(kept[row]), len(numbers))
    return group


def connected(*keys: Sequence[Hashable | None]) -> np.ndarray:
    """Groups of items that share a key, directly or through others: int64 (N,), numbered from 0 in order of appearance.

    Parameters: `keys`, any number of sequences of length N (pixels' digest, perceptual hash, burst, …); two items with
    the same key in one of them belong together; None shares with nobody.
    """
    count = len(keys[0])
    nodes: dict[tuple[int, Hashable], int] = {}  # every key becomes a node that its items are tied to
    ties = [
        (item, nodes.setdefault((kind, key), count + len(nodes)))
        for kind, column in enumerate(keys)
        for item, key in enumerate(column)
        if key is not None
    ]
    rows, columns = np.array(ties, dtype=np.int64).reshape(-1, 2).T
    return _components(count + len(nodes), rows, columns)[:count]


def _components(size: int, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Of `size` nodes, the number of the component that ties between `first` and `second` put each in: int64."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    graph = coo_matrix((np.ones(len(first), dtype=bool), (first, second)), shape=(size, size))
    return connected_components(graph, directed=False)[1].astype(np.int64)
