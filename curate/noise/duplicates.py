"""Near-duplicates: exact copies, and copies re-encoded, resized, cropped a little, brightened or mirrored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product

import numpy as np

from winnow.curate.noise.vector_rows import first_rows, unit_rows

# Thresholds: of 2,500 copies of photographs (JPEG quality 40 to 80, half the size, 10% cropped off, 20% brighter or
# darker, mirrored) CLOSE passes 99.9%, and 34 of 499,500 pairs of different photographs; SAME passes 2 of these 34,
# which are duplicates indeed.
MIRRORED = np.uint64(0x5555555555555555)  # bits of odd horizontal frequencies: a mirror image inverts them
BIT = 0.02  # cosine that one differing bit of the hash counts for
CLOSE = 0.45  # least cosine, less the differing bits, of a pair that is verified on the thumbnails
CLOSE_ALONE = 0.50  # the same where there are no thumbnails to verify on
NEIGHBOURS = 10  # pairs per picture that are verified, at most
SIDE = 16  # pixels of a thumbnail's side
HOPELESS = 0.15  # correlation of the central windows below which no other window is tried
SAME = 0.65  # least correlation of the details of two thumbnails, one laid over a window of the other
FLAT = 2  # grey levels: a thumbnail with a smaller range has no details, and such pictures must have the same vector
FLAT_CLOSE = 0.99  # least cosine of these
WINDOWS = ((1.0, 1), (0.95, 3), (0.91, 5))  # size of a window, and the number of its positions on either axis
CELLS = 2**22  # of a block's matrix: 16 MiB of float32


@dataclass(frozen=True)
class Duplicates:
    """Groups of near-duplicates, in the order of the pictures (N,).

    group : int64, number of the group, from 0 in the order of each group's first path; -1 for pictures without one.
    keep : bool, True for the picture to keep of each group, and for every picture without a group.
    """

    group: np.ndarray
    keep: np.ndarray


def find_near_duplicates(
    bottleneck: np.ndarray,
    phash: np.ndarray,
    pixels: Sequence[str | None],
    area: np.ndarray,
    labels: np.ndarray,
    paths: Sequence[str],
    thumbnails: np.ndarray | None = None,
) -> Duplicates:
    """Group the pictures that show the same photograph as the one of their group that is kept.

    Pairs whose vectors and perceptual hashes (also of the mirror image) are close are verified on their thumbnails.
    Each connected component is then divided: the largest picture is kept (then one of the majority label, then the
    first path), the pictures that are verified against it join it, and the rest is divided in the same way. So a chain
    of pairs never joins two pictures that differ.

    Time grows with N^2, in blocks of one matrix product; memory grows with N.

    Parameters
    ----------
    bottleneck : float ndarray of shape (N, B), not all zero
    phash : uint64 ndarray of shape (N,)
    pixels : sequence of N str or None
        Digests of the decoded pixels, equal for exact copies; None where unknown.
    area : int ndarray of shape (N,), width * height
    labels : int64 ndarray of shape (N,), -1 without a label
    paths : sequence of N str
    thumbnails : uint8 ndarray of shape (N, 16, 16) from `thumbnail`, or None
        Without thumbnails the hash and the vector alone decide.
    """
    count = len(paths)
    appearance = _Appearance(unit_rows(bottleneck), phash, connected_groups(pixels), thumbnails)
    once = first_rows(appearance.exact)  # exact copies need no search
    first, second = appearance.find_pairs(once)
    component = _components(count, np.append(first, np.arange(count)), np.append(second, once[appearance.exact]))
    order = _preference(component, area, labels, paths)
    rest = order[np.bincount(component, minlength=1)[component[order]] > 1]
    kept = np.arange(count)
    while len(rest):
        _, start, inverse = np.unique(component[rest], return_index=True, return_inverse=True)
        best = rest[start][inverse]
        same = appearance.same_photograph(best, rest)
        kept[rest[same]] = best[same]
        rest = rest[~same]
    return Duplicates(_number_groups(kept, paths), kept == np.arange(count))


@dataclass(frozen=True)
class _Appearance:
    """What pairs of pictures are compared by, rows (N,).

    unit : float32 (N, B), bottleneck vectors of length 1.
    phash : uint64 (N,).
    exact : int64 (N,), the same number for exact copies, from 0.
    thumbnails : uint8 (N, 16, 16), or None.
    """

    unit: np.ndarray
    phash: np.ndarray
    exact: np.ndarray
    thumbnails: np.ndarray | None

    def find_pairs(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Find the pairs among `rows` that show the same photograph, each pair once."""
        unit, phash = self.unit[rows], self.phash[rows]
        nothing = np.empty(0, dtype=np.int64)
        close = [(nothing, nothing), *(_close_pairs(unit, phash, start, stop) for start, stop in _blocks(len(rows)))]
        first, second = (rows[np.concatenate(part)] for part in zip(*close, strict=True))
        same = self.same_photograph(first, second)
        return first[same], second[same]

    def same_photograph(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Decide for pairs of rows (n,) whether they show the same photograph: bool (n,)."""
        same = self.exact[first] == self.exact[second]
        for start, stop in _blocks(len(first), self.unit.shape[1] + SIDE**2):
            i, j = first[start:stop], second[start:stop]
            cosine = np.einsum("nb,nb->n", self.unit[i], self.unit[j])
            least = CLOSE_ALONE if self.thumbnails is None else CLOSE
            close = cosine - BIT * _differing_bits(self.phash[i], self.phash[j]) >= least
            if self.thumbnails is not None:
                close[close] = _same_details(self.thumbnails[i[close]], self.thumbnails[j[close]], cosine[close])
            same[start:stop] |= close
        return same


def _close_pairs(unit: np.ndarray, phash: np.ndarray, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
    """Find the close pairs of the rows from `start` to `stop` with later ones, the closest `NEIGHBOURS` of each."""
    cosine = unit[start:stop] @ unit[start:].T
    cosine[np.tril_indices(stop - start)] = -1
    flat = np.flatnonzero(cosine >= CLOSE)
    i, j = np.divmod(flat, len(unit) - start)
    value = cosine.ravel()[flat] - BIT * _differing_bits(phash[start + i], phash[start + j])
    close = value >= CLOSE
    i, j, value = i[close], j[close], value[close]
    order = np.lexsort((-value, i))
    best = order[np.arange(len(i)) - np.searchsorted(i, i) < NEIGHBOURS]
    return start + i[best], start + j[best]


def _blocks(count: int, width: int | None = None) -> Iterator[tuple[int, int]]:
    """Divide `count` rows of `width` numbers (None: of `count`) into blocks of about `CELLS` numbers: their bounds."""
    step = max(1, CELLS // max(1, width or count))
    return ((start, min(start + step, count)) for start in range(0, count, step))


def _differing_bits(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Count the hash bits that differ, of the picture or of its mirror image, whichever is less: uint8."""
    differing = first ^ second
    return np.minimum(np.bitwise_count(differing), np.bitwise_count(differing ^ MIRRORED))


def thumbnail(pixels: np.ndarray) -> np.ndarray:
    """Average the grey levels of uint8 RGB (H, W, 3) in a 16 x 16 grid: uint8 (16, 16)."""
    from PIL import Image

    return np.asarray(Image.fromarray(pixels).convert("L").resize((SIDE, SIDE), Image.Resampling.BOX))


def _same_details(first: np.ndarray, second: np.ndarray, cosine: np.ndarray) -> np.ndarray:
    """Decide whether the details of thumbnails uint8 (n, 16, 16) agree: bool (n,).

    One of the two, or its mirror image, is laid over the windows of the other. Pictures of one colour have no details:
    their vectors must be the same (`cosine`, (n,)).
    """
    flat = np.maximum(np.ptp(first, axis=(1, 2)), np.ptp(second, axis=(1, 2))) < FLAT
    best = np.full(len(first), -1.0, dtype=np.float32)
    central, others = _window_matrices()
    for windows in (central, others):
        for whole, part in ((first, second), (second, first)):
            rows = np.flatnonzero((best < SAME) & ((best >= HOPELESS) | (windows is central)))
            plain, mirrored = (_details(part[rows][:, :, ::step], central[0]) for step in (1, -1))
            for window in windows:
                detail = _details(whole[rows], window)
                for other in (plain, mirrored):
                    best[rows] = np.maximum(best[rows], np.einsum("np,np->n", detail, other))
    return np.where(flat, cosine >= FLAT_CLOSE, best >= SAME)


def _details(thumbnails: np.ndarray, window: np.ndarray) -> np.ndarray:
    """Compute the details of a window of thumbnails, as vectors of length 1: float32 (n, 256)."""
    details = thumbnails.reshape(-1, SIDE**2).astype(np.float32) @ window
    return details / np.maximum(np.sqrt(np.einsum("np,np->n", details, details))[:, None], 1e-6)


@cache
def _window_matrices() -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Build a matrix (256, 256) per window that takes the details of that window from a thumbnail.

    Details are the difference between a thumbnail and its Gaussian blur of one pixel; a window is sampled linearly.
    Returns: the central windows, of which the first is the whole thumbnail; the others.
    """
    cells = np.arange(SIDE)
    blur = np.exp(-(np.subtract.outer(cells, cells) ** 2) / 2)
    blur /= blur.sum(axis=1, keepdims=True)
    central: list[np.ndarray] = []
    others: list[np.ndarray] = []
    for size, positions in WINDOWS:
        starts = [(1 - size) * position / max(1, positions - 1) for position in range(positions)]
        axes = []
        for start in starts:
            sampled = np.clip((start + size * (cells + 0.5) / SIDE) * SIDE - 0.5, 0, SIDE - 1)
            axes.append(np.maximum(0, 1 - np.abs(sampled[:, None] - cells)))
        for (row, down), (column, across) in product(enumerate(axes), repeat=2):
            matrix = np.kron(down, across) - np.kron(blur @ down, blur @ across)
            is_central = row == column == positions // 2
            (central if is_central else others).append(matrix.T.astype(np.float32))
    return central, others


def _preference(component: np.ndarray, area: np.ndarray, labels: np.ndarray, paths: Sequence[str]) -> np.ndarray:
    """Order the rows by component, then larger area, then the component's majority label, then path: int64 (N,)."""
    by_path = np.array(sorted(range(len(paths)), key=paths.__getitem__), dtype=np.int64)
    rank = np.empty(len(paths), dtype=np.int64)
    rank[by_path] = np.arange(len(paths))
    votes = Counter((int(component[row]), int(labels[row])) for row in by_path if labels[row] >= 0)
    majority: dict[int, int] = {}
    for (number, label), _ in votes.most_common():
        majority.setdefault(number, label)
    minority = [
        majority.get(number) != label for number, label in zip(component.tolist(), labels.tolist(), strict=True)
    ]
    return np.lexsort((rank, minority, -area, component))


def _number_groups(kept: np.ndarray, paths: Sequence[str]) -> np.ndarray:
    """Number the groups by their first path: int64 (N,), -1 for pictures alone.

    Parameters: `kept`, the row that is kept of the group of each row.
    """
    sizes = np.bincount(kept, minlength=len(kept))[kept]
    numbers: dict[int, int] = {}
    group = np.full(len(kept), -1, dtype=np.int64)
    for row in sorted(np.flatnonzero(sizes > 1).tolist(), key=paths.__getitem__):
        group[row] = numbers.setdefault(int(kept[row]), len(numbers))
    return group


def connected_groups(*keys: Sequence[Hashable | None]) -> np.ndarray:
    """Group items that share a key, directly or through others: int64 (N,), numbered from 0 in order of appearance.

    Parameters: `keys`, any number of sequences of length N (digest of the pixels, perceptual hash, burst, ...). Two
    items with the same key in one of the sequences belong together; None matches nothing.
    """
    count = len(keys[0])
    nodes: dict[tuple[int, Hashable], int] = {}  # every key becomes a node that is linked to its items
    links = [
        (item, nodes.setdefault((kind, key), count + len(nodes)))
        for kind, column in enumerate(keys)
        for item, key in enumerate(column)
        if key is not None
    ]
    rows, columns = np.array(links, dtype=np.int64).reshape(-1, 2).T
    return _components(count + len(nodes), rows, columns)[:count]


def _components(size: int, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Number the connected components of a graph of `size` nodes with edges from `first` to `second`: int64 (size,)."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    graph = coo_matrix((np.ones(len(first), dtype=bool), (first, second)), shape=(size, size))
    return connected_components(graph, directed=False)[1].astype(np.int64)
