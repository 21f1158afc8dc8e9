"""A verdict moves similar pictures, probes are always the same, and the interval contains the true number."""

from __future__ import annotations

import numpy as np
import pytest
from support.project import Photographs

from winnow.curate.noise.active_learning import (
    BATCH,
    PROBES,
    Outlook,
    _posterior_mean,
    encode_verdicts,
    estimate_outlook,
    next_batch,
    rerank,
)
from winnow.curate.noise.outliers import score_off_topic


def make_ids(count: int) -> list[str]:
    return [f"id{row}" for row in range(count)]


@pytest.fixture
def kinds() -> np.ndarray:
    """Vectors (40, 4): ten pictures each of four kinds."""
    noise = np.random.default_rng(0).normal(0, 0.05, (40, 4))
    return (np.repeat(np.eye(4), 10, axis=0) + noise).astype(np.float32)


def reranked(x: np.ndarray, verdicts: dict[int, int], prior: float = 0.2) -> np.ndarray:
    codes = np.full(len(x), -1, dtype=np.int8)
    codes[list(verdicts)] = list(verdicts.values())
    return rerank(x, x[:, :3], np.full(len(x), prior), codes, np.arange(len(x)))


def test_verdicts_are_encoded_in_the_order_of_ids():
    verdicts = {"a": ("drop", "off_topic"), "b": ("keep", None), "c": ("drop", "quality"), "d": ("relabel", None)}
    codes = encode_verdicts(["d", "c", "x", "b", "a"], verdicts | {"x": (None, None)})
    assert (codes.tolist(), codes.dtype) == ([0, -2, -1, 0, 1], np.int8)
    assert encode_verdicts(["unknown"], verdicts).tolist() == [-1]


def test_without_verdicts_the_ranking_is_the_prior(kinds):
    assert (reranked(kinds, {}) == 0.2).all()
    assert (reranked(kinds, {3: -2}) == 0.2).all()


def test_what_looks_like_a_dropped_picture_rises_and_what_looks_like_a_kept_one_falls(kinds):
    score = reranked(kinds, {0: 1, 10: 0})
    assert score[1:10].min() > 0.6
    assert score[11:20].max() < 0.1
    assert np.median(score[20:]) == pytest.approx(0.2, abs=0.1)
    assert np.median(score[11:20]) < np.median(score[20:])
    assert score[20:].max() < score[1:10].min()


def test_keeping_alone_lowers_and_dropping_alone_raises(kinds):
    assert reranked(kinds, {0: 0})[1:10].max() < 0.1
    assert reranked(kinds, {0: 1})[1:10].min() > 0.6


def test_a_score_keeps_its_meaning(kinds):
    prior = np.linspace(0.01, 0.6, 40)
    verdicts = np.array([1, 1, 0, 0] * 10, dtype=np.int8)
    score = rerank(kinds, kinds[:, :3], prior, verdicts, np.arange(40))
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
    f = [_posterior_mean(kinds, kinds[:, :3], verdicts, np.arange(40)) for verdicts in (dropped, kept)]
    assert f[0][5] == pytest.approx(f[1][5], abs=1e-9)
    assert f[0][6] > f[1][6] + 0.1


def test_a_picture_dropped_for_another_reason_changes_nothing(kinds):
    assert reranked(kinds, {0: 1, 10: -2})[30:] == pytest.approx(reranked(kinds, {0: 1})[30:], abs=0.01)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_pictures_and_zero_vectors(count):
    for x in (np.zeros((count, 4), np.float32), np.ones((count, 4), np.float32)):
        for verdict in (1, 0, -1, -2):
            score = reranked(x, dict.fromkeys(range(count), verdict))
            assert ((score >= 0) & (score <= 1)).all()


def test_a_batch_is_the_highest_undecided_ones_and_then_the_probes():
    score, verdicts = np.arange(100) / 100, np.full(100, -1, dtype=np.int8)
    verdicts[[99, 97, 0]] = [1, 0, -2]
    batch = next_batch(make_ids(100), score, verdicts)
    assert batch.dtype == np.int64
    assert batch[:8].tolist() == [98, 96, 95, 94, 93, 92, 91, 90]
    assert len(set(batch.tolist())) == BATCH
    assert (verdicts[batch] == -1).all()
    reversed_ = next_batch(make_ids(100)[::-1], score[::-1], verdicts[::-1])
    assert (99 - reversed_ == batch).all()  # by id, not by row


def test_probes_do_not_depend_on_the_scores():
    verdicts = np.full(1000, -1, dtype=np.int8)
    rng = np.random.default_rng(0)
    probes = {tuple(next_batch(make_ids(1000), rng.random(1000), verdicts)[-PROBES:].tolist()) for _ in range(5)}
    assert len(probes) == 1


def test_the_last_batch_holds_what_is_left():
    verdicts = np.zeros(20, dtype=np.int8)
    verdicts[:3] = -1
    assert sorted(next_batch(make_ids(20), np.arange(20) / 20, verdicts).tolist()) == [0, 1, 2]
    assert len(next_batch(make_ids(20), np.arange(20) / 20, np.zeros(20, dtype=np.int8))) == 0
    assert len(next_batch([], np.zeros(0), np.zeros(0, dtype=np.int8))) == 0
    fresh = np.full(20, -1, dtype=np.int8)
    assert next_batch(make_ids(20), np.arange(20) / 20, fresh, size=3, probes=0).tolist() == [19, 18, 17]
    assert len(next_batch(make_ids(20), np.arange(20) / 20, fresh, size=1)) == 1


def test_when_all_is_decided_nothing_is_left():
    verdicts = np.zeros(20, dtype=np.int8)
    verdicts[:5] = 1
    outlook = estimate_outlook(make_ids(20), np.linspace(1, 0, 20), verdicts)
    assert outlook == Outlook(20, 5, 0.0, 0, 0, 0, 0.0)
    assert not outlook.worthwhile
    assert outlook.summary_sentence == "5 of 20 reviewed images are off-topic. No image is left to review."


def test_without_reviewed_pictures_there_is_no_estimate():
    outlook = estimate_outlook(make_ids(100), np.linspace(0.9, 0.1, 100), np.full(100, -1, dtype=np.int8))
    assert (outlook.reviewed, outlook.off_topic, outlook.low) == (0, 0, 0)
    assert outlook.high > 20
    assert outlook.summary_sentence == (
        "0 of 0 reviewed images are off-topic. An estimate of how many are left needs 10 reviewed images."
    )
    one = estimate_outlook(["a"], np.array([0.5]), np.array([-1], dtype=np.int8))
    assert 0 <= one.low <= one.high <= 1


def test_the_summary_states_the_estimate_and_whether_to_go_on():
    assert Outlook(50, 4, 1.0, 0, 12, 10, 0.2).summary_sentence == (
        "4 of 50 reviewed images are off-topic. About 1 more are left (95% interval: 0 to 12). "
        "Expected off-topic images in the next 10: 0.2. You can stop."
    )
    assert Outlook(20, 9, 31.0, 12, 1200, 8, 2.34).summary_sentence == (
        "9 of 20 reviewed images are off-topic. About 31 more are left (95% interval: 12 to 1,200). "
        "Expected off-topic images in the next 8: 2.3. Keep reviewing."
    )


def test_the_estimate_keeps_its_json_keys():
    outlook = Outlook(50, 4, 1.0, 0, 12, 10, 0.2)
    assert outlook.to_json() == {
        "looked": 50,
        "found": 4,
        "left": 1.0,
        "low": 0,
        "high": 12,
        "next_batch": 0.2,
        "worth": False,
        "words": outlook.summary_sentence,
    }


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.0, 0.01, 0.05])
def test_the_interval_contains_the_number_that_is_left(share):
    """Scores that separate well but not wholly, reviewed in batches of ten."""
    contained = stages = 0
    for seed in range(6):
        rng = np.random.default_rng(seed)
        truth = rng.random(800) < share
        score = 1 / (1 + np.exp(4 - rng.normal(0, 1, 800) - 4 * truth))
        verdicts, ids = np.full(800, -1, dtype=np.int8), [f"{seed} {row}" for row in range(800)]
        for number in range(12):
            batch = next_batch(ids, score, verdicts)
            verdicts[batch] = truth[batch]
            if number in (2, 6, 11):
                outlook = estimate_outlook(ids, score, verdicts)
                contained += outlook.low <= int(truth[verdicts == -1].sum()) <= outlook.high
                stages += 1
                assert outlook.reviewed == 10 * (number + 1)
        assert not outlook.worthwhile
        assert outlook.high < 80
    assert contained >= stages - 1


@pytest.mark.slow
def test_25_reviewed_photographs_hold_nearly_all_off_topic_ones(photographs: Photographs):
    """14 or 15 of the 16 known ones, in batches of ten of which two are probes."""
    ids, pooled, bottleneck, labels = photographs.ids, photographs.pooled, photographs.bottleneck, photographs.labels
    rows, groups = np.flatnonzero(photographs.noise != "doubtful"), np.arange(len(ids))
    prior = score = score_off_topic(pooled, bottleneck, labels, groups)
    verdicts, reviewed = np.full(len(ids), -1, dtype=np.int8), []
    while len(reviewed) < 50:
        batch = rows[next_batch([ids[row] for row in rows], score[rows], verdicts[rows])]
        verdicts[batch] = photographs.noise[batch] == "off_topic"
        reviewed += verdicts[batch].tolist()
        score = rerank(pooled, bottleneck, prior, verdicts, groups)
    assert sum(reviewed[:25]) >= 14
    outlook = estimate_outlook([ids[row] for row in rows], score[rows], verdicts[rows])
    assert outlook.low <= 16 - sum(reviewed)
