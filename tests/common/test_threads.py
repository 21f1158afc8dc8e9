"""Work ahead of its consumer, what threads may have at a time, and what is made once."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from winnow.common.threads import Lazy, WeightedSemaphore


def most_at_a_time(budget, amounts):
    """The largest sum that was out at one moment, when eight threads each take their amount for a while."""
    out, most, lock = [], [], threading.Lock()

    def experiment(amount):
        with budget.hold(amount):
            with lock:
                out.append(amount)
                most.append(sum(out))
            time.sleep(0.01)
            with lock:
                out.remove(amount)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(experiment, amounts))
    return max(most)


def test_no_more_is_out_than_there_is():
    assert most_at_a_time(WeightedSemaphore(10), [4] * 16) == 8
    assert most_at_a_time(WeightedSemaphore(100), [4] * 16) > 8


def test_who_asks_for_more_than_there_is_runs_alone():
    assert most_at_a_time(WeightedSemaphore(10), [25, 3, 3, 25, 3, 25]) == 25


def test_what_was_had_comes_back_after_an_error():
    budget = WeightedSemaphore(10)
    for _ in range(3):
        with pytest.raises(ValueError, match="damaged"), budget.hold(10):
            raise ValueError("damaged")


def test_is_made_once_however_many_threads_ask_and_again_only_after_an_error():
    made = []

    def make():
        time.sleep(0.01)
        made.append(len(made))
        if len(made) == 1:
            raise ValueError("not yet")
        return made[-1]

    once = Lazy(make)
    with pytest.raises(ValueError, match="not yet"):
        once()
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda _: once(), range(20))) == {1}
    assert made == [0, 1]
