"""Runs fits one after the other, or in a pool of processes that share one copy of the features."""

from __future__ import annotations

import functools
import os
import shutil
import signal
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from winnow.common.errors import InputError
from winnow.heads.evaluation.fit import Fit, FitOptions, HeadSpec, Split, Task, fit_heads

MEMORY = Path("/dev/shm")  # a file system in memory, where there is one


@dataclass(frozen=True, eq=False)
class FitBatch:
    """Heads that are trained together on one split; positions: (head, split) of each of them in the comparison."""

    positions: list[tuple[int, int]]
    heads: list[HeadSpec]
    split: Split
    options: FitOptions


def run_batches(
    batches: list[FitBatch], task: Task, jobs: int, cache: Path | None
) -> Iterator[tuple[FitBatch, list[Fit]]]:
    """Yield every batch with its fits as soon as they are done, in any order.

    jobs: number of processes with one thread each; 1 runs everything in this process. cache: folder on a disk with
    room for X, in case memory has no room for a shared copy; None: the system's folder for temporary files.

    Raises: InputError when neither has room.
    """
    if jobs < 2:
        from threadpoolctl import threadpool_limits

        for batch in batches:
            with threadpool_limits(1):
                fits = _fit(batch, task)
            yield batch, fits
        return
    from joblib import Parallel, delayed, parallel_config

    with _shareable(task, cache) as shared, parallel_config("loky", inner_max_num_threads=1):
        with warnings.catch_warnings():
            # joblib's warning about an interrupt by Ctrl-C, which needs none
            warnings.filterwarnings("ignore", r"\d+ tasks which were still being processed")
            pool = Parallel(n_jobs=jobs, batch_size=1, return_as="generator_unordered")
            yield from pool(delayed(_fit_in_worker)(os.getpid(), batch, shared) for batch in batches)


def _fit(batch: FitBatch, task: Task) -> list[Fit]:
    return [fit for _, fit in fit_heads(batch.heads, task, batch.split, batch.options)]


def _fit_in_worker(parent: int, batch: FitBatch, task: Task) -> tuple[FitBatch, list[Fit]]:
    """In a process of the pool: TensorFlow, if it is loaded at all, has one thread; the parent handles Ctrl-C."""
    _exit_with(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ["TF_NUM_INTRAOP_THREADS"] = os.environ["TF_NUM_INTEROP_THREADS"] = "1"
    return batch, _fit(batch, task)


@functools.cache
def _exit_with(parent: int) -> None:
    """From now on exit this process soon after its parent: a parent that is killed cannot stop its pool."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def _shareable(task: Task, cache: Path | None) -> Iterator[Task]:
    """The task; where memory has no room for joblib's copy of X, X is mapped from a file beside the cache."""
    if not MEMORY.is_dir() or shutil.disk_usage(MEMORY).free > 2 * task.X.nbytes:
        yield task
        return
    with tempfile.TemporaryDirectory(dir=cache and cache.parent, ignore_cleanup_errors=True) as scratch:
        file = Path(scratch) / "X.npy"
        try:
            np.save(file, task.X)
        except OSError as error:
            raise InputError(f"{file}: {error.strerror}", remedy="room-or-one-job") from None
        yield replace(task, X=np.load(file, mmap_mode="r"))
