"""A verdict moves its likes, probes are the same for ever, and the interval holds what is left."""

from __future__ import annotations

import numpy as np
import pytest
from support.project import Photographs

from winnow.curate.noise.active_learning import BATCH, PROBES, _learned, next_batch, outlook, rerank
from winnow.curate.noise.scores import off_topic


def named(count: int) -> list[str]:
    return [f"id{row}" for row in range(count)]


@pytest.fixture
def kinds() -> np.ndarray:
    """Vectors (40, 4): ten pictures each of four kinds."""
    noise = np.random.default_rng(0).normal(0, 0.05, (40, 4))
    return (np.repeat(np.eye(4), 10, axis=0) + noise).astype(np.float32)


def moved(x: np.ndarray, verdicts: dict[int, int], prior: float = 0.2) -> np.ndarray:
    said = np.full(len(x), -1, dtype=np.int8)
    said[list(verdicts)] = list(verdicts.values())
    return rerank(x, x[:, :3], np.full(len(x), prior), said, np.arange(len(x)))


def test_without_verdicts_the_ranking_is_the_prior(kinds):
    assert (moved(kinds, {}) == 0.2).all()
    assert (moved(kinds, {3: -2}) == 0.2).all()


def test_what_looks_like_a_dropped_picture_rises_and_what_looks_like_a_kept_one_falls(kinds):
    score = moved(kinds, {0: 1, 10: 0})
    assert score[1:10].min() > 0.6
    assert score[11:20].max() < 0.1
    assert np.median(score[20:]) == pytest.approx(0.2, abs=0.1)
    assert np.median(score[11:20]) < np.median(score[20:])
    assert score[20:].max() < score[1:10].min()


def test_keeping_alone_lowers_and_dropping_alone_raises(kinds):
    assert moved(kinds, {0: 0})[1:10].max() < 0.1
    assert moved(kinds, {0: 1})[1:10].min() > 0.6


def test_a_value_means_what_it_meant_before(kinds):
    prior = np.linspace(0.01, 0.6, 40)
    said = np.array([1, 1, 0, 0] * 10, dtype=np.int8)
    score = rerank(kinds, kinds[:, :3], prior, said, np.arange(40))
    assert np.median(score) == pytest.approx(np.median(prior), abs=0.01)
    logit = np.log(score / (1 - score))
    spread = np.median(np.abs(logit - np.median(logit)))
    before = np.log(prior / (1 - prior))
    assert spread == pytest.approx(np.median(np.abs(before - np.median(before))), rel=0.05)


def test_a_pictures_own_verdict_does_not_move_its_score(kinds):
    others = np.full(40, -1, dtype=np.int8)
    others[[0, 10, 21]] = [1, 0, 0]
    dropped, kept = others.copy(), others.copy()
    dropped[5], kept[5] = 1, 0
    f = [_learned(kinds, kinds[:, :3], said, np.arange(40)) for said in (dropped, kept)]
    assert f[0][5] == pytest.approx(f[1][5], abs=1e-9)
    assert f[0][6] > f[1][6] + 0.1


def test_a_picture_dropped_for_another_reason_teaches_nothing(kinds):
    assert moved(kinds, {0: 1, 10: -2})[30:] == pytest.approx(moved(kinds, {0: 1})[30:], abs=0.01)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_pictures_and_zero_vectors(count):
    for x in (np.zeros((count, 4), np.float32), np.ones((count, 4), np.float32)):
        for said in (1, 0, -1, -2):
            score = moved(x, dict.fromkeys(range(count), said))
            assert ((score >= 0) & (score <= 1)).all()


def test_a_batch_is_the_highest_undecided_ones_and_then_the_probes():
    score, verdicts = np.arange(100) / 100, np.full(100, -1, dtype=np.int8)
    verdicts[[99, 97, 0]] = [1, 0, -2]
    batch = next_batch(named(100), score, verdicts)
    assert batch.dtype == np.int64
    assert batch[:8].tolist() == [98, 96, 95, 94, 93, 92, 91, 90]
    assert len(set(batch.tolist())) == BATCH
    assert (verdicts[batch] == -1).all()
    turned = next_batch(named(100)[::-1], score[::-1], verdicts[::-1])
    assert (99 - turned == batch).all()  # by id, not by row


def test_probes_do_not_depend_on_the_scores():
    verdicts = np.full(1000, -1, dtype=np.int8)
    rng = np.random.default_rng(0)
    probes = {tuple(next_batch(named(1000), rng.random(1000), verdicts)[-PROBES:].tolist()) for _ in range(5)}
    assert len(probes) == 1


def test_the_last_batch_holds_what_is_left():
    verdicts = np.zeros(20, dtype=np.int8)
    verdicts[:3] = -1
    assert sorted(next_batch(named(20), np.arange(20) / 20, verdicts).tolist()) == [0, 1, 2]
    assert len(next_batch(named(20), np.arange(20) / 20, np.zeros(20, dtype=np.int8))) == 0
    assert len(next_batch([], np.zeros(0), np.zeros(0, dtype=np.int8))) == 0
    fresh = np.full(20, -1, dtype=np.int8)
    assert next_batch(named(20), np.arange(20) / 20, fresh, size=3, probes=0).tolist() == [19, 18, 17]
    assert len(next_batch(named(20), np.arange(20) / 20, fresh, size=1)) == 1


def test_when_all_is_decided_nothing_is_left():
    verdicts = np.zeros(20, dtype=np.int8)
    verdicts[:5] = 1
    said = outlook(named(20), np.linspace(1, 0, 20), verdicts)
    assert said[:6] == (20, 5, 0.0, 0, 0, 0.0)
    assert not said.worth
    assert said.words == (
        "found 5 in 20 looks; about 0 more are probably left (0 to 0); another batch would find about 0.0: not worth it"
    )


def test_nothing_looked_at_promises_nothing():
    said = outlook(named(100), np.linspace(0.9, 0.1, 100), np.full(100, -1, dtype=np.int8))
    assert (said.looked, said.found, said.low) == (0, 0, 0)
    assert said.high > 20
    assert said.words == "found 0 in 0 looks: after 10 there is something to say of the others"
    one = outlook(["a"], np.array([0.5]), np.array([-1], dtype=np.int8))
    assert 0 <= one.low <= one.high <= 1


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.0, 0.01, 0.05])
def test_the_interval_holds_what_is_left(share):
    """Scores that separate well but not wholly; looks in batches of ten, as a person would."""
    held = stages = 0
    for seed in range(6):
        rng = np.random.default_rng(seed)
        truth = rng.random(800) < share
        score = 1 / (1 + np.exp(4 - rng.normal(0, 1, 800) - 4 * truth))
        verdicts, ids = np.full(800, -1, dtype=np.int8), [f"{seed} {row}" for row in range(800)]
        for look in range(12):
            batch = next_batch(ids, score, verdicts)
            verdicts[batch] = truth[batch]
            if look in (2, 6, 11):
                said = outlook(ids, score, verdicts)
                held += said.low <= int(truth[verdicts == -1].sum()) <= said.high
                stages += 1
                assert said.looked == 10 * (look + 1)
        assert not said.worth
        assert said.high < 80
    assert held >= stages - 1


@pytest.mark.slow
def test_the_natural_noise_of_the_photographs_is_found_in_25_looks(photographs: Photographs):
    """14 or 15 of the 16 known ones, in batches of ten of which two are probes."""
    _, _, ids, pooled, bottleneck, labels, what = photographs
    seen, groups = np.flatnonzero(what != "doubtful"), np.arange(len(ids))
    prior = score = off_topic(pooled, bottleneck, labels, groups)
    verdicts, found = np.full(len(ids), -1, dtype=np.int8), []
    while len(found) < 50:
        batch = seen[next_batch([ids[row] for row in seen], score[seen], verdicts[seen])]
        verdicts[batch] = what[batch] == "off_topic"
        found += verdicts[batch].tolist()
        score = rerank(pooled, bottleneck, prior, verdicts, groups)
    assert sum(found[:25]) >= 14
    assert outlook([ids[row] for row in seen], score[seen], verdicts[seen]).low <= 16 - sum(found)
