from __future__ import annotations

from math import exp, log

import numpy as np
import pytest

from winnow.heads.models.metric_losses import draw_batch, semi_hard_triplets, supervised_contrastive

EAST, NORTH, WEST = [1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]


def unit_vectors(n, d, seed=0):
    z = np.random.default_rng(seed).normal(size=(n, d))
    return z / np.linalg.norm(z, axis=1, keepdims=True)


def numerical_gradient(loss, z, step=1e-6):
    """The gradient of a function of z by central differences."""
    gradient = np.zeros_like(z)
    for index in np.ndindex(z.shape):
        change = np.zeros_like(z)
        change[index] = step
        gradient[index] = (loss(z + change) - loss(z - change)) / (2 * step)
    return gradient


def contrastive_in_loops(z, codes, t):
    """Equation 2 of Khosla et al., term by term."""
    losses = []
    for i in range(len(z)):
        others = [a for a in range(len(z)) if a != i]
        positives = [p for p in others if codes[p] == codes[i]]
        if positives:
            total = sum(exp(z[i] @ z[a] / t) for a in others)
            losses.append(-sum(log(exp(z[i] @ z[p] / t) / total) for p in positives) / len(positives))
    return sum(losses) / len(losses)


def triplets_in_loops(z, codes, margin):
    """Equation 3 of Schroff et al. with the negatives of section 3.2."""
    apart = ((z[:, None] - z) ** 2).sum(axis=2)
    losses = []
    for a in range(len(z)):
        for p in range(len(z)):
            if p != a and codes[p] == codes[a]:
                negatives = [apart[a, n] for n in range(len(z)) if codes[n] != codes[a]]
                farther = [far for far in negatives if far > apart[a, p]]
                losses.append(max(0, apart[a, p] - (min(farther) if farther else max(negatives)) + margin))
    return sum(losses) / len(losses)


CODES = np.array([0, 1, 0, 2, 1, 0, 3, 1])


def test_contrastive_by_hand():
    # two of a class at one place, one of another opposite: -log(e^1 / (e^1 + e^-1)) for both; the third has no positive
    loss, _ = supervised_contrastive(np.array([EAST, EAST, WEST]), np.array([0, 0, 1]), 1.0)
    assert loss == pytest.approx(log(1 + exp(-2)))


def test_triplets_by_hand():
    # squared distances: within the class 0, to the other 2 (a right angle); max(0, 0 - 2 + 2.5) for both pairs
    loss, _ = semi_hard_triplets(np.array([EAST, EAST, NORTH]), np.array([0, 0, 1]), 2.5)
    assert loss == pytest.approx(0.5)
    assert semi_hard_triplets(np.array([EAST, EAST, NORTH]), np.array([0, 0, 1]), 0.2)[0] == 0


def test_the_nearest_farther_negative_is_taken_else_the_farthest():
    # anchor EAST, positive NORTH (2): negatives at 4 (farther) and 0 (nearer): 4 is taken. From NORTH: both are at 2,
    # none is farther, so 2.
    z = np.array([EAST, NORTH, WEST, EAST])
    loss, _ = semi_hard_triplets(z, np.array([0, 0, 1, 2]), 3.0)
    assert loss == pytest.approx(((2 - 4 + 3) + (2 - 2 + 3)) / 2)
    # the same with both negatives nearer than the positive: the farther one of them, at 2
    loss, _ = semi_hard_triplets(np.array([EAST, WEST, NORTH, EAST]), np.array([0, 0, 1, 2]), 1.0)
    from_east, from_west = 4 - 2 + 1, 4 - 4 + 1  # from WEST, EAST is as far as the positive, not farther
    assert loss == pytest.approx((from_east + from_west) / 2)


@pytest.mark.parametrize("seed", range(3))
def test_the_losses_are_those_of_the_papers(seed):
    z = unit_vectors(8, 3, seed)
    assert supervised_contrastive(z, CODES, 0.3)[0] == pytest.approx(contrastive_in_loops(z, CODES, 0.3))
    assert semi_hard_triplets(z, CODES, 0.3)[0] == pytest.approx(triplets_in_loops(z, CODES, 0.3))


@pytest.mark.parametrize(
    ("loss", "setting"), [(supervised_contrastive, 0.1), (supervised_contrastive, 1.0), (semi_hard_triplets, 0.5)]
)
def test_gradients_are_those_of_finite_differences(loss, setting):
    z = unit_vectors(8, 3)
    _, gradient = loss(z, CODES, setting)
    np.testing.assert_allclose(gradient, numerical_gradient(lambda z: loss(z, CODES, setting)[0], z), atol=1e-6)


@pytest.mark.parametrize("loss", [supervised_contrastive, semi_hard_triplets])
@pytest.mark.parametrize("codes", [[0, 1, 2], [0, 0, 0]])
def test_a_batch_without_pairs_or_negatives_has_a_finite_loss(loss, codes):
    value, gradient = loss(unit_vectors(3, 2), np.array(codes), 0.5)
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()
    if codes == [0, 1, 2]:
        assert value == 0
        assert not gradient.any()


def test_the_gradient_has_the_dtype_of_the_vectors():
    z = unit_vectors(8, 3).astype(np.float32)
    for loss in (supervised_contrastive, semi_hard_triplets):
        assert loss(z, CODES, 0.5)[1].dtype == np.float32


class TestBatch:
    def counts_of(self, counts, size, per_class):
        codes = np.repeat(np.arange(len(counts)), counts)
        members = [np.flatnonzero(codes == c) for c in range(len(counts))]
        rows = draw_batch(members, size, per_class, np.random.default_rng(0))
        assert len(set(rows.tolist())) == len(rows)
        return np.bincount(codes[rows], minlength=len(counts)).tolist()

    def test_few_classes_share_the_batch(self):
        assert self.counts_of([100, 100, 100, 100], 32, 4) == [8, 8, 8, 8]

    def test_of_many_classes_some_are_sampled(self):
        assert sorted(self.counts_of([10] * 20, 32, 4)) == [0] * 12 + [4] * 8

    def test_a_small_class_contributes_all_of_its_rows(self):
        assert self.counts_of([1, 3, 100], 30, 4) == [1, 3, 10]
