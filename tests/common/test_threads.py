"""Results ahead of their consumer, limits shared by threads, and values created on first use."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from winnow.common.threads import Lazy, WeightedSemaphore, map_ahead, processors


def most_held(semaphore, amounts):
    """The largest sum held at one moment, when eight threads each hold their amount for a while."""
    held, totals, lock = [], [], threading.Lock()

    def work(amount):
        with semaphore.hold(amount):
            with lock:
                held.append(amount)
                totals.append(sum(held))
            time.sleep(0.01)
            with lock:
                held.remove(amount)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, amounts))
    return max(totals)


def test_the_capacity_is_never_exceeded():
    assert most_held(WeightedSemaphore(10), [4] * 16) == 8
    assert most_held(WeightedSemaphore(100), [4] * 16) > 8


def test_an_amount_above_the_capacity_is_held_alone():
    assert most_held(WeightedSemaphore(10), [25, 3, 3, 25, 3, 25]) == 25


def test_an_amount_is_released_after_an_error():
    semaphore = WeightedSemaphore(10)
    for _ in range(3):
        with pytest.raises(ValueError, match="damaged"), semaphore.hold(10):
            raise ValueError("damaged")


def test_a_lazy_value_is_created_once_for_all_threads_and_again_only_after_an_error():
    created = []

    def create():
        time.sleep(0.01)
        created.append(len(created))
        if len(created) == 1:
            raise ValueError("not yet")
        return created[-1]

    value = Lazy(create)
    with pytest.raises(ValueError, match="not yet"):
        value()
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda _: value(), range(20))) == {1}
    assert created == [0, 1]


def test_map_ahead_starts_no_more_than_its_window_and_keeps_the_order():
    running, most, lock = 0, 0, threading.Lock()

    def work(item):
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.002 * (item % 3))
        with lock:
            running -= 1
        return item * item

    started = []
    results = []
    for item, future in map_ahead(work, (started.append(n) or n for n in range(40)), workers=3, window=5):
        results.append((item, future.result()))
        assert len(started) <= len(results) + 4
    assert results == [(n, n * n) for n in range(40)]
    assert 1 <= most <= 3


def test_map_ahead_stops_when_it_is_closed():
    started = []
    results = map_ahead(lambda item: started.append(item) or time.sleep(0.01), range(1000), workers=2, window=10)
    next(results)
    results.close()
    time.sleep(0.1)
    assert len(started) <= 10


def test_processors_counts_those_that_this_process_may_use():
    assert 1 <= processors() <= os.cpu_count()
