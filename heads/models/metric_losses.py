"""Losses over pairs of images in a batch with their gradients, and the sampling of batches.

z is float (B, d), rows of length 1; codes int (B,), class indexes. A loss returns its value and its gradient by z,
(B, d).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import log_softmax


def supervised_contrastive(z: np.ndarray, codes: np.ndarray, temperature: float) -> tuple[float, np.ndarray]:
    """Supervised contrastive loss: every image against all others of its class; mean over images that have others.

    P. Khosla et al., Supervised Contrastive Learning, NeurIPS 2020, equation 2 (L_out), with temperature t:
    L_i = -1/|P(i)| sum over p in P(i) of log(exp(z_i z_p / t) / sum over a != i of exp(z_i z_a / t)).
    """
    same = _pairs_of_a_class(codes)
    count = same.sum(axis=1, keepdims=True)
    anchors = max(int((count > 0).sum()), 1)
    logits = z @ z.T / temperature
    np.fill_diagonal(logits, -np.inf)
    log_p = log_softmax(logits, axis=1)
    target = (same / np.maximum(count, 1)).astype(z.dtype)  # 1/|P(i)| at the positives, rows sum to 1 or 0
    loss = -(log_p[same] * target[same]).sum() / anchors
    by_similarity = ((count > 0) * np.exp(log_p) - target) / (anchors * temperature)
    return float(loss), (by_similarity + by_similarity.T) @ z


def semi_hard_triplets(z: np.ndarray, codes: np.ndarray, margin: float) -> tuple[float, np.ndarray]:
    """Triplet loss: pairs of a class must be closer by `margin`, in squared distance d, than their negative.

    F. Schroff, D. Kalenichenko, J. Philbin, FaceNet, CVPR 2015: equation 3, the mean of max(d(a, p) - d(a, n) + margin,
    0) over all pairs of anchor and positive in a batch, each with its semi-hard negative (section 3.2, equation 4): the
    nearest to the anchor of those that are farther from it than the positive. Where there is none, the farthest
    negative is taken, the easiest of the hard ones: with the hardest, training may collapse to one point.
    """
    anchor, positive = np.nonzero(_pairs_of_a_class(codes))
    negative = (codes[:, None] != codes)[anchor]
    if not negative.any():
        return 0.0, np.zeros_like(z)
    apart = (2 - 2 * z @ z.T)[anchor]  # (pairs, B)
    near = apart[np.arange(len(anchor)), positive]
    farther = negative & (apart > near[:, None])
    semi_hard = np.where(farther, apart, np.inf).argmin(axis=1)
    easiest = np.where(negative, apart, -np.inf).argmax(axis=1)
    chosen = np.where(farther.any(axis=1), semi_hard, easiest)
    hinge = near - apart[np.arange(len(anchor)), chosen] + margin
    active = hinge > 0
    by_similarity = np.zeros((len(z), len(z)), z.dtype)
    by_similarity[anchor, positive] = -2.0 * active
    np.add.at(by_similarity, (anchor, chosen), 2.0 * active)
    by_similarity /= len(anchor)
    return float(hinge[active].sum() / len(anchor)), (by_similarity + by_similarity.T) @ z


def draw_batch(members: Sequence[np.ndarray], size: int, per_class: int, rng: np.random.Generator) -> np.ndarray:
    """Sample about `size` rows without replacement, `per_class` of each of size / per_class classes.

    With fewer classes more rows of each are taken; a smaller class contributes all of its rows.
    members: the rows of each class, int (n_c,) each. A. Hermans, L. Beyer, B. Leibe, In Defense of the
    Triplet Loss, 2017, section 2 (batches of P classes times K pictures).
    """
    classes = min(len(members), max(2, size // per_class))
    each = max(2, size // classes)
    chosen = rng.choice(len(members), classes, replace=False)
    return np.concatenate([rng.choice(members[c], min(each, len(members[c])), replace=False) for c in chosen])


def _pairs_of_a_class(codes: np.ndarray) -> np.ndarray:
    """(B, B) bool: both of one class, and not the same image."""
    same = codes[:, None] == codes
    np.fill_diagonal(same, False)
    return same
