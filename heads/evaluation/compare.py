"""Heads × repeated splits -> fits, and fits -> a table: weighted F1 with intervals and paired tests.

Fits run on the cores there are, dense heads that differ only in how they are trained together, and every fit is found
again in a folder of `DIGEST.npz` files as long as nothing that it depends on has changed.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import shutil
import signal
import tempfile
import threading
import time
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np

from winnow.common.atomic_write import atomic_write
from winnow.common.errors import InputError
from winnow.common.versions import installed_version
from winnow.heads.evaluation import metrics
from winnow.heads.evaluation.fit import Fit, FitOptions, HeadSpec, Split, Task, build, fit_heads, together

FORMAT = "3"  # of a stored fit: raise it when what a head does changes and none of its parameters shows it
MEMORY = Path("/dev/shm")  # a file system in memory, where there is one
# So that no core waits for a long last fit.
_SLOWEST_FIRST = ("finetune", "dense", "forest", "svm-rbf", "lda", "svm-linear", "mlp")
_LIBRARIES = {"dense": ("keras", "tensorflow"), "finetune": ("keras", "tensorflow")}


def compare(
    heads: list[HeadSpec],
    task: Task,
    splits: list[Split],
    options: FitOptions = FitOptions(),
    on_fit: Callable[[int, int, HeadSpec], None] | None = None,
) -> list[list[Fit]]:
    """Fit every head on every split: fits[head][split]. The seed of split r is `options.seed + r`.

    Only the fits of the first split keep their probabilities; `proba` and `y` of the others are empty.
    on_fit(done, total, head): called in this process after each fit, in any order.
    """
    tasks = [(h, r) for h in range(len(heads)) for r in range(len(splits))]
    files: dict[tuple[int, int], Path] = {}
    if options.cache is not None:
        keys = [_split_key(task, split, options.validation) for split in splits]
        files = {(h, r): options.cache / f"{_digest(heads[h], keys[r], seed=options.seed + r)}.npz" for h, r in tasks}
    fits: dict[tuple[int, int], Fit] = {}

    def arrived(pair: tuple[int, int], fit: Fit) -> None:
        fits[pair] = replace(fit, proba={}, y={}) if pair[1] else fit
        if on_fit:
            on_fit(len(fits), len(tasks), heads[pair[0]])

    for pair, file in files.items():
        stored = None if options.fresh else _load(file)
        if stored:
            arrived(pair, stored)
    todo = sorted((pair for pair in tasks if pair not in fits), key=lambda pair: _slowness(heads[pair[0]]))
    groups: dict[Any, list[tuple[int, int]]] = {}
    for h, r in todo:
        groups.setdefault((r, together(heads[h], options.seed + r) or h), []).append((h, r))
    jobs = min(options.jobs, len(groups))
    with _shared(task.X, options.cache) if jobs > 1 else nullcontext(task.X) as X:
        shared = replace(task, X=X)
        calls = [
            (group, ([heads[h] for h, _ in group], shared, splits[r], replace(options, seed=options.seed + r)))
            for (r, _), group in groups.items()
        ]
        for group, found in _run(calls, jobs):
            for pair, fit in zip(group, found, strict=True):
                if pair in files:
                    _save(files[pair], fit)
                arrived(pair, fit)
    return [[fits[h, r] for r in range(len(splits))] for h in range(len(heads))]


def table(heads: list[HeadSpec], fits: list[list[Fit]], splits: list[Split]) -> list[dict[str, Any]]:
    """A row a head, by their mean weighted F1 on val; the first is the chosen one.

    Row: name, kind, params; weighted_f1 {mean, low, high} on test with its 95% interval; val_weighted_f1; macro_f1,
    accuracy, log_loss (means on test); reliability {confidence, accuracy, count} of the test predictions of all splits
    and their ece; fit_seconds, predict_seconds and their sum seconds (means); versus_chosen
    {difference, low, high, p} of the test weighted F1, this head minus the chosen one, None for the chosen one
    itself. Over two or more splits intervals and p are those of the corrected resampled t-test
    (`evaluate.corrected_interval`); with one split, of a bootstrap over its test pictures.
    """
    n_train = float(np.mean([len(split.train) for split in splits]))
    n_test = float(np.mean([len(split.test) for split in splits]))
    val = [_mean(repeats, "weighted_f1", "val") for repeats in fits]
    order = sorted(range(len(heads)), key=lambda h: -val[h])
    best = fits[order[0]]
    rows = []
    for h in order:
        seconds = {
            name: float(np.mean([getattr(fit, name) for fit in fits[h]])) for name in ("fit_seconds", "predict_seconds")
        }
        rows.append(
            {
                "name": heads[h].name,
                "kind": heads[h].kind,
                "params": heads[h].params,
                "weighted_f1": _interval(fits[h], n_train, n_test),
                "val_weighted_f1": val[h],
                **{name: _mean(fits[h], name, "test") for name in ("macro_f1", "accuracy", "log_loss")},
                **_reliability(fits[h]),
                **seconds,
                "seconds": sum(seconds.values()),
                "versus_chosen": None if fits[h] is best else versus(fits[h], best, n_train, n_test),
            }
        )
    return rows


def _reliability(fits: list[Fit]) -> dict[str, Any]:
    bins = metrics.pooled([fit.reliability for fit in fits])
    return {"ece": metrics.ece(bins), "reliability": {name: of.tolist() for name, of in bins.items()}}


def _mean(fits: list[Fit], metric: str, part: str) -> float:
    return float(np.mean([fit.metrics[part][metric] for fit in fits]))


def _scores(fits: list[Fit]) -> np.ndarray:
    return np.array([fit.metrics["test"]["weighted_f1"] for fit in fits])


def _interval(fits: list[Fit], n_train: float, n_test: float) -> dict[str, float]:
    if len(fits) > 1:
        mean, low, high = metrics.corrected_interval(_scores(fits), n_train, n_test)
    else:
        mean = _scores(fits)[0]
        low, high = metrics.bootstrap_interval(metrics.bootstrap_f1(fits[0].y["test"], fits[0].proba["test"]))
    return {"mean": float(mean), "low": low, "high": high}


def versus(fits: list[Fit], chosen: list[Fit], n_train: float, n_test: float) -> dict[str, float]:
    """{difference, low, high, p}: test weighted F1 of a head minus that of the chosen one, on the same splits."""
    if len(fits) > 1:
        return metrics.paired(_scores(fits), _scores(chosen), n_train, n_test)
    a, b = (metrics.bootstrap_f1(of[0].y["test"], of[0].proba["test"]) for of in (fits, chosen))
    low, high = metrics.bootstrap_interval(a - b)
    difference = float(_scores(fits)[0] - _scores(chosen)[0])
    return {"difference": difference, "low": low, "high": high, "p": metrics.bootstrap_p(a - b)}


def _slowness(head: HeadSpec) -> int:
    return _SLOWEST_FIRST.index(head.kind) if head.kind in _SLOWEST_FIRST else len(_SLOWEST_FIRST)


@contextmanager
def _shared(X: np.ndarray, folder: Path | None) -> Iterator[np.ndarray]:
    """X as processes can share it: where memory has no room for joblib's copy, mapped from a file beside folder.

    Raises: InputError when there is no room for that, either.
    """
    if not MEMORY.is_dir() or shutil.disk_usage(MEMORY).free > 2 * X.nbytes:
        yield X
        return
    with tempfile.TemporaryDirectory(dir=folder and folder.parent, ignore_cleanup_errors=True) as scratch:
        file = Path(scratch) / "X.npy"
        try:
            np.save(file, X)
        except OSError as error:
            raise InputError(f"{file}: {error.strerror}; make room there, or choose --jobs 1") from None
        yield np.load(file, mmap_mode="r")


def _run(calls: list[tuple[Any, tuple[Any, ...]]], jobs: int) -> Iterator[tuple[Any, list[Fit]]]:
    """(tasks, arguments of fit_heads) -> (tasks, their fits) as they are done; processes share a memory map of X."""
    if jobs < 2:
        from threadpoolctl import threadpool_limits

        for tasks, arguments in calls:
            with threadpool_limits(1):
                fits = [fit for _, fit in fit_heads(*arguments)]
            yield tasks, fits
        return
    from joblib import Parallel, delayed, parallel_config

    with parallel_config("loky", inner_max_num_threads=1), warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"\d+ tasks which were still being processed")  # Ctrl-C means just that
        pool = Parallel(n_jobs=jobs, batch_size=1, return_as="generator_unordered")
        yield from pool(delayed(_in_worker)(os.getpid(), tasks, arguments) for tasks, arguments in calls)


def _in_worker(parent: int, tasks: Any, arguments: tuple[Any, ...]) -> tuple[Any, list[Fit]]:
    """In a process of the pool: TensorFlow, if it is loaded at all, has one thread; Ctrl-C is left to the parent."""
    _end_with(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ["TF_NUM_INTRAOP_THREADS"] = os.environ["TF_NUM_INTEROP_THREADS"] = "1"
    return tasks, [fit for _, fit in fit_heads(*arguments)]


@functools.cache
def _end_with(parent: int) -> None:
    """From now on end this process soon after its parent has: one that is killed cannot stop its pool."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _split_key(task: Task, split: Split, validation: str) -> str:
    """Another one for every other split: each array stands there with its name and shape before its numbers."""
    digest = hashlib.sha256(json.dumps([FORMAT, task.key, len(task.classes), validation]).encode())
    arrays = {part: getattr(split, part) for part in ("train", "val", "test", "also", "more")}
    arrays |= {"y": task.y, "groups": np.asarray(split.groups)[split.learned]}
    for name, array in arrays.items():
        if array is not None:
            digest.update(f"{name} {array.shape} ".encode() + np.asarray(array, dtype=np.int64).tobytes())
    return digest.hexdigest()


def _digest(head: HeadSpec, split_key: str, seed: int) -> str:
    """Of everything that a fit depends on; the head's defaults are spelled out, its name does not count."""
    params = {name: repr(value) for name, value in build(head, seed).get_params().items()}
    libraries = {name: installed_version(name) for name in ("numpy", "scikit-learn", *_LIBRARIES.get(head.kind, ()))}
    return hashlib.sha256(json.dumps([split_key, head.kind, params, libraries], sort_keys=True).encode()).hexdigest()


def _save(file: Path, fit: Fit) -> None:
    said = {name: value for name, value in asdict(fit).items() if name not in ("proba", "y")}
    arrays = {f"{name}_{part}": array for name in ("proba", "y") for part, array in getattr(fit, name).items()}
    with atomic_write(file) as stream:
        np.savez(stream, fit=np.array(json.dumps(said)), **arrays)


def _load(file: Path) -> Fit | None:
    """The stored fit; None when there is none, or none that can be read: it is then fitted anew."""
    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
            said = json.loads(str(stored["fit"]))
            for name in ("proba", "y"):
                said[name] = {part: stored[f"{name}_{part}"] for part in said["metrics"] if part != "train"}
            return Fit(**said)
    except (OSError, EOFError, ValueError, KeyError, TypeError, RuntimeError, zipfile.BadZipFile, zlib.error):
        return None
    except (SyntaxError, TokenError):  # NumPy reads the head of an array as Python
        return None
