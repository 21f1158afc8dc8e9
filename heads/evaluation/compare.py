"""Fits every head on every split: heads × splits -> fits. `head_scores` ranks the heads by them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from winnow.heads.evaluation import fit_cache
from winnow.heads.evaluation.fit import Fit, FitOptions, HeadSpec, Split, Task, batch_key
from winnow.heads.evaluation.fit_pool import FitBatch, run_batches

# Slow heads are fitted first, so that no core waits for a long last fit.
_SLOWEST_FIRST = ("finetune", "dense", "forest", "svm-rbf", "lda", "svm-linear", "mlp")

Position = tuple[int, int]  # index of the head, index of the split


def compare(
    heads: list[HeadSpec],
    task: Task,
    splits: list[Split],
    options: FitOptions = FitOptions(),
    on_fit: Callable[[int, int], None] | None = None,
) -> list[list[Fit]]:
    """Fit every head on every split: fits[head][split]. The seed of split r is `options.seed + r`.

    Only the fits of the first split keep their probabilities; `proba` and `y` of the others are empty.
    on_fit(done, total): called in this process after each fit.
    """
    positions = [(h, r) for h in range(len(heads)) for r in range(len(splits))]
    files = _cache_files(heads, task, splits, options)
    fits: dict[Position, Fit] = {}

    def collect(position: Position, fit: Fit) -> None:
        fits[position] = replace(fit, proba={}, y={}) if position[1] else fit
        if on_fit:
            on_fit(len(fits), len(positions))

    if not options.fresh:
        for position, file in files.items():
            if stored := fit_cache.load(file):
                collect(position, stored)
    batches = _batches(heads, splits, options, [position for position in positions if position not in fits])
    for batch, batch_fits in run_batches(batches, task, min(options.jobs, len(batches)), options.cache):
        for position, fit in zip(batch.positions, batch_fits, strict=True):
            if position in files:
                fit_cache.save(files[position], fit)
            collect(position, fit)
    return [[fits[h, r] for r in range(len(splits))] for h in range(len(heads))]


def _cache_files(heads: list[HeadSpec], task: Task, splits: list[Split], options: FitOptions) -> dict[Position, Path]:
    """The file of each fit; empty without a cache."""
    if options.cache is None:
        return {}
    digests = [fit_cache.split_digest(task, split, options.validation) for split in splits]
    return {
        (h, r): options.cache / f"{fit_cache.fit_digest(head, digest, options.seed + r)}.npz"
        for h, head in enumerate(heads)
        for r, digest in enumerate(digests)
    }


def _batches(
    heads: list[HeadSpec], splits: list[Split], options: FitOptions, positions: list[Position]
) -> list[FitBatch]:
    """Heads that can be trained together on the same split, slow ones first; any other head is a batch of one."""
    groups: dict[Any, list[Position]] = {}
    for h, r in sorted(positions, key=lambda position: _slowness(heads[position[0]])):
        groups.setdefault((r, batch_key(heads[h], options.seed + r) or h), []).append((h, r))
    return [
        FitBatch(group, [heads[h] for h, _ in group], splits[r], replace(options, seed=options.seed + r))
        for (r, _), group in groups.items()
    ]


def _slowness(head: HeadSpec) -> int:
    return _SLOWEST_FIRST.index(head.kind) if head.kind in _SLOWEST_FIRST else len(_SLOWEST_FIRST)
