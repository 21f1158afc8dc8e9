"""A stage timer adds up the seconds of stages."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from winnow.workflow import stage_timer
from winnow.workflow.stage_timer import StageTimer


def set_clock(monkeypatch: pytest.MonkeyPatch, *readings: float) -> None:
    """Let `time.monotonic` return these values, one per call."""
    monkeypatch.setattr(stage_timer, "time", SimpleNamespace(monotonic=iter(readings).__next__))


def test_seconds_are_kept_by_stage_in_the_order_of_their_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    set_clock(monkeypatch, 10.0, 11.5, 20.0, 20.25)
    timer = StageTimer()
    for name in ("train", "export"):
        with timer.stage(name):
            pass
    assert list(timer.seconds.items()) == [("train", 1.5), ("export", 0.25)]


def test_a_stage_that_is_timed_twice_has_the_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    set_clock(monkeypatch, 0.0, 1.0)
    timer = StageTimer()
    timer.add("embed", 2.0)
    with timer.stage("embed"):
        pass
    assert timer.seconds == {"embed": 3.0}


def test_seconds_are_rounded_to_hundredths() -> None:
    timer = StageTimer()
    timer.add("scan", 0.12345)
    assert timer.seconds == {"scan": 0.12}


def test_a_stage_that_fails_is_not_counted() -> None:
    timer = StageTimer()
    with pytest.raises(ValueError, match="no pictures"), timer.stage("train"):
        raise ValueError("no pictures")
    assert timer.seconds == {}
